// SPDX-License-Identifier: BSL-1.0
/// \file
/// Networks with additional heads, branches and stems.
#pragma once

#include <retort/network/augmented_network.hpp>
#include <retort/network/branch_gate.hpp>
#include <retort/network/logit_ensemble.hpp>
#include <retort/network/peer_attention.hpp>
#include <retort/network/stem_ensemble.hpp>
