// SPDX-License-Identifier: BSL-1.0
/// \file
/// The vocabulary: networks, batches, taps, logits, progress, reductions, devices, errors.
#pragma once

#include <retort/core/batch.hpp>
#include <retort/core/device.hpp>
#include <retort/core/environment.hpp>
#include <retort/core/error.hpp>
#include <retort/core/flat_tap.hpp>
#include <retort/core/global_average.hpp>
#include <retort/core/logits.hpp>
#include <retort/core/network.hpp>
#include <retort/core/no_outputs.hpp>
#include <retort/core/pooled_tap.hpp>
#include <retort/core/progress.hpp>
#include <retort/core/reduction.hpp>
#include <retort/core/tap.hpp>
#include <retort/core/taps.hpp>
#include <retort/version.hpp>
