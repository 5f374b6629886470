// SPDX-License-Identifier: BSL-1.0
/// \file
/// Transfer graphs as files.
///
///     retort graph 1
///     # a comment
///     learner 0 resnet32
///     learner 1 resnet110
///     label 0 cross_entropy through
///     edge 1 0 soft_target correct weight=0.5
///     edge 1 0 soft_target positive_linear iterations=156400
///     end
///
/// One item per line, its words separated by blanks. The first line names the format. `learner` gives a position (0,
/// 1, ... in order) and the kind of the learner, to the end of the line, which may be empty. `label` gives the
/// receiver, the term and the gate; `edge` the source before them. Options of the gate and `weight` (default 1)
/// follow. The last line is `end`: a file that was cut is refused. A file has at most 4 MiB.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <retort/cohort/graph_description.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/atomic_file.hpp>
#include <retort/detail/byte_reader.hpp>
#include <retort/detail/mapped_file.hpp>

namespace retort {

namespace detail {

inline constexpr std::string_view graph_file_header = "retort graph 1", graph_file_end = "end";
inline constexpr std::size_t graph_file_bytes = std::size_t{4} << 20;

/// The shortest decimal text that round-trips.
inline std::string number_text(double value) {
    char buffer[32];
    return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr};
}

/// Reads the lines of a graph file, and knows its position.
class GraphReader {
  public:
    explicit GraphReader(std::string where) : where_(std::move(where)) {}

    GraphDescription read(std::string_view text) {
        if (text.size() > graph_file_bytes)
            throw DataError(concat(where_, ": expected a graph of at most ", graph_file_bytes,
                                   " bytes, found ", text.size()));
        GraphDescription result;
        bool header = false, ended = false;
        while (!text.empty()) {
            const std::size_t length = std::min(text.find('\n'), text.size());
            std::string line(text.substr(0, length));
            text.remove_prefix(std::min(length + 1, text.size()));
            ++line_;
            if (!line.empty() && line.back() == '\r') line.pop_back();
            if (!header) {
                if (line != graph_file_header) fail(concat('"', graph_file_header, '"'), line);
                header = true;
                continue;
            }
            words_.clear();
            std::istringstream split(line);
            for (std::string word; split >> word;) words_.push_back(word);
            if (words_.empty() || words_[0].starts_with('#')) continue;
            if (ended) fail("the end of the file", words_[0]);
            if (words_[0] == "learner") {
                learner(result, line);
            } else if (words_[0] == "label" || words_[0] == "edge") {
                edge(result);
            } else if (words_[0] == graph_file_end && words_.size() == 1) {
                ended = true;
            } else {
                fail("learner, label, edge or end", line);
            }
        }
        if (!header) fail(concat('"', graph_file_header, '"'), "the end of the file");
        if (!ended) fail(concat('"', graph_file_end, "\" (was the file cut?)"), "the end of the file");
        if (result.learners.empty()) fail("at least one learner", "none");
        return result;
    }

