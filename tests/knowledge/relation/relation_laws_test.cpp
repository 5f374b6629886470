// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/relation/probabilistic_transfer.hpp>
#include <retort/knowledge/relation/relational.hpp>
#include <retort/knowledge/relation/similarity_preserving.hpp>

#include <loss_laws.hpp>

namespace relation_laws_test {

using namespace retort_test;
using retort::Reduction;
namespace functional = retort::functional;

namespace {

const std::vector<Reduction> all{Reduction::mean, Reduction::batchmean, Reduction::sum, Reduction::none};

/// A loss on the pairs of a batch: the suite compares reductions at a batch of 4.
template <class Function, class Options>
laws::Loss on_pairs(std::string name, Function function, Options options,
                    std::vector<std::int64_t> student = {2, 3, 1}, std::vector<std::int64_t> teacher = {7}) {
    laws::Loss loss = laws::of_function(std::move(name), function, options, all,
                                        laws::random_features(std::move(student), std::move(teacher)));
    loss.elements = 4;
    loss.none_is_mean = true;
    loss.never_negative = true;
    loss.zero_at_equality = true;
    loss.equal_sizes = false;
    loss.any_class_order = false;
    return loss;
}

}  // namespace

TEST_CASE("laws: similarity_preserving") {
    laws::hold(on_pairs("similarity_preserving", &functional::similarity_preserving,
                        retort::SimilarityPreservingOptions{}));
    laws::hold(on_pairs("similarity_preserving, torchdistill", &functional::similarity_preserving,
                        retort::SimilarityPreservingOptions::torchdistill()));
}

TEST_CASE("laws: relational_distance") {
    laws::hold(
        on_pairs("relational_distance", &functional::relational_distance, retort::RelationalOptions{}));
    laws::hold(on_pairs("relational_distance, mmrazor", &functional::relational_distance,
                        retort::RelationalOptions::mmrazor()));
}

TEST_CASE("laws: relational_angle") {
    laws::Loss loss =
        on_pairs("relational_angle", &functional::relational_angle, retort::RelationalOptions{});
    loss.elements = 16;
    laws::hold(loss);
    loss = on_pairs("relational_angle, mmrazor", &functional::relational_angle,
                    retort::RelationalOptions::mmrazor());
    loss.elements = 16;
    laws::hold(loss);
}

TEST_CASE("laws: relational") {
    laws::Loss loss = on_pairs("relational", &functional::relational, retort::RelationalOptions{});
    loss.reductions = {Reduction::mean, Reduction::none};
    laws::hold(loss);
}

TEST_CASE("laws: hard_dark_rank") {
    laws::Loss loss =
        on_pairs("hard_dark_rank", &functional::hard_dark_rank, retort::HardDarkRankOptions{.length = 2});
    loss.elements = 1;
    loss.reductions = {Reduction::batchmean, Reduction::mean, Reduction::sum, Reduction::none};
    loss.zero_at_equality = false;  // a negative log-likelihood
    laws::hold(loss);
}

TEST_CASE("laws: probabilistic_transfer") {
    laws::Loss loss = on_pairs("probabilistic_transfer", &functional::probabilistic_transfer,
                               retort::ProbabilisticTransferOptions{});
    loss.zero = 1e-7;  // epsilon bounds the gradient at equality
    laws::hold(loss);
    loss =
        on_pairs("probabilistic_transfer, Student-t", &functional::probabilistic_transfer,
                 retort::ProbabilisticTransferOptions{.kernel = {.kind = retort::Kernel::Kind::student_t}});
    loss.zero = 1e-7;
    laws::hold(loss);
}

TEST_CASE("laws: class_neighbors") {
    laws::Loss loss = on_pairs(
        "class_neighbors",
        [](const torch::Tensor& student, const torch::Tensor&, const auto& options) {
            return functional::class_neighbors(student, torch::tensor({0}), options);
        },
        retort::ProbabilisticTransferOptions{});
    loss.value = [](const laws::Arguments& arguments, Reduction reduction) {
        return functional::class_neighbors(arguments.student.at(0), arguments.target,
                                           {.reduction = reduction});
    };
    loss.sample = laws::without_teacher(loss.sample);
    loss.zero_at_equality = false;
    laws::hold(loss);
}

}  // namespace relation_laws_test
