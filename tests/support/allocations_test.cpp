// SPDX-License-Identifier: BSL-1.0
#include <allocations.hpp>
#include <retort_test.hpp>

namespace allocations_test {

using namespace retort_test;

TEST_CASE("AllocationCount counts bytes, their peak and the largest allocation") {
    const auto before = torch::zeros({1000}, torch::kFloat32);
    AllocationCount count;
    {
        const auto one = torch::zeros({100}, torch::kFloat32);
        const auto other = torch::zeros({50}, torch::kFloat32);
        CHECK(count.bytes() == 600);
    }
    CHECK(count.bytes() == 0);
    CHECK(count.peak() == 600);
    CHECK(count.largest() == 400);
    CHECK(count.allocations() == 2);
    count.reset();
    CHECK(count.peak() == 0);
}

TEST_CASE("AllocationCount follows into the backward pass, and ends with its scope") {
    const auto leaf = torch::ones({1000}, torch::kFloat32).requires_grad_();
    const auto loss = leaf.exp().sum();
    {
        AllocationCount count;
        loss.backward();
        CHECK(count.peak() >= 4000);
    }
    AllocationCount count;
    const auto none = torch::Tensor();
    CHECK(count.peak() == 0);
}

}  // namespace allocations_test
