// SPDX-License-Identifier: BSL-1.0
/// \file
/// Optimizers and their learning rates.
#pragma once

#include <retort/optim/adamw.hpp>
#include <retort/optim/concept.hpp>
#include <retort/optim/from_torch.hpp>
#include <retort/optim/lars.hpp>
#include <retort/optim/parameter_groups.hpp>
#include <retort/optim/policy.hpp>
#include <retort/optim/rebuilt_each_epoch.hpp>
#include <retort/optim/sgd.hpp>
#include <retort/optim/with_learning_rate.hpp>
