// SPDX-License-Identifier: BSL-1.0
/// \file
/// All metrics.
#pragma once

#include <retort/metrics/accuracy.hpp>
#include <retort/metrics/agreement.hpp>
#include <retort/metrics/calibration_error.hpp>
#include <retort/metrics/concept.hpp>
#include <retort/metrics/confusion.hpp>
#include <retort/metrics/detection.hpp>
#include <retort/metrics/distance.hpp>
#include <retort/metrics/evaluate.hpp>
#include <retort/metrics/extract_features.hpp>
#include <retort/metrics/features.hpp>
#include <retort/metrics/fisher_trace.hpp>
#include <retort/metrics/information_content.hpp>
#include <retort/metrics/linear_probe.hpp>
#include <retort/metrics/nearest_centroid.hpp>
#include <retort/metrics/retrieval.hpp>
#include <retort/metrics/task_accuracy.hpp>
#include <retort/metrics/top_k.hpp>
