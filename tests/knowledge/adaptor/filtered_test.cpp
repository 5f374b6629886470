// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/adaptor/filtered.hpp>
#include <retort/knowledge/adaptor/on_classes.hpp>
#include <retort/knowledge/adaptor/standardized.hpp>
#include <retort/knowledge/filter/class_weights.hpp>
#include <retort/knowledge/filter/confident_teacher.hpp>
#include <retort/knowledge/filter/correct_teacher.hpp>
#include <retort/knowledge/knowledge.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/dist_kd.hpp>
#include <retort/knowledge/logit/soft_target.hpp>

#include <golden.hpp>
#include <loss_laws.hpp>

namespace filtered_test {

using namespace retort_test;
using retort::ClassWeights;
using retort::ConfidentTeacher;
using retort::CorrectTeacher;
using retort::Filtered;
using retort::OnClasses;
using retort::Reduction;
using retort::SoftTarget;
using retort::Standardized;

// Which terms can be filtered, and what a filtered term needs.
static_assert(retort::PerSampleTerm<SoftTarget> && retort::PerSampleTerm<Standardized<SoftTarget>>);
static_assert(!retort::PerSampleTerm<retort::DistKd> && !retort::PerSampleTerm<Standardized<retort::DistKd>>);
static_assert(!Filtered<SoftTarget, ConfidentTeacher>::needs_target &&
              Filtered<SoftTarget, CorrectTeacher>::needs_target);
static_assert(Filtered<retort::CrossEntropy, ConfidentTeacher>::needs_teacher);

namespace {
laws::Arguments example() {
    torch::manual_seed(8);
    laws::Arguments result = laws::random_logits(3)(4);
    result.teacher[0] =
        torch::tensor({{5.0, 0.0, 0.0}, {0.1, 0.2, 0.0}, {0.0, 9.0, 1.0}, {0.0, 0.0, 0.4}}, torch::kFloat64);
    result.target = torch::tensor({0, 1, 2, 2}, torch::kLong);
    return result;
}
torch::Tensor losses(const laws::Arguments& arguments) {
    return retort::functional::soft_target(arguments.student[0], arguments.teacher[0],
                                           {.reduction = Reduction::none});
}
}  // namespace

TEST_CASE("a filtered term keeps the laws") {
    auto loss = laws::of_term(Filtered{SoftTarget{.reduction = Reduction::mean}, CorrectTeacher{}},
                              {Reduction::batchmean, Reduction::none, Reduction::sum});
    loss.sample = [](std::int64_t batch) {
        auto result = laws::random_logits()(batch);
        result.target = result.teacher[0].argmax(1);  // so that every sample counts, except for equal logits
        return result;
    };
    loss.never_negative = true;
    loss.zero_at_equality = true;
    laws::hold(loss);
}

TEST_CASE("filters say which samples count") {
    const auto arguments = example();
    const auto each = losses(arguments);
    const auto mask = [](std::vector<double> values) { return torch::tensor(values, torch::kFloat64); };
    const auto found = [&](const auto& filter) {
        return laws::call(Filtered{SoftTarget{}, filter, Reduction::none}, arguments);
    };
    CHECK(close(found(CorrectTeacher{}), each * mask({1, 1, 0, 1}), 1e-12));
    CHECK(close(found(ConfidentTeacher{.threshold = 0.9}), each * mask({1, 0, 1, 0}), 1e-12));
    CHECK(close(found(ClassWeights{torch::tensor({2.0, 0.0, 0.5})}), each * mask({2, 0, 0.5, 0.5}), 1e-12));
    CHECK(close(found(ClassWeights{torch::tensor({true, false, true})}), each * mask({1, 0, 1, 1}), 1e-12));
    const auto own = [](const auto&, const auto&, const auto& batch) {
        return 0.5 * batch.second.to(torch::kFloat64);
    };
    CHECK(close(found(own), each * mask({0, 0.5, 1, 1}), 1e-12));
}

TEST_CASE("a filtered term divides by the batch, or by the weights") {
    const auto arguments = example();
    const auto each = losses(arguments);
    const auto kept = each[0] + each[1] + each[3];
    const auto filtered = [&](Reduction reduction) {
        return laws::call(Filtered{SoftTarget{}, CorrectTeacher{}, reduction}, arguments);
    };
    CHECK(close(filtered(Reduction::batchmean), kept / 4, 1e-12));
    CHECK(close(filtered(Reduction::mean), kept / 3, 1e-12));
    CHECK(close(filtered(Reduction::sum), kept, 1e-12));
    const Filtered none{SoftTarget{}, ConfidentTeacher{.threshold = 1.0}, Reduction::mean};
    laws::Arguments unsure = arguments;
    unsure.teacher[0] = torch::zeros({4, 3}, torch::kFloat64);
    unsure.student[0].requires_grad_();
    const auto nothing = laws::call(none, unsure);
    CHECK(nothing.item<double>() == 0);
    nothing.backward();
    CHECK(close(unsure.student[0].grad(), torch::zeros({4, 3}, torch::kFloat64), 0, 0));
}

TEST_CASE("a filter sees the raw logits if the inner term standardizes them") {
    const auto arguments = example();
    const auto standardized = laws::call(Standardized{SoftTarget{.reduction = Reduction::none}}, arguments);
    const Filtered term{Standardized{SoftTarget{}}, ConfidentTeacher{.threshold = 0.9}, Reduction::none};
    CHECK(close(laws::call(term, arguments),
                standardized * torch::tensor({1.0, 0.0, 1.0, 0.0}, torch::kFloat64), 1e-12));
}

TEST_CASE("the filter for a correct teacher agrees with the Knowledge Transfer Graph's gate") {
    int compared = 0;
    for (const golden::Case& reference : golden::cases("ktg__dcl")) {
        if (!reference.has_option("gate") || reference.word("gate") != "Correct" ||
            reference.word("edge") != "kl")
            continue;
        SoftTarget options = SoftTarget::transfer_graph();
        options.temperature = reference.option("T");
        const auto student = reference.leaf("logits_target");
        const auto value =
            laws::call(Filtered{options, CorrectTeacher{}}, {.student = {student},
                                                             .teacher = {reference.input("logits_source")},
                                                             .target = reference.input("target")});
        CHECK(golden::agrees(reference, value, {{"logits_target", {student}}}));
        ++compared;
    }
    CHECK(compared >= 3);
}

TEST_CASE("OnClasses keeps the laws and sees only its classes") {
    auto loss = laws::of_term(OnClasses{SoftTarget{}, torch::tensor({0, 2, 4}, torch::kLong)},
                              {Reduction::batchmean});
    loss.name = "OnClasses of soft_target";
    loss.any_class_order = false;
    loss.equal_sizes = false;  // other classes may be of any number
    loss.never_negative = true;
    loss.zero_at_equality = true;
    laws::hold(loss);
    const auto arguments = example();
    const auto some = [](const torch::Tensor& t) {
        return t.index_select(1, torch::tensor({0, 2}, torch::kLong));
    };
    CHECK(same(laws::call(OnClasses{SoftTarget{}, torch::tensor({0, 2}, torch::kLong)}, arguments),
               retort::functional::soft_target(some(arguments.student[0]), some(arguments.teacher[0]))));
}

TEST_CASE("invalid masks are errors") {
    const auto arguments = example();
    CHECK_THROWS_AS((ConfidentTeacher{.threshold = 2}.check()), retort::ConfigError);
    CHECK_THROWS_AS(ClassWeights{}.check(), retort::ConfigError);
    CHECK_THROWS_AS((Filtered{SoftTarget{}, ConfidentTeacher{.threshold = -1}}.check()), retort::ConfigError);
    CHECK_THROWS_AS((OnClasses{SoftTarget{}, torch::empty({0}, torch::kLong)}.check()), retort::ConfigError);
    CHECK_THROWS_AS((OnClasses{SoftTarget{}, torch::tensor({0.0, 1.0})}.check()), retort::ConfigError);
    const auto wrong = [](const auto&, const auto&, const auto&) { return torch::ones({3}); };
    CHECK_THROWS_AS((laws::call(Filtered{SoftTarget{}, wrong}, arguments)), retort::ShapeError);
    laws::Arguments soft = arguments;
    soft.target = torch::rand({4, 3});
    CHECK_THROWS_AS(laws::call(Filtered{SoftTarget{}, ClassWeights{torch::ones({3})}}, soft),
                    retort::ShapeError);
    CHECK_THROWS_AS((retort::Knowledge{OnClasses{SoftTarget{}, torch::Tensor()}}), retort::ConfigError);
}

}  // namespace filtered_test
