// SPDX-License-Identifier: BSL-1.0
/// \file
/// Several learners that teach each other along a transfer graph.
#pragma once

#include <retort/cohort/cohort.hpp>
#include <retort/cohort/cohort_options.hpp>
#include <retort/cohort/cohort_result.hpp>
#include <retort/cohort/cohort_run.hpp>
#include <retort/cohort/edge.hpp>
#include <retort/cohort/gate.hpp>
#include <retort/cohort/graph_catalog.hpp>
#include <retort/cohort/graph_description.hpp>
#include <retort/cohort/graph_file.hpp>
#include <retort/cohort/graph_picture.hpp>
#include <retort/cohort/graph_space.hpp>
#include <retort/cohort/learner.hpp>
#include <retort/cohort/preset.hpp>
#include <retort/cohort/runtime_graph.hpp>
#include <retort/cohort/transfer_graph.hpp>
