// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/flow/information_flow.hpp>
#include <retort/knowledge/flow/matched_information_flow.hpp>
#include <retort/knowledge/flow/solution_procedure.hpp>

#include <loss_laws.hpp>

namespace flow_laws_test {

using namespace retort_test;
using retort::Reduction;
namespace functional = retort::functional;

namespace {

const std::vector<Reduction> all{Reduction::mean, Reduction::batchmean, Reduction::sum, Reduction::none};

laws::Loss information_flow(const std::string& name, const retort::InformationFlowOptions& options) {
    laws::Loss loss = laws::of_function("information_flow, " + name, &functional::information_flow, options,
                                        all, laws::random_features({2, 3, 1}, {7}));
    loss.elements = options.diagonal ? 4 : 3;  // the suite compares reductions at a batch of 4
    loss.none_is_mean = true;
    loss.never_negative = true;
    loss.zero_at_equality = true;
    loss.equal_sizes = false;
    loss.any_class_order = false;
    return loss;
}

/// Lists of two layers of a student and of a teacher.
laws::Loss solution_procedure(const std::string& name, const retort::SolutionProcedureOptions& options) {
    laws::Loss loss;
    loss.name = "solution_procedure, " + name;
    loss.value = [options](const laws::Arguments& arguments, Reduction reduction) {
        auto now = options;
        now.reduction = reduction;
        return functional::solution_procedure(arguments.student, arguments.teacher, now);
    };
    loss.sample = [](std::int64_t batch) {
        const auto maps = [&](std::int64_t channels, std::int64_t height, std::int64_t width) {
            return torch::randn({batch, channels, height, width}, torch::kFloat64);
        };
        return laws::Arguments{.student = {maps(2, 4, 4), maps(3, 2, 2)},
                               .teacher = {maps(2, 4, 4), maps(3, 2, 2)}};
    };
    loss.reductions = all;
    loss.elements = options.distance == retort::SolutionProcedureOptions::Distance::squared ? 6 : 3;
    loss.none_is_mean = true;
    loss.never_negative = true;
    loss.zero_at_equality = true;
    loss.any_class_order = false;
    return loss;
}

/// Three layers of a student that follow two of a teacher's.
laws::Loss matched_information_flow() {
    laws::Loss loss;
    loss.name = "matched_information_flow";
    loss.value = [](const laws::Arguments& arguments, Reduction reduction) {
        return functional::matched_information_flow(arguments.student, arguments.teacher,
                                                    {.layer = {.reduction = reduction},
                                                     .map = retort::LayerMap{0, 1, 1},
                                                     .weights = {2.0, 1.0, 0.5}});
    };
    loss.sample = [](std::int64_t batch) {
        const auto rows = [&](std::int64_t width) { return torch::randn({batch, width}, torch::kFloat64); };
        const auto last = rows(5);
        return laws::Arguments{.student = {rows(3), last, last + 0.1 * rows(5)},
                               .teacher = {rows(4), rows(2)}};
    };
    loss.reductions = all;
    loss.elements = 4;  // the suite compares reductions at a batch of 4
    loss.none_is_mean = true;
    loss.never_negative = true;
    loss.equal_sizes = false;
    loss.any_class_order = false;
    return loss;
}

}  // namespace

TEST_CASE("laws: information_flow") {
    using retort::InformationFlowOptions;
    using retort::Kernel;
    using retort::NeighborDivergence;
    laws::hold(information_flow("released", InformationFlowOptions::released()));
    laws::hold(information_flow("paper", InformationFlowOptions::paper()));
    const std::map<std::string, Kernel> kernels{{"cosine", {}},
                                                {"student_t", {.kind = Kernel::Kind::student_t, .degree = 3}},
                                                {"rbf", {.kind = Kernel::Kind::rbf, .sigma = 2}},
                                                {"cauchy", {.kind = Kernel::Kind::cauchy, .sigma = 0.5}}};
    for (const auto& [name, kernel] : kernels) {
        laws::hold(information_flow(name, {.combined = false, .kernel = kernel}));
    }
    laws::Loss adaptive =
        information_flow("adaptive_rbf", {.combined = false, .kernel = {.kind = Kernel::Kind::adaptive_rbf}});
    adaptive.whole_gradient = false;  // sigma is a constant
    laws::hold(adaptive);
    const std::map<std::string, NeighborDivergence> divergences{
        {"kl", NeighborDivergence::kl},
        {"abs", NeighborDivergence::abs},
        {"squared", NeighborDivergence::squared},
        {"exponential", NeighborDivergence::exponential},
        {"kagan", NeighborDivergence::kagan}};
    for (const auto& [name, divergence] : divergences) {
        laws::Loss loss = information_flow(name, {.divergence = divergence});
        if (divergence == NeighborDivergence::kl) loss.zero = 1e-5;  // its epsilon of 1e-6, of both kernels
        laws::hold(loss);
    }
}

TEST_CASE("laws: matched_information_flow") { laws::hold(matched_information_flow()); }

TEST_CASE("laws: solution_procedure") {
    laws::hold(solution_procedure("RepDistiller", retort::SolutionProcedureOptions::rep_distiller()));
    laws::hold(solution_procedure("torchdistill", retort::SolutionProcedureOptions::torchdistill()));
}

}  // namespace flow_laws_test
