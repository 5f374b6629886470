// SPDX-License-Identifier: BSL-1.0
/// \file
/// Recipes for LibTorch's optimizers.
#pragma once

#include <functional>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include <retort/optim/concept.hpp>

namespace retort {

/// A recipe for one of LibTorch's optimizers, from its options:
///
///     retort::FromTorch<torch::optim::AdamW>{torch::optim::AdamWOptions(1e-3)}
template <class O>
    requires std::derived_from<O, torch::optim::Optimizer>
class FromTorch {
  public:
    /// \param options what the optimizer's constructor takes after the parameters
    template <class Options>
        requires std::is_constructible_v<O, std::vector<at::Tensor>, Options>
    explicit FromTorch(Options options)
        : make_([options = std::move(options)](std::vector<at::Tensor> parameters) {
              return std::make_unique<O>(std::move(parameters), options);
          }) {}

    std::unique_ptr<O> build(std::vector<at::Tensor> parameters) const {
        return make_(std::move(parameters));
    }

  private:
    std::function<std::unique_ptr<O>(std::vector<at::Tensor>)> make_;
};

}  // namespace retort
