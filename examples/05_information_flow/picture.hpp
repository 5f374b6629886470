// SPDX-License-Identifier: BSL-1.0
/// \file
/// The divergence of the information flow of each layer by epoch, with the phases marked.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <retort/callback/history.hpp>

#include "../common/spread.hpp"

namespace flow {

/// The number of layers recorded.
inline constexpr std::size_t layers = 4;

/// The column of a layer in the histories.
inline std::string divergence_column(std::size_t layer) {
    return "divergence_layer" + std::to_string(layer + 1);
}

/// The students of one kind: their name, the history of each seed, and the weight of their intermediate layers by
/// epoch (of the first seed; empty if these teach nothing).
struct Kind {
    std::string name;
    std::vector<retort::History> runs{};
    std::vector<double> weights{};
};

/// The plotted table: for each kind its layers, as means over the seeds, and the weight.
inline std::string table(const std::vector<Kind>& kinds) {
    std::ostringstream stream;
    std::size_t epochs = 0;
    stream << "epoch";
    for (const Kind& kind : kinds) {
        for (std::size_t layer = 0; layer < layers; ++layer) {
            stream << ',' << kind.name << " layer " << layer + 1;
        }
        stream << ',' << kind.name << " weight";
        for (const retort::History& run : kind.runs) epochs = std::max(epochs, run.size());
    }
    stream << '\n';
    for (std::size_t epoch = 0; epoch < epochs; ++epoch) {
        stream << epoch + 1;
        for (const Kind& kind : kinds) {
            for (std::size_t layer = 0; layer < layers; ++layer) {
                std::vector<double> values;
                for (const retort::History& run : kind.runs) {
                    if (epoch < run.size()) values.push_back(run.at(epoch, divergence_column(layer)));
                }
                stream << ',';
                if (!values.empty()) stream << examples::Spread(values).mean;
            }
            stream << ',';
            if (epoch < kind.weights.size()) stream << kind.weights[epoch];
        }
        stream << '\n';
    }
    return std::move(stream).str();
}

/// The number of initial epochs with a weight of at least 2: where in the paper's Figure 1 "forming critical
/// connections" ends and "further fitting and compression" begins.
inline std::size_t forming_epochs(const Kind& kind) {
    std::size_t result = 0;
    while (result < kind.weights.size() && kind.weights[result] >= 2) ++result;
    return result;
}

/// The gnuplot script; `gnuplot information_flow.gp` in its folder redraws the plot.
inline std::string script(const std::vector<Kind>& kinds) {
    std::ostringstream stream;
    const std::size_t columns = kinds.size() > 1 ? 2 : 1;
    const std::size_t rows = (kinds.size() + columns - 1) / columns;
    double lowest = std::numeric_limits<double>::infinity(), highest = 0;
    std::size_t epochs = 1;
    for (const Kind& kind : kinds) {
        for (const retort::History& run : kind.runs) {
            epochs = std::max(epochs, run.size());
            for (std::size_t epoch = 0; epoch < run.size(); ++epoch) {
                for (std::size_t layer = 0; layer < layers; ++layer) {
                    const double value = run.at(epoch, divergence_column(layer));
                    if (!(value > 0)) continue;
                    lowest = std::min(lowest, value);
                    highest = std::max(highest, value);
                }
            }
        }
    }
    if (!(highest > 0)) lowest = highest = 1;
    stream
        << R"(# gnuplot information_flow.gp
if (!exists("folder")) folder = "."
if (!exists("picture")) picture = folder . "/information_flow.svg"
set terminal svg size )"
        << 640 * columns << ',' << 60 + 360 * rows << R"( background "white" font "sans-serif,14"
set output picture
set datafile separator ","
table = folder . "/information_flow.csv"
set multiplot layout )"
        << rows << ',' << columns
        << R"( title "Divergence of each layer from the auxiliary teacher's; gray: critical connections form"
set logscale y
set format y "%g"
set yrange [)"
        << lowest / 1.5 << ':' << highest * 1.5 << "]\nset xrange [0.5:" << static_cast<double>(epochs) + 0.5
        << R"(]
set xlabel "epoch"
set grid back linecolor rgb "#dddddd"
set border 3
set tics nomirror
set key outside right center samplen 1
)";
    const char* const colors[layers] = {"#1b78b4", "#2ca25f", "#d95f02", "#7b3294"};
    for (std::size_t i = 0; i < kinds.size(); ++i) {
        std::string title = kinds[i].name;
        std::replace(title.begin(), title.end(), '_', ' ');
        stream << "set title \"" << title << "\"\nunset object\n";
        if (const std::size_t forming = forming_epochs(kinds[i]); forming > 0) {
            stream << "set object 1 rectangle from 0.5, graph 0 to " << static_cast<double>(forming) + 0.5
                   << ", graph 1 fillcolor rgb \"#eeeeee\" fillstyle solid noborder behind\n";
        }
        stream << "plot ";
        for (std::size_t layer = 0; layer < layers; ++layer) {
            stream << (layer > 0 ? ", \\\n     " : "") << "table using 1:" << 2 + i * (layers + 1) + layer
                   << " skip 1 with linespoints pt 7 ps 0.4 lw 2 linecolor rgb \"" << colors[layer]
                   << "\" title \"layer " << layer + 1 << '"';
        }
        stream << '\n';
    }
    stream << "unset multiplot\n";
    return std::move(stream).str();
}

}  // namespace flow
