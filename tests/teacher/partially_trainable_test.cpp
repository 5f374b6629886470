// SPDX-License-Identifier: BSL-1.0
/// \file
/// Teachers with some trainable parameters, and the terms that train them.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/knowledge/adaptor/for_teacher.hpp>
#include <retort/knowledge/adaptor/sum.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/metrics.hpp>
#include <retort/metrics/agreement.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace partially_trainable_test {

using namespace retort_test;
using Catch::Contains;
using retort::ConfigError;
using retort::CrossEntropy;
using retort::ForTeacher;
using retort::Knowledge;
using retort::PartiallyTrainable;
using retort::Schedule;
using retort::SoftTarget;
using retort::Trainer;

namespace {
const retort::Sgd sgd{.learning_rate = 0.1, .momentum = 0.9, .weight_decay = 1e-3};
torch::optim::SGDOptions options() { return torch::optim::SGDOptions(0.1).momentum(0.9).weight_decay(1e-3); }

/// All parameters except those of the last layer.
std::vector<torch::Tensor> backbone(const ConvNet& net) {
    std::vector<torch::Tensor> result;
    for (const auto& item : net->named_parameters()) {
        if (!item.key().starts_with("last.")) result.push_back(item.value().detach().clone());
    }
    for (const auto& each : net->buffers()) result.push_back(each.clone());
    return result;
}
std::vector<bool> flags(const torch::nn::Module& module) {
    std::vector<bool> result{module.is_training()};
    for (const auto& each : module.modules(false)) result.push_back(each->is_training());
    for (const auto& each : module.parameters()) result.push_back(each.requires_grad());
    return result;
}
/// A loss that pulls the teacher towards the student as much as the other way round.
struct Leaky {
    static constexpr bool needs_teacher = true, needs_target = false;
    torch::Tensor operator()(const ConvOutputs& student, const ConvOutputs& teacher, const auto&) const {
        return (student.logits - teacher.logits).pow(2).mean();
    }
};
/// A term with a learnable part that takes its size from the first batch.
struct Scaled {
    static constexpr bool needs_teacher = false, needs_target = true;
    torch::Tensor operator()(const auto& outputs, const auto&, const auto& batch) const {
        return retort::functional::cross_entropy(
            part->as<torch::nn::Linear>()->forward(retort::logits(outputs)), retort::target(batch));
    }
    bool prepared() const { return part != nullptr; }
    template <class Outputs>
    void prepare(const Outputs& outputs, const retort::NoOutputs*, const auto&) {
        const auto size = retort::logits(outputs).size(1);
        if (!prepared()) part = torch::nn::Linear(size, size).ptr();
    }
    std::shared_ptr<torch::nn::Module> module() const { return part; }
    std::shared_ptr<torch::nn::Module> part = nullptr;
};
}  // namespace

TEST_CASE("the selected parameters are trained, the others stay: a hand-written loop, bit for bit") {
    const auto batches = images(4);
    torch::manual_seed(1);
    ConvNet student(4), teacher(6, 0.5), student_by_hand(4), teacher_by_hand(6, 0.5);
    copy_state(*student, *student_by_hand);
    copy_state(*teacher, *teacher_by_hand);
    teacher->norm->eval();
    teacher->second->weight.requires_grad_(false);
    const auto rest = backbone(teacher);
    const auto head = teacher->last->weight.detach().clone();
    const auto before = flags(*teacher);
    {
        Trainer trainer{student, PartiallyTrainable{teacher, {.parameters = "last.*"}},
                        Knowledge{CrossEntropy{}, SoftTarget{.temperature = 4}, ForTeacher{CrossEntropy{}}},
                        Schedule{0.5, 0.5, 1.0}, sgd};
        const auto& history = trainer.fit(batches, {.epochs = 3});
        CHECK(history.has("teacher_cross_entropy"));
        CHECK(history.at(2, "teacher_cross_entropy") < history.at(0, "teacher_cross_entropy"));
        trainer.evaluate(batches, retort::metrics::Agreement{});
        for (const auto& item : teacher->named_parameters()) {
            INFO(item.key());
            CHECK(item.value().grad().defined() == item.key().starts_with("last."));
        }
    }
    CHECK(same(rest, backbone(teacher)));
    CHECK(before == flags(*teacher));
    CHECK_FALSE(same(head, teacher->last->weight));

    for (auto& item : teacher_by_hand->named_parameters()) {
        if (!item.key().starts_with("last.")) item.value().requires_grad_(false);
    }
    teacher_by_hand->eval();
    torch::optim::SGD optimizer(student_by_hand->parameters(), options());
    optimizer.add_param_group({teacher_by_hand->last->parameters()});
    for (int epoch = 0; epoch < 3; ++epoch) {
        for (const auto& [input, target] : batches) {
            const auto given = teacher_by_hand->forward(input).logits;
            const auto logits = student_by_hand->forward(input).logits;
            optimizer.zero_grad();
            using torch::nn::functional::cross_entropy;
            (cross_entropy(logits, target) * 0.5 +
             retort::functional::soft_target(logits, given.detach(), {.temperature = 4}) * 0.5 +
             cross_entropy(given, target))
                .backward();
            optimizer.step();
        }
    }
    CHECK(same(state(*student), state(*student_by_hand)));
    CHECK(same(state(*teacher), state(*teacher_by_hand)));
}

