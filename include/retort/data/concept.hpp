// SPDX-License-Identifier: BSL-1.0
/// \file
/// The contracts of transforms and view policies, which turn samples into the batches that the networks see.
///
/// A **transform** is called as `transform(images, generator)` with B samples and a CPU generator, and returns B
/// samples, one for each, in the same order and on the same device. It draws all its random numbers from the
/// generator, different ones for each sample, and processes the whole batch at once. Several threads call one transform
/// at the same time, each with its own generator, so a call must change neither the transform nor the images that it is
/// given.
///
/// ```cpp
/// struct Brighter {
///     double by = 0.1;
///     at::Tensor operator()(const at::Tensor& images, at::Generator&) const { return images + by; }
///     std::string description() const { return "Brighter by " + std::to_string(by); }
/// };
/// ```
/// A **view policy** turns a `data::Batch` of samples into the batch that the networks see, of any type: `OneView`,
/// `TwoViews`, `RotatedViews`. It draws from the generators of `batch.random`, and passes that member on. A loader
/// takes one in the place of a transform, and so does `data::map` in a pipeline.
///
/// ```cpp
/// struct PlainToo {
///     auto operator()(retort::data::Batch batch) const {
///         auto generator = batch.random.next();
///         auto plain = batch.input;
///         batch.input = retort::data::RandomCrop{}(plain, generator);
///         return WithPlain{std::move(batch), std::move(plain)};
///     }
/// };
/// ```
/// A transform or view policy with parameters has a member `std::string description() const` that states them.
/// Checkpoints compare it, so that a run is not resumed with different ones.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <concepts>
#include <utility>

#include <retort/core/batch.hpp>
#include <retort/data/batch.hpp>

namespace retort::data {

/// Can be called with samples and a generator, and returns samples.
template <class T>
concept Transform = std::copy_constructible<T> &&
                    requires(const T& transform, const at::Tensor& images, at::Generator& generator) {
                        { transform(images, generator) } -> std::convertible_to<at::Tensor>;
                    };

/// Can be called with a batch of samples, and returns a batch.
template <class T>
concept ViewPolicy = std::copy_constructible<T> && requires(const T& views, Batch batch) {
    { views(std::move(batch)) } -> ::retort::Batch;
};

}  // namespace retort::data
