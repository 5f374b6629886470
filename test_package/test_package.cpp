// SPDX-License-Identifier: BSL-1.0
/// \file
/// Distills for a few steps: the student must come closer to its teacher, and the teacher must not change.
#include <torch/torch.h>

#include <iostream>
#include <utility>
#include <vector>

#include <retort/retort.hpp>
#include <retort/version.hpp>

namespace {

/// How far the student's softened distribution is from the teacher's.
double distance(torch::nn::Linear& student, torch::nn::Linear& teacher, const torch::Tensor& images) {
    const torch::NoGradGuard no_grad;
    return retort::functional::soft_target(student->forward(images), teacher->forward(images)).item<double>();
}

}  // namespace

int main() {
    torch::manual_seed(1);
    torch::nn::Linear student(8, 3);
    torch::nn::Linear teacher(8, 3);
    const torch::Tensor images = torch::randn({32, 8});
    const std::vector batches(20, std::pair(images, torch::randint(3, {32}, torch::kLong)));

    const double before = distance(student, teacher, images);
    const torch::Tensor weight = teacher->weight.detach().clone();
    retort::Trainer trainer{student, retort::Frozen{teacher}, retort::Knowledge{retort::SoftTarget{}},
                            retort::Schedule{1.0}, retort::Sgd{.learning_rate = 0.1}};
    trainer.fit(batches, {.epochs = 2});
    const double after = distance(student, teacher, images);

    std::cout << "retort " << RETORT_VERSION_MAJOR << '.' << RETORT_VERSION_MINOR << '.'
              << RETORT_VERSION_PATCH << ", LibTorch " << TORCH_VERSION << ": soft target " << before
              << " -> " << after << '\n';
    return after < 0.5 * before && torch::equal(weight, teacher->weight) ? 0 : 1;
}
