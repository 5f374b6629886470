// SPDX-License-Identifier: BSL-1.0
/// \file
/// A transfer graph in words: what files and pictures hold.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace retort {

/// An edge in words.
struct EdgeDescription {
    std::optional<std::size_t> from{};             ///< the learner that teaches; none: the labels
    std::size_t to = 0;                            ///< the learner that is taught
    std::string term{};                            ///< the name of the knowledge term
    std::string gate = "through";                  ///< the name of the gate
    std::map<std::string, double> gate_options{};  ///< those that are not its defaults
    std::optional<double> weight = 1.0;            ///< none: it follows a schedule

    friend bool operator==(const EdgeDescription&, const EdgeDescription&) = default;
};

/// A graph in words. See `graph_file.hpp` for files and `graph_picture.hpp` for pictures.
struct GraphDescription {
    std::vector<std::string>
        learners{};  ///< what each learner is (its architecture, say); may be empty words
    std::vector<EdgeDescription> edges{};

    friend bool operator==(const GraphDescription&, const GraphDescription&) = default;
};

}  // namespace retort
