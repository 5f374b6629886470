// SPDX-License-Identifier: BSL-1.0
/// \file
/// The learning curves of several runs as a table and as a picture.
#pragma once

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/detail/atomic_file.hpp>
#include <retort/trainer/history.hpp>

namespace quickstart {

/// Mean and standard deviation of some numbers; the deviation is NaN for less than two.
struct Spread {
    double mean = std::numeric_limits<double>::quiet_NaN();
    double deviation = std::numeric_limits<double>::quiet_NaN();

    explicit Spread(const std::vector<double>& values) {
        const auto count = static_cast<double>(values.size());
        if (values.empty()) return;
        mean = 0;
        for (const double value : values) mean += value / count;
        if (values.size() < 2) return;
        double squares = 0;
        for (const double value : values) squares += (value - mean) * (value - mean);
        deviation = std::sqrt(squares / (count - 1));
    }
};

/// The runs of one kind: a name and the history of each seed.
struct Curve {
    std::string name;
    std::vector<retort::History> runs;
};

/// All histories in one CSV table: which kind, which seed, and all that was measured.
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

/// What the picture shows: the validation accuracy per epoch in percent, as mean and deviation over the
/// seeds.
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

/// The drawing, for gnuplot; `gnuplot learning_curves.gp` in its folder makes the picture again.
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

/// Lets gnuplot draw the picture from the script and the table in `folder`.
/// \returns whether there is a gnuplot \throws retort::OutputError if it failed
inline bool draw_curves(const std::filesystem::path& folder) {
    const auto quoted = [](const std::filesystem::path& path) {
        std::string result = "'";
        for (const char c : path.string()) result += c == '\'' ? std::string("''") : std::string(1, c);
        return result + "'";
    };
    bool found = true;
    const auto run = [&](const std::filesystem::path& picture) {
        const std::string script = (folder / "learning_curves.gp").string();
        const std::string settings = "folder=" + quoted(folder) + "; picture=" + quoted(picture);
        std::vector<std::string> words{"gnuplot", "-e", settings, script};
        std::vector<char*> arguments;
        for (std::string& word : words) arguments.push_back(word.data());
        arguments.push_back(nullptr);
        pid_t process = 0;
        const int error = ::posix_spawnp(&process, "gnuplot", nullptr, nullptr, arguments.data(), environ);
        if (error == ENOENT) {
            found = false;
            throw retort::OutputError("gnuplot is not installed");
        }
        int status = 0;
        if (error != 0 || ::waitpid(process, &status, 0) != process || !WIFEXITED(status) ||
            WEXITSTATUS(status) != 0) {
            throw retort::OutputError((folder / "learning_curves.svg").string() +
                                      ": gnuplot failed to draw it (its words are above)");
        }
    };
    try {
        retort::detail::write_beside(folder / "learning_curves.svg", run);
    } catch (const retort::OutputError&) {
        if (found) throw;
    }
    return found;
}

}  // namespace quickstart
