// SPDX-License-Identifier: BSL-1.0
/// \file
/// The learning curves of several runs as a table and a plot.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <retort/callback/history.hpp>

#include "../common/spread.hpp"

namespace quickstart {

using examples::Spread;

/// The runs of one kind: a name and the history of each seed.
struct Curve {
    std::string name;
    std::vector<retort::History> runs;
};

/// All histories in one CSV table: model, seed, and all measured columns.
inline std::string histories_csv(const std::vector<Curve>& curves) {
    std::vector<std::string> columns;
    for (const Curve& curve : curves) {
        for (const retort::History& run : curve.runs) {
            for (const std::string& column : run.columns()) {
                if (std::find(columns.begin(), columns.end(), column) == columns.end())
                    columns.push_back(column);
            }
        }
    }
    std::ostringstream stream;
    stream.precision(std::numeric_limits<double>::max_digits10);
    stream << "model,seed";
    for (const std::string& column : columns) stream << ',' << column;
    stream << '\n';
    for (const Curve& curve : curves) {
        for (std::size_t seed = 0; seed < curve.runs.size(); ++seed) {
            const retort::History& run = curve.runs[seed];
            for (std::size_t row = 0; row < run.size(); ++row) {
                stream << curve.name << ',' << seed;
                for (const std::string& column : columns) {
                    stream << ',';
                    if (run.has(column) && !std::isnan(run.at(row, column))) stream << run.at(row, column);
                }
                stream << '\n';
            }
        }
    }
    return std::move(stream).str();
}

/// The plotted data: the validation accuracy per epoch in percent, as mean and standard deviation over the seeds.
inline std::string curves_csv(const std::vector<Curve>& curves) {
    std::ostringstream stream;
    stream << "epoch";
    std::size_t epochs = 0;
    for (const Curve& curve : curves) {
        stream << ',' << curve.name << ',' << curve.name << " deviation";
        for (const retort::History& run : curve.runs) epochs = std::max(epochs, run.size());
    }
    stream << '\n';
    for (std::size_t epoch = 0; epoch < epochs; ++epoch) {
        stream << epoch + 1;
        for (const Curve& curve : curves) {
            std::vector<double> values;
            for (const retort::History& run : curve.runs) {
                if (epoch < run.size()) values.push_back(100 * run.at(epoch, "validation_accuracy"));
            }
            const Spread spread(values);
            stream << ',';
            if (!values.empty()) stream << spread.mean;
            stream << ',';
            if (!values.empty()) stream << (values.size() > 1 ? spread.deviation : 0.0);
        }
        stream << '\n';
    }
    return std::move(stream).str();
}

/// The gnuplot script; `gnuplot learning_curves.gp` in its folder redraws the plot.
inline const char* const gnuplot_script = R"gnuplot(# gnuplot learning_curves.gp
if (!exists("folder")) folder = "."
if (!exists("picture")) picture = folder . "/learning_curves.svg"
set terminal svg size 900,560 background "white" font "sans-serif,16"
set output picture
set datafile separator ","
set title "Validation accuracy, mean and standard deviation over the seeds"
set xlabel "epoch"
set ylabel "accuracy (%)"
set key bottom right
set grid back linecolor rgb "#dddddd"
set border 3
set tics nomirror
set autoscale xfix
set offsets 0.5, 0.5, 1, 1
table = folder . "/learning_curves.csv"
set style fill transparent solid 0.18 noborder
plot table using 1:($2-$3):($2+$3) skip 1 with filledcurves linecolor rgb "#888888" notitle, \
     table using 1:($4-$5):($4+$5) skip 1 with filledcurves linecolor rgb "#d95f02" notitle, \
     table using 1:($6-$7):($6+$7) skip 1 with filledcurves linecolor rgb "#1b78b4" notitle, \
     table using 1:2 skip 1 with linespoints pt 7 ps 0.5 lw 2 linecolor rgb "#888888" title "teacher", \
     table using 1:4 skip 1 with linespoints pt 7 ps 0.5 lw 2 linecolor rgb "#d95f02" title "student alone", \
     table using 1:6 skip 1 with linespoints pt 7 ps 0.5 lw 2 linecolor rgb "#1b78b4" title "student distilled"
)gnuplot";

}  // namespace quickstart
