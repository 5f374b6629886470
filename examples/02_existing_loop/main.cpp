// SPDX-License-Identifier: BSL-1.0
/// \file
/// retort inside an existing training loop: networks, loop and optimizer stay unchanged, and the loss gets a second
/// term. No trainer is involved.
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

// --- the existing code ---

struct Samples {
    torch::Tensor images;
    torch::Tensor labels;
};

/// The loop. Distillation changes only `loss_of(logits, images, labels, epoch)`.
template <class Loss>
void train(const char* name, models::SmallCnn& net, const Samples& samples, std::int64_t epochs,
           std::int64_t batch_size, Loss loss_of) {
    torch::optim::SGD optimizer(net->parameters(),
                                torch::optim::SGDOptions(0.05).momentum(0.9).weight_decay(5e-4));
    net->train();
    for (std::int64_t epoch = 0; epoch < epochs; ++epoch) {
        double sum = 0;
        const torch::Tensor order = torch::randperm(samples.labels.size(0)).to(samples.labels.device());
        for (const torch::Tensor& chosen : order.split(batch_size)) {
            const torch::Tensor images = samples.images.index_select(0, chosen);
            const torch::Tensor labels = samples.labels.index_select(0, chosen);
            optimizer.zero_grad();
            const torch::Tensor loss = loss_of(net->forward(images), images, labels, epoch);
            loss.backward();
            optimizer.step();
            sum += loss.item<double>() * static_cast<double>(labels.size(0));
        }
        std::printf("%-20s epoch %lld/%lld  loss %.4f\n", name, static_cast<long long>(epoch + 1),
                    static_cast<long long>(epochs), sum / static_cast<double>(samples.labels.size(0)));
    }
}

double accuracy(models::SmallCnn& net, const Samples& samples) {
    const torch::NoGradGuard no_grad;
    net->eval();
    return net->forward(samples.images).argmax(1).eq(samples.labels).to(torch::kFloat).mean().item<double>();
}

// --- what distillation adds ---

struct Options {
    std::int64_t samples = 6000;
    std::int64_t student_samples = 1000;
    std::int64_t teacher_epochs = 8;
    std::int64_t epochs = 20;
    std::int64_t batch_size = 64;
    double temperature = 2.0;
    examples::Machine machine;
};

Samples letters(std::int64_t count, std::uint64_t seed, at::Device device) {
    const auto dataset = examples::glyphs({.samples = count, .seed = seed});
    return {dataset.inputs.to(device, torch::kFloat).div(255).sub(0.25).div(0.25),
            dataset.targets.to(device)};
}

void distill(const Options& options) {
    const at::Device device = options.machine.apply();
    const Samples all = letters(options.samples, 1, device);
    const Samples test = letters(2000, 2, device);
    const std::int64_t few = std::min(options.student_samples, options.samples);
    const Samples some{all.images.narrow(0, 0, few), all.labels.narrow(0, 0, few)};
    const auto labels_only = [](const torch::Tensor& logits, const torch::Tensor&,
                                const torch::Tensor& labels, std::int64_t) {
        return torch::nn::functional::cross_entropy(logits, labels);
    };

    torch::manual_seed(1);
    models::SmallCnn big(models::SmallCnnOptions{.width = 32});
    big->to(device);
    train("teacher", big, all, options.teacher_epochs, options.batch_size, labels_only);

    // Each student starts from the same weights and sees the same batches.
    const auto train_student = [&](const char* name, auto loss_of) {
        torch::manual_seed(2);
        models::SmallCnn small(models::SmallCnnOptions{.width = 16});
        small->to(device);
        train(name, small, some, options.epochs, options.batch_size, loss_of);
        return accuracy(small, test);
    };
    const double alone = train_student("alone", labels_only);

    // The teacher runs without gradient and in evaluation mode, and never changes.
    const retort::Frozen teacher{big};

    // One way: a function of two logits, added to the loss manually.
    const double with_function =
        train_student("with a function", [&](const torch::Tensor& logits, const torch::Tensor& images,
                                             const torch::Tensor& labels, std::int64_t) {
            return 0.1 * torch::nn::functional::cross_entropy(logits, labels) +
                   0.9 * retort::functional::soft_target(logits, teacher(images),
                                                         {.temperature = options.temperature});
        });

    // The other way: the terms and their weights as one object. Weights may change with the epoch, and a term of
    // weight 0 costs nothing.
    const retort::Objective objective{
        retort::Knowledge{retort::CrossEntropy{}, retort::SoftTarget{.temperature = options.temperature}},
        retort::Schedule{retort::Linear{.initial = 0.0, .final = 0.2}, 0.9}};
    const double with_objective =
        train_student("with an objective", [&](const torch::Tensor& logits, const torch::Tensor& images,
                                               const torch::Tensor& labels, std::int64_t epoch) {
            return objective(logits, teacher(images), std::pair(images, labels),
                             retort::Progress{.epoch = epoch, .epochs = options.epochs});
        });

    std::printf(
        "\nTest accuracy\n  teacher                    %.4f\n  student alone              %.4f\n"
        "  distilled, a function      %.4f\n  distilled, an objective    %.4f\n",
        accuracy(big, test), alone, with_function, with_objective);
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"retort's functions inside an existing LibTorch training loop, without retort's trainer."};
    Options options;
    const examples::AddOption option{app};
    option("--samples", options.samples, "Training letters of the teacher");
    option("--student-samples", options.student_samples, "How many of them the students are trained on");
    option("--teacher-epochs", options.teacher_epochs, "Epochs of the teacher");
    option("--epochs", options.epochs, "Epochs of the students");
    option("--batch-size", options.batch_size, "Samples per step");
    option("--temperature", options.temperature, "Softens the predictions of teacher and student");
    options.machine.add_to(app);
    return examples::run(app, argc, argv, [&] { distill(options); });
}
