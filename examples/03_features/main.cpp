// SPDX-License-Identifier: BSL-1.0
/// \file
/// Hints from named layers of a residual network: the student's stages learn to match the teacher's, in addition to
/// its logits. On CIFAR-100, or on generated letters.
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <regex>
#include <string>

#include <retort/io.hpp>
#include <retort/retort.hpp>

#include "../common/glyphs.hpp"
#include "../common/image_data.hpp"
#include "../common/program.hpp"
#include "../models/residual.hpp"

namespace {

using models::ImageOutputs;

struct Options {
    std::string data;
    std::string teacher;
    std::string student;
    std::string teacher_weights;
    std::string out = "examples-output/features";
    std::int64_t samples = 0;
    std::int64_t teacher_epochs = 0;
    std::int64_t epochs = 0;
    std::int64_t batch_size = 64;
    double learning_rate = 0.05;
    double temperature = 4.0;
    double hint_weight = 1.0;
    std::uint64_t seed = 0;
    examples::RunFolder run;
    examples::Machine machine;
};

/// Fills in the options that were not given: the published protocol for CIFAR-100, minutes of training for the
/// letters.
void fill_in(Options& options) {
    const bool letters = options.data.empty();
    if (options.teacher.empty()) options.teacher = letters ? "resnet14" : "resnet32x4";
    if (options.student.empty()) options.student = letters ? "resnet8" : "resnet8x4";
    if (options.samples == 0 && letters) options.samples = 2000;
    if (options.teacher_epochs == 0) options.teacher_epochs = letters ? 8 : 240;
    if (options.epochs == 0) options.epochs = letters ? 8 : 240;
}

struct Data {
    retort::data::Dataset train;
    retort::data::Dataset test;
};

Data load(const Options& options) {
    if (options.data.empty()) {
        return {examples::glyphs({.samples = options.samples, .seed = 1, .size = 32, .color = true}),
                examples::glyphs({.samples = 1000, .seed = 2, .size = 32, .color = true})};
    }
    Data data{retort::data::cifar100(options.data, retort::data::Split::train),
              retort::data::cifar100(options.data, retort::data::Split::test)};
    data.train = examples::some(data.train, options.samples, "--samples");
    return data;
}

/// The network by name: resnet20, resnet8x4, ...
models::ResidualNet network(const std::string& name, std::int64_t classes) {
    std::smatch parts;
    if (!std::regex_match(name, parts, std::regex("resnet([0-9]{1,3})(x4)?"))) {
        throw retort::ConfigError("network: expected a name such as resnet20 or resnet8x4, found \"" + name +
                                  "\"");
    }
    const std::int64_t depth = std::stoll(parts[1].str());
    return parts[2].matched ? models::resnet_x4(depth, classes) : models::resnet(depth, classes);
}

void distill(Options options) {
    fill_in(options);
    const at::Device device = options.machine.apply();
    const Data data = load(options);
    const examples::OutputFolder out(options.out);
    const auto teacher_file = out.file("teacher.pt");
    const auto student_file = out.file("student.pt");
    const auto history_file = out.file("history.csv");

    torch::manual_seed(options.seed);
    models::ResidualNet teacher = network(options.teacher, data.test.classes);
    models::ResidualNet student = network(options.student, data.test.classes);

    const retort::data::Loader train{
        data.train, {.batch_size = options.batch_size, .seed = options.seed}, retort::data::cifar100_train()};
    const retort::data::Loader test{
        data.test, {.batch_size = 500, .shuffle = false}, retort::data::cifar100_eval()};
    const auto optimizer = [&](std::int64_t epochs) {
        // At 5/8, 6/8 and 7/8 of the run, a tenth of the rate: 150, 180 and 210 of 240 epochs.
        return retort::WithLearningRate{
            retort::Sgd{.learning_rate = options.learning_rate, .momentum = 0.9, .weight_decay = 5e-4},
            retort::MultiStep{.milestones = {epochs * 5 / 8, epochs * 6 / 8, epochs * 7 / 8}}};
    };
    const retort::TrainerOptions where{.device = device.str()};
    retort::Stages stages = options.run.stages();

    if (options.teacher_weights.empty()) {
        retort::Trainer trainer{teacher,
                                retort::NoTeacher{},
                                retort::Knowledge{retort::CrossEntropy{}},
                                retort::Schedule{1.0},
                                optimizer(options.teacher_epochs),
                                where};
        stages.fit("teacher", trainer, train, {.epochs = options.teacher_epochs},
                   retort::ProgressBar{{.label = "teacher"}});
        teacher->to(at::kCPU);
        retort::write_weights(teacher_file, retort::state_dict(*teacher));
    } else {
        try {
            retort::load_state_dict(*teacher, retort::read_weights(options.teacher_weights));
        } catch (const std::exception& error) {
            throw retort::DataError(options.teacher_weights + ": expected the weights of a " +
                                    options.teacher + " for " + std::to_string(data.test.classes) +
                                    " classes: " + error.what());
        }
    }

    // Each hint names the layers that it compares; the sizes of the 1 x 1 convolutions between them come from the
    // first batch. Their weight falls to 0 in the first half of the run, after which they cost nothing.
    const retort::Linear fading{.initial = options.hint_weight,
                                .final = 0.0,
                                .epochs = std::max(1.0, static_cast<double>(options.epochs) / 2)};
    retort::Trainer trainer{
        student,
        retort::Frozen{teacher},
        retort::Knowledge{retort::CrossEntropy{}, retort::SoftTarget{.temperature = options.temperature},
                          retort::Hint{retort::tap<&ImageOutputs::stages, 1>,
                                       retort::tap<&ImageOutputs::stages, 1>, retort::Conv1x1{}},
                          retort::Hint{retort::tap<&ImageOutputs::stages, 2>,
                                       retort::tap<&ImageOutputs::stages, 2>, retort::Conv1x1{}}},
        retort::Schedule{0.1, 0.9, fading, fading},
        optimizer(options.epochs),
        where};
    stages.fit("student", trainer, train, {.epochs = options.epochs}, retort::CsvHistory{history_file},
               retort::ProgressBar{{.label = "student"}});

    std::printf("\n%-12s  %10s  %s\n", "network", "parameters", "test accuracy (last epoch)");
    std::printf("%-12s  %10lld  %.4f\n", options.teacher.c_str(),
                static_cast<long long>(models::parameter_count(*teacher)),
                retort::evaluate(teacher, test).value());
    const auto [accuracy, agreement] =
        trainer.evaluate(test, retort::metrics::Accuracy{}, retort::metrics::Agreement{});
    std::printf("%-12s  %10lld  %.4f  (agrees with the teacher on %.4f of the samples)\n",
                options.student.c_str(), static_cast<long long>(models::parameter_count(*student)),
                accuracy.value(), agreement.value());
    student->to(at::kCPU);
    retort::write_weights(student_file, retort::state_dict(*student));
    std::printf("\nStudent: %s\nHistory: %s\n", student_file.c_str(), history_file.c_str());
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"Hints from named layers of a residual network, in addition to soft targets."};
    Options options;
    const examples::AddOption option{app};
    app.add_option(
        "--data", options.data,
        "Folder with CIFAR-100, binary version (train.bin, test.bin). Without it: generated colored "
        "letters");
    app.add_option("--teacher", options.teacher,
                   "resnet20, resnet32x4, ...; default: resnet32x4, or resnet14 for letters");
    app.add_option("--student", options.student, "likewise; default: resnet8x4, or resnet8 for letters");
    app.add_option("--teacher-weights", options.teacher_weights,
                   "A teacher.pt of an earlier run; without it, the teacher is trained first")
        ->check(CLI::ExistingFile);
    option("--samples", options.samples, "Samples to train with; 0: all of CIFAR-100, or 2000 letters",
           examples::zero_or_more());
    option("--teacher-epochs", options.teacher_epochs, "0: 240, or 8 for letters", examples::zero_or_more());
    option("--epochs", options.epochs, "Epochs of the student; 0: 240, or 8 for letters",
           examples::zero_or_more());
    option("--batch-size", options.batch_size, "Samples per step");
    option("--learning-rate", options.learning_rate, "Initial learning rate");
    option("--temperature", options.temperature, "Softens the predictions of teacher and student");
    option("--hint-weight", options.hint_weight,
           "Initial weight of each hint; decays to 0 over the first half of the epochs",
           examples::zero_or_more());
    app.add_option("--seed", options.seed, "Seed of weights and sample order")->capture_default_str();
    app.add_option("--out", options.out, "Folder for teacher.pt, student.pt and history.csv")
        ->capture_default_str();
    options.run.add_to(app);
    options.machine.add_to(app);
    return examples::run(app, argc, argv, [&] { distill(options); });
}
