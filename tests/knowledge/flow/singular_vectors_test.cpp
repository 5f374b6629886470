// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/flow/singular_vectors.hpp>

#include <golden.hpp>
#include <loss_laws.hpp>
#include <small_networks.hpp>

namespace singular_vectors_test {

using namespace retort_test;
using retort::Reduction;
using retort::SingularVectorsOptions;
using retort::functional::singular_vectors;

namespace {

using Layers = std::vector<retort::detail::SingularLayer>;

/// The teacher's layers with the signs of the reference's vectors, on which the value depends.
Layers with_signs_of(const golden::Case& signs, const std::vector<torch::Tensor>& teacher,
                     const SingularVectorsOptions& options) {
    const auto expected = signs.components("teacher_v");
    Layers layers;
    for (std::size_t layer = 0; layer < teacher.size(); ++layer) {
        auto each = retort::detail::singular_layer(teacher[layer], options);
        const auto agreement =
            (each.vectors * expected.at(layer).to(each.vectors.scalar_type())).sum(1, true);
        REQUIRE((agreement.abs() - 1).abs().max().item<double>() < 1e-4);  // the same up to the sign
        each.vectors = each.vectors * agreement.sign();
        layers.push_back(each);
    }
    return layers;
}

torch::Tensor loss_of(const std::vector<torch::Tensor>& student, const Layers& teacher,
                      SingularVectorsOptions options) {
    options.reduction = retort::Reduction::batchmean;
    return retort::detail::singular_differences(student, teacher, options);
}

/// The signs of the first layer's vectors, of each sample, for which the value is closest to `value`.
Layers closest(const std::vector<torch::Tensor>& student, const Layers& teacher,
               const SingularVectorsOptions& options, double value) {
    const torch::NoGradGuard no_grad;
    const std::int64_t batch = teacher[0].vectors.size(0);
    const std::int64_t signs = batch * teacher[0].vectors.size(2);
    Layers best;
    double least = std::numeric_limits<double>::infinity();
    for (std::int64_t choice = 0; choice < (std::int64_t{1} << signs); ++choice) {
        auto sign = torch::ones({signs}, torch::kFloat64);
        for (std::int64_t i = 0; i < signs; ++i) {
            if ((choice >> i) & 1) sign[i] = -1;
        }
        Layers tried = teacher;
        tried[0].vectors = tried[0].vectors * sign.view({batch, 1, -1});
        const double off = std::abs(loss_of(student, tried, options).item<double>() - value);
        if (off < least) {
            least = off;
            best = tried;
        }
    }
    return best;
}

}  // namespace

TEST_CASE("singular_vectors agrees with RepDistiller's KDSVD, given its signs") {
    for (const golden::Case& reference : golden::cases("kdsvd__repdistiller")) {
        auto options = SingularVectorsOptions::rep_distiller();
        options.count = static_cast<std::int64_t>(reference.option("k"));
        const auto student = reference.leaves("feat_s");
        const auto value =
            loss_of(student, with_signs_of(reference, reference.inputs("feat_t"), options), options);
        // The values are 1e-4 and smaller.
        CHECK(golden::agrees(reference, value, {{"feat_s", student}}, 1e-8, {}, 1e-16));
    }
}

TEST_CASE("singular_vectors agrees with mdistiller's KDSVD, given its signs") {
    for (const golden::Case& reference : golden::cases("kdsvd__mdistiller")) {
        auto options = SingularVectorsOptions::mdistiller();
        options.count = static_cast<std::int64_t>(reference.option("k"));
        const auto student = reference.leaves("feat_s");
        const auto teacher = reference.inputs("feat_t");
        const std::string& name = reference.name();
        const bool exact = name.ends_with("_float64");
        // The cases in float64 do not determine the signs, which differ from those of the same inputs in
        // float32.
        const auto signs =
            exact ? golden::find("kdsvd__mdistiller", name.substr(0, name.size() - 8)) : reference;
        auto layers = with_signs_of(signs, teacher, options);
        if (exact) layers = closest(student, layers, options, reference.value().item<double>());
        const auto value = loss_of(student, layers, options);
        if (exact) {
            CHECK(golden::agrees(reference, value, {{"feat_s", student}}, 1e-8, {}, 1e-16));
        } else {
            // The reference computes in float32, with singular vectors that are sensitive to rounding: 1e-2
            // of the value and 1e-1 of the gradients are all its precision.
            CHECK(golden::agrees(reference, value, {}, 1e-2, {"feat_s"}, 1e-12));
            CHECK(golden::agrees(reference, value, {{"feat_s", student}}, 1e-1, {}, 1e-12));
        }
    }
}

TEST_CASE("singular_vectors makes the largest element of the teacher's vectors positive") {
    for (const golden::Case& reference : golden::cases("kdsvd__repdistiller")) {
        const SingularVectorsOptions options{.count = static_cast<std::int64_t>(reference.option("k"))};
        const auto student = reference.inputs("feat_s");
        const auto teacher = reference.inputs("feat_t");
        Layers layers;
        for (std::size_t layer = 0; layer < teacher.size(); ++layer) {
            auto vectors = reference.components("teacher_v").at(layer).clone();
            for (std::int64_t b = 0; b < vectors.size(0); ++b) {
                for (std::int64_t k = 0; k < vectors.size(2); ++k) {
                    auto vector = vectors[b].select(1, k);
                    if (vector.max().item<double>() < -vector.min().item<double>()) vector.neg_();
                }
            }
            layers.push_back({vectors, reference.components("teacher_s").at(layer).unsqueeze(1)});
        }
        CHECK(close(singular_vectors(student, teacher, options), loss_of(student, layers, options), 1e-9,
                    1e-16));
    }
}

TEST_CASE("the gradient of singular_vectors stays finite where singular values are equal or zero") {
    for (const auto unfold : {SingularVectorsOptions::Unfold::positions_by_channels,
                              SingularVectorsOptions::Unfold::channel_rows_by_width}) {
        const auto teacher = torch::randn({2, 4, 4, 4});
        for (const auto& map : {torch::zeros({2, 4, 4, 4}), torch::ones({2, 4, 4, 4}),
                                torch::eye(4).reshape({1, 4, 4, 1}).repeat({2, 1, 1, 4})}) {
            const auto first = map.clone().requires_grad_();
            const auto second = map.clone().requires_grad_();
            const auto value =
                singular_vectors({first, second}, {teacher, teacher}, {.unfold = unfold, .count = 2});
            const auto gradients = torch::autograd::grad({value}, {first, second});
            CHECK(torch::isfinite(value).item<bool>());
            CHECK(torch::isfinite(gradients[0]).all().item<bool>());
            CHECK(torch::isfinite(gradients[1]).all().item<bool>());
        }
    }
}

TEST_CASE("singular_vectors refuses maps that are not finite") {
    const double infinity = std::numeric_limits<double>::infinity();
    const auto words = [](double value, bool of_student, std::size_t layer) {
        std::vector<torch::Tensor> student, teacher;
        for (int i = 0; i < 2; ++i) {
            student.push_back(torch::randn({2, 4, 4, 4}).requires_grad_());
            teacher.push_back(torch::randn({2, 4, 4, 4}));
        }
        auto& spoiled = (of_student ? student : teacher)[layer];
        spoiled = spoiled.detach().clone();
        spoiled[1][2][3][0] = value;
        return words_of<retort::NonFiniteError>([&] { singular_vectors(student, teacher); });
    };
    CHECK(words(infinity, true, 1) ==
          "singular_vectors: expected finite values in the student's layer 1, found an infinity");
    CHECK(words(-infinity, false, 0) ==
          "singular_vectors: expected finite values in the teacher's layer 0, found an infinity");
    CHECK(words(std::nan(""), true, 0) ==
          "singular_vectors: expected finite values in the student's layer 0, found NaN");
    CHECK(words(std::nan(""), false, 1) ==
          "singular_vectors: expected finite values in the teacher's layer 1, found NaN");
}

TEST_CASE("laws: singular_vectors") {
    for (const auto& options : {SingularVectorsOptions::rep_distiller(), SingularVectorsOptions::mdistiller(),
                                SingularVectorsOptions{.count = 2}}) {
        laws::Loss loss;
        loss.name = "singular_vectors";
        loss.value = [options](const laws::Arguments& arguments, Reduction reduction) {
            auto now = options;
            now.reduction = reduction;
            return singular_vectors(arguments.student, arguments.teacher, now);
        };
        loss.sample = [](std::int64_t batch) {
            const auto maps = [&](std::int64_t channels, std::int64_t height, std::int64_t width) {
                return torch::randn({batch, channels, height, width}, torch::kFloat64);
            };
            return laws::Arguments{.student = {maps(3, 4, 3), maps(4, 2, 3)},
                                   .teacher = {maps(3, 4, 3), maps(4, 2, 3)}};
        };
        loss.reductions = {Reduction::batchmean, Reduction::mean, Reduction::sum, Reduction::none};
        const bool channels = options.unfold == SingularVectorsOptions::Unfold::positions_by_channels;
        loss.elements = static_cast<double>(options.count * (channels ? 12 : 9));
        loss.never_negative = true;
        loss.zero_at_equality = true;
        loss.any_class_order = false;
        loss.equal_sizes = channels;
        loss.waits = true;  // LAPACK's return codes
        laws::hold(loss);
    }
}

}  // namespace singular_vectors_test
