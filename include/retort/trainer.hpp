// SPDX-License-Identifier: BSL-1.0
/// \file
/// The trainer: precision, objective, stages.
#pragma once

#include <retort/trainer/concept.hpp>
#include <retort/trainer/fit_options.hpp>
#include <retort/trainer/gradient_scaler.hpp>
#include <retort/trainer/losses.hpp>
#include <retort/trainer/objective.hpp>
#include <retort/trainer/precision.hpp>
#include <retort/trainer/stages.hpp>
#include <retort/trainer/trainer.hpp>
