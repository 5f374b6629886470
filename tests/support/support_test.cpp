// SPDX-License-Identifier: BSL-1.0
/// \file
/// The helpers of all other tests.
#include <retort_test.hpp>

namespace support_test {

using namespace retort_test;

namespace {
std::string words(const Comparison& comparison) {
    std::ostringstream text;
    text << comparison;
    return std::move(text).str();
}
}  // namespace

TEST_CASE("same() detects a single bit") {
    const auto a = torch::rand({3, 4});
    auto b = a.clone();
    CHECK(same(a, b));
    b[1][2] = std::nextafter(b[1][2].item<float>(), 2.0F);
    CHECK_FALSE(same(a, b));
    CHECK(words(same(a, b)).find("flat index 6 of 12") != std::string::npos);
}

TEST_CASE("same() distinguishes types, sizes and signs of zero") {
    const auto zeros = torch::zeros({2});
    CHECK_FALSE(same(zeros, torch::zeros({2}, torch::kFloat64)));
    CHECK_FALSE(same(zeros, torch::zeros({2, 1})));
    CHECK_FALSE(same(zeros, -zeros));
    CHECK_FALSE(same(zeros, torch::Tensor()));
    CHECK(same(torch::Tensor(), torch::Tensor()));
}

TEST_CASE("same() compares values, not layouts") {
    const auto a = torch::rand({2, 3});
    CHECK(same(a, a.t().contiguous().t()));
}

TEST_CASE("close() respects its tolerances and prints the difference") {
    const auto a = torch::tensor({1.0, 2.0}, torch::kFloat64);
    const auto b = torch::tensor({1.0, 2.5}, torch::kFloat64);
    CHECK(close(a, b, 0.0, 0.6));
    CHECK_FALSE(close(a, b, 0.0, 0.4));
    CHECK(words(close(a, b)).find("largest absolute difference 0.5 at flat index 1") != std::string::npos);
    CHECK_FALSE(close(a, torch::tensor({1.0, std::nan("")}, torch::kFloat64)));
}

TEST_CASE("a temporary directory is empty, writable and gone afterwards") {
    std::filesystem::path path;
    {
        const TemporaryDirectory directory;
        path = directory.path();
        CHECK(directory.names().empty());
        write_file(directory / "a", std::string("x\0y", 3));
        CHECK(read_file(directory / "a") == std::string("x\0y", 3));
        CHECK(directory.names() == std::vector<std::string>{"a"});
    }
    CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE("operators are counted, including those of the backward pass") {
    const auto a = torch::rand({2, 3}).requires_grad_();
    const auto b = torch::rand({3, 2});
    OperatorCount count;
    const auto product = a.mm(b);
    CHECK(count.of("aten::mm") == 1);
    const auto forward = count.total();  // mm and its components
    CHECK(forward >= 1);
    product.sum().backward();
    CHECK(count.of("aten::mm") == 2);
    count.stop();
    const auto total = count.total();
    a.mm(b);
    CHECK(count.total() == total);
    CHECK(count.by_name().at("aten::mm") == 2);
    CHECK(count.names().front() == "aten::mm");

    OperatorCount again;
    a.mm(b);
    CHECK(again.total() == forward);
    again.reset();
    CHECK(again.total() == 0);
}

TEST_CASE("only one operator count lives at a time") {
    {
        OperatorCount count;
        CHECK_THROWS_AS(OperatorCount(), std::logic_error);
    }
    CHECK_NOTHROW(OperatorCount());
}

}  // namespace support_test
