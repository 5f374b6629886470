// SPDX-License-Identifier: BSL-1.0
/// \file
/// A transposed convolution, for students whose maps are smaller than the teacher's.
#pragma once

#include <retort/knowledge/connector/convolution.hpp>

namespace retort {

/// Transposed convolution with a square kernel, optionally followed by batch norm and ReLU. With the default kernel
/// it doubles height and width.
/// Shapes: [batch, in, height, width] to [batch, out, height', width'], height' = (height - 1) stride - 2
/// padding + kernel. A size of 0 is taken from the first batch.
struct Deconvolution {
    std::int64_t in = 0;
    std::int64_t out = 0;
    std::int64_t kernel = 4;
    std::int64_t stride = 2;
    std::int64_t padding = 1;
    bool bias = true;
    bool batch_norm = false;
    bool relu = false;

    bool sized() const { return in > 0 && out > 0; }
    ConvolutionConnector build(at::IntArrayRef student, at::IntArrayRef teacher) const {
        detail::check_range("Deconvolution", "in", in, detail::at_least(0));
        detail::check_range("Deconvolution", "out", out, detail::at_least(0));
        detail::check_range("Deconvolution", "a kernel", kernel, detail::at_least(1));
        detail::check_range("Deconvolution", "a stride", stride, detail::at_least(1));
        detail::check_range("Deconvolution", "a padding", padding, detail::at_least(0));
        return ConvolutionConnector(torch::nn::ConvTranspose2dOptions(
                                        in > 0 ? in : detail::channels("Deconvolution", student),
                                        out > 0 ? out : detail::channels("Deconvolution", teacher), kernel)
                                        .stride(stride)
                                        .padding(padding)
                                        .bias(bias),
                                    batch_norm, relu);
    }
    static std::string name() { return "Deconvolution"; }
};

}  // namespace retort