TEST_CASE("law 2: a step with a trainable teacher issues the operators of the hand-written one") {
    torch::manual_seed(1);
    Perceptron net, hand, teacher, teacher_by_hand;
    const auto batch = vectors(1)[0];
    torch::optim::SGD ours(net->parameters(), options()), theirs(hand->parameters(), options());
    theirs.add_param_group({teacher_by_hand->last->parameters()});
    Trainer trainer{net, PartiallyTrainable{teacher, {.parameters = "last.*"}},
                    Knowledge{CrossEntropy{}, SoftTarget{.temperature = 4}, ForTeacher{CrossEntropy{}}},
                    Schedule{1.0, 1.0, 1.0}, ours};
    teacher_by_hand->eval();
    for (auto& each : teacher_by_hand->first->parameters()) each.requires_grad_(false);
    const auto by_hand = [&] {
        theirs.zero_grad();
        const auto given = teacher_by_hand->forward(batch.first);
        const auto logits = hand->forward(batch.first);
        using torch::nn::functional::cross_entropy;
        (cross_entropy(logits, batch.second) +
         // `variable_data` takes a tensor out of its graph without an operator
         retort::functional::soft_target(logits, given.variable_data(), {.temperature = 4}) +
         cross_entropy(given, batch.second))
            .backward();
        theirs.step();
    };
    const auto operators_of = [](auto&& step) {
        for (int i = 0; i < 3; ++i) step();
        OperatorCount count;
        step();
        count.stop();
        return count.by_name();
    };
    CHECK(operators_of([&] { trainer.step(batch); }) == operators_of(by_hand));
}

TEST_CASE("no other loss trains the teacher; without its own it runs like a frozen one") {
    torch::manual_seed(1);
    const auto batch = images(1)[0];
    ConvNet student(4), teacher(6);
    const auto step = [&](double own) {
        Trainer trainer{student, PartiallyTrainable{teacher, {.parameters = "last.*"}},
                        Knowledge{Leaky{}, ForTeacher{CrossEntropy{}}}, Schedule{1.0, own},
                        retort::Sgd{.learning_rate = 0.0}};
        for (auto& each : teacher->parameters()) each.mutable_grad() = torch::Tensor();
        trainer.step(batch);
        const auto gradient = teacher->last->weight.grad();
        teacher->last->weight.mutable_grad() = torch::Tensor();
        return gradient;
    };
    CHECK_FALSE(step(0.0).defined());
    const auto gradient = step(0.5);
    REQUIRE(gradient.defined());
    teacher->eval();
    (torch::nn::functional::cross_entropy(teacher->forward(batch.first).logits, batch.second) * 0.5)
        .backward();
    CHECK(close(teacher->last->weight.grad(), gradient, 1e-6));
}

TEST_CASE("an objective alone also gives other terms constants") {
    torch::manual_seed(1);
    const auto student = torch::randn({3, 3}).requires_grad_(),
               teacher = torch::randn({3, 3}).requires_grad_();
    const PairBatch batch{torch::rand({3, 4}), torch::tensor({0, 1, 2})};
    const retort::Objective objective{Knowledge{SoftTarget{}, ForTeacher{CrossEntropy{}}},
                                      Schedule{1.0, 1.0}};
    const torch::Tensor given = teacher * 1;
    objective(student, given, batch).backward();
    const auto expected =
        torch::autograd::grad({torch::nn::functional::cross_entropy(teacher, batch.second)}, {teacher})[0];
    CHECK(same(teacher.grad(), expected));
    CHECK(student.grad().defined());
}

