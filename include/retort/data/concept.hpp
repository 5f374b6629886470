// SPDX-License-Identifier: BSL-1.0
/// \file
/// The contract of a transform: what turns a batch of samples into what the networks see.
///
/// A transform is called as `transform(images, generator)` with B samples and a CPU generator, and returns B
/// samples, one for each, in the same order and on the same device. All its randomness comes from the
/// generator, each sample's its own; it treats the whole batch at once. Several threads call one transform at
/// the same time, each with a generator of its own, so calling it changes nothing in it, nor in the images
/// that it is given.
///
/// ```cpp
/// struct Invert {
///     at::Tensor operator()(at::Tensor images, at::Generator&) const { return 1 - images; }
/// };
/// ```
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <concepts>

namespace retort::data {

/// Can be called on samples and a generator, and gives samples.
template <class T>
concept Transform = std::copy_constructible<T> &&
                    requires(const T& transform, const at::Tensor& images, at::Generator& generator) {
                        { transform(images, generator) } -> std::convertible_to<at::Tensor>;
                    };

}  // namespace retort::data
