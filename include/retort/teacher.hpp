// SPDX-License-Identifier: BSL-1.0
/// \file
/// All teachers: where knowledge comes from.
#pragma once

#include <retort/teacher/auxiliary.hpp>
#include <retort/teacher/cached.hpp>
#include <retort/teacher/concept.hpp>
#include <retort/teacher/distillation_chain.hpp>
#include <retort/teacher/ensemble.hpp>
#include <retort/teacher/frozen.hpp>
#include <retort/teacher/moving_average.hpp>
#include <retort/teacher/no_teacher.hpp>
#include <retort/teacher/partially_trainable.hpp>
#include <retort/teacher/snapshot.hpp>
