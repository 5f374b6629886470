// SPDX-License-Identifier: BSL-1.0
/// \file
/// All kinds of knowledge.
#pragma once

#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/connector/chain.hpp>
#include <retort/knowledge/connector/concept.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/connector/deconvolution.hpp>
#include <retort/knowledge/connector/fit_net_regressor.hpp>
#include <retort/knowledge/connector/identity.hpp>
#include <retort/knowledge/connector/linear_map.hpp>
#include <retort/knowledge/connector/mlp.hpp>
#include <retort/knowledge/connector/resize.hpp>
#include <retort/knowledge/feature/attention_transfer.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/feature/neuron_selectivity.hpp>
#include <retort/knowledge/feature/variational_information.hpp>
#include <retort/knowledge/knowledge.hpp>
#include <retort/knowledge/logit/cosine_logits.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/decoupled_kd.hpp>
#include <retort/knowledge/logit/fused_token_divergence.hpp>
#include <retort/knowledge/logit/mean_squared_logits.hpp>
#include <retort/knowledge/logit/normalised_kd.hpp>
#include <retort/knowledge/logit/projected_logits.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/knowledge/logit/sparse_teacher.hpp>
#include <retort/knowledge/logit/token_divergence.hpp>
#include <retort/knowledge/logit/weighted_soft_labels.hpp>
#include <retort/knowledge/relation/relational.hpp>
#include <retort/knowledge/relation/similarity_preserving.hpp>
#include <retort/knowledge/sum.hpp>
#include <retort/knowledge/tempered.hpp>
