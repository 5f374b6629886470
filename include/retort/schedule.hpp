// SPDX-License-Identifier: BSL-1.0
/// \file
/// All schedules: when a term counts, and how much.
#pragma once

#include <retort/schedule/adaptive_critical_period.hpp>
#include <retort/schedule/concept.hpp>
#include <retort/schedule/constant.hpp>
#include <retort/schedule/cosine.hpp>
#include <retort/schedule/cosine_restarts.hpp>
#include <retort/schedule/critical_period.hpp>
#include <retort/schedule/exponential.hpp>
#include <retort/schedule/linear.hpp>
#include <retort/schedule/multi_step.hpp>
#include <retort/schedule/one_cycle.hpp>
#include <retort/schedule/phases.hpp>
#include <retort/schedule/plateau.hpp>
#include <retort/schedule/polynomial.hpp>
#include <retort/schedule/ramp_up.hpp>
#include <retort/schedule/schedule.hpp>
#include <retort/schedule/schedule_adaptor.hpp>
#include <retort/schedule/step.hpp>
#include <retort/schedule/warm_up.hpp>
