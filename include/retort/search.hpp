// SPDX-License-Identifier: BSL-1.0
/// \file
/// Search: random points of a space, pruned by successive halving, in a file shared by several processes.
#pragma once

#include <retort/search/space.hpp>
#include <retort/search/study_record.hpp>
#include <retort/search/successive_halving.hpp>
#if defined(RETORT_WITH_SQLITE) && RETORT_WITH_SQLITE
#include <retort/search/study.hpp>
#endif
