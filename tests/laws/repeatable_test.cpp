// SPDX-License-Identifier: BSL-1.0
/// \file
/// Law 10: the same seed on the same machine gives the same result.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/data/loader.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/tap.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace repeatable_test {

using namespace retort_test;
using retort::CrossEntropy;
using retort::Frozen;
using retort::Hint;
using retort::Knowledge;
using retort::Schedule;
using retort::tap;

namespace {
struct Outcome {
    std::vector<torch::Tensor> student, parts;
    std::vector<double> losses;
};
Outcome run(std::uint64_t seed, std::int64_t workers) {
    torch::manual_seed(seed);
    ConvNet student(4, 0.3), teacher(6);
    auto generator = at::detail::createCPUGenerator(5);
    const auto inputs = torch::randn({40, 1, 8, 8}, generator);
    const auto dataset =
        retort::data::in_memory(inputs, torch::randint(0, 3, {40}, generator, torch::kLong), 3);
    retort::data::Loader loader{dataset, {.batch_size = 8, .seed = seed, .workers = workers}};
    retort::Trainer trainer{
        student, Frozen{teacher},
        Knowledge{CrossEntropy{}, retort::SoftTarget{},
                  Hint{tap<&ConvOutputs::late>, tap<&ConvOutputs::late>, retort::Conv1x1{}}},
        Schedule{0.5, 0.5, 1.0}, retort::Sgd{.learning_rate = 0.05, .momentum = 0.9}};
    const auto& history = trainer.fit(loader, {.epochs = 3, .report_every = 2}, retort::Validation{loader},
                                      retort::GradientClipping{.max_norm = 1.0}, retort::BestModel{});
    Outcome result{state(*student), state(*trainer.learnable_parts()), {}};
    for (std::size_t epoch = 0; epoch < history.size(); ++epoch) {
        result.losses.push_back(history.at(epoch, "loss"));
        result.losses.push_back(history.at(epoch, "validation_accuracy"));
    }
    return result;
}
}  // namespace

TEST_CASE("law 10: the same seed gives the same bits, whatever the workers; another seed different ones") {
    const auto first = run(3, 1);
    for (const std::int64_t workers : {1, 0, 3}) {
        const auto again = run(3, workers);
        CHECK(same(first.student, again.student));
        CHECK(same(first.parts, again.parts));
        CHECK(first.losses == again.losses);
    }
    CHECK_FALSE(same(first.student, run(4, 1).student));
}

TEST_CASE("law 10: a trainer does not advance the program's random generator") {
    torch::manual_seed(9);
    ConvNet student(4), teacher(6);  // no dropout: nothing draws
    const auto before = at::detail::getDefaultCPUGenerator().get_state().clone();
    retort::Trainer trainer{
        student, Frozen{teacher},
        Knowledge{CrossEntropy{}, Hint{tap<&ConvOutputs::late>, tap<&ConvOutputs::late>, retort::Conv1x1{}},
                  Hint{tap<&ConvOutputs::early>, tap<&ConvOutputs::early>, retort::Conv1x1{4, 6}}},
        Schedule{0.5, 1.0, 1.0}, retort::Sgd{}};
    const auto batches = images(2);
    const int threads = at::get_num_threads();
    trainer.fit(batches, {.epochs = 2}, retort::Validation{batches});
    CHECK(same(at::detail::getDefaultCPUGenerator().get_state(), before));
    CHECK(at::get_num_threads() == threads);
}

}  // namespace repeatable_test
