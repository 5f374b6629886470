// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/knowledge/detail/reduce.hpp>

namespace reduce_test {

using namespace retort_test;
using retort::Reduction;
using retort::detail::PerSample;
using retort::detail::reduce;

namespace {
std::size_t operators(const std::function<void()>& function) {
    const OperatorCount count;
    function();
    return count.total();
}
}  // namespace

TEST_CASE("elements of samples are reduced") {
    torch::manual_seed(1);
    for (const auto& shape : {std::vector<std::int64_t>{6, 5}, {6, 2, 3, 2}}) {
        const auto elements = torch::rand(shape, torch::kFloat64);
        const auto rows = elements.reshape({6, -1});
        CHECK(same(reduce(elements, Reduction::sum), elements.sum()));
        CHECK(same(reduce(elements, Reduction::mean), elements.mean()));
        CHECK(same(reduce(elements, Reduction::batchmean), elements.sum() / 6));
        CHECK(same(reduce(elements, Reduction::none), rows.mean(1)));
        CHECK(same(reduce(elements, Reduction::none, PerSample::sum), rows.sum(1)));
        CHECK(same(reduce(elements, Reduction::sum, PerSample::sum, 0.3), elements.sum() * 0.3));
        CHECK(same(reduce(elements, Reduction::mean, PerSample::sum, 0.3), elements.mean() * 0.3));
        CHECK(same(reduce(elements, Reduction::batchmean, PerSample::sum, 0.3), elements.sum() * (0.3 / 6)));
        CHECK(same(reduce(elements, Reduction::none, PerSample::sum, 0.3), rows.sum(1) * 0.3));
    }
}

TEST_CASE("with one element per sample, batchmean is mean") {
    const auto losses = torch::rand({6}, torch::kFloat64);
    CHECK(reduce(losses, Reduction::none).is_same(losses));
    for (const Reduction mean : {Reduction::mean, Reduction::batchmean}) {
        CHECK(same(reduce(losses, mean), losses.mean()));
        CHECK(same(reduce(losses, mean, PerSample::mean, 0.3), losses.mean() * 0.3));
    }
    CHECK(same(reduce(losses, Reduction::sum), losses.sum()));
}

TEST_CASE("reductions issue the operators of the explicit expressions") {
    const auto elements = torch::rand({6, 5}), losses = torch::rand({6});
    const auto same_operators = [](const std::function<void()>& ours, const std::function<void()>& theirs) {
        CHECK(operators(ours) == operators(theirs));
    };
    same_operators([&] { reduce(elements, Reduction::none); }, [&] { elements.mean(1); });
    same_operators([&] { reduce(elements, Reduction::batchmean); }, [&] { elements.sum() / 6; });
    same_operators([&] { reduce(losses, Reduction::batchmean); }, [&] { losses.mean(); });
    same_operators([&] { reduce(losses, Reduction::none); }, [] {});
    same_operators([&] { reduce(elements, Reduction::mean, PerSample::sum, 1.0); }, [&] { elements.mean(); });
    same_operators([&] { reduce(elements, Reduction::mean, PerSample::sum, 0.5); },
                   [&] { elements.mean() * 0.5; });
    same_operators([&] { reduce(elements, Reduction::batchmean, PerSample::sum, 0.5); },
                   [&] { elements.sum() * 0.1; });
}

TEST_CASE("the divisor of the sum of all elements") {
    using retort::detail::divisor;
    CHECK(divisor(Reduction::none, 6, 5) == 1);
    CHECK(divisor(Reduction::sum, 6, 5) == 1);
    CHECK(divisor(Reduction::batchmean, 6, 5) == 6);
    CHECK(divisor(Reduction::mean, 6, 5) == 30);
}

}  // namespace reduce_test
