// SPDX-License-Identifier: BSL-1.0
/// \file
/// Evaluation of a network, alone and at the end of every epoch.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <range/v3/view/generate_n.hpp>

#include <retort/callback.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/metrics.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace validation_test {

using namespace retort_test;
using Catch::Contains;
using retort::CrossEntropy;
using retort::evaluate;
using retort::Frozen;
using retort::Knowledge;
using retort::NoTeacher;
using retort::Schedule;
using retort::Sgd;
using retort::SoftTarget;
using retort::Trainer;
using retort::Validation;

namespace {
double by_hand(Perceptron net, const std::vector<PairBatch>& batches) {
    net->eval();
    double right = 0, all = 0;
    for (const auto& [x, y] : batches) {
        right += net->forward(x).argmax(1).eq(y).sum().item<double>();
        all += static_cast<double>(y.size(0));
    }
    net->train();
    return right / all;
}
}  // namespace

TEST_CASE("the accuracy of a network, in evaluation mode and without side effects") {
    torch::manual_seed(1);
    Perceptron net(16, 0.5);
    net->last->eval();
    auto batches = vectors(3, 20);
    batches.push_back(vectors(1, 3, 5)[0]);
    const auto before = state(*net);
    CHECK(evaluate(net, batches).value() == Approx(by_hand(net, batches)));
    net->last->eval();
    CHECK(evaluate(net, batches).name() == "accuracy");
    CHECK((net->is_training() && net->drop->is_training() && !net->last->is_training()));
    CHECK(same(before, state(*net)));
    CHECK(evaluate(net.ptr(), batches).value() == evaluate(*net, batches).value());
}

TEST_CASE("several metrics in one pass, from any source") {
    torch::manual_seed(1);
    Perceptron net;
    const auto batches = vectors(2);
    const auto [accuracy, top3] =
        evaluate(net, batches, retort::metrics::Accuracy{}, retort::metrics::TopK{3});
    CHECK(accuracy.value() == Approx(by_hand(net, batches)));
    CHECK(top3.value() == 1.0);
    std::size_t next = 0;
    CHECK(evaluate(net, ranges::views::generate_n([&] { return batches[next++]; }, 2)).value() ==
          accuracy.value());
    CHECK(evaluate(net, [&](std::int64_t epoch) { return epoch == 0 ? batches : vectors(0); }).value() ==
          accuracy.value());
}

TEST_CASE("metrics that compare with a teacher") {
    torch::manual_seed(1);
    Perceptron net, other;
    Frozen teacher{other};
    const auto batches = vectors(4, 20);
    double agree = 0;
    for (const auto& [x, y] : batches)
        agree += net->forward(x).argmax(1).eq(other->forward(x).argmax(1)).sum().item<double>();
    CHECK(evaluate(net, teacher, batches, retort::metrics::Agreement{}).value() == Approx(agree / 80));
    CHECK(evaluate(net, Frozen{net}, batches, retort::metrics::Agreement{}).value() == 1.0);
    const auto [accuracy, agreement] =
        evaluate(net, teacher, batches, retort::metrics::Accuracy{}, retort::metrics::Agreement{});
    CHECK(accuracy.value() == Approx(by_hand(net, batches)));
    CHECK(agreement.value() == Approx(agree / 80));
    Trainer trainer{net, teacher, Knowledge{SoftTarget{}}, Schedule{1.0}, Sgd{}};
    CHECK(trainer.evaluate(batches, retort::metrics::Agreement{}).value() == Approx(agree / 80));
    CHECK(trainer.evaluate(batches).value() == Approx(by_hand(net, batches)));
    CHECK(trainer.progress() == retort::Progress{});
}

TEST_CASE("nothing to measure is an error") {
    Perceptron net;
    CHECK(words_of<retort::DataError>([&] { evaluate(net, std::vector<PairBatch>()); }) ==
          "evaluate: expected at least one batch, found none");
    CHECK_THROWS_AS(evaluate(net, std::vector<PairBatch>{{torch::zeros({2, 4}), torch::Tensor()}}).value(),
                    retort::Error);
    CHECK(net->is_training());
}

TEST_CASE("validation writes a column at the end of every epoch") {
    torch::manual_seed(1);
    Perceptron student;
    Trainer trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                    Sgd{.learning_rate = 0.5}};
    const auto held_out = vectors(2, 30, 99);
    std::vector<double> expected;
    const auto& history = trainer.fit(
        vectors(4), {.epochs = 3}, Validation{held_out},
        retort::on_epoch_end([&](retort::FitContext&) { expected.push_back(by_hand(student, held_out)); }));
    REQUIRE(history.has("validation_accuracy"));
    for (std::size_t epoch = 0; epoch < 3; ++epoch) {
        CHECK(history.at(epoch, "validation_accuracy") == Approx(expected[epoch]));
    }
}

