// SPDX-License-Identifier: BSL-1.0
/// \file
/// Custom policies: a knowledge term, a schedule and a callback. Each is a plain type that satisfies a contract,
/// without a base class. The contracts: <retort/knowledge/concept.hpp>, <retort/schedule/concept.hpp> and
/// <retort/callback/concept.hpp>.
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <string>

#include <retort/retort.hpp>

#include "../common/glyphs.hpp"
#include "../common/program.hpp"
#include "../models/small_cnn.hpp"

namespace {

/// A knowledge term: one minus the mean correlation, over the classes, of the student's and the teacher's logits.
/// Unlike soft targets, it ignores their confidence.
struct LogitCorrelation {
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = false;

    double epsilon = 1e-6;  ///< avoids division by 0 for equal logits; above 0

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B&) const {
        const auto centered = [](const at::Tensor& logits) {
            return logits - logits.mean(1, /*keepdim=*/true);
        };
        const at::Tensor own = centered(retort::logits(student));
        const at::Tensor given = centered(retort::logits(teacher));
        return 1 - at::cosine_similarity(own, given, 1, epsilon).mean();
    }
    static std::string name() { return "correlation"; }
    /// Called when the Knowledge is composed: invalid options never reach a run.
    void check() const {
        if (!(epsilon > 0)) throw retort::ConfigError("LogitCorrelation: expected an epsilon above 0");
    }
};

/// A schedule: a weight in the first epochs of every period, and 0 in the others.
struct Pulse {
    std::int64_t period = 4;
    std::int64_t on = 2;
    double height = 1.0;

    double weight(const retort::Progress& progress) const {
        return progress.epoch % period < on ? height : 0.0;
    }
    void check() const {
        if (period < 1 || on < 0 || on > period) {
            throw retort::ConfigError(
                "Pulse: expected 0 to `period` epochs of a period of at least 1, found " +
                std::to_string(on) + " of " + std::to_string(period));
        }
    }
};

/// A callback: prints every epoch, and stops once the validation accuracy is good enough.
class StopWhenGood {
  public:
    explicit StopWhenGood(double goal) : goal_(goal) {}

    bool on_epoch_end(retort::FitContext& context) {
        const double accuracy = context.history.last("validation_accuracy");
        std::printf("epoch %2lld  weight of the correlation %.1f  loss %.4f  validation accuracy %.4f\n",
                    static_cast<long long>(context.progress.epoch + 1),
                    context.history.last("weight_correlation"), context.history.last("loss"), accuracy);
        good_ = accuracy >= goal_;
        return !good_;  // false stops the run
    }
    bool good() const { return good_; }

  private:
    double goal_;
    bool good_ = false;
};

struct Options {
    std::int64_t samples = 6000;
    std::int64_t student_samples = 2000;
    std::int64_t teacher_epochs = 5;
    std::int64_t epochs = 40;
    double goal = 0.7;
    Pulse pulse{.height = 2.0};
    examples::Machine machine;
};

void distill(const Options& options) {
    const at::Device device = options.machine.apply();
    const retort::data::Normalize normalize{.mean = {0.25}, .deviation = {0.25}};
    const retort::data::Compose moved{retort::data::RandomCrop{.padding = 2}, normalize};
    const auto letters = examples::glyphs({.samples = options.samples, .seed = 1});
    const auto few = retort::data::subset(
        letters,
        at::arange(std::min(options.samples, options.student_samples), at::TensorOptions(at::kLong)));
    const auto parts = retort::data::stratified_split(few, {.validation_fraction = 0.2});
    const retort::data::Loader all_batches{letters, {.seed = 1}, moved};
    const retort::data::Loader few_batches{parts.train, {.seed = 1}, moved};
    const retort::data::Loader validation{parts.validation, {.batch_size = 500, .shuffle = false}, normalize};
    const retort::Sgd sgd{.learning_rate = 0.1, .momentum = 0.9, .weight_decay = 5e-4};
    const retort::TrainerOptions where{.device = device.str()};

    torch::manual_seed(1);
    models::SmallCnn teacher;
    retort::Trainer{
        teacher, retort::NoTeacher{}, retort::Knowledge{retort::CrossEntropy{}}, retort::Schedule{1.0}, sgd,
        where}
        .fit(all_batches, {.epochs = options.teacher_epochs}, retort::ProgressBar{{.label = "teacher"}});

    models::SmallCnn student(models::SmallCnnOptions{.width = 16});
    retort::Trainer trainer{student,
                            retort::Frozen{teacher},
                            retort::Knowledge{retort::CrossEntropy{}, LogitCorrelation{}},
                            retort::Schedule{1.0, options.pulse},
                            sgd,
                            where};
    StopWhenGood stop{options.goal};
    const retort::History& history =
        trainer.fit(few_batches, {.epochs = options.epochs}, retort::Validation{validation}, stop);
    std::printf("%s after %zu epochs.\n", stop.good() ? "Good enough" : "Not good enough", history.size());
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"A custom knowledge term, schedule and callback in retort's trainer."};
    Options options;
    const examples::AddOption option{app};
    option("--samples", options.samples, "Training letters of the teacher");
    option("--student-samples", options.student_samples,
           "How many of them the student gets, a fifth of these held out for validation; at least 20");
    option("--teacher-epochs", options.teacher_epochs, "Epochs of the teacher");
    option("--epochs", options.epochs, "Maximum number of epochs of the student");
    option("--goal", options.goal, "Validation accuracy that ends the run, from 0 to 1");
    option("--period", options.pulse.period, "Epochs between pulses of the term's weight");
    option("--on", options.pulse.on, "Epochs of each period in which the term is active");
    option("--height", options.pulse.height, "The term's weight in these epochs");
    options.machine.add_to(app);
    return examples::run(app, argc, argv, [&] { distill(options); });
}
