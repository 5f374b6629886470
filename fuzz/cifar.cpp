// SPDX-License-Identifier: BSL-1.0
#include "temporary_file.hpp"

#include <ATen/ATen.h>

#include <cstddef>
#include <cstdint>

#include <retort/data/cifar.hpp>

/// The first byte says which of the formats; the others are the file.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const auto path = as_file("file", data + 1, size - 1);
    using retort::data::detail::CifarLabel;
    const std::vector<CifarLabel> two{{"coarse label", 20}, {"fine label", 100}}, one{{"label", 10}};
    try {
        const auto dataset = retort::data::detail::read_cifar({path}, data[0] % 2 == 0 ? one : two,
                                                              data[0] % 2, data[0] / 2 % 4);
        if (dataset.inputs.nbytes() > size) __builtin_trap();
        if (dataset.size() > 0 && dataset.targets.max().item<std::int64_t>() >= dataset.classes)
            __builtin_trap();
    } catch (const retort::Error&) {
        // what is malformed is refused
    }
    return 0;
}
