// SPDX-License-Identifier: BSL-1.0
/// \file
/// A random crop of each padded image.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/index.h>
#include <ATen/ops/index_select.h>

#include <cstdint>
#include <string>

#include <retort/core/batch.hpp>
#include <retort/core/error.hpp>
#include <retort/data/detail/description.hpp>
#include <retort/data/detail/images.hpp>
#include <retort/data/detail/random.hpp>

namespace retort::data {

/// How an image is padded before it is cropped.
enum class Padding {
    zero,    ///< zeros: black, for images that are not normalized yet
    reflect  ///< the image mirrored at its outermost pixels, which are not repeated
};

/// Pads each image by `padding` on all sides and crops a window at a random position: all positions at which the
/// window fits are equally likely. The standard for CIFAR is `{.padding = 4}` on 32 x 32.
///
/// Shapes: B x C x H x W in, B x C x size x size out (H x W if `size` is 0); any type, unchanged.
/// \throws ConfigError if `padding` or `size` is negative; ShapeError if the window does not fit or there are fewer
/// than `padding + 1` pixels to mirror
struct RandomCrop {
    /// Pixels on each side, 0 or more.
    std::int64_t padding = 4;
    /// Height and width of the window; 0: those of the image.
    std::int64_t size = 0;
    Padding mode = Padding::zero;

    at::Tensor operator()(const at::Tensor& images, at::Generator& generator) const {
        using ::retort::detail::concat;
        detail::expect_images(images, "RandomCrop");
        if (padding < 0 || size < 0) {
            throw ConfigError(
                concat("RandomCrop: expected padding and size of 0 or more, found ", padding, " and ", size));
        }
        const auto height = size > 0 ? size : images.size(2);
        const auto width = size > 0 ? size : images.size(3);
        const auto rows = images.size(2) + 2 * padding - height + 1;
        const auto columns = images.size(3) + 2 * padding - width + 1;
        if (rows < 1 || columns < 1) {
            throw ShapeError(concat("RandomCrop: expected images that hold a window of ", height, " x ",
                                    width, " after padding by ", padding, ", found shape ", images.sizes()));
        }
        const auto device = images.device();
        const auto count = images.size(0);
        const auto top = detail::integers(rows, count, generator, device);
        const auto left = detail::integers(columns, count, generator, device);
        // All windows as a view of the padded images; one index operator then copies the selected ones.
        const auto windows = padded(images).unfold(2, height, 1).unfold(3, width, 1);
        const auto sample = at::arange(count, at::TensorOptions(at::kLong).device(device));
        return at::index(windows, {sample, {}, top, left});
    }
    std::string description() const {
        return detail::described("RandomCrop", "padding", padding, "size", size, "mode",
                                 mode == Padding::zero ? "zero" : "reflect");
    }

  private:
    at::Tensor padded(const at::Tensor& images) const {
        if (padding == 0) return images;
        if (mode == Padding::zero)
            return at::constant_pad_nd(images, {padding, padding, padding, padding}, 0);
        if (images.size(2) <= padding || images.size(3) <= padding) {
            throw ShapeError(::retort::detail::concat("RandomCrop: expected more than ", padding,
                                                      " pixels to mirror in each direction, found shape ",
                                                      images.sizes()));
        }
        const auto mirrored = at::index_select(images, 2, mirror(images.size(2), images.device()));
        return at::index_select(mirrored, 3, mirror(images.size(3), images.device()));
    }
    /// padding, ..., 1, 0, 1, ..., length - 1, length - 2, ...
    at::Tensor mirror(std::int64_t length, at::Device device) const {
        const auto place =
            at::arange(-padding, length + padding, at::TensorOptions(at::kLong).device(device)).abs_();
        return place.sub(length - 1).abs_().neg_().add_(length - 1);
    }
};

}  // namespace retort::data
