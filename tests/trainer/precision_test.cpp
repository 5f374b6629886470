// SPDX-License-Identifier: BSL-1.0
/// \file
/// Forward passes in reduced precision, scaled losses, steps that overflow.
#include <precision_cases.hpp>
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/metrics.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/tap.hpp>
#include <retort/teacher.hpp>
#include <retort/teacher/named_outputs.hpp>
#include <retort/trainer.hpp>

namespace precision_test {

using namespace retort_test;
using retort::Bfloat16;
using retort::CrossEntropy;
using retort::Frozen;
using retort::GradientScaler;
using retort::Knowledge;
using retort::Schedule;
using retort::Sgd;
using retort::SoftTarget;
using retort::Trainer;

namespace {
/// Records the types of its forward pass and its parameters.
struct WatchedImpl : torch::nn::Module {
    WatchedImpl() : net(register_module("net", Perceptron())) {}
    torch::Tensor forward(const torch::Tensor& input) {
        auto result = net->forward(input);
        seen = result.scalar_type();
        return result;
    }
    Perceptron net;
    at::ScalarType seen = at::kFloat;
};
TORCH_MODULE(Watched);
}  // namespace

TEST_CASE("bfloat16: the networks compute in it; outputs, losses, gradients and parameters are float32") {
    torch::manual_seed(1);
    Watched student, teacher;
    const auto batch = vectors(1)[0];
    Trainer trainer{student,
                    Frozen{teacher},
                    Knowledge{CrossEntropy{}, SoftTarget{}},
                    Schedule{0.5, 0.5},
                    Sgd{.learning_rate = 0.1},
                    Bfloat16{}};
    CHECK(trainer.scaler() == nullptr);
    const auto result = trainer.step(batch);
    CHECK(student->seen == at::kBFloat16);
    CHECK(teacher->seen == at::kBFloat16);
    CHECK(result.outputs.scalar_type() == at::kFloat);
    CHECK(result.losses.total.scalar_type() == at::kFloat);
    for (const auto& parameter : student->parameters()) {
        CHECK(parameter.scalar_type() == at::kFloat);
        CHECK(parameter.grad().scalar_type() == at::kFloat);
    }
    CHECK_FALSE(retort::detail::compat::autocast_enabled(at::kCPU));
    // The losses are those of the bfloat16 outputs, computed in float32.
    const auto logits = trainer.losses(batch);
    trainer.evaluate(vectors(1));
    CHECK(student->seen == at::kFloat);
    const auto expected = [&] {
        const retort::detail::Autocast cast(at::kCPU, at::kBFloat16);
        return torch::nn::functional::cross_entropy(student->net->forward(batch.first).to(at::kFloat),
                                                    batch.second);
    }();
    CHECK(same(logits.terms[0], expected));
}

namespace {
struct HintRun {
    std::vector<double> losses{};
    double scale = 0;  ///< at the end; 0: without a scaler
};
/// Four epochs with feature maps, hints and batch norm, in a precision or, without one, in float32.
template <class... Precision>
HintRun with_hints(Precision... precision) {
    using retort::tap;
    torch::manual_seed(1);
    const auto batches = images(4, 20);
    ConvNet student(4), teacher(6);
    Trainer trainer{student,
                    Frozen{teacher},
                    Knowledge{CrossEntropy{}, retort::Hint{tap<&ConvOutputs::early>, tap<&ConvOutputs::early>,
                                                           retort::Conv1x1{4, 6}}},
                    Schedule{1.0, 0.1},
                    Sgd{.learning_rate = 0.05, .momentum = 0.9},
                    precision...};
    const auto& history = trainer.fit(batches, {.epochs = 4});
    for (const auto& p : student->parameters()) CHECK(p.isfinite().all().template item<bool>());
    HintRun run;
    for (std::size_t i = 0; i < history.size(); ++i) run.losses.push_back(history.at(i, "loss"));
    if (trainer.scaler() != nullptr) run.scale = trainer.scaler()->factor();
    return run;
}
void check_about_the_same(const HintRun& narrow, const HintRun& wide) {
    REQUIRE(wide.losses.size() == 4);
    REQUIRE(narrow.losses.size() == 4);
    for (std::size_t i = 0; i < 4; ++i) CHECK(narrow.losses[i] == Approx(wide.losses[i]).epsilon(0.05));
    CHECK(narrow.losses.back() < narrow.losses.front());
    CHECK(narrow.losses != wide.losses);
}
}  // namespace

TEST_CASE("bfloat16 trains approximately like float32, with feature maps, hints and batch norm") {
    check_about_the_same(with_hints(Bfloat16{}), with_hints());
}

TEST_CASE("a run in bfloat16 resumes bit for bit, and not in another precision") {
    const auto batches = vectors(4);
    const auto run = [&](const Perceptron& net, int stop, const std::filesystem::path& path, auto precision) {
        Trainer trainer{net,
                        retort::NoTeacher{},
                        Knowledge{CrossEntropy{}},
                        Schedule{1.0},
                        retort::AdamW{.learning_rate = 0.05},
                        precision};
        if (std::filesystem::exists(path)) trainer.resume(path);
        std::FILE* const silent = std::fopen("/dev/null", "w");
        int steps = 0;
        trainer.fit(batches, {.epochs = 3}, retort::Checkpoint{path, {.every_steps = 1, .stream = silent}},
                    retort::on_step_end([&](retort::FitContext&) { return ++steps < stop; }));
        std::fclose(silent);
        return trainer.scaler() == nullptr ? 0.0 : trainer.scaler()->factor();
    };
    TemporaryDirectory directory;
    const auto both = [&](const char* name, auto precision) {
        torch::manual_seed(1);
        const Perceptron whole;
        torch::manual_seed(1);
        const Perceptron first, second;
        const double scale = run(whole, 99, directory / (std::string(name) + "_whole"), precision);
        run(first, 6, directory / name, precision);
        CHECK(run(second, 99, directory / name, precision) == scale);
        CHECK(same(whole->parameters(), second->parameters()));
    };
    both("narrow", Bfloat16{});
    both("scaled", Scaled{{.initial = 4.0, .interval = 5}});
    const Perceptron other;
    CHECK_THROWS_WITH(run(other, 1, directory / "narrow", retort::Float32{}),
                      Catch::Contains("precision/type"));
}

TEST_CASE("named outputs are converted to float32 with their logits") {
    const auto narrow = torch::ones({2, 3}, at::kBFloat16);
    retort::NamedOutputs outputs;
    outputs.emplace("logits", narrow);
    outputs.emplace("body", narrow);
    outputs.logits = narrow;
    retort::detail::change_tensors(outputs, retort::detail::Widen{});
    CHECK(retort::logits(outputs).scalar_type() == at::kFloat);
    CHECK(retort::tap<"logits">(outputs).scalar_type() == at::kFloat);
    CHECK(retort::tap<"body">(outputs).scalar_type() == at::kFloat);
}

TEST_CASE("float16 on CPUs needs LibTorch 2.6 or later, and is refused with earlier versions") {
    Perceptron net;
    const auto make = [&] {
        Trainer trainer(net, retort::NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                        Sgd{.learning_rate = 0.1}, retort::Float16{});
    };
    if (retort::detail::compat::float16_on_cpu) {
        CHECK_NOTHROW(make());
    } else {
        CHECK(words_of<retort::ConfigError>(make) ==
              "Float16: expected the student on a CUDA device, or LibTorch 2.6 or later, found cpu and "
              "LibTorch " TORCH_VERSION "; Bfloat16 works there");
    }
}

TEST_CASE("float16: a step is the hand-written one with autocast and a scaled loss, bit for bit") {
    if (!retort::detail::compat::float16_on_cpu) return;
    torch::manual_seed(1);
    Watched student, teacher;
    Perceptron hand;
    copy_state(*student->net, *hand);
    Trainer trainer{student,
                    Frozen{teacher},
                    Knowledge{CrossEntropy{}, SoftTarget{}},
                    Schedule{0.5, 0.5},
                    Sgd{.learning_rate = 0.1, .momentum = 0.9},
                    retort::Float16{{.initial = 1024.0}}};
    torch::optim::SGD optimizer(hand->parameters(), torch::optim::SGDOptions(0.1).momentum(0.9));
    const auto narrow = [](Perceptron& net, const torch::Tensor& input) {
        const retort::detail::Autocast cast(at::kCPU, at::kHalf);
        return net->forward(input).to(at::kFloat);
    };
    for (const auto& batch : vectors(4)) {
        const auto result = trainer.step(batch);
        CHECK(student->seen == at::kHalf);
        CHECK(teacher->seen == at::kHalf);
        CHECK(result.outputs.scalar_type() == at::kFloat);
        const auto goal = [&] {
            const torch::NoGradGuard no_grad;
            return narrow(teacher->net, batch.first);
        }();
        const auto logits = narrow(hand, batch.first);
        const auto loss = torch::nn::functional::cross_entropy(logits, batch.second) * 0.5 +
                          retort::functional::soft_target(logits, goal) * 0.5;
        optimizer.zero_grad();
        (loss * 1024.0).backward();
        for (const auto& p : hand->parameters()) {
            CHECK(p.grad().scalar_type() == at::kFloat);
            p.mutable_grad().mul_(1 / 1024.0);
        }
        optimizer.step();
        CHECK(same(result.losses.total, loss));
    }
    CHECK(same(student->net->parameters(), hand->parameters()));
}

TEST_CASE(
    "float16 trains approximately like float32; a scale that is too large is reduced by skipped steps") {
    if (!retort::detail::compat::float16_on_cpu) return;
    const auto narrow = with_hints(retort::Float16{{.initial = 1024.0}}), wide = with_hints();
    CHECK(wide.scale == 0.0);
    CHECK(narrow.scale == 1024.0);
    check_about_the_same(narrow, wide);
    // Gradients of 2^40 times the loss overflow float16.
    const auto lost = with_hints(retort::Float16{{.initial = 0x1p40, .backoff = 0x1p-8}});
    CHECK(lost.scale < 0x1p40);
    CHECK(lost.scale >= 0x1p8);
    CHECK(lost.losses.back() < lost.losses.front());
}

TEST_CASE("a power-of-two scale changes no bit; it grows, and clipping sees unscaled gradients") {
    const auto batches = vectors(6);
    const auto run = [&](auto precision, std::int64_t accumulate) {
        torch::manual_seed(1);
        Perceptron net;
        Trainer trainer{net,
                        retort::NoTeacher{},
                        Knowledge{CrossEntropy{}},
                        Schedule{1.0},
                        Sgd{.learning_rate = 0.5, .momentum = 0.9},
                        precision};
        trainer.fit(batches, {.epochs = 2, .accumulate = accumulate},
                    retort::GradientClipping{.max_norm = 0.3});
        return std::pair(net->parameters(), trainer.scaler() == nullptr ? 0.0 : trainer.scaler()->factor());
    };
    for (const std::int64_t accumulate : {1, 2}) {
        const auto plain = run(retort::Float32{}, accumulate);
        const auto scaled = run(Scaled{{.initial = 1024.0, .interval = 5}}, accumulate);
        CHECK(same(plain.first, scaled.first));
        CHECK(scaled.second == (accumulate == 1 ? 4096.0 : 2048.0));  // 12 or 6 steps
    }
}

TEST_CASE("a step whose gradients overflow is skipped: parameters, momenta and callbacks do not see it") {
    const auto batches = vectors(6);
    torch::manual_seed(1);
    Perceptron net, other;
    {
        const torch::NoGradGuard no_grad;
        for (std::size_t i = 0; i < net->parameters().size(); ++i)
            other->parameters()[i].copy_(net->parameters()[i]);
    }
    Broken broken;
    broken.when = 2;
    Trainer trainer{net,
                    retort::NoTeacher{},
                    Knowledge{CrossEntropy{}, broken},
                    Schedule{1.0, 1.0},
                    Sgd{.learning_rate = 0.1, .momentum = 0.9},
                    Scaled{{.initial = 64.0, .interval = 4}}};
    int updates = 0;
    const auto& history =
        trainer.fit(batches, {.epochs = 1}, retort::on_gradients([&](retort::FitContext& context) {
                        ++updates;
                        for (const auto& p : context.parameters)
                            CHECK(p.grad().isfinite().all().template item<bool>());
                    }));
    CHECK(updates == 5);
    CHECK(history.last("skipped_steps") == 1);
    CHECK(trainer.progress().steps_per_epoch == 6);
    CHECK(trainer.scaler()->factor() == 32.0);
    CHECK(trainer.scaler()->good_steps() == 3);
    auto left = batches;
    left.erase(left.begin() + 2);
    Trainer plain{other, retort::NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                  Sgd{.learning_rate = 0.1, .momentum = 0.9}};
    plain.fit(left, {.epochs = 1});
    CHECK(same(net->parameters(), other->parameters()));
}

TEST_CASE("the scaler alone: scale, growth, backoff, options") {
    const auto p = torch::ones({2}).requires_grad_(), q = torch::ones({1}).requires_grad_();
    GradientScaler scaler{{.initial = 8.0, .growth = 4.0, .backoff = 0.25, .interval = 2}};
    CHECK(scaler.scale(torch::tensor(3.0)).item<float>() == 24.0F);
    CHECK(scaler.unscale({p, q}));  // no gradient yet
    p.mutable_grad() = torch::full({2}, 16.0F);
    CHECK(scaler.unscale({p, q}));
    CHECK(same(p.grad(), torch::full({2}, 2.0F)));
    CHECK(scaler.factor() == 32.0);
    for (const float bad : {INFINITY, -INFINITY, NAN}) {
        const double before = scaler.factor();
        q.mutable_grad() = torch::full({1}, bad);
        CHECK_FALSE(scaler.unscale({p, q}));
        CHECK(scaler.factor() == before / 4);
    }
    // Large numbers are no overflow, even if their squares are.
    q.mutable_grad() = torch::full({1}, 1e30F);
    p.mutable_grad() = torch::full({2}, -1e30F);
    const double unchanged = scaler.factor();
    CHECK(scaler.unscale({p, q}));
    CHECK(scaler.factor() == unchanged);
    q.mutable_grad() = torch::full({1}, NAN);
    CHECK_FALSE(scaler.unscale({p, q}));
    const auto words = [](const retort::GradientScalerOptions& options) {
        return words_of<retort::ConfigError>([&] { GradientScaler{options}; });
    };
    CHECK(holds(words({.initial = 0.0}), "expected an initial scale above 0", "found 0, 2, 0.5 and 2000"));
    for (const retort::GradientScalerOptions& bad : std::initializer_list<retort::GradientScalerOptions>{
             {.growth = 1.0}, {.backoff = 1.0}, {.interval = 0}, {.initial = INFINITY}})
        CHECK_FALSE(words(bad).empty());
    // The scale stays within float32.
    GradientScaler large{{.initial = 3e38, .interval = 1}};
    CHECK(large.unscale({}));
    CHECK(large.factor() == 3e38);
}

}  // namespace precision_test