TEST_CASE("validation does not affect training") {
    torch::manual_seed(1);
    Perceptron a(8, 0.3), b(8, 0.3);
    copy_state(*a, *b);
    const auto train = [](const Perceptron& net, auto&&... callbacks) {
        torch::manual_seed(2);
        Trainer trainer{net, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
        trainer.fit(vectors(4), {.epochs = 2}, callbacks...);
        return state(*net);
    };
    CHECK(same(train(a), train(b, Validation{vectors(2)})));
}

TEST_CASE("several metrics, every so many epochs and after the last") {
    Perceptron student, other;
    Trainer trainer{student, Frozen{other}, Knowledge{CrossEntropy{}, SoftTarget{}}, Schedule{0.5, 0.5},
                    Sgd{}};
    const auto held_out = vectors(1);
    const auto& history =
        trainer.fit(vectors(2), {.epochs = 5},
                    Validation{held_out, retort::metrics::TopK{2}, retort::metrics::Agreement{}}.every(2));
    CHECK((history.has("validation_top2") && history.has("validation_agreement") &&
           !history.has("validation_accuracy")));
    for (const std::size_t epoch : {0U, 2U}) CHECK(std::isnan(history.at(epoch, "validation_top2")));
    for (const std::size_t epoch : {1U, 3U, 4U})
        CHECK_FALSE(std::isnan(history.at(epoch, "validation_agreement")));
    Validation again{held_out};
    CHECK(&again.every(3) == &again);
    CHECK(words_of<retort::ConfigError>([&] { again.every(0); }) ==
          "Validation: expected an interval of at least 1 epoch, found 0");
}

TEST_CASE("two sets of batches need two names") {
    torch::manual_seed(1);
    Perceptron net;
    Trainer trainer{net, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    const auto train = vectors(2), one = vectors(1, 20, 3), other = vectors(1, 20, 4);
    const auto before = state(*net);
    CHECK_THROWS_WITH(trainer.fit(train, {.epochs = 1}, Validation{one}, Validation{other}),
                      Contains("expected one writer per column") && Contains("\"validation_accuracy\""));
    CHECK_THROWS_WITH(trainer.fit(train, {.epochs = 1},
                                  Validation{one, retort::metrics::Accuracy{}, retort::metrics::Accuracy{}}),
                      Contains("\"validation_accuracy\""));
    CHECK(same(before, state(*net)));
    const auto& history = trainer.fit(train, {.epochs = 1}, Validation{one}, Validation{other}.named("test"));
    CHECK(history.last("test_accuracy") == Approx(by_hand(net, other)));
    CHECK(history.last("validation_accuracy") == Approx(by_hand(net, one)));
}

TEST_CASE("batches for validation are stored if passed as a temporary, referenced otherwise") {
    const auto batches = vectors(1);
    Validation reference{batches};
    Validation value{vectors(1)};
    STATIC_REQUIRE(std::is_same_v<decltype(reference),
                                  Validation<const std::vector<PairBatch>&, retort::metrics::Accuracy>>);
    STATIC_REQUIRE(
        std::is_same_v<decltype(value), Validation<std::vector<PairBatch>, retort::metrics::Accuracy>>);
}

TEST_CASE("best model, early stopping and validation every second epoch work together") {
    torch::manual_seed(1);
    Perceptron student;
    Trainer trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                    Sgd{.learning_rate = 0.0}};
    const auto held_out = vectors(1, 30);
    retort::BestModel best;
    retort::EarlyStopping stopping{{.patience = 3}};
    const auto& history =
        trainer.fit(vectors(1), {.epochs = 20}, Validation{held_out}.every(2), best, stopping);
    CHECK(best.best_epoch() == 1);  // the first measured one; without learning nothing improves
    CHECK(history.size() ==
          6);  // epochs 3 and 5 are no better: the third epoch without is 4, the next measured 5
    CHECK_THROWS_AS(
        trainer.fit(vectors(1), {.epochs = 30}, best, Validation{held_out, retort::metrics::TopK{2}},
                    retort::EarlyStopping{{.column = "validation_top3"}}),
        retort::ConfigError);
}

}  // namespace validation_test
