// SPDX-License-Identifier: BSL-1.0
/// \file
/// Optimisers and their learning rates.
#pragma once

#include <retort/optim/adamw.hpp>
#include <retort/optim/concept.hpp>
#include <retort/optim/fresh_each_epoch.hpp>
#include <retort/optim/from_torch.hpp>
#include <retort/optim/lars.hpp>
#include <retort/optim/parameter_groups.hpp>
#include <retort/optim/policy.hpp>
#include <retort/optim/sgd.hpp>
#include <retort/optim/with_learning_rate.hpp>
