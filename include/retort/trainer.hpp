// SPDX-License-Identifier: BSL-1.0
/// \file
/// The trainer, its callbacks and its history.
#pragma once

#include <retort/trainer/best_model.hpp>
#include <retort/trainer/callback.hpp>
#include <retort/trainer/checkpoint.hpp>
#include <retort/trainer/csv_history.hpp>
#include <retort/trainer/early_stopping.hpp>
#include <retort/trainer/evaluate.hpp>
#include <retort/trainer/event_file.hpp>
#include <retort/trainer/features.hpp>
#include <retort/trainer/fit_options.hpp>
#include <retort/trainer/gradient_clipping.hpp>
#include <retort/trainer/gradient_scaler.hpp>
#include <retort/trainer/history.hpp>
#include <retort/trainer/json_lines.hpp>
#include <retort/trainer/objective.hpp>
#include <retort/trainer/on.hpp>
#include <retort/trainer/precision.hpp>
#include <retort/trainer/progress_bar.hpp>
#include <retort/trainer/source.hpp>
#include <retort/trainer/stages.hpp>
#include <retort/trainer/take_snapshot.hpp>
#include <retort/trainer/tensorboard.hpp>
#include <retort/trainer/trainer.hpp>
#include <retort/trainer/validation.hpp>
#include <retort/trainer/weight_average.hpp>
