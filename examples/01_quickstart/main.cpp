// SPDX-License-Identifier: BSL-1.0
/// \file
/// Trains a teacher, a small student alone on few samples, and the same student distilled from the teacher; compares
/// the three.
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include <retort/io.hpp>
#include <retort/retort.hpp>

#include "../common/glyphs.hpp"
#include "../common/gnuplot.hpp"
#include "../common/image_data.hpp"
#include "../common/program.hpp"
#include "../models/image_outputs.hpp"
#include "../models/small_cnn.hpp"
#include "learning_curves.hpp"

namespace {

using examples::Spread;
using examples::with_deviation;
using quickstart::Curve;

struct Options {
    std::string data;
    std::string out = "examples-output/quickstart";
    std::int64_t samples = 12000;
    std::int64_t student_samples = 1000;
    int seeds = 3;
    std::int64_t teacher_epochs = 5;
    std::int64_t epochs = 30;
    std::int64_t batch_size = 64;
    double temperature = 4.0;
    double soft_weight = 0.9;
    double learning_rate = 0.1;
    std::int64_t teacher_width = 32;
    std::int64_t student_width = 16;
    examples::RunFolder run;
    examples::Machine machine;
};

void describe(CLI::App& app, Options& options) {
    const examples::AddOption option{app};
    app.add_option("--data", options.data,
                   "Folder with Fashion-MNIST or MNIST: the four IDX files, plain or .gz. Without it, a "
                   "built-in data set of generated letters");
    option("--samples", options.samples,
           "Training samples of the teacher, a tenth of them held out for validation; 0: all of --data",
           examples::zero_or_more());
    option("--student-samples", options.student_samples,
           "Training samples of the students, a subset of the teacher's; 0: all of them",
           examples::zero_or_more());
    option("--seeds", options.seeds, "Runs, each with a different seed for weights and sample order",
           CLI::Range(1, 1000));
    option("--teacher-epochs", options.teacher_epochs, "Epochs of the teacher", CLI::Range(1, 1000000));
    option("--epochs", options.epochs, "Epochs of the students", CLI::Range(1, 1000000));
    option("--batch-size", options.batch_size, "Samples per step", CLI::Range(1, 1000000));
    option("--temperature", options.temperature, "Softens the predictions of teacher and student; above 0",
           examples::above_zero());
    option("--soft-weight", options.soft_weight,
           "Weight of the soft targets, from 0 to 1; the labels get the rest", CLI::Range(0.0, 1.0));
    option("--learning-rate", options.learning_rate, "Initial learning rate; decays to 0 along a cosine",
           examples::above_zero());
    option("--teacher-width", options.teacher_width, "Channels of the teacher's first convolution",
           CLI::Range(1, 4096));
    option("--student-width", options.student_width, "Channels of the student's first convolution",
           CLI::Range(1, 4096));
    app.add_option("--out", options.out, "Folder for the results; files of an earlier run are overwritten")
        ->capture_default_str();
    options.run.add_to(app);
    options.machine.add_to(app);
    app.footer(
        "Writes to the folder of --out:\n"
        "  learning_curves.svg  validation accuracy by epoch (drawn by gnuplot from the .gp and .csv next to "
        "it)\n"
        "  history.csv          all measurements, by model, seed and epoch\n"
        "  student.pt           the distilled student with the best validation accuracy, for "
        "retort::read_weights and\n"
        "                       Python's torch.load");
}

/// The samples for training teacher and students, for selecting the best epoch, and for the final test.
struct Data {
    std::string name{};
    retort::data::Dataset teacher{};
    retort::data::Dataset student{};
    retort::data::Dataset validation{};
    retort::data::Dataset test{};
    retort::data::Normalize normalize{};

