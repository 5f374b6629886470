// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/data/concept.hpp>
#include <retort/data/presets.hpp>

namespace presets_test {

using namespace retort::data;
using retort_test::close;
using retort_test::same;

namespace {

template <Transform T>
torch::Tensor apply(const T& transform, const torch::Tensor& images) {
    auto numbers = at::detail::createCPUGenerator(3);
    return transform(images, numbers);
}

template <class Eval, class Train, class Strong>
void check_set(std::int64_t channels, std::int64_t side, const Eval& eval, const Train& train,
               const Strong& strong, double darkest, double lightest) {
    const auto images = torch::randint(256, {64, channels, side, side}, torch::kUInt8);
    for (const torch::Tensor& result : {apply(eval, images), apply(train, images), apply(strong, images)}) {
        CHECK(result.sizes() == images.sizes());
        CHECK(result.scalar_type() == torch::kFloat32);
        CHECK(result.min().item<double>() > darkest - 1e-3);
        CHECK(result.max().item<double>() < lightest + 1e-3);
    }
    CHECK_FALSE(same(apply(train, images), apply(eval, images)));
    CHECK_FALSE(same(apply(strong, images), apply(train, images)));
}

}  // namespace

TEST_CASE("The presets return images of the shape, type and range that the networks take") {
    // The ranges are (0 - mean) / deviation to (1 - mean) / deviation of the most extreme channels.
    check_set(3, 32, cifar100_eval(), cifar100_train(), cifar100_strong(), -1.89825, 2.02537);
    check_set(3, 32, cifar10_eval(), cifar10_train(), cifar10_strong(), -1.98948, 2.12641);
    check_set(1, 28, fashion_mnist_eval(), fashion_mnist_train(), fashion_mnist_strong(), -0.81020, 2.02267);
    check_set(1, 28, mnist_eval(), mnist_train(), mnist_strong(), -0.42421, 2.82149);
}

TEST_CASE("CIFAR-100 is normalized as RepDistiller does") {
    const auto images = torch::full({1, 3, 1, 1}, 128, torch::kUInt8);
    const auto expected = torch::tensor(
        {(128 / 255.0 - 0.5071) / 0.2675, (128 / 255.0 - 0.4867) / 0.2565, (128 / 255.0 - 0.4408) / 0.2761});
    CHECK(close(apply(cifar100_eval(), images).flatten(), expected, 1e-6, 1e-6));
}

}  // namespace presets_test
