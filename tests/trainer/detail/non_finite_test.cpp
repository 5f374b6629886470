// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/trainer/detail/non_finite.hpp>

namespace non_finite_test {

using retort::detail::non_finite;

namespace {
const double infinity = std::numeric_limits<double>::infinity();
bool found(const std::vector<torch::Tensor>& tensors) {
    const torch::Tensor flag = non_finite(tensors);
    return flag.defined() && flag.item<float>() != 0;
}
}  // namespace

TEST_CASE("NaN and infinity are found at every position, in every floating-point type") {
    for (const auto type : {torch::kFloat64, torch::kFloat32, torch::kBFloat16, torch::kFloat16}) {
        for (const std::int64_t size : {1, 31, 32, 33, 70}) {
            const auto numbers = torch::randn({size}, torch::kFloat64).to(type);
            CHECK_FALSE(found({numbers}));
            for (const std::int64_t position : {std::int64_t{0}, size / 2, size - 1}) {
                for (const double bad : {std::nan(""), infinity, -infinity}) {
                    auto spoiled = numbers.clone();
                    spoiled[position] = bad;
                    CHECK(found({numbers, spoiled}));
                }
            }
        }
    }
}

TEST_CASE("the largest and the smallest finite numbers are finite") {
    for (const auto type : {torch::kFloat64, torch::kFloat32}) {
        const double most =
            type == torch::kFloat64 ? std::numeric_limits<double>::max() : std::numeric_limits<float>::max();
        CHECK_FALSE(found({torch::tensor({most, -most, 0.0, 5e-324, 1e-45}, torch::kFloat64).to(type)}));
    }
    CHECK_FALSE(found({torch::tensor({65504.0, -65504.0, 6e-8}).to(torch::kFloat16)}));
    CHECK_FALSE(found({torch::tensor({3.3895e38, -3.3895e38}).to(torch::kBFloat16)}));
}

TEST_CASE("other layouts and types: strided, sparse, complex, empty, undefined") {
    auto wide = torch::zeros({4, 6});
    wide[1][1] = std::nan("");
    CHECK(found({wide.narrow(1, 1, 2)}));
    CHECK_FALSE(found({wide.narrow(1, 2, 3)}));  // the NaN is in memory, but not in the tensor
    CHECK(found({wide.t()}));
    CHECK(found({wide.to_sparse()}));
    CHECK_FALSE(found({torch::eye(3).to_sparse()}));
    CHECK(found({torch::complex(torch::ones({2}), torch::full({2}, infinity))}));
    CHECK_FALSE(found({torch::Tensor(), torch::empty({0})}));
    CHECK_FALSE(found({}));
}

TEST_CASE("large tensors are looked through in pieces") {
    auto large = torch::zeros({(1 << 20) + 5});
    CHECK_FALSE(found({large}));
    large[(1 << 20) + 4] = infinity;
    CHECK(found({large}));
}

}  // namespace non_finite_test
