// SPDX-License-Identifier: BSL-1.0
// Properties of all terms with learnable parts: gradients only where they belong, initial values that follow from
// the program's seed without advancing its generator, copies that share, types and layouts, errors that
// name the taps.
#include <retort_test.hpp>

#include <retort/knowledge/connector/chain.hpp>
#include <retort/knowledge/connector/deconvolution.hpp>
#include <retort/knowledge/connector/fit_net_regressor.hpp>
#include <retort/knowledge/connector/resize.hpp>
#include <retort/knowledge/feature/activation_boundary.hpp>
#include <retort/knowledge/feature/channel_correlation.hpp>
#include <retort/knowledge/feature/channel_wise.hpp>
#include <retort/knowledge/feature/compressed_embedding.hpp>
#include <retort/knowledge/feature/factor_transfer.hpp>
#include <retort/knowledge/feature/feature_overhaul.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/feature/log_sum.hpp>
#include <retort/knowledge/feature/masked_generative.hpp>
#include <retort/knowledge/feature/pearson_correlation.hpp>
#include <retort/knowledge/feature/review_kd.hpp>
#include <retort/knowledge/feature/sim_kd.hpp>
#include <retort/knowledge/feature/srrl.hpp>
#include <retort/knowledge/feature/variational_information.hpp>
#include <retort/knowledge/knowledge.hpp>

#include "outputs.hpp"

