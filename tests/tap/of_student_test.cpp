// SPDX-License-Identifier: BSL-1.0
/// \file
/// Taps of a student's outputs among those of an ensemble.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/tap.hpp>

namespace of_student_test {

using namespace retort_test;

TEST_CASE("of_student reads a tap of one student, and LogitsTap the logits of any outputs") {
    struct Outputs {
        torch::Tensor logits;
        std::vector<ConvOutputs> students;
    };
    Outputs outputs{torch::rand({2, 3}), {}};
    for (int i = 0; i < 2; ++i) outputs.students.push_back({torch::rand({2, 3}), torch::rand({2, 4}), {}});
    CHECK(
        retort::of_student<1>(retort::tap<&ConvOutputs::early>)(outputs).is_same(outputs.students[1].early));
    const auto answer = retort::of_student<0>(retort::LogitsTap{});
    CHECK(answer(outputs).is_same(outputs.students[0].logits));
    CHECK(answer.name() == "student0.logits");
    CHECK(retort::LogitsTap{}(outputs).is_same(outputs.logits));
    CHECK(retort::LogitsTap{}(outputs.logits).is_same(outputs.logits));
    CHECK(words_of<retort::ShapeError>([&] { retort::of_student<2>(retort::LogitsTap{})(outputs); }) ==
          "tap: expected a student 2, found only 2 students");
}

}  // namespace of_student_test
