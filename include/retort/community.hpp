// SPDX-License-Identifier: BSL-1.0
/// \file
/// Nodes that find out what they do not know, ask who does, and learn from them. Needs nlohmann-json (RETORT_WITH_JSON).
#pragma once

#include <retort/community/average.hpp>
#include <retort/community/best.hpp>
#include <retort/community/calibration.hpp>
#include <retort/community/concept.hpp>
#include <retort/community/diagonal_fisher.hpp>
#include <retort/community/education_cycle.hpp>
#include <retort/community/education_picture.hpp>
#include <retort/community/elastic_weights.hpp>
#include <retort/community/energy.hpp>
#include <retort/community/evidence.hpp>
#include <retort/community/exemplars.hpp>
#include <retort/community/ledger.hpp>
#include <retort/community/likelihood_regret.hpp>
#include <retort/community/mahalanobis.hpp>
#include <retort/community/majority.hpp>
#include <retort/community/no_retention.hpp>
#include <retort/community/node.hpp>
#include <retort/community/node_network.hpp>
#include <retort/community/node_options.hpp>
#include <retort/community/offer.hpp>
#include <retort/community/pixel_autoencoder.hpp>
#include <retort/community/random_teacher.hpp>
#include <retort/community/received.hpp>
#include <retort/community/rehearsal.hpp>
#include <retort/community/roster.hpp>
#include <retort/community/trust.hpp>
