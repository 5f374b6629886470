// SPDX-License-Identifier: BSL-1.0
/// \file
/// The weighted sum of the terms.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>
#include <retort/trainer/objective.hpp>

namespace objective_test {

using namespace retort_test;
using retort::CrossEntropy;
using retort::Knowledge;
using retort::Objective;
using retort::Schedule;
using retort::SoftTarget;

namespace {
/// Its loss is the epoch times the student's output.
struct Timed {
    static constexpr bool needs_teacher = false, needs_target = false;
    torch::Tensor operator()(const auto& student, const auto&, const auto&,
                             const retort::Progress& progress) const {
        return retort::logits(student).sum() * static_cast<double>(progress.epoch);
    }
};
/// A term with a given result.
struct Given {
    static constexpr bool needs_teacher = false, needs_target = false;
    torch::Tensor value;
    torch::Tensor operator()(const auto&, const auto&, const auto&) const { return value; }
};
/// A schedule whose weight is given per epoch.
struct Weights {
    std::vector<double> values;
    double weight(const retort::Progress& progress) const {
        return values.at(static_cast<std::size_t>(progress.epoch));
    }
};
const std::pair batch{torch::rand({2, 4}), torch::tensor({0, 2})};
}  // namespace

TEST_CASE("an objective is the weighted sum of its terms") {
    torch::manual_seed(1);
    const auto student = torch::randn({2, 3}, torch::kFloat64),
               teacher = torch::randn({2, 3}, torch::kFloat64);
    const Objective objective{Knowledge{CrossEntropy{}, SoftTarget{.temperature = 2.0}}, Schedule{0.1, 0.9}};
    const auto hard = retort::functional::cross_entropy(student, batch.second);
    const auto soft = retort::functional::soft_target(student, teacher, {.temperature = 2.0});
    CHECK(close(objective(student, teacher, batch), 0.1 * hard + 0.9 * soft, 1e-12));
    const auto losses = objective.losses(student, &teacher, batch, {}, objective.weights({}));
    REQUIRE(losses.terms.size() == 2);
    CHECK(same(losses.terms[0], hard));
    CHECK(same(losses.terms[1], soft));
    CHECK(losses.weights == std::vector<double>{0.1, 0.9});
    CHECK(same(losses.total, objective(student, teacher, batch)));
    CHECK(objective.names() == std::array<std::string, 2>{"cross_entropy", "soft_target"});
}

TEST_CASE("weights with their terms are equivalent to a schedule, in type, value and operators") {
    const Objective objective{Knowledge{CrossEntropy{}, SoftTarget{.temperature = 2.0}},
                              Schedule{0.1, retort::Exponential{.initial = 0.9, .factor = 0.5}}};
    const Objective product{
        Knowledge{0.1 * CrossEntropy{},
                  retort::Exponential{.initial = 0.9, .factor = 0.5} * SoftTarget{.temperature = 2.0}}};
    STATIC_REQUIRE(std::is_same_v<decltype(objective), decltype(product)>);
    torch::manual_seed(1);
    const auto student = torch::randn({2, 3}), teacher = torch::randn({2, 3});
    for (const std::int64_t epoch : {0, 1, 5}) {
        const retort::Progress progress{.epoch = epoch};
        CHECK(same(product(student, teacher, batch, progress), objective(student, teacher, batch, progress)));
    }
    CHECK_THROWS_AS((Knowledge{std::nan("") * CrossEntropy{}}), retort::ConfigError);
    CHECK_THROWS_AS((Knowledge{0.5 * SoftTarget{.temperature = 0}}), retort::ConfigError);

    Perceptron net, big;
    retort::Trainer listed{net, retort::Frozen{big}, Knowledge{CrossEntropy{}, SoftTarget{}},
                           Schedule{0.1, 0.9}, retort::Sgd{}};
    retort::Trainer trainer{net,
                            retort::Frozen{big},
                            Knowledge{0.1 * CrossEntropy{}, 0.9 * SoftTarget{}},
                            retort::Sgd{},
                            {.device = "cpu"}};
    STATIC_REQUIRE(std::is_same_v<decltype(trainer), decltype(listed)>);
    torch::optim::SGD existing(net->parameters(), 0.1);
    retort::Trainer precise{net, retort::Frozen{big}, Knowledge{0.1 * CrossEntropy{}, 0.9 * SoftTarget{}},
                            existing, retort::Bfloat16{}};
    STATIC_REQUIRE(
        std::is_same_v<
            decltype(precise),
            retort::Trainer<Perceptron, retort::Frozen<Perceptron>, Knowledge<CrossEntropy, SoftTarget>,
                            Schedule<retort::Constant, retort::Constant>, retort::Bfloat16>>);
    const retort::Trainer all{net,           retort::Frozen{big}, Knowledge{0.1 * CrossEntropy{}},
                              retort::Sgd{}, retort::Bfloat16{},  {.device = "cpu"}};
    CHECK(same(trainer.losses(vectors(1)[0]).total, listed.losses(vectors(1)[0]).total));
}

TEST_CASE("an objective without a teacher") {
    const auto student = torch::randn({2, 3});
    const Objective objective{Knowledge{CrossEntropy{}}, Schedule{1.0}};
    CHECK(same(objective(student, retort::NoOutputs{}, batch),
               retort::functional::cross_entropy(student, batch.second)));
}

TEST_CASE("a term gets the progress if it takes it") {
    const auto student = torch::ones({2, 3});
    const Objective objective{Knowledge{Timed{}}, Schedule{0.5}};
    CHECK(objective(student, retort::NoOutputs{}, batch, {.epoch = 4}).item<double>() == 12.0);
}

TEST_CASE("a term of weight 0 is omitted, a negative weight counts") {
    const auto student = torch::randn({2, 3});
    const Objective objective{Knowledge{Given{torch::tensor(3.0)}, Given{torch::tensor(5.0)}},
                              Schedule{Weights{{0, 1, -2}}, Weights{{1, 0, 1}}}};
    const auto value = [&](std::int64_t epoch) {
        return objective(student, retort::NoOutputs{}, batch, {.epoch = epoch}).item<double>();
    };
    CHECK(value(0) == 5.0);
    CHECK(value(1) == 3.0);
    CHECK(value(2) == -1.0);
    const auto losses = objective.losses(student, static_cast<const retort::NoOutputs*>(nullptr), batch, {},
                                         objective.weights({}));
    CHECK_FALSE(losses.terms[0].defined());
    CHECK(losses.terms[1].defined());
}

TEST_CASE("the teacher is needed only for an active term") {
    using O = Objective<Knowledge<CrossEntropy, SoftTarget>, Schedule<retort::Constant, retort::Constant>>;
    CHECK(O::needs_teacher({1, 1}));
    CHECK(O::needs_teacher({0, -1}));
    CHECK_FALSE(O::needs_teacher({1, 0}));
}

TEST_CASE("weights that are not finite, or all 0, are errors with their position") {
    const Objective objective{Knowledge{CrossEntropy{}, SoftTarget{}},
                              Schedule{Weights{{0, 1}}, Weights{{0, std::nan("")}}}};
    CHECK(words_of<retort::ConfigError>([&] { objective.weights({.epoch = 1, .step = 2}); }) ==
          "schedule: expected a finite weight for soft_target in epoch 1, step 2, found nan");
    CHECK(words_of<retort::ConfigError>([&] { objective.weights({.epoch = 0, .step = 2}); }) ==
          "schedule: expected a weight other than 0 in epoch 0, step 2, found none");
}

TEST_CASE("a loss that is not a scalar is named with its term") {
    const auto student = torch::randn({2, 3});
    const auto words = [&](const auto& term) {
        const Objective objective{Knowledge{term}, Schedule{1.0}};
        return words_of<retort::ShapeError>([&] { objective(student, student, batch); });
    };
    CHECK(words(CrossEntropy{.reduction = retort::Reduction::none}) ==
          "cross_entropy: expected a loss without dimensions, found [2]; losses per sample (Reduction::none) "
          "cannot be trained on");
    CHECK(holds(words(SoftTarget{.reduction = retort::Reduction::none}), "soft_target: expected a loss"));
    CHECK(holds(words(Given{}), "Given: expected a loss without dimensions, found an undefined tensor"));
    CHECK(holds(words(Given{torch::rand({1})}), "found [1]"));
}

}  // namespace objective_test
