// SPDX-License-Identifier: BSL-1.0
/// \file
/// FitNet's regressor: a convolution whose kernel follows from the sizes of the two maps.
#pragma once

#include <retort/knowledge/connector/convolution.hpp>

namespace retort {

/// \f$ r(F) = \mathrm{ReLU}(\mathrm{BN}(W * F + b)) \f$ with a kernel that gives a map of the teacher's size:
///
/// | the student's height | convolution |
/// |---|---|
/// | twice the teacher's | 3x3, stride 2, padding 1 |
/// | half of the teacher's | transposed, 4x4, stride 2, padding 1 |
/// | at least the teacher's | (1 + h_s - h_t) x (1 + w_s - w_t) without padding: 1x1 if the sizes are equal |
///
/// Shapes: [batch, channels, height, width] to the teacher's; sizes are taken from the first batch.
/// Without ReLU it is the connector of the activation boundary loss.
/// \throws ShapeError on building, for other sizes: use a `Chain` with `ResizeTo`
///
/// Source: Romero et al., "FitNets", ICLR 2015, section 2.2, has a convolutional regressor with a valid kernel; the
/// rule is that of the released code used in published benchmarks (RepDistiller).
struct FitNetRegressor {
    bool bias = true;
    bool batch_norm = true;
    bool relu = true;

    static bool sized() { return false; }
    ConvolutionConnector build(at::IntArrayRef student, at::IntArrayRef teacher) const {
        const auto [height, width] = detail::spatial_sizes("FitNetRegressor", student);
        const auto [to_height, to_width] = detail::spatial_sizes("FitNetRegressor", teacher);
        if (height * 2 == to_height && width * 2 == to_width) {
            return ConvolutionConnector(
                torch::nn::ConvTranspose2dOptions(student[1], teacher[1], 4).stride(2).padding(1).bias(bias),
                batch_norm, relu);
        }
        if (height == 2 * to_height && width == 2 * to_width) {
            return ConvolutionConnector(
                torch::nn::Conv2dOptions(student[1], teacher[1], 3).stride(2).padding(1).bias(bias),
                batch_norm, relu);
        }
        if (height < to_height || width < to_width) {
            throw ShapeError(detail::concat(
                "FitNetRegressor: expected a student's map that is half as large as the teacher's, or at "
                "least as large, found ",
                detail::shape_text(student), " and ", detail::shape_text(teacher)));
        }
        return ConvolutionConnector(
            torch::nn::Conv2dOptions(student[1], teacher[1], {1 + height - to_height, 1 + width - to_width})
                .bias(bias),
            batch_norm, relu);
    }
    static std::string name() { return "FitNetRegressor"; }
};

}  // namespace retort
