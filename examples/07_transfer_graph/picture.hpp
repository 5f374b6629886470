// SPDX-License-Identifier: BSL-1.0
/// \file
/// A search as tables and a plot.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <sstream>
#include <string>

#include <retort/search.hpp>

namespace transfer_graph {

using namespace retort::search;

/// One line per trial: its state, the number of epochs, its last value, and the best value of complete trials so far.
inline std::string trials_csv(const StudyRecord& record) {
    std::ostringstream stream;
    stream.precision(std::numeric_limits<double>::max_digits10);
    stream << "trial,state,epochs,value,best,attempts,seed,choices\n";
    double best = std::numeric_limits<double>::infinity();
    for (const TrialRecord& trial : record.trials) {
        if (trial.value && *trial.value < best) best = *trial.value;
        stream << trial.number << ',' << state_name(trial.state) << ','
               << (trial.reports.empty() ? 0 : trial.reports.back().first) << ',';
        if (!trial.reports.empty()) stream << trial.reports.back().second;
        stream << ',';
        if (std::isfinite(best)) stream << best;
        stream << ',' << trial.attempt << ',' << trial.seed << ",\"";
        for (std::size_t i = 0; i < trial.words.size(); ++i) stream << (i == 0 ? "" : " ") << trial.words[i];
        stream << "\"\n";
    }
    return std::move(stream).str();
}

/// One line per decision, in the order they were made.
inline std::string decisions_csv(const StudyRecord& record, const SuccessiveHalving& halving) {
    std::ostringstream stream;
    stream.precision(std::numeric_limits<double>::max_digits10);
    stream << "trial,rung,epoch,value,promoted\n";
    for (const Decision& each : record.decisions) {
        stream << each.trial << ',' << each.rung << ',' << halving.step(each.rung) << ',' << each.value << ','
               << (each.promoted ? 1 : 0) << '\n';
    }
    return std::move(stream).str();
}

/// The gnuplot script; `gnuplot search.gp` in its folder redraws the plot.
inline const char* const gnuplot_script = R"gnuplot(# gnuplot search.gp
if (!exists("folder")) folder = "."
if (!exists("picture")) picture = folder . "/search.svg"
set terminal svg size 1200,520 background "white" font "sans-serif,15"
set output picture
set datafile separator ","
set grid back linecolor rgb "#dddddd"
set border 3
set tics nomirror
set ylabel "error of the target (%)"
trials = folder . "/trials.csv"
decisions = folder . "/decisions.csv"
set multiplot layout 1,2
set title "Trials"
set xlabel "trial"
set key outside bottom center horizontal
set xrange [-1:*]
set offsets 0, 0.5, 1, 1
plot trials using 1:(strcol(2) eq "pruned" ? $4 : 1/0) skip 1 with points pt 7 ps 0.5 linecolor rgb "#999999" title "pruned, last value", \
     trials using 1:(strcol(2) eq "complete" ? $4 : 1/0) skip 1 with points pt 7 ps 0.6 linecolor rgb "#d95f02" title "complete", \
     trials using 1:5 skip 1 with steps lw 2 linecolor rgb "#1b78b4" title "best so far"
set title "Rungs"
set xlabel "epoch"
set xrange [*:*]
set logscale x 2
set offsets graph 0.05, graph 0.05, graph 0.02, graph 0.02
plot decisions using 3:($5 == 0 ? $4 : 1/0) skip 1 with points pt 2 ps 0.5 linecolor rgb "#999999" title "pruned", \
     decisions using 3:($5 == 1 ? $4 : 1/0) skip 1 with points pt 7 ps 0.5 linecolor rgb "#1b78b4" title "promoted"
unset multiplot
)gnuplot";

}  // namespace transfer_graph
