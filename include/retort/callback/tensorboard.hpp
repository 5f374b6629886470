// SPDX-License-Identifier: BSL-1.0
/// \file
/// Logs a run for TensorBoard.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>

#include <retort/callback/concept.hpp>
#include <retort/callback/event_file.hpp>
#include <retort/core/environment.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/type_name.hpp>

namespace retort {

struct TensorBoardOptions {
    std::int64_t histograms_every = 0;  ///< epochs between histograms of the parameters; 0: none
    bool reports = true;  ///< also log the running means at every report (`FitOptions::report_every`)
};

/// Writes an event file for TensorBoard (`tensorboard --logdir DIRECTORY`):
///
/// | tab        | tag                                | what                                                    |
/// |------------|------------------------------------|---------------------------------------------------------|
/// | scalars    | `epoch/<column>`                   | at the end of an epoch: the history's columns           |
/// | scalars    | `running/loss`, `running/accuracy` | at every report: means over the epoch so far            |
/// | histograms | `parameters/<name>`                | the student's parameters (`histograms_every`)           |
/// | text       | `composition`                      | when `fit` begins: trainer, student and environment     |
///
/// The step of all of them is the number of completed steps of the run. A resumed run writes another file;
/// TensorBoard then drops what the earlier one holds for the repeated steps.
///
/// Place it after the callbacks whose columns it records. To add custom values, images or text, keep it in a
/// variable, and call `file()` from a later callback.
/// \throws OutputError before the first epoch if the directory cannot be written
class TensorBoard {
  public:
    explicit TensorBoard(std::filesystem::path directory, TensorBoardOptions options = {})
        : directory_(std::move(directory)), options_(options) {
        if (options_.histograms_every < 0) {
            throw ConfigError(detail::concat("TensorBoard: expected histograms_every of at least 0, found ",
                                             options_.histograms_every));
        }
    }

    /// The event file of the run.
    /// \throws ConfigError before `fit` has started
    EventFile& file() {
        if (!file_)
            throw ConfigError("TensorBoard: the file is created when fit starts, found a call before");
        return *file_;
    }

    void on_fit_begin(auto& context) {
        file_.emplace(directory_, steps_done(context.progress) + 1);
        std::ostringstream words;
        // Markdown keeps lines indented by four as they are.
        const auto add = [&](const char* title, std::istream& lines) {
            words << "\n**" << title << "**\n\n";
            for (std::string line; std::getline(lines, line);) words << "    " << line << '\n';
        };
        if constexpr (requires { context.trainer; }) {
            std::istringstream type{
                std::string(detail::qualified_type_name<std::remove_cvref_t<decltype(context.trainer)>>())};
            add("Trainer", type);
        }
        std::stringstream modules;
        modules << context.student;
        add("Student", modules);
        std::istringstream surroundings(environment().text());
        add("Environment", surroundings);
        file_->text("composition", steps_done(context.progress) + 1, words.str());
    }
    void on_report(FitContext& context) {
        if (!options_.reports) return;
        const std::int64_t steps = steps_done(context.progress);
        file_->scalar("running/loss", steps, context.running.loss);
        if (!std::isnan(context.running.accuracy))
            file_->scalar("running/accuracy", steps, context.running.accuracy);
    }
    void on_epoch_end(FitContext& context) {
        const std::int64_t epochs = context.progress.epoch + 1, steps = steps_done(context.progress);
        for (const std::string& column : context.history.columns()) {
            const double value = context.history.last(column);
            if (column == "epoch" || std::isnan(value)) continue;
            std::string tag = "epoch/";
            file_->scalar(tag.append(column), steps, value);
        }
        if (options_.histograms_every == 0 || epochs % options_.histograms_every != 0) return;
        for (const auto& parameter : context.student.named_parameters()) {
            std::string tag = "parameters/";
            file_->histogram(tag.append(parameter.key()), steps, parameter.value());
        }
    }

  private:
    static std::int64_t steps_done(const Progress& progress) {
        return progress.epoch * progress.steps_per_epoch + progress.step;
    }

    std::filesystem::path directory_;
    TensorBoardOptions options_;
    std::optional<EventFile> file_;
};

}  // namespace retort