namespace feature_terms_test {

using namespace retort_test;
using namespace feature_test;

namespace {

using Batch = std::pair<torch::Tensor, torch::Tensor>;

/// Features of a batch: maps, or vectors where `maps` is false.
struct Sample {
    explicit Sample(std::int64_t size, bool maps = true, torch::ScalarType type = torch::kFloat64)
        : student(small(feature(size, 3, maps, type), torch::randn({size, 4}, type))),
          teacher(big(feature(size, 6, maps, type), torch::randn({size, 4}, type))),
          batch{torch::Tensor(), torch::randint(4, {size}, torch::kLong)} {
        student.stages = {student.body, student.logits};
        teacher.stages = {teacher.stage3, teacher.logits};
    }
    static torch::Tensor feature(std::int64_t size, std::int64_t channels, bool maps,
                                 torch::ScalarType type) {
        return maps ? torch::randn({size, channels, 4, 4}, type) : torch::randn({size, channels}, type);
    }
    SmallOutputs student;
    BigOutputs teacher;
    Batch batch;
};

/// The properties of any of them. `make()` returns a new term.
template <class Make>
void holds(const std::string& name, const Make& make, bool maps = true, bool random = false) {
    INFO(name);
    const auto loss = [](auto& term, const Sample& sample) {
        torch::manual_seed(11);  // for the term's own random numbers
        return term(sample.student, sample.teacher, sample.batch);
    };
    torch::manual_seed(3);
    Sample sample(4, maps);

    // Its initial values follow from the seed and do not advance the program's generator.
    auto term = make();
    CHECK_FALSE(term.prepared());
    CHECK(term.module() == nullptr);
    CHECK_THROWS_AS(loss(term, sample), retort::ConfigError);
    torch::manual_seed(3);
    const auto next = torch::rand({1});
    torch::manual_seed(3);
    term.prepare(sample.student, &sample.teacher, sample.batch);
    CHECK(term.prepared());
    CHECK(same(torch::rand({1}), next));
    auto twin = make();
    twin.prepare(sample.student, &sample.teacher, sample.batch);
    CHECK(term.module()->parameters().size() == twin.module()->parameters().size());
    for (std::size_t i = 0; i < term.module()->parameters().size(); ++i)
        CHECK(same(term.module()->parameters()[i], twin.module()->parameters()[i]));

    // Gradients reach the student and all learnable parts, nothing else.
    sample.student.body.requires_grad_();
    sample.teacher.stage3.requires_grad_();
    sample.teacher.logits.requires_grad_();
    const auto value = loss(term, sample);
    CHECK(value.dim() == 0);
    CHECK(value.isfinite().template item<bool>());
    value.backward();
    CHECK(sample.student.body.grad().abs().sum().template item<double>() > 0);
    CHECK_FALSE(sample.teacher.stage3.grad().defined());
    CHECK_FALSE(sample.teacher.logits.grad().defined());
    for (const auto& each : term.module()->named_parameters()) {
        INFO(each.key());
        CHECK(each.value().scalar_type() == torch::kFloat64);
        REQUIRE(each.value().grad().defined());
        CHECK(each.value().grad().isfinite().all().template item<bool>());
    }

    // Copies share the learnable parts; a Knowledge registers them once.
    const auto copy = term;
    CHECK(copy.module() == term.module());
    CHECK(retort::Knowledge{term}.parameters().size() == term.module()->parameters().size());

    // The layout in memory does not matter.
    const auto plain = loss(term, sample).detach();
    for (const bool gaps : {false, true}) {
        Sample other = sample;
        const auto change = [&](const torch::Tensor& tensor) {
            if (gaps) return torch::stack({tensor, tensor + 1}, -1).select(-1, 0);
            return tensor.dim() == 4 ? tensor.contiguous(at::MemoryFormat::ChannelsLast) : tensor;
        };
        other.student.body = change(sample.student.body.detach());
        other.teacher.stage3 = change(sample.teacher.stage3.detach());
        other.student.stages[0] = other.student.body;
        other.teacher.stages[0] = other.teacher.stage3;
        CHECK(close(loss(term, other), plain, 1e-9, 1e-10));
    }

    // float32 agrees; huge values and a single sample are finite.
    auto single = make();
    Sample in_float(4, maps, torch::kFloat32);
    single.prepare(in_float.student, &in_float.teacher, in_float.batch);
    for (const auto& each : single.module()->parameters()) CHECK(each.scalar_type() == torch::kFloat32);
    const auto found = loss(single, in_float);
    Sample in_double = in_float;
    in_double.student.body = in_float.student.body.to(torch::kFloat64);
    in_double.student.logits = in_float.student.logits.to(torch::kFloat64);
    in_double.teacher.stage3 = in_float.teacher.stage3.to(torch::kFloat64);
    in_double.teacher.logits = in_float.teacher.logits.to(torch::kFloat64);
    in_double.student.stages = {in_double.student.body, in_double.student.logits};
    in_double.teacher.stages = {in_double.teacher.stage3, in_double.teacher.logits};
    single.prepare(in_double.student, &in_double.teacher,
                   in_double.batch);  // moves to the new type, and keeps its values
    CHECK(close(found.to(torch::kFloat64), loss(single, in_double), 1e-4, 1e-5));
    Sample huge(4, maps);
    huge.student.body = torch::randn_like(huge.student.body).sign() * 1e4;
    huge.teacher.stage3 = torch::randn_like(huge.teacher.stage3).sign() * 1e4;
    huge.student.body.requires_grad_();
    huge.student.stages[0] = huge.student.body;
    huge.teacher.stages[0] = huge.teacher.stage3;
    const auto of_huge = loss(term, huge);
    of_huge.backward();
    CHECK(of_huge.isfinite().template item<bool>());
    CHECK(huge.student.body.grad().isfinite().all().template item<bool>());
    term.module()->eval();  // a batch norm cannot be trained on one value
    CHECK(loss(term, Sample(1, maps)).isfinite().template item<bool>());
    term.module()->train();

    // Mismatches are refused, with the taps' names.
    Sample misfit(4, maps);
    misfit.student.body = torch::randn({4, 5, 4, 4}, torch::kFloat64);
    misfit.student.stages[0] = misfit.student.body;
    const auto words = message<retort::ShapeError>([&] { loss(term, misfit); });
    CHECK(words.find(term.name()) != std::string::npos);
    CHECK(words.find("5") != std::string::npos);
    misfit.student.body = torch::Tensor();
    misfit.student.stages[0] = torch::Tensor();
    CHECK_THROWS_AS(loss(term, misfit), retort::ShapeError);
    if (!random) {
        // Nothing is drawn.
        torch::manual_seed(1);
        const auto number = torch::rand({1});
        torch::manual_seed(1);
        term(sample.student, sample.teacher, sample.batch);
        CHECK(same(torch::rand({1}), number));
    }
}

torch::nn::BatchNorm2d teacher_norm() {
    torch::nn::BatchNorm2d result(6);
    result->to(torch::kFloat64);
    return result;
}

struct Stages {
    template <class Outputs>
    std::vector<torch::Tensor> operator()(const Outputs& outputs) const {
        return outputs.stages;
    }
    static std::string name() { return "stages"; }
};

}  // namespace

TEST_CASE("terms with connectors keep the laws of terms") {
    holds("hint", [] { return retort::Hint{body, stage3, retort::FitNetRegressor{}}; });
    holds("hint through a chain", [] {
        return retort::Hint{body, stage3, retort::Chain{retort::Deconvolution{}, retort::ResizeTo{}}};
    });
    holds("activation boundary",
          [] { return retort::ActivationBoundary{body, stage3, retort::FitNetRegressor{.relu = false}}; });
    holds("channel correlation", [] { return retort::ChannelCorrelation{body, stage3}; });
    holds("channel-wise", [] { return retort::ChannelWise{body, stage3, retort::Conv1x1{}}; });
    holds("Pearson", [] { return retort::PearsonCorrelation{body, stage3, retort::Conv1x1{}}; });
}

TEST_CASE("terms with their own modules keep the laws of terms") {
    holds("VID", [] { return retort::VariationalInformation{body, stage3}; });
    holds("OFD", [] { return retort::FeatureOverhaul{body, stage3, teacher_norm()}; });
    holds("SimKD", [] { return retort::SimKd{body, stage3}; });
    holds("SRD", [] { return retort::LogSum{body, stage3}; });
    holds("ReviewKD", [] { return retort::ReviewKd{Stages{}, Stages{}}; });
    holds("MGD", [] { return retort::MaskedGenerative{body, stage3}; }, true, true);
    holds("embedding compression", [] { return retort::CompressedEmbedding{body, stage3}; }, false);
}

TEST_CASE("terms with a part of the teacher keep the laws of terms") {
    torch::nn::Linear head(6, 4);
    head->to(torch::kFloat64);
    holds("SRRL", [&] {
        // Converted to the feature's type, as in a teacher of that type.
        return retort::Srrl{body, stage3, [head](const torch::Tensor& feature) {
                                return torch::linear(feature, head->weight.detach().to(feature.scalar_type()),
                                                     head->bias.detach().to(feature.scalar_type()));
                            }};
    });
    const retort::Paraphraser paraphraser(6);
    holds("FT", [&] { return retort::FactorTransfer{body, stage3, paraphraser}; });
    CHECK_FALSE(paraphraser.ptr()->parameters().front().grad().defined());
}

}  // namespace feature_terms_test
