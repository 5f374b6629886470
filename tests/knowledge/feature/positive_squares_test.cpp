// SPDX-License-Identifier: BSL-1.0
/// \file
/// Squared distances where either feature is positive.
#include <retort_test.hpp>

#include <retort/knowledge/feature/positive_squares.hpp>

namespace positive_squares_test {

using namespace retort_test;

TEST_CASE("positive_squares counts where either feature is positive, and trains only the student") {
    auto student = torch::tensor({1.0, -1.0, -2.0, 0.0}, torch::kDouble).view({1, 4}).requires_grad_();
    auto teacher = torch::tensor({3.0, 2.0, -5.0, 0.0}, torch::kDouble).view({1, 4}).requires_grad_();
    const auto value = retort::functional::positive_squares(student, teacher);
    CHECK(value.item<double>() == 4.0 + 9.0);
    value.backward();
    CHECK(same(student.grad(), torch::tensor({-4.0, -6.0, 0.0, 0.0}, torch::kDouble).view({1, 4})));
    CHECK_FALSE(teacher.grad().defined());
    CHECK_THROWS_AS(retort::functional::positive_squares(torch::rand({2, 5}), torch::rand({2, 6})),
                    retort::ShapeError);
}

}  // namespace positive_squares_test
