// SPDX-License-Identifier: BSL-1.0
/// \file
/// Options of a `Node`.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

#include <retort/community/calibration.hpp>
#include <retort/community/trust.hpp>
#include <retort/detail/check.hpp>
#include <retort/transport/messenger.hpp>

namespace retort::community {

/// What a query and a lesson carry.
enum class Privacy {
    samples,  ///< the inputs
    features,  ///< the trunk's features: only nodes whose trunk is the same, bit for bit, can answer (`learn_trunk` false)
};

/// Options of a `Node`. The sources state no numbers: the defaults are of this library.
struct NodeOptions {
    std::string name{};                   ///< a token that no other node of the community has; required
    std::string community = "community";  ///< a token: those of another community do not hear this node
    std::string input{};  ///< shape and normalization of the inputs in words; nodes with other words decline
    std::filesystem::path
        directory{};  ///< where the state is stored, so that a killed node resumes; empty: nowhere
    Privacy privacy = Privacy::samples;
    CalibrationOptions calibration{};
    TrustOptions trust{};

    // How much.
    std::int64_t probe = 64;    ///< samples that a query carries, at most
    std::int64_t lesson = 512;  ///< samples that are collected for a lesson; more are dropped
    std::int64_t chunk = 256;   ///< rows of a lesson in one message
    std::int64_t references =
        256;  ///< samples kept of each task, for its self-assessment, retention and canaries
    std::int64_t holdout =
        128;  ///< and others that are never learned from: for thresholds and acceptance. At most a fifth
    std::size_t tasks = 32;     ///< more are not learned
    std::size_t ledger = 1000;  ///< entries kept
    std::size_t peers = 4096;   ///< nodes known at most

    // How a lesson is learned.
    std::int64_t epochs = 10;
    std::int64_t batch = 32;
    double temperature = 2;
    bool learn_trunk = true;  ///< false: only the new head learns
    double tolerance = 0.1;   ///< how much the held-out accuracy of an earlier task may fall
    std::uint64_t seed = 0;

    // How long to ask.
    int rounds = 3;                          ///< a query is repeated for those that have not answered
    std::chrono::milliseconds within{2000};  ///< of a round
    double quorum = 0.5;                     ///< the share of the roster that must answer, in [0, 1]
    transport::RequestOptions request{};     ///< of one message of a lesson
    int patience = 2;                        ///< how often a teacher may be out of reach
    /// Whether the next teacher is asked when one cannot be reached. Otherwise the cycle ends, and the data are kept.
    bool fall_back = true;

    void check() const {
        using namespace ::retort::detail;
        calibration.check();
        trust.check();
        check_range("Node", "a probe", probe, at_least(1));
        check_range("Node", "a lesson", lesson, at_least(8));
        check_range("Node", "a chunk", chunk, at_least(1));
        check_range("Node", "a number of references", references, at_least(2));
        check_range("Node", "a holdout", holdout, at_least(1));
        check_range("Node", "a number of epochs", epochs, at_least(1));
        check_range("Node", "a batch", batch, at_least(1));
        check_range("Node", "a temperature", temperature, above(0));
        check_range("Node", "a tolerance", tolerance, in_closed(0, 1));
        check_range("Node", "a number of rounds", rounds, at_least(1));
        check_range("Node", "a quorum", quorum, in_closed(0, 1));
        check_range("Node", "a patience", patience, at_least(1));
        if (privacy == Privacy::features && learn_trunk)
            throw ConfigError(
                "Node: expected learn_trunk = false with Privacy::features, as features are only understood "
                "by nodes with "
                "the same trunk");
    }
};

}  // namespace retort::community
