// SPDX-License-Identifier: BSL-1.0
/// \file
/// All kinds of knowledge.
#pragma once

#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/connector/concept.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/connector/identity.hpp>
#include <retort/knowledge/connector/linear_map.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/knowledge.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/knowledge/sum.hpp>
#include <retort/knowledge/tempered.hpp>
