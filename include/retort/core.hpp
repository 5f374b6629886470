// SPDX-License-Identifier: BSL-1.0
/// \file
/// The vocabulary: networks, batches and where they come from, logits, progress, reductions, devices, errors.
#pragma once

#include <retort/core/batch.hpp>
#include <retort/core/batch_source.hpp>
#include <retort/core/counted.hpp>
#include <retort/core/device.hpp>
#include <retort/core/environment.hpp>
#include <retort/core/error.hpp>
#include <retort/core/logits.hpp>
#include <retort/core/network.hpp>
#include <retort/core/no_outputs.hpp>
#include <retort/core/progress.hpp>
#include <retort/core/reduction.hpp>
#include <retort/version.hpp>