    /// Training batches: shuffled, each image shifted by up to two pixels.
    auto shuffled(const retort::data::Dataset& dataset, std::int64_t batch_size, std::uint64_t seed) const {
        return retort::data::Loader{dataset,
                                    {.batch_size = batch_size, .seed = seed},
                                    retort::data::Compose{retort::data::RandomCrop{.padding = 2}, normalize}};
    }
    /// Evaluation batches.
    auto in_order(const retort::data::Dataset& dataset) const {
        return retort::data::Loader{dataset, {.batch_size = 500, .shuffle = false}, normalize};
    }
};

Data load(const Options& options) {
    Data data;
    retort::data::Dataset all;
    if (options.data.empty()) {
        data.name = "Built-in letters";
        const std::int64_t count = options.samples > 0 ? options.samples : Options{}.samples;
        all = examples::glyphs({.samples = count, .seed = 1});
        data.test = examples::glyphs({.samples = 4000, .seed = 2});
    } else {
        data.name = options.data;
        all = examples::some(retort::data::mnist(options.data, retort::data::Split::train), options.samples,
                             "--samples");
        data.test = retort::data::mnist(options.data, retort::data::Split::test);
    }
    auto parts = retort::data::stratified_split(all, {.validation_fraction = 0.1});
    data.teacher = std::move(parts.train);
    data.validation = std::move(parts.validation);
    data.student = examples::some(data.teacher, options.student_samples, "--student-samples");
    data.normalize = examples::normalize(data.teacher);
    return data;
}

/// The results of one kind of model, over the seeds.
struct Result {
    Curve curve;
    std::int64_t parameters = 0;
    std::vector<double> last{};  // test accuracy after the last epoch, in percent
    std::vector<double> best{};  // at the epoch with the best validation accuracy
    std::vector<double> images_per_second{};
};

/// Images per second that a network classifies: the median of five measurements.
double throughput(models::SmallCnn& net, const at::Tensor& images) {
    const at::NoGradGuard no_grad;
    net->eval();
    std::vector<double> rates;
    for (int repetition = 0; repetition < 6; ++repetition) {
        const auto begin = std::chrono::steady_clock::now();
        net->forward(images).argmax(1).sum().item();  // waits for the device
        const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
        if (repetition > 0) rates.push_back(static_cast<double>(images.size(0)) / elapsed.count());
    }
    std::nth_element(rates.begin(), rates.begin() + 2, rates.end());
    return rates[2];
}

/// Trains, selects the best epoch on the validation samples, and only then evaluates on the test samples. The network
/// is left at its best epoch.
template <class Trainer>
void train(Result& result, models::SmallCnn& net, Trainer trainer, const Data& data,
           const retort::data::Dataset& samples, std::int64_t epochs, const Options& options,
           std::uint64_t seed, retort::Stages& stages) {
    std::string stage = result.curve.name + '-' + std::to_string(seed);
    std::replace(stage.begin(), stage.end(), ' ', '-');
    std::string label =
        "seed " + std::to_string(seed + 1) + "/" + std::to_string(options.seeds) + "  " + result.curve.name;
    label.resize(30, ' ');
    retort::BestModel best{{.restore = false}};
    result.curve.runs.push_back(stages.fit(stage, trainer, data.shuffled(samples, options.batch_size, seed),
                                           {.epochs = epochs, .report_every = 20},
                                           retort::Validation{data.in_order(data.validation)}, best,
                                           retort::ProgressBar{{.label = label}}));
    const auto accuracy = [&] { return 100 * retort::evaluate(net, data.in_order(data.test)).value(); };
    result.last.push_back(accuracy());
    best.restore(*net);
    result.best.push_back(accuracy());

    at::Generator unused;
    const at::Tensor images = data.normalize(data.test.inputs.slice(0, 0, 1000), unused);
    result.images_per_second.push_back(throughput(net, images.to(net->parameters().front().device())));
    result.parameters = models::parameter_count(*net);
}

void print_table(const Result& teacher, const Result& alone, const Result& distilled) {
    const auto seeds = static_cast<int>(alone.last.size());
    std::printf("\nTest accuracy in percent%s:\n\n%-18s  %10s  %9s  %15s  %15s\n",
                seeds > 1 ? ", mean +- standard deviation over the seeds" : "", "model", "parameters",
                "images/s", "last epoch", "best epoch (*)");
    for (const Result* each : {&teacher, &alone, &distilled}) {
        std::printf("%-18s  %10lld  %9.0f  %15s  %15s\n", each->curve.name.c_str(),
                    static_cast<long long>(each->parameters), Spread(each->images_per_second).mean,
                    with_deviation(each->last).c_str(), with_deviation(each->best).c_str());
    }
    std::printf("(*) selected on the validation samples\n\n");

    std::vector<double> gains;
    for (std::size_t i = 0; i < alone.last.size(); ++i) gains.push_back(distilled.last[i] - alone.last[i]);
    const Spread gain(gains);
    std::printf("Distillation changes the student's accuracy after the last epoch by %+.2f points",
                gain.mean);
    if (seeds > 1) {
        std::printf(" (standard error %.2f, %d seeds)", gain.deviation / std::sqrt(seeds), seeds);
    } else {
        std::printf(" (one seed: see --seeds)");
    }
    std::printf(".\n");
}

void distill(const Options& options) {
    const at::Device device = options.machine.apply();
    const Data data = load(options);
    const examples::OutputFolder out(options.out);
    const auto history_file = out.file("history.csv");
    const auto table_file = out.file("learning_curves.csv");
    const auto script_file = out.file("learning_curves.gp");
    const auto picture_file = out.file("learning_curves.svg");
    const auto student_file = out.file("student.pt");

    std::printf(
        "%s: the teacher is trained on %lld samples, the students on %lld of them; %lld for validation, %lld "
        "for "
        "test.\nOn %s with %d threads.\n\n",
        data.name.c_str(), static_cast<long long>(data.teacher.size()),
        static_cast<long long>(data.student.size()), static_cast<long long>(data.validation.size()),
        static_cast<long long>(data.test.size()), device.str().c_str(), at::get_num_threads());
    std::fflush(stdout);

    const retort::WithLearningRate optimizer{
        retort::Sgd{
            .learning_rate = options.learning_rate, .momentum = 0.9, .weight_decay = 5e-4, .nesterov = true},
        retort::Cosine{.every = retort::Every::step}};
    const retort::TrainerOptions where{.device = device.str()};
    const models::SmallCnnOptions large{.width = options.teacher_width, .classes = data.test.classes};
    const models::SmallCnnOptions small{.width = options.student_width, .classes = data.test.classes};
    Result teachers{{"teacher", {}}};
    Result alone{{"student alone", {}}};
    Result distilled{{"student distilled", {}}};
    double best_validation = -1;
    retort::Stages stages = options.run.stages();

    for (int run = 0; run < options.seeds; ++run) {
        const auto seed = static_cast<std::uint64_t>(run);

        torch::manual_seed(seed);
        models::SmallCnn teacher(large);
        train(teachers, teacher,
              retort::Trainer{teacher, retort::NoTeacher{}, retort::Knowledge{retort::CrossEntropy{}},
                              retort::Schedule{1.0}, optimizer, where},
              data, data.teacher, options.teacher_epochs, options, seed, stages);

        // Both students start from the same weights and see the same batches.
        torch::manual_seed(1000 + seed);
        models::SmallCnn plain_student(small);
        train(alone, plain_student,
              retort::Trainer{plain_student, retort::NoTeacher{}, retort::Knowledge{retort::CrossEntropy{}},
                              retort::Schedule{1.0}, optimizer, where},
              data, data.student, options.epochs, options, seed, stages);

        torch::manual_seed(1000 + seed);
        models::SmallCnn student(small);
        train(
            distilled, student,
            retort::Trainer{student, retort::Frozen{teacher},
                            retort::Knowledge{retort::CrossEntropy{},
                                              retort::SoftTarget{.temperature = options.temperature}},
                            retort::Schedule{1 - options.soft_weight, options.soft_weight}, optimizer, where},
            data, data.student, options.epochs, options, seed, stages);

        // After every seed, so that an aborted run leaves its results so far.
        const std::vector<Curve> curves{teachers.curve, alone.curve, distilled.curve};
        retort::write_file(history_file, quickstart::histories_csv(curves));
        retort::write_file(table_file, quickstart::curves_csv(curves));
        const retort::History& history = distilled.curve.runs.back();
        const double validation = history.at(history.best("validation_accuracy"), "validation_accuracy");
        if (validation > best_validation) {
            best_validation = validation;
            student->to(at::kCPU);  // readable on any machine
            retort::write_weights(student_file, retort::state_dict(*student));
        }
    }

    print_table(teachers, alone, distilled);
    retort::write_file(script_file, quickstart::gnuplot_script);
    if (examples::draw(out.path(), "learning_curves")) {
        std::printf("\nLearning curves:   %s\n", picture_file.c_str());
    } else {
        std::printf(
            "\nLearning curves:   no picture, as gnuplot is not installed; `gnuplot %s` in the folder draws "
            "it\n",
            script_file.filename().c_str());
    }
    std::printf("History:           %s\nDistilled student: %s\n", history_file.c_str(), student_file.c_str());
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{
        "Knowledge distillation in one program. A teacher is trained on many samples. A student a quarter\n"
        "of its size gets only a few of them, and is trained twice: alone, and distilled from the teacher, "
        "with\n"
        "the same initial weights, the same batches and the same number of steps. All are compared on\n"
        "unseen test samples. (Soft targets where samples are few: Hinton, Vinyals,\n"
        "Dean, \"Distilling the Knowledge in a Neural Network\", 2015, section 6.)"};
    Options options;
    describe(app, options);
    return examples::run(app, argc, argv, [&] { distill(options); });
}
