// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/logit_mse.hpp>
#include <retort/knowledge/logit/soft_target.hpp>

#include <golden.hpp>

namespace soft_target_golden_test {

using namespace retort_test;
using retort::Reduction;
using retort::SoftTarget;
using retort::functional::cross_entropy;
using retort::functional::soft_target;
using Form = retort::SoftTarget::Form;

namespace {

/// The preset at the temperature of the case.
SoftTarget at_temperature(SoftTarget preset, const golden::Case& reference) {
    preset.temperature = reference.option("T");
    return preset;
}

/// Value and gradient are finite.
bool finite(const torch::Tensor& value, const torch::Tensor& leaf) {
    const auto gradient = torch::autograd::grad({value}, {leaf}, {}, true)[0];
    return torch::isfinite(value).all().item<bool>() && torch::isfinite(gradient).all().item<bool>();
}

}  // namespace

TEST_CASE("soft_target agrees with RepDistiller's KD") {
    for (const golden::Case& reference : golden::cases("kd__repdistiller")) {
        const auto student = reference.leaf("logits_student");
        const auto value = soft_target(student, reference.input("logits_teacher"),
                                       at_temperature(SoftTarget::rep_distiller(), reference));
        CHECK(golden::agrees(reference, value, {{"logits_student", {student}}}));
    }
}

TEST_CASE("soft_target and cross_entropy agree with mdistiller's KD") {
    for (const golden::Case& reference : golden::cases("kd__mdistiller")) {
        const auto student = reference.leaf("logits_student");
        const auto value = reference.option("ce_weight") * cross_entropy(student, reference.input("target")) +
                           reference.option("kd_weight") *
                               soft_target(student, reference.input("logits_teacher"),
                                           at_temperature(SoftTarget::rep_distiller(), reference));
        CHECK(golden::agrees(reference, value, {{"logits_student", {student}}}));
    }
}

TEST_CASE("soft_target agrees with cls_KD's KD, and is finite where that is not") {
    for (const golden::Case& reference : golden::cases("kd__cls_kd")) {
        const auto student = reference.leaf("logits_student");
        const auto value =
            reference.option("alpha") * soft_target(student, reference.input("logits_teacher"),
                                                    at_temperature(SoftTarget::cls_kd(), reference));
        if (reference.name() == "large_1e3") {  // the logarithm of a softmax there
            CHECK(torch::isnan(reference.value()).item<bool>());
            CHECK(finite(value, student));
            const auto teacher = reference.input("logits_teacher").softmax(1);
            CHECK(close(value, -0.5 * (teacher * student.log_softmax(1)).sum(1).mean(), 1e-12));
        } else {
            CHECK(golden::agrees(reference, value, {{"logits_student", {student}}}));
        }
    }
}

TEST_CASE("soft_target and logit_mse agree with TextBrewer's") {
    for (const golden::Case& reference : golden::cases("kd__textbrewer")) {
        const auto student = reference.leaf("logits_student");
        const auto rows = [](const torch::Tensor& logits) { return logits.reshape({-1, logits.size(-1)}); };
        auto of_student = rows(student);
        auto of_teacher = rows(reference.input("logits_teacher"));
        torch::Tensor value;
        if (reference.word("function") == "kd_mse_loss") {
            value = retort::functional::logit_mse(of_student, of_teacher,
                                                  retort::LogitMse::text_brewer(reference.option("T")));
        } else if (reference.has_input(
                       "temperature_per_sample")) {  // one temperature each: divided beforehand
            const auto each = reference.input("temperature_per_sample").unsqueeze(1);
            value = soft_target(of_student / each, of_teacher / each, SoftTarget::text_brewer(1.0));
        } else {
            value = soft_target(of_student, of_teacher, SoftTarget::text_brewer(reference.option("T")));
        }
        CHECK(golden::agrees(reference, value, {{"logits_student", {student}}}));
    }
}

TEST_CASE("soft_target agrees with KD_Lib's KD") {
    for (const golden::Case& reference : golden::cases("kd__kdlib")) {
        const auto student = reference.leaf("logits_student");
        const double share = reference.option("distil_weight");
        const auto value = (1 - share) * cross_entropy(student, reference.input("target")) +
                           share * soft_target(student, reference.input("logits_teacher"),
                                               at_temperature(SoftTarget::kd_lib(), reference));
        CHECK(golden::agrees(reference, value, {{"logits_student", {student}}}));
    }
}

TEST_CASE("soft_target agrees with Teacher-free KD's, from a teacher and from the student itself") {
    for (const char* file : {"kd__tfkd_mean", "tfkd_self__tfkd"}) {
        for (const golden::Case& reference : golden::cases(file)) {
            const auto student = reference.leaf("logits_student");
            const double alpha = reference.option("alpha");
            const auto value = (1 - alpha) * cross_entropy(student, reference.input("target")) +
                               alpha * reference.option("multiplier") *
                                   soft_target(student, reference.input("logits_teacher"),
                                               SoftTarget::teacher_free(reference.option("T")));
            CHECK(golden::agrees(reference, value, {{"logits_student", {student}}}));
        }
    }
}

TEST_CASE("soft_target and cross_entropy agree with torchdistill's KD") {
    for (const golden::Case& reference : golden::cases("kd__torchdistill")) {
        const auto student = reference.leaf("logits_student");
        const auto teacher = reference.input("logits_teacher");
        const double alpha = reference.option("alpha");
        torch::Tensor value;
        if (alpha <= 0 || !reference.has_input("target")) {  // -1 is None
            value = soft_target(student, teacher, SoftTarget::torch_distill_bare(reference.option("T")));
        } else {
            const double beta = reference.option("beta") < 0 ? 1 - alpha : reference.option("beta");
            const Reduction reduction = reference.word("reduction") == "sum"    ? Reduction::sum
                                        : reference.word("reduction") == "mean" ? Reduction::mean
                                                                                : Reduction::batchmean;
            value = alpha * cross_entropy(student, reference.input("target"), {.reduction = reduction}) +
                    beta * soft_target(student, teacher,
                                       {.temperature = reference.option("T"), .reduction = reduction});
        }
        CHECK(golden::agrees(reference, value, {{"logits_student", {student}}}));
    }
}

namespace {

/// The loss of student i among its peers: cross-entropy with the target and the sum or mean over the peers.
torch::Tensor mutual(const std::vector<torch::Tensor>& logits, const torch::Tensor& target, std::size_t i,
                     const SoftTarget& options, bool mean, double label_smoothing = 0) {
    torch::Tensor result = cross_entropy(logits[i], target, {.label_smoothing = label_smoothing});
    for (std::size_t j = 0; j < logits.size(); ++j) {
        if (j == i) continue;
        const auto from_peer = soft_target(logits[i], logits[j], options);
        result = result + (mean ? from_peer / static_cast<double>(logits.size() - 1) : from_peer);
    }
    return result;
}

}  // namespace

TEST_CASE("soft_target between students agrees with Deep Mutual Learning's") {
    for (const golden::Case& reference : golden::cases("dml__official")) {
        const auto logits = reference.leaves("logits");
        const auto total = [&](const SoftTarget& options) {
            torch::Tensor sum = torch::zeros({}, torch::kFloat64);
            for (std::size_t i = 0; i < logits.size(); ++i) {
                sum = sum + mutual(logits, reference.input("target"), i, options, /*mean=*/false,
                                   reference.option("label_smoothing"));
            }
            return sum;
        };
        CHECK(golden::agrees(reference, total(SoftTarget::deep_mutual_learning()), {{"logits", logits}}));
        // Without the 1e-8 in the logarithm: the divergence itself, which a saturated peer does not cut off.
        const auto exact = total({.temperature = 1.0});
        if (reference.name() == "confident" || reference.name() == "large_1e3") {
            CHECK(exact.item<double>() > reference.value().item<double>());
        } else {
            CHECK(close(exact, reference.value(), 1e-5));
        }
    }
}

TEST_CASE("soft_target between students agrees with the port of Deep Mutual Learning") {
    for (const golden::Case& reference : golden::cases("dml__yukiharada")) {
        const auto logits = reference.leaves("logits");
        torch::Tensor total = torch::zeros({}, torch::kFloat64);
        for (std::size_t i = 0; i < logits.size(); ++i) {
            total = total + mutual(logits, reference.input("target"), i,
                                   {.temperature = reference.option("T")}, /*mean=*/true);
        }
        CHECK(golden::agrees(reference, total, {{"logits", logits}}));
    }
}

TEST_CASE("KD_Lib's mutual learning is the mean square of logits, and leaks into the peers") {
    for (const golden::Case& reference : golden::cases("dml__kdlib")) {
        const auto logits = reference.leaves("logits");
        torch::Tensor value = cross_entropy(logits[0], reference.input("target"));
        for (std::size_t j = 1; j < logits.size(); ++j) {
            value = value + retort::functional::logit_mse(logits[0], logits[j]) /
                                static_cast<double>(logits.size() - 1);
        }
        CHECK(golden::deviation(value, reference.value()) <= 1e-8);
        const auto gradients =
            torch::autograd::grad({value}, logits, {}, false, false, /*allow_unused=*/true);
        const auto& expected = reference.gradients().at("logits");
        CHECK(golden::deviation(gradients[0], expected[0]) <= 1e-8);
        for (std::size_t j = 1; j < logits.size(); ++j) {
            CHECK_FALSE(gradients[j].defined());  // a peer is a constant here
            if (reference.name() != "equal") CHECK(expected[j].abs().max().item<double>() > 0);
        }
    }
}

TEST_CASE("soft_target agrees with OKDDip's mutual learning, whose targets are trained, too") {
    for (const golden::Case& reference : golden::cases("dml__okddip")) {
        const auto logits = reference.leaves("logits");
        SoftTarget options = at_temperature(SoftTarget::diverse_peers(), reference);
        if (reference.word("loss") == "CE") options.form = Form::cross_entropy;
        torch::Tensor value = torch::zeros({}, torch::kFloat64);
        for (std::size_t i = 0; i < logits.size(); ++i) {
            const double peers = static_cast<double>(logits.size() - 1);
            value = value + cross_entropy(logits[i], reference.input("target"));
            torch::Tensor mean = torch::zeros_like(logits[i]);
            for (std::size_t j = 0; j < logits.size(); ++j) {
                if (j == i) continue;
                mean = mean + logits[j] / peers;
                if (reference.option("pairwise_average") == 1) {
                    value = value + soft_target(logits[i], logits[j], options) / peers;
                }
            }
            if (reference.option("pairwise_average") != 1)
                value = value + soft_target(logits[i], mean, options);
        }
        CHECK(golden::agrees(reference, value, {{"logits", logits}}));
    }
}

TEST_CASE("soft_target per sample agrees with the Knowledge Transfer Graph's edges") {
    int compared = 0;
    for (const golden::Case& reference : golden::cases("ktg__dcl")) {
        if (!reference.has_component("kl_per_sample")) continue;
        SoftTarget options = at_temperature(SoftTarget::transfer_graph(), reference);
        options.t_squared = false;  // after the gate there
        options.reduction = Reduction::none;
        const auto student = reference.leaf("logits_target");
        const auto each = soft_target(student, reference.input("logits_source"), options);
        INFO(reference.name());
        CHECK(golden::deviation(each, reference.component("kl_per_sample")) <= 1e-8);
        if (reference.word("gate") == "Through") {
            const double t = reference.option("T");
            CHECK(golden::agrees(reference, t * t * each.mean(), {{"logits_target", {student}}}));
        }
        ++compared;
    }
    CHECK(compared >= 10);
}

TEST_CASE("soft_target agrees with the port of the Knowledge Transfer Graph's edges, times their gates") {
    for (const golden::Case& reference : golden::cases("ktg__yukiharada")) {
        const auto student = reference.leaf("logits_target");
        const double last = reference.option("max_epoch") - 1;
        const double share = last > 0 ? reference.option("epoch") / last : 0;
        const std::map<std::string, double> gates{
            {"Through", 1}, {"Cutoff", 0}, {"PositiveLinear", share}, {"NegativeLinear", 1 - share}};
        const auto value = gates.at(reference.word("gate")) *
                           soft_target(student, reference.input("logits_source"),
                                       at_temperature(SoftTarget::transfer_graph(), reference));
        CHECK(golden::agrees(reference, value, {{"logits_target", {student}}}));
    }
}

TEST_CASE("soft_target and cross_entropy form the logit part of Be Your Own Teacher") {
    for (const golden::Case& reference : golden::cases("byot__byot")) {
        const auto last = reference.leaf("logits_final"), target = reference.input("target");
        const auto middle = reference.leaves("logits_middle");
        const double alpha = reference.option("alpha");
        auto value = (1 - alpha) * cross_entropy(last, target);
        const auto deep = reference.input("feat_final");
        for (std::size_t i = 0; i < middle.size(); ++i) {
            const auto soft =
                soft_target(middle[i], last, at_temperature(SoftTarget::be_your_own_teacher(), reference));
            CHECK(golden::deviation(soft, reference.components("kd_T2")[i]) <= 1e-8);
            // The feature part, explicitly: squares where either is positive.
            const auto shallow = reference.inputs("feat_middle")[i];
            const auto squares = (shallow - deep).square() * ((shallow > 0) | (deep > 0));
            value = value + (1 - alpha) * cross_entropy(middle[i], target) + alpha * soft +
                    reference.option("beta") * squares.sum();
        }
        CHECK(golden::agrees(reference, value, {{"logits_final", {last}}, {"logits_middle", middle}}, 1e-8,
                             {"feat_final", "feat_middle"}));
    }
}

}  // namespace soft_target_golden_test
