// SPDX-License-Identifier: BSL-1.0
/// \file
/// Who taught whom, as images.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <numbers>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>

namespace retort::community {

/// A lesson that was learned.
struct Taught {
    std::string teacher{};
    std::string student{};
    std::string words{};  ///< what, for the label of the arrow
};

namespace detail {

inline std::string escaped(std::string_view words, bool xml) {
    std::string result;
    for (const char c : words) {
        if (xml && c == '<') {
            result += "&lt;";
        } else if (xml && c == '>') {
            result += "&gt;";
        } else if (xml && c == '&') {
            result += "&amp;";
        } else if (xml && c == '"') {
            result += "&quot;";
        } else if (!xml && (c == '"' || c == '\\')) {
            (result += '\\') += c;
        } else if (!xml && c == '\n') {
            result += "\\n";
        } else {
            result += c;
        }
    }
    return result;
}
/// One arrow for all lessons between two nodes.
inline std::map<std::tuple<std::string, std::string>, std::string> arrows(
    const std::vector<Taught>& lessons) {
    std::map<std::tuple<std::string, std::string>, std::string> result;
    for (const Taught& each : lessons) {
        std::string& words = result[{each.teacher, each.student}];
        if (!words.empty() && !each.words.empty()) words += ", ";
        words += each.words;
    }
    return result;
}

}  // namespace detail

/// Who taught whom in Graphviz' language (`dot -Tsvg taught.dot > taught.svg`).
/// \param nodes their names
inline std::string education_dot(const std::vector<std::string>& nodes, const std::vector<Taught>& lessons) {
    std::string result = "digraph community {\n  layout=circo;\n  node [shape=circle];\n";
    for (const std::string& each : nodes)
        result += ::retort::detail::concat("  \"", detail::escaped(each, false), "\";\n");
    for (const auto& [ends, words] : detail::arrows(lessons)) {
        const auto& [teacher, student] = ends;
        result += ::retort::detail::concat("  \"", detail::escaped(teacher, false), "\" -> \"",
                                           detail::escaped(student, false), "\" [label=\"",
                                           detail::escaped(words, false), "\"];\n");
    }
    return result + "}\n";
}

/// The same as an SVG, the nodes on a circle.
inline std::string education_svg(const std::vector<std::string>& nodes, const std::vector<Taught>& lessons) {
    constexpr double size = 560;
    constexpr double radius = 200;
    constexpr double dot = 34;
    std::map<std::string, std::pair<double, double>> places;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        const double angle =
            2 * std::numbers::pi * static_cast<double>(i) / static_cast<double>(nodes.size());
        places[nodes[i]] = {size / 2 + radius * std::sin(angle), size / 2 - radius * std::cos(angle)};
    }
    std::string result =
        ::retort::detail::concat("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ", size, ' ', size,
                                 "\" font-family=\"sans-serif\" font-size=\"13\">\n<defs><marker id=\"end\" "
                                 "viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" "
                                 "markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0,0 L8,4 "
                                 "L0,8 z\"/></marker></defs>\n");
    for (const auto& [ends, words] : detail::arrows(lessons)) {
        const auto from = places.find(std::get<0>(ends));
        const auto to = places.find(std::get<1>(ends));
        if (from == places.end() || to == places.end()) {
            throw ConfigError(
                ::retort::detail::concat("picture: expected lessons between the nodes, found one of ",
                                         std::get<0>(ends), " for ", std::get<1>(ends)));
        }
        const auto [x0, y0] = from->second;
        const auto [x1, y1] = to->second;
        const double length = std::max(1.0, std::hypot(x1 - x0, y1 - y0));
        const double ux = (x1 - x0) / length, uy = (y1 - y0) / length;
        // Bent to its left, so that arrows in both directions stay apart.
        const double mx = (x0 + x1) / 2 + 22 * uy, my = (y0 + y1) / 2 - 22 * ux;
        result += ::retort::detail::concat(
            "<path fill=\"none\" stroke=\"black\" marker-end=\"url(#end)\" d=\"M", x0 + dot * ux, ',',
            y0 + dot * uy, " Q", mx, ',', my, ' ', x1 - dot * ux, ',', y1 - dot * uy, "\"/>\n<text x=\"", mx,
            "\" y=\"", my, "\" text-anchor=\"middle\">", detail::escaped(words, true), "</text>\n");
    }
    for (const auto& [name, place] : places) {
        result += ::retort::detail::concat(
            "<circle cx=\"", place.first, "\" cy=\"", place.second, "\" r=\"", dot,
            "\" fill=\"#e8eef7\" stroke=\"black\"/>\n<text x=\"", place.first, "\" y=\"", place.second + 4,
            "\" text-anchor=\"middle\">", detail::escaped(name, true), "</text>\n");
    }
    return result + "</svg>\n";
}

}  // namespace retort::community
