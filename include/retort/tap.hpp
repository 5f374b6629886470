// SPDX-License-Identifier: BSL-1.0
/// \file
/// Names of intermediate tensors.
#pragma once

#include <retort/tap/flat_tap.hpp>
#include <retort/tap/global_average.hpp>
#include <retort/tap/logits_tap.hpp>
#include <retort/tap/of_student.hpp>
#include <retort/tap/pooled_tap.hpp>
#include <retort/tap/tap.hpp>
#include <retort/tap/taps.hpp>
