// SPDX-License-Identifier: BSL-1.0
/// \file
/// A sequence of connectors.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <torch/nn/pimpl.h>

#include <cstddef>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <retort/knowledge/connector/concept.hpp>

namespace retort {

namespace detail {

template <class... Holders>
class ChainModule : public torch::nn::Module {
  public:
    explicit ChainModule(Holders... holders) : torch::nn::Module("Chain"), holders_(std::move(holders)...) {
        std::size_t position = 0;
        std::apply([&](auto&... holder) { (register_module(concat("part", position++), holder), ...); },
                   holders_);
    }
    at::Tensor forward(const at::Tensor& feature) {
        at::Tensor result = feature;
        std::apply([&](auto&... holder) { ((result = holder->forward(result)), ...); }, holders_);
        return result;
    }

  private:
    std::tuple<Holders...> holders_;
};

}  // namespace detail

/// A sequence of connectors:
///
///     retort::Chain{retort::Conv1x1{}, retort::ResizeTo{}}
///
/// The input sizes of a later connector are the output sizes of the earlier ones on the first batch.
template <Connector... Parts>
    requires(sizeof...(Parts) > 0)
class Chain {
  public:
    explicit Chain(Parts... parts) : parts_(std::move(parts)...) {}

    bool sized() const {
        return std::apply([](const auto&... part) { return (part.sized() && ...); }, parts_);
    }
    auto build(at::IntArrayRef student, at::IntArrayRef teacher) const {
        std::vector<std::int64_t> sizes = student.vec();
        return std::apply(
            [&](const auto&... part) {
                // Braces evaluate from left to right.
                std::tuple holders{built(part, sizes, teacher)...};
                return std::apply(
                    [](auto&... holder) {
                        using Module = detail::ChainModule<std::decay_t<decltype(holder)>...>;
                        return torch::nn::ModuleHolder<Module>(std::make_shared<Module>(holder...));
                    },
                    holders);
            },
            parts_);
    }
    std::string name() const {
        std::string result;
        std::apply(
            [&](const auto&... part) {
                ((result += (result.empty() ? "" : "+") + std::string(part.name())), ...);
            },
            parts_);
        return result;
    }

  private:
    template <class Part>
    static auto built(const Part& part, std::vector<std::int64_t>& sizes, at::IntArrayRef teacher) {
        auto holder = part.build(sizes, teacher);
        if (!sizes.empty()) {
            const at::NoGradGuard guard;
            sizes[0] = 1;
            holder->eval();  // this trial forward must not change batch norm statistics
            sizes = holder->forward(at::zeros(sizes)).sizes().vec();
            holder->train();
        }
        return holder;
    }

    std::tuple<Parts...> parts_;
};

}  // namespace retort
