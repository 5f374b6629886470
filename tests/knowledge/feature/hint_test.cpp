// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/connector/chain.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/connector/deconvolution.hpp>
#include <retort/knowledge/connector/fit_net_regressor.hpp>
#include <retort/knowledge/connector/mlp.hpp>
#include <retort/knowledge/connector/resize.hpp>
#include <retort/knowledge/feature/hint.hpp>

#include <golden_module.hpp>

#include "outputs.hpp"

namespace hint_test {

using namespace retort_test;
using namespace feature_test;

TEST_CASE("Hint with FitNet's regressor agrees with RepDistiller") {
    const golden::Renames renames{{"convolution", "regressor.conv"}, {"norm", "regressor.bn"}};
    for (const golden::Case& reference : golden::cases("fitnet__repdistiller")) {
        const auto student = small(reference.leaf("feat_s"));
        const auto teacher = big(reference.input("feat_t"));
        retort::Hint hint{body, stage3, retort::FitNetRegressor{}};
        const auto batch = prepared(hint, student, teacher);
        auto leaves = golden::load(*hint.module(), reference, renames);
        leaves["feat_s"] = {student.body};
        CHECK(golden::agrees(reference, hint(student, teacher, batch), leaves));
        CHECK(golden::statistics_agree(*hint.module(), reference, renames));
    }
}

TEST_CASE("FitNet's regressor requires a map that it can enlarge") {
    const auto found =
        message<retort::ShapeError>([] { retort::FitNetRegressor{}.build({2, 3, 4, 4}, {2, 5, 7, 7}); });
    CHECK(found.find("[2, 3, 4, 4]") != std::string::npos);
    CHECK(found.find("[2, 5, 7, 7]") != std::string::npos);
}

TEST_CASE("connectors map the student's shape to the teacher's") {
    const auto student = torch::randn({2, 3, 4, 4});
    const auto teacher = torch::randn({2, 5, 8, 8});
    const auto made = [&](const auto& connector) {
        return connector.build(student.sizes(), teacher.sizes())->forward(student).sizes().vec();
    };
    const auto wanted = teacher.sizes().vec();
    CHECK(made(retort::Deconvolution{}) == wanted);
    CHECK(made(retort::Chain{retort::Conv1x1{},
                             retort::ResizeTo{.resampling = retort::Resampling::bilinear}}) == wanted);
    CHECK(made(retort::Chain{retort::ResizeTo{.resampling = retort::Resampling::nearest},
                             retort::Conv1x1{}}) == wanted);
    // The second part starts from the output of the first.
    CHECK(made(retort::Chain{retort::Convolution{.out = 7}, retort::Deconvolution{}}) == wanted);
    CHECK(made(retort::ResizeTo{2, 2}) == std::vector<std::int64_t>{2, 3, 2, 2});
    CHECK(retort::Mlp{.batch_norm = true}.build({2, 6}, {2, 9})->forward(torch::randn({2, 6})).sizes() ==
          torch::IntArrayRef({2, 9}));
}

TEST_CASE("building a chain leaves the statistics of its batch norms unchanged") {
    auto chain = retort::Chain{retort::Conv1x1{.batch_norm = true}, retort::Conv1x1{}}.build({2, 3, 4, 4},
                                                                                             {2, 5, 4, 4});
    CHECK(chain->is_training());
    for (const auto& buffer : chain->named_buffers()) {
        if (buffer.key().ends_with("num_batches_tracked"))
            CHECK(buffer.value().template item<std::int64_t>() == 0);
    }
}

TEST_CASE("a chain trains all of its parts") {
    retort::Hint hint{body, stage3, retort::Chain{retort::Conv1x1{}, retort::ResizeTo{}}};
    const auto student = small(torch::randn({2, 3, 4, 4}).requires_grad_());
    const auto teacher = big(torch::randn({2, 5, 8, 8}));
    const auto batch = prepared(hint, student, teacher);
    hint(student, teacher, batch).backward();
    CHECK(hint.module()->parameters().size() == 2);
    for (const auto& parameter : hint.module()->parameters())
        CHECK(parameter.grad().abs().sum().item<float>() > 0);
    CHECK(student.body.grad().defined());
}

TEST_CASE("Hint names the feature that does not fit its connector") {
    retort::Hint hint{body, stage3, retort::Conv1x1{64, 256}};
    const auto student = small(torch::randn({2, 32, 4, 4}));
    const auto teacher = big(torch::randn({2, 256, 4, 4}));
    const auto found = message<retort::ShapeError>([&] { hint(student, teacher, torch::Tensor()); });
    CHECK(found.find("body") != std::string::npos);
    CHECK(found.find("stage3") != std::string::npos);
    CHECK(found.find("[2, 32, 4, 4]") != std::string::npos);
    CHECK(found.find("64") != std::string::npos);
}

}  // namespace hint_test
