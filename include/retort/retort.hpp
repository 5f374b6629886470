// SPDX-License-Identifier: BSL-1.0
/// \file
/// All of retort.
#pragma once

#include <retort/core.hpp>
#include <retort/data.hpp>
#include <retort/knowledge.hpp>
#include <retort/metrics.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>
