// SPDX-License-Identifier: BSL-1.0
/// \file
/// The gates of edges.
#pragma once

#include <retort/cohort/gate/concept.hpp>
#include <retort/cohort/gate/correct.hpp>
#include <retort/cohort/gate/cutoff.hpp>
#include <retort/cohort/gate/positive_linear.hpp>
#include <retort/cohort/gate/through.hpp>