TEST_CASE("law 9: a trainable teacher, interrupted in any step") {
    struct Crash : std::runtime_error {
        Crash() : std::runtime_error("crash") {}
    };
    const auto process = [](const std::filesystem::path& directory, std::uint64_t seed, std::int64_t crash_in,
                            std::uint64_t backbone = 3) {
        torch::manual_seed(backbone);
        ConvNet teacher(6, 0.5);
        torch::manual_seed(seed);
        teacher->last->reset_parameters();  // the initial values of trained parts do not matter
        ConvNet student(4, 0.3);
        Trainer trainer{student, PartiallyTrainable{teacher, {.parameters = "last.*"}},
                        Knowledge{CrossEntropy{}, SoftTarget{}, ForTeacher{Scaled{}}},
                        Schedule{0.5, 0.5, 1.0}, sgd};
        trainer.fit(
            images(3), {.epochs = 2}, retort::GradientClipping{.max_norm = 0.5},
            retort::on_gradients([&](retort::FitContext& context) {
                CHECK(context.parameters.size() ==
                      student->parameters().size() + trainer.learnable_parts()->parameters().size() + 2);
                if (crash_in-- == 0) throw Crash();
            }),
            retort::Checkpoint{directory, {.every_steps = 1, .stream = std::fopen("/dev/null", "w")}});
        auto result = state(*student);
        for (const auto& each : state(*teacher)) result.push_back(each);
        for (const auto& each : state(*trainer.learnable_parts())) result.push_back(each);
        return result;
    };
    const TemporaryDirectory apart;
    const auto undisturbed = process(apart.path(), 1, 1000);
    for (std::int64_t step = 1; step < 6; ++step) {
        INFO("step " << step);
        const TemporaryDirectory directory;
        CHECK_THROWS_AS(process(directory.path(), 1, step), Crash);
        CHECK(same(process(directory.path(), 2, 1000), undisturbed));
    }
    CHECK(holds(words_of<retort::CheckpointError>([&] { process(apart.path(), 1, 1000, 4); }),
                "teacher/hash of what is not trained: this run has"));
}

TEST_CASE(
    "parameter groups select trainable parameters of the teacher; autocast and accumulation include it") {
    torch::manual_seed(1);
    Perceptron student, teacher;
    const auto bias = teacher->last->bias.detach().clone(), weight = teacher->last->weight.detach().clone();
    Trainer trainer{student,
                    PartiallyTrainable{teacher, {.parameters = "last.*"}},
                    Knowledge{CrossEntropy{}, SoftTarget{}, ForTeacher{CrossEntropy{}}},
                    Schedule{0.5, 0.5, 1.0},
                    retort::ParameterGroups{sgd, {{.names = "teacher.last.bias", .frozen = true}}},
                    retort::Bfloat16{}};
    trainer.fit(vectors(4), {.epochs = 2, .accumulate = 2});
    CHECK(same(bias, teacher->last->bias));
    CHECK_FALSE(same(weight, teacher->last->weight));
    CHECK(teacher->last->weight.scalar_type() == torch::kFloat);
    CHECK_FALSE(retort::LearnsByGradient<retort::Frozen<Perceptron>>);
    PerceptronImpl object;
    CHECK(PartiallyTrainable{object, {.parameters = "last.bias"}}.trainable_parameters().size() == 1);
}

TEST_CASE("an empty selection, and a term that gets constants, are refused") {
    Perceptron student, teacher;
    const auto words = [&](const char* pattern) {
        return words_of<ConfigError>([&] { PartiallyTrainable{teacher, {.parameters = pattern}}; });
    };
    CHECK(words("last") ==
          "PartiallyTrainable: expected parameters named \"last\", found none; did you mean "
          "last.bias, last.weight or first.bias?");
    CHECK(holds(words(""), "named \"\", found none; did you mean "));
    teacher->last->bias.requires_grad_(false);
    CHECK(holds(words("last.*"), "expected \"last.bias\" to require a gradient"));
    CHECK(words("last.weight").empty());
    CHECK_THROWS_AS((PartiallyTrainable{Perceptron(nullptr), {.parameters = "*"}}), ConfigError);
    // With constants it would train nothing.
    const auto batch = vectors(1)[0];
    const ForTeacher term{CrossEntropy{}};
    const auto outputs = teacher->forward(batch.first).detach();
    CHECK_THROWS_WITH(
        term(outputs, outputs, batch, {}),
        Contains("teacher_cross_entropy: expected outputs of the teacher with their graph, found "
                 "constants"));
    const torch::NoGradGuard no_grad;
    CHECK_NOTHROW(term(outputs, outputs, batch, {}));
}

}  // namespace partially_trainable_test
