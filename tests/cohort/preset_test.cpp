// SPDX-License-Identifier: BSL-1.0
/// \file
/// Named graphs, against reference values and hand-written losses.
#include <golden.hpp>
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/cohort.hpp>
#include <retort/optim.hpp>
#include <retort/tap.hpp>
#include <retort/trainer.hpp>

namespace preset_test {

using namespace retort_test;
using retort::Cohort;
using retort::CrossEntropy;
using retort::Learner;
using retort::RuntimeGraph;
using retort::Sgd;
using retort::SoftTarget;
using retort::tap;
namespace gate = retort::gate;

namespace {
/// Returns given logits.
struct Told : torch::nn::Module {
    explicit Told(const torch::Tensor& values)
        : logits(register_parameter("logits", values.detach().clone())) {}
    torch::Tensor forward(const torch::Tensor&) { return logits + 0; }
    torch::Tensor logits;
};
/// A cohort of learners that return the logits of a case.
struct ToldCohort {
    explicit ToldCohort(const golden::Case& reference, const std::string& key = "logits") {
        std::vector<Learner<std::shared_ptr<Told>>> learners;
        for (const torch::Tensor& each : reference.inputs(key)) {
            nets.push_back(std::make_shared<Told>(each));
            learners.emplace_back(nets.back(), Sgd{});
        }
        cohort = std::make_unique<Cohort<decltype(learners)>>(std::move(learners));
    }
    std::vector<torch::Tensor> leaves() const {
        std::vector<torch::Tensor> result;
        for (const auto& each : nets) result.push_back(each->logits);
        return result;
    }
    std::vector<std::shared_ptr<Told>> nets;
    std::unique_ptr<Cohort<std::vector<Learner<std::shared_ptr<Told>>>>> cohort;
};
using Graph = RuntimeGraph<torch::Tensor, PairBatch>;
PairBatch batch_of(const golden::Case& reference) {
    const auto target = reference.input("target");
    return {torch::zeros({target.size(0), 1}), target};
}
torch::Tensor sum_of(const std::vector<retort::Losses>& losses) {
    torch::Tensor result = torch::zeros({}, torch::kFloat64);
    for (const retort::Losses& each : losses) {
        if (each.total.defined()) result = result + each.total;
    }
    return result;
}
}  // namespace

TEST_CASE("whole graphs agree with the released code of the knowledge transfer graph") {
    int compared = 0;
    for (const std::string name : {"graph3", "dml2_all_through", "kd_node_frozen"}) {
        const golden::Case reference = golden::find("ktg__dcl", name);
        std::vector<std::string> words;
        for (const c10::IValue& row : reference.list("gates_row_is_target")) {
            for (const c10::IValue& each : row.toListRef()) words.push_back(each.toStringRef());
        }
        ToldCohort told(reference);
        const std::size_t count = told.nets.size();
        const gate::PositiveLinear linear{.iterations = reference.option("end_iteration")};
        Graph graph;
        for (std::size_t to = 0; to < count; ++to) {
            for (std::size_t from = 0; from < count; ++from) {
                const auto add = [&](auto gate) {
                    if (from == to) {
                        graph.label(to, CrossEntropy{}, gate);
                    } else {
                        graph.edge(from, to, SoftTarget::transfer_graph(), gate);
                    }
                };
                const std::string& word = words.at(to * count + from);
                if (word == "Through") add(gate::Through{});
                if (word == "Cutoff") add(gate::Cutoff{});
                if (word == "Linear") add(linear);
                if (word == "Correct") add(gate::Correct{});
            }
        }
        REQUIRE(graph.size() == count * count);
        // The iteration of the next step.
        auto run = told.cohort->along(graph);
        run.set_iterations(std::vector<std::int64_t>(
            graph.size(), static_cast<std::int64_t>(reference.option("iteration")) - 1));
        const auto losses = run.losses(batch_of(reference));
        for (std::size_t i = 0; i < count; ++i) {
            INFO(name << ", learner " << i);
            const auto expected = reference.components("node_loss")[i];
            if (losses[i].total.defined()) {
                CHECK(golden::deviation(losses[i].total, expected) <= 1e-8);
            } else {
                CHECK(expected.item<double>() == 0);
            }
        }
        CHECK(golden::agrees(reference, sum_of(losses), {{"logits", told.leaves()}}));
        ++compared;
    }
    CHECK(compared == 3);
}

TEST_CASE("single edges agree with the released gates, also edges from the labels") {
    int compared = 0;
    for (const golden::Case& reference : golden::cases("ktg__dcl")) {
        if (!reference.has_option("gate")) continue;
        const auto edge_of = [&](auto gate) {
            const auto student = reference.leaf("logits_target");
            const PairBatch batch = batch_of(reference);
            const auto k = static_cast<std::int64_t>(reference.option("iteration"));
            const auto compare = [&](const auto& edge, const auto& source) {
                const double weight = edge.weight(k, {});
                if (weight == 0) {
                    CHECK(reference.value().item<double>() == 0);
                    return;
                }
                CHECK(golden::agrees(reference, edge.loss(student, source, batch, {}) * weight,
                                     {{"logits_target", {student}}}));
                ++compared;
            };
            if (reference.word("edge") == "label") {
                compare(retort::label<0>(CrossEntropy{}, gate), retort::NoOutputs{});
            } else {
                SoftTarget term = SoftTarget::transfer_graph();
                term.temperature = reference.option("T");
                compare(retort::edge<1, 0>(term, gate), reference.input("logits_source"));
            }
        };
        const std::string word = reference.word("gate");
        if (word == "Through") edge_of(gate::Through{});
        if (word == "Cutoff") edge_of(gate::Cutoff{});
        if (word == "Linear") edge_of(gate::PositiveLinear{.iterations = reference.option("end_iteration")});
        if (word == "Correct") edge_of(gate::Correct{});
        if (word == "Correct" && reference.word("edge") == "kl") edge_of(gate::Outcome{});
    }
    CHECK(compared >= 20);
}

TEST_CASE("the gates by epoch agree with the port of the knowledge transfer graph") {
    for (const golden::Case& reference : golden::cases("ktg__yukiharada")) {
        const auto student = reference.leaf("logits_target");
        const retort::Progress progress{.epoch = static_cast<std::int64_t>(reference.option("epoch")),
                                        .epochs = static_cast<std::int64_t>(reference.option("max_epoch"))};
        SoftTarget term = SoftTarget::transfer_graph();
        term.temperature = reference.option("T");
        const auto compare = [&](auto gate) {
            const auto edge = retort::edge<1, 0>(term, gate);
            const auto value =
                edge.loss(student, reference.input("logits_source"), 0, progress) * edge.weight(1, progress);
            CHECK(golden::agrees(reference, value, {{"logits_target", {student}}}));
        };
        const std::string word = reference.word("gate");
        if (word == "Through") compare(gate::Through{});
        if (word == "Cutoff") compare(gate::Cutoff{});
        if (word == "PositiveLinear") compare(gate::PositiveLinear{.unit = retort::Every::epoch});
        if (word == "NegativeLinear") compare(gate::NegativeLinear{});
    }
}

TEST_CASE("mutual learning agrees with the authors' code and a port") {
    for (const golden::Case& reference : golden::cases("dml__official")) {
        if (!reference.components().contains("kl")) continue;
        const double smoothing =
            reference.has_option("label_smoothing") ? reference.option("label_smoothing") : 0.0;
        ToldCohort told(reference);
        Graph graph = retort::mutual_learning<torch::Tensor, PairBatch>(
            told.nets.size(),
            {.labels = {.label_smoothing = smoothing}, .transfer = SoftTarget::deep_mutual_learning()});
        CHECK(golden::agrees(reference, sum_of(told.cohort->along(graph).losses(batch_of(reference))),
                             {{"logits", told.leaves()}}));
    }
    for (const golden::Case& reference : golden::cases("dml__yukiharada")) {
        ToldCohort told(reference);
        Graph graph = retort::mutual_learning<torch::Tensor, PairBatch>(told.nets.size(), {.average = true});
        CHECK(golden::agrees(reference, sum_of(told.cohort->along(graph).losses(batch_of(reference))),
                             {{"logits", told.leaves()}}));
    }
}

TEST_CASE("mutual learning is the graph with all gates through") {
    torch::manual_seed(1);
    std::vector<Perceptron> nets{Perceptron(8), Perceptron(6), Perceptron(7)}, twins, open;
    for (const Perceptron& each : nets) {
        for (auto* list : {&twins, &open}) {
            list->emplace_back(each->first->weight.size(0));
            copy_state(*each, *list->back());
        }
    }
    const Sgd sgd{.learning_rate = 0.1, .momentum = 0.9};
    Cohort one{Learner{nets[0], sgd}, Learner{nets[1], sgd}, Learner{nets[2], sgd}};
    Cohort two{Learner{twins[0], sgd}, Learner{twins[1], sgd}, Learner{twins[2], sgd}};
    Cohort three{Learner{open[0], sgd}, Learner{open[1], sgd}, Learner{open[2], sgd}};
    auto preset = retort::mutual_learning<3>();
    const SoftTarget kl{.temperature = 1.0};
    retort::TransferGraph all{retort::label<0>(), retort::edge<1, 0>(kl), retort::edge<2, 0>(kl),
                              retort::label<1>(), retort::edge<0, 1>(kl), retort::edge<2, 1>(kl),
                              retort::label<2>(), retort::edge<0, 2>(kl), retort::edge<1, 2>(kl)};
    Graph at_run_time = retort::mutual_learning<torch::Tensor, PairBatch>(3);
    auto one_run = one.along(preset);
    auto two_run = two.along(all);
    auto three_run = three.along(at_run_time);
    for (const auto& batch : vectors(4)) {
        one_run.step(batch);
        two_run.step(batch);
        three_run.step(batch);
    }
    for (std::size_t i = 0; i < 3; ++i) {
        CHECK(same(state(*nets[i]), state(*twins[i])));
        CHECK(same(state(*nets[i]), state(*open[i])));
    }
    CHECK(preset.description() == all.description());
    CHECK(at_run_time.description() == all.description());
    CHECK(retort::independent<3>().description().edges.size() == 3);
    CHECK(words_of<retort::ConfigError>([] { retort::mutual_learning(1); }).find("at least two") !=
          std::string::npos);
}

TEST_CASE("a chain with an assistant: the student waits, then the assistant is frozen") {
    torch::manual_seed(2);
    Perceptron teacher(16), assistant(8), student(4);
    const auto first = state(*student);
    const Sgd sgd{.learning_rate = 0.1};
    Cohort cohort{Learner{teacher}, Learner{assistant, sgd}, Learner{student, sgd}};
    auto chain = retort::teacher_assistant<0, 1, 2>({.assistant_epochs = 1});
    std::vector<std::vector<torch::Tensor>> assistants, students;
    cohort.along(chain).fit(vectors(3), {.epochs = 2}, retort::on_epoch_end([&](retort::FitContext&) {
                                assistants.push_back(state(*assistant));
                                students.push_back(state(*student));
                            }));
    CHECK(same(students[0], first));
    CHECK_FALSE(same(students[1], first));
    CHECK(same(assistants[0], assistants[1]));
    CHECK_THROWS_AS((retort::teacher_assistant<0, 1, 2>({})), retort::ConfigError);
}

TEST_CASE("CTSL-MKT's losses are the sums of their parts, and weights of 0 omit parts") {
    torch::manual_seed(3);
    ConvNet a(4), b(6), a_alone(4), b_alone(6);
    const auto batch = images(1)[0];
    const Sgd sgd;
    Cohort cohort{Learner{a, sgd}, Learner{b, sgd}, Learner{a_alone}, Learner{b_alone}};
    const auto late = tap<&ConvOutputs::late>;
    auto graph = retort::collaborative(late, late,
                                       {.ce_weight = 0.5,
                                        .mutual_weight = 2.0,
                                        .self_weight = 3.0,
                                        .angle_ratio = 1.5,
                                        .response_weight = 4.0,
                                        .self_temperature = 5.0});
    const auto result = cohort.along(graph).step(batch);
    const auto& outputs = result.outputs;
    const auto check = [&](std::size_t me, std::size_t peer, std::size_t self) {
        const auto own = outputs[me]->logits;
        const auto kl = [&](const torch::Tensor& source, double t) {
            const auto goal = torch::softmax(source.detach() / t, 1);
            return (goal * (goal.log() - torch::log_softmax(own / t, 1))).sum() / 6;
        };
        const auto s = outputs[me]->late.flatten(1), u = outputs[peer]->late.detach().flatten(1);
        const auto distances = [](const torch::Tensor& x) {
            const auto d = torch::cdist(x, x, 2.0, 2);
            return d / (d.sum() / 30);
        };
        const auto angles = [](const torch::Tensor& x) {
            const auto difference = torch::nn::functional::normalize(
                x.unsqueeze(0) - x.unsqueeze(1), torch::nn::functional::NormalizeFuncOptions().dim(2));
            return torch::bmm(difference, difference.transpose(1, 2));
        };
        const auto relation = torch::smooth_l1_loss(distances(s), distances(u)) +
                              1.5 * torch::smooth_l1_loss(angles(s), angles(u));
        const auto expected = 0.5 * torch::nn::functional::cross_entropy(own, batch.second) +
                              2.0 * (relation + 4.0 * kl(outputs[peer]->logits, 1)) +
                              3.0 * kl(outputs[self]->logits, 5);
        CHECK(result.losses[me].total.item<double>() == Approx(expected.item<double>()).epsilon(1e-4));
    };
    check(0, 1, 2);
    check(1, 0, 3);

    auto ablated = retort::collaborative(late, late, {.self_weight = 0.0, .relation_weight = 0.0});
    const auto losses = cohort.along(ablated).losses(batch);
    CHECK_FALSE(losses[0].terms[1].defined());
    CHECK(losses[0].terms[2].defined());
    CHECK_FALSE(losses[0].terms[3].defined());
    CHECK_THROWS_AS(retort::collaborative(late, late, {.ce_weight = -1}), retort::ConfigError);
}

}  // namespace preset_test
