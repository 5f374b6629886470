// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/relation/similarity_preserving.hpp>

#include <golden.hpp>

namespace similarity_preserving_test {

using namespace retort_test;
using retort::SimilarityPreservingOptions;
using retort::functional::similarity_preserving;

TEST_CASE("similarity_preserving agrees with RepDistiller's SP") {
    for (const golden::Case& reference : golden::cases("sp__repdistiller")) {
        const auto student = reference.leaves("feat_s");
        const auto teacher = reference.inputs("feat_t");
        torch::Tensor value = torch::zeros({}, torch::kFloat64);
        for (std::size_t layer = 0; layer < student.size(); ++layer) {
            value = value + similarity_preserving(student[layer], teacher[layer],
                                                  SimilarityPreservingOptions::rep_distiller());
        }
        CHECK(golden::agrees(reference, value, {{"feat_s", student}}));
    }
}

TEST_CASE("similarity_preserving agrees with torchdistill's SPKDLoss") {
    for (const golden::Case& reference : golden::cases("sp__torchdistill")) {
        const auto student = reference.leaf("feat_s");
        auto options = SimilarityPreservingOptions::torchdistill();
        // Its batchmean divides by batch^2.
        options.reduction =
            reference.word("reduction") == "sum" ? retort::Reduction::sum : retort::Reduction::mean;
        const auto value = similarity_preserving(student, reference.input("feat_t"), options);
        CHECK(golden::agrees(reference, value, {{"feat_s", {student}}}));
    }
}

}  // namespace similarity_preserving_test
