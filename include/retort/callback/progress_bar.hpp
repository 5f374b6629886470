// SPDX-License-Identifier: BSL-1.0
/// \file
/// Shows training progress.
#pragma once

#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>

#include <retort/callback/concept.hpp>

namespace retort {

/// Options of `ProgressBar`.
struct ProgressBarOptions {
    std::string label{};          ///< printed at the start of the line
    std::FILE* stream = nullptr;  ///< null: standard error
    int width = 24;               ///< of the bar, in characters; at least 1
};

/// Shows training progress: epoch, loss, accuracy, time left. On a terminal, a bar updated with every report;
/// elsewhere, one plain line at the end of every epoch.
class ProgressBar {
  public:
    explicit ProgressBar(ProgressBarOptions options = {})
        : options_(std::move(options)), stream_(options_.stream != nullptr ? options_.stream : stderr) {
        if (options_.width < 1) options_.width = 1;
        terminal_ = ::isatty(::fileno(stream_)) == 1;
    }
    ProgressBar(const ProgressBar&) = delete;
    ProgressBar& operator=(const ProgressBar&) = delete;
    ~ProgressBar() { finish_line(); }

    void on_fit_begin(FitContext& context) {
        began_ = std::chrono::steady_clock::now();
        first_epoch_ = context.progress.epoch;
    }
    void on_report(FitContext& context) {
        if (terminal_) show(context, share_of_epoch(context.progress), "\r", "\033[K");
    }
    void on_epoch_end(FitContext& context) {
        if (terminal_) {
            show(context, 1.0, "\r", "\033[K");
        } else {
            show(context, 1.0, "", "\n");
        }
    }
    void on_fit_end(FitContext&) { finish_line(); }

  private:
    static double share_of_epoch(const Progress& progress) {
        if (progress.steps_per_epoch <= 0) return 0.0;
        const double share =
            static_cast<double>(progress.step) / static_cast<double>(progress.steps_per_epoch);
        return share < 1.0 ? share : 1.0;
    }
    void show(const FitContext& context, double share, const char* before, const char* after) {
        const Progress& progress = context.progress;
        const double done = static_cast<double>(progress.epoch - first_epoch_) + share;
        const double all = static_cast<double>(progress.epochs - first_epoch_);
        const double elapsed =
            std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
        std::string line = options_.label.empty() ? "" : options_.label + " ";
        if (terminal_) {
            const int full = static_cast<int>(std::lround(options_.width * done / all));
            line += '[' + std::string(static_cast<std::size_t>(full), '#') +
                    std::string(static_cast<std::size_t>(options_.width - full), '.') + "] ";
        }
        line += "epoch " + std::to_string(progress.epoch + 1) + "/" + std::to_string(progress.epochs);
        line +=
            number("  loss %.4f", context.running.loss) + number("  accuracy %.4f", context.running.accuracy);
        if (!terminal_ || share >= 1.0) {
            for (const std::string& column : context.history.columns()) {
                if (column.starts_with("validation_")) {
                    const std::string value = number(" %.4f", context.history.last(column));
                    if (!value.empty()) line.append("  ").append(column).append(value);
                }
            }
        }
        if (done > 0) line += "  " + duration(elapsed / done * (all - done)) + " left";
        std::fprintf(stream_, "%s%s%s", before, line.c_str(), after);
        std::fflush(stream_);
        open_line_ = terminal_;
    }
    static std::string number(const char* format, double value) {
        if (std::isnan(value)) return {};
        char buffer[128];
        std::snprintf(buffer, sizeof buffer, format, value);
        return buffer;
    }
    static std::string duration(double seconds) {
        const auto whole = std::llround(seconds);
        char buffer[64];
        if (whole >= 3600) {
            std::snprintf(buffer, sizeof buffer, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60,
                          whole % 60);
        } else {
            std::snprintf(buffer, sizeof buffer, "%lld:%02lld", whole / 60, whole % 60);
        }
        return buffer;
    }
    void finish_line() {
        if (open_line_) std::fputc('\n', stream_);
        open_line_ = false;
    }

    ProgressBarOptions options_;
    std::FILE* stream_;
    bool terminal_ = false;
    bool open_line_ = false;
    std::chrono::steady_clock::time_point began_{};
    std::int64_t first_epoch_ = 0;
};

}  // namespace retort
