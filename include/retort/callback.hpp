// SPDX-License-Identifier: BSL-1.0
/// \file
/// The callbacks: what happens around the steps of a run, and the history that they write.
#pragma once

#include <retort/callback/best_model.hpp>
#include <retort/callback/checkpoint.hpp>
#include <retort/callback/concept.hpp>
#include <retort/callback/csv_history.hpp>
#include <retort/callback/early_stopping.hpp>
#include <retort/callback/event_file.hpp>
#include <retort/callback/gradient_clipping.hpp>
#include <retort/callback/history.hpp>
#include <retort/callback/json_lines.hpp>
#include <retort/callback/lambda.hpp>
#include <retort/callback/progress_bar.hpp>
#include <retort/callback/take_snapshot.hpp>
#include <retort/callback/tensorboard.hpp>
#include <retort/callback/validation.hpp>
#include <retort/callback/weight_average.hpp>
