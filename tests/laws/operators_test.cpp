// SPDX-License-Identifier: BSL-1.0
/// \file
/// Law 2: a step issues the operators of the hand-written step, by name and number, and none that waits for
/// the device. Law 3: terms of weight 0 are not computed.
#include <precision_cases.hpp>
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/cohort.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/tap.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace operators_test {

using namespace retort_test;
using retort::CrossEntropy;
using retort::Frozen;
using retort::Hint;
using retort::Knowledge;
using retort::Schedule;
using retort::Sgd;
using retort::SoftTarget;
using retort::tap;
using retort::Trainer;

namespace {
using Counts = std::map<std::string, std::size_t>;
/// The operators of `step` once everything is built.
template <class Step>
Counts operators_of(Step&& step) {
    for (int i = 0; i < 3; ++i) step();
    OperatorCount count;
    step();
    count.stop();
    return count.by_name();
}
/// The operators whose counts differ, with both counts.
std::string difference(const Counts& ours, const Counts& theirs) {
    std::map<std::string, std::pair<std::size_t, std::size_t>> all;
    for (const auto& [name, count] : ours) all[name].first = count;
    for (const auto& [name, count] : theirs) all[name].second = count;
    std::ostringstream text;
    for (const auto& [name, counts] : all) {
        if (counts.first != counts.second)
            text << name << ": " << counts.first << " and " << counts.second << "; ";
    }
    return std::move(text).str();
}
/// The classical loss with temperature 4 in a hand-written loop, which calls the library's function for the soft part: the law
/// is about what objective and trainer add. That the function itself needs fewer operators than the written-out formula is a
/// separate test, below.
torch::Tensor distillation(const torch::Tensor& student, const torch::Tensor& teacher,
                           const torch::Tensor& target) {
    const auto hard = torch::nn::functional::cross_entropy(student, target);
    return hard * 0.1 + retort::functional::soft_target(student, teacher, {.temperature = 4.0}) * 0.9;
}
/// The soft part, explicitly.
torch::Tensor written_out(const torch::Tensor& student, const torch::Tensor& teacher) {
    const auto log_teacher = torch::log_softmax(teacher / 4, 1);
    const auto log_student = torch::log_softmax(student / 4, 1);
    return (log_teacher.exp() * (log_teacher - log_student)).sum() *
           (16.0 / static_cast<double>(student.size(0)));
}
torch::optim::SGDOptions options() { return torch::optim::SGDOptions(0.05).momentum(0.9).weight_decay(5e-4); }

/// Counts its calls.
struct CountingTeacher {
    Perceptron net;
    std::shared_ptr<int> calls = std::make_shared<int>(0);
    torch::Tensor operator()(const torch::Tensor& input) const {
        ++*calls;
        return Frozen{net}(input);
    }
};
template <bool NeedsTeacher>
struct CountingTerm {
    static constexpr bool needs_teacher = NeedsTeacher, needs_target = false;
    std::shared_ptr<int> calls = std::make_shared<int>(0);
    torch::Tensor operator()(const auto& student, const auto&, const auto&) const {
        ++*calls;
        return retort::logits(student).sum();
    }
};
/// 0 in even epochs, 1 in odd ones.
struct Odd {
    double weight(const retort::Progress& progress) const { return static_cast<double>(progress.epoch % 2); }
};
}  // namespace

TEST_CASE("law 2: a perceptron with cross-entropy and soft targets") {
    torch::manual_seed(1);
    Perceptron net, hand, teacher;
    const auto batch = vectors(1)[0];
    torch::optim::SGD theirs(hand->parameters(), options()), ours(net->parameters(), options());
    Trainer trainer{net, Frozen{teacher}, Knowledge{CrossEntropy{}, SoftTarget{.temperature = 4.0}},
                    Schedule{0.1, 0.9}, ours};
    teacher->eval();
    const auto expected = operators_of([&] {
        theirs.zero_grad();
        const auto goal = [&] {
            const torch::NoGradGuard no_grad;
            return teacher->forward(batch.first);
        }();
        distillation(hand->forward(batch.first), goal, batch.second).backward();
        theirs.step();
    });
    CHECK(difference(operators_of([&] { trainer.step(batch); }), expected).empty());
    teacher->train();  // setting the mode of the teacher issues no operator
    CHECK(difference(operators_of([&] { trainer.step(batch); }), expected).empty());
}

TEST_CASE("law 2: convolutions with batch norm, soft targets and two hints") {
    torch::manual_seed(1);
    ConvNet net(4), hand(4), teacher(6);
    torch::nn::Conv2d early(torch::nn::Conv2dOptions(4, 6, 1)), late(torch::nn::Conv2dOptions(8, 12, 1));
    const auto batch = images(1)[0];
    torch::optim::SGD ours(net->parameters(), options()), theirs(hand->parameters(), options());
    for (const auto& connector : {early, late}) theirs.add_param_group({connector->parameters()});
    // The hand-written loop has one group for each connector; for equal steps, so does the trainer's.
    const Hint one{tap<&ConvOutputs::early>, tap<&ConvOutputs::early>, retort::Conv1x1{4, 6}};
    const Hint two{tap<&ConvOutputs::late>, tap<&ConvOutputs::late>, retort::Conv1x1{}};
    Trainer trainer{net, Frozen{teacher}, Knowledge{CrossEntropy{}, SoftTarget{.temperature = 4.0}, one, two},
                    Schedule{0.1, 0.9, 50.0, 1.0}, ours};
    teacher->eval();
    const auto expected = operators_of([&] {
        theirs.zero_grad();
        const auto goal = [&] {
            const torch::NoGradGuard no_grad;
            return teacher->forward(batch.first);
        }();
        const auto outputs = hand->forward(batch.first);
        const auto loss = distillation(outputs.logits, goal.logits, batch.second) +
                          torch::mse_loss(early->forward(outputs.early), goal.early) * 50.0 +
                          torch::mse_loss(late->forward(outputs.late), goal.late);
        loss.backward();
        theirs.step();
    });
    CHECK(difference(operators_of([&] { trainer.step(batch); }), expected).empty());
}

TEST_CASE("law 2: soft targets take no more operators than the explicit formula, and keep one tensor") {
    torch::manual_seed(1);
    const auto student = torch::randn({8, 3}).requires_grad_(), teacher = torch::randn({8, 3});
    const auto total = [](const Counts& counts) {
        std::size_t sum = 0;
        for (const auto& [name, count] : counts) sum += count;
        return sum;
    };
    const auto own = operators_of([&] { retort::functional::soft_target(student, teacher).backward(); });
    const auto by_hand = operators_of([&] { written_out(student, teacher).backward(); });
    INFO(difference(own, by_hand));
    CHECK(total(own) <= total(by_hand));
}

TEST_CASE("law 2: nothing in a step waits for the device, clipping and schedules included") {
    torch::manual_seed(1);
    ConvNet net(4), teacher(6);
    Trainer trainer{
        net, Frozen{teacher},
        Knowledge{CrossEntropy{}, SoftTarget{},
                  Hint{tap<&ConvOutputs::late>, tap<&ConvOutputs::late>, retort::Conv1x1{}}},
        Schedule{0.1, retort::Linear{.initial = 1.0, .final = 0.5, .every = retort::Every::step}, 1.0},
        retort::WithLearningRate{Sgd{.momentum = 0.9}, retort::WarmUp{retort::Cosine{}}}};
    trainer.progress().epochs = 10;
    trainer.progress().steps_per_epoch = 10;
    const auto batch = images(1)[0];
    const auto counts = operators_of([&] { trainer.step(batch); });
    for (const std::string name :
         {"aten::_local_scalar_dense", "aten::item", "aten::is_nonzero", "aten::nonzero", "aten::equal"}) {
        INFO(name);
        CHECK(counts.count(name) == 0);
    }
}

namespace {
/// How often a step of a trainer and one of a cohort wait for the device.
template <class Precision>
std::size_t waits(const Precision& precision) {
    torch::manual_seed(1);
    Perceptron net, teacher, peer;
    Trainer trainer{net,
                    Frozen{teacher},
                    Knowledge{CrossEntropy{}, SoftTarget{}},
                    Schedule{0.1, 0.9},
                    Sgd{.momentum = 0.9},
                    precision};
    retort::Cohort cohort{precision, retort::Learner{net, Sgd{}}, retort::Learner{peer, Sgd{}}};
    const retort::TransferGraph graph{retort::label<0>(), retort::label<1>(),
                                      retort::edge<1, 0>(SoftTarget{}), retort::edge<0, 1>(SoftTarget{})};
    auto run = cohort.along(graph);
    const auto batch = vectors(1)[0];
    std::size_t result = 0;
    const auto alone = operators_of([&] { trainer.step(batch); });
    const auto together = operators_of([&] { run.step(batch); });
    for (const std::string name :
         {"aten::_local_scalar_dense", "aten::is_nonzero", "aten::nonzero", "aten::equal"}) {
        for (const Counts* counts : {&alone, &together}) {
            const auto found = counts->find(name);
            if (found != counts->end()) result += found->second;
        }
    }
    return result;
}
}  // namespace

TEST_CASE("law 2: in float32 and bfloat16 no step waits for the device; one with scaled losses does once") {
    CHECK(waits(retort::Float32{}) == 0);
    CHECK(waits(retort::Bfloat16{}) == 0);
    CHECK(waits(Scaled{{.initial = 64.0}}) == 2);  // one step of a trainer, and one of a cohort
    if (retort::detail::compat::float16_on_cpu || !device().is_cpu())
        CHECK(waits(retort::Float16{{.initial = 64.0}}) == 2);
}

TEST_CASE("law 2: a run reads from the device only for reports") {
    torch::manual_seed(1);
    Perceptron net, teacher;
    Trainer trainer{net, Frozen{teacher}, Knowledge{CrossEntropy{}, SoftTarget{}}, Schedule{0.1, 0.9}, Sgd{}};
    const auto batches = vectors(20);
    std::vector<std::string> during;
    std::optional<OperatorCount> count;
    trainer.fit(batches, {.epochs = 1, .report_every = 50}, retort::GradientClipping{.max_norm = 1.0},
                retort::on_epoch_begin([&](retort::FitContext&) { count.emplace(); }),
                retort::on_step_end([&](retort::FitContext& context) {
                    if (context.progress.step == 20) count->stop();
                }));
    REQUIRE(count->total() > 0);
    CHECK(count->of("aten::_local_scalar_dense") + count->of("aten::item") == 0);
}

TEST_CASE("law 3: a term of weight 0 is not computed, and an unneeded teacher is not run") {
    Perceptron student;
    const CountingTeacher teacher{Perceptron()};
    const CountingTerm<true> with_teacher;
    const CountingTerm<false> without;
    Trainer trainer{student, teacher, Knowledge{CrossEntropy{}, with_teacher, without},
                    Schedule{1.0, Odd{}, 0.0}, Sgd{}};
    trainer.fit(vectors(3), {.epochs = 1});
    CHECK((*teacher.calls == 0 && *with_teacher.calls == 0 && *without.calls == 0));
    trainer.fit(vectors(3), {.epochs = 2});
    CHECK((*teacher.calls == 3 && *with_teacher.calls == 3 && *without.calls == 0));
    trainer.fit(vectors(3), {.epochs = 3});
    CHECK((*teacher.calls == 3 && *with_teacher.calls == 3 && *without.calls == 0));
}

TEST_CASE("law 3: a hint of weight 0 costs something only in the first step") {
    torch::manual_seed(1);
    ConvNet plain(4), net(4), teacher(6);
    Trainer without{plain, retort::NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    Trainer with{
        net, Frozen{teacher},
        Knowledge{CrossEntropy{}, Hint{tap<&ConvOutputs::late>, tap<&ConvOutputs::late>, retort::Conv1x1{}}},
        Schedule{1.0, 0.0}, Sgd{}};
    const auto batch = images(1)[0];
    CHECK(difference(operators_of([&] { with.step(batch); }), operators_of([&] { without.step(batch); }))
              .empty());
}

}  // namespace operators_test
