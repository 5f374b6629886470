// SPDX-License-Identifier: BSL-1.0
/// \file
/// Everything except several learners (<retort/cohort.hpp>), search (<retort/search.hpp>) and the full catalog of
/// losses: only cross-entropy, soft targets and hints are included. The full catalog is <retort/knowledge.hpp>, which
/// takes one second longer to compile.
#pragma once

#include <retort/callback.hpp>
#include <retort/core.hpp>
#include <retort/data.hpp>
#include <retort/knowledge/adaptor/sum.hpp>
#include <retort/knowledge/adaptor/tempered.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/connector/identity.hpp>
#include <retort/knowledge/connector/linear_map.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/knowledge.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/metrics.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/tap.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>
