// SPDX-License-Identifier: BSL-1.0
/// \file
/// Named transfer graphs.
#pragma once

#include <retort/cohort/preset/augmented_learning.hpp>
#include <retort/cohort/preset/be_your_own_teacher.hpp>
#include <retort/cohort/preset/collaborative.hpp>
#include <retort/cohort/preset/compressed_students.hpp>
#include <retort/cohort/preset/mutual_learning.hpp>
#include <retort/cohort/preset/one_way.hpp>
#include <retort/cohort/preset/online_ensemble.hpp>