  private:
    [[noreturn]] void fail(const std::string& expected, const std::string& found) const {
        throw DataError(concat(where_, ":", line_, ": expected ", expected, ", found ",
                               found.empty() ? "nothing" : excerpt(found, 80)));
    }
    std::string word(std::size_t position, const char* expected) const {
        if (position >= words_.size()) fail(expected, "the end of the line");
        return words_[position];
    }
    std::size_t position(std::size_t at, const char* what, std::size_t below) const {
        const std::string expected =
            below > 0 ? concat(what, " below ", below) : std::string("a learner line first");
        const std::string found = word(at, expected.c_str());
        std::size_t value = 0;
        const auto [end, error] = std::from_chars(found.data(), found.data() + found.size(), value);
        if (error != std::errc() || end != found.data() + found.size() || value >= below)
            fail(expected, found);
        return value;
    }
    void learner(GraphDescription& graph, const std::string& line) const {
        const std::size_t next = graph.learners.size();
        if (word(1, "the position of a learner") != std::to_string(next))
            fail(concat("learner ", next, ", as they come in order"), concat("learner ", words_[1]));
        // The rest of the line, without the blanks around it.
        std::string rest = line.substr(line.find(words_[1], line.find("learner") + 7) + words_[1].size());
        const std::size_t first = rest.find_first_not_of(" \t");
        rest = first == std::string::npos ? std::string() : rest.substr(first);
        rest.resize(rest.find_last_not_of(" \t") + 1);
        graph.learners.push_back(std::move(rest));
    }
    void edge(GraphDescription& graph) const {
        EdgeDescription result;
        std::size_t at = 1;
        const std::size_t count = graph.learners.size();
        if (words_[0] == "edge") result.from = position(at++, "the position of a source", count);
        result.to = position(at++, "the position of a receiver", count);
        result.term = word(at++, "the name of a term");
        result.gate = word(at++, "the name of a gate");
        for (; at < words_.size(); ++at) {
            const std::size_t equals = words_[at].find('=');
            const std::string name = words_[at].substr(0, equals);
            double value = 0;
            bool good = equals != std::string::npos && !name.empty();
            if (good) {
                const char* const begin = words_[at].data() + equals + 1;
                const char* const end = words_[at].data() + words_[at].size();
                const auto [stop, error] = std::from_chars(begin, end, value);
                good = error == std::errc() && stop == end && std::isfinite(value);
            }
            if (!good) fail("an option as name=number", words_[at]);
            if (name == "weight") {
                result.weight = value;
            } else if (!result.gate_options.emplace(name, value).second) {
                fail("each option once", words_[at]);
            }
        }
        graph.edges.push_back(std::move(result));
    }

    std::string where_;
    std::size_t line_ = 0;
    std::vector<std::string> words_;
};

}  // namespace detail

/// The text of a graph file.
/// \throws ConfigError if a weight follows a schedule, or a name would not round-trip: those of terms and gates are
/// one word, those of learners one line
inline std::string graph_text(const GraphDescription& graph) {
    const auto check = [](const char* what, const std::string& name, const char* bad) {
        const bool padded = !name.empty() && (name.front() == ' ' || name.back() == ' ');
        if (name.find_first_of(bad) != std::string::npos || padded) {
            throw ConfigError(detail::concat("graph: expected a name without blanks or line breaks for ",
                                             what, ", found \"", name, '"'));
        }
    };
    std::string result{detail::graph_file_header};
    result += '\n';
    for (std::size_t i = 0; i < graph.learners.size(); ++i) {
        check("a learner", graph.learners[i], "\n\r\t");
        result +=
            detail::concat("learner ", i, graph.learners[i].empty() ? "" : " ", graph.learners[i], '\n');
    }
    for (const EdgeDescription& edge : graph.edges) {
        check("a term", edge.term, " \n\r\t");
        check("a gate", edge.gate, " \n\r\t");
        if (edge.term.empty() || edge.gate.empty())
            throw ConfigError("graph: expected a term and a gate for each edge, found an empty name");
        if (!edge.weight) {
            throw ConfigError(detail::concat("graph: expected edges of fixed weight, found one to learner ",
                                             edge.to,
                                             " whose weight follows a schedule, which a file cannot store"));
        }
        result += edge.from ? detail::concat("edge ", *edge.from, ' ') : std::string("label ");
        result += detail::concat(edge.to, ' ', edge.term, ' ', edge.gate);
        for (const auto& [name, value] : edge.gate_options)
            result += detail::concat(' ', name, '=', detail::number_text(value));
        if (*edge.weight != 1) result += detail::concat(" weight=", detail::number_text(*edge.weight));
        result += '\n';
    }
    return result.append(detail::graph_file_end).append("\n");
}

/// Parses the text of a graph file.
/// \param where its name in errors
/// \throws DataError with the line, what was expected there and what was found
inline GraphDescription parse_graph(std::string_view words, const std::string& where = "graph") {
    return detail::GraphReader(where).read(words);
}

/// Writes a graph file, atomically.
/// \throws ConfigError as `graph_text`; OutputError if it cannot be written
inline void save_graph(const GraphDescription& graph, const std::filesystem::path& path) {
    detail::write_atomically(path, graph_text(graph));
}

/// Reads a graph file.
/// \throws DataError if it cannot be read, or with the line, what was expected there and what was found
inline GraphDescription load_graph(const std::filesystem::path& path) {
    const detail::MappedFile file(path);
    return detail::GraphReader(path.string()).read(file.bytes());
}

}  // namespace retort
