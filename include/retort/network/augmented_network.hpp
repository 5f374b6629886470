// SPDX-License-Identifier: BSL-1.0
/// \file
/// A network with auxiliary heads that classify class and transformation of a view jointly.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/container/sequential.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/core/logits.hpp>
#include <retort/core/network.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/tap/taps.hpp>

namespace retort {

/// The outputs of an `AugmentedNetwork`.
struct AugmentedOutputs {
    at::Tensor logits;              ///< [rows, classes]: of the main head, for all views
    std::vector<at::Tensor> heads;  ///< [rows, classes * views] each: of the auxiliary heads, shallow to deep
};

/// Reads the member `heads`, the logits of all auxiliary heads: usable wherever `Taps` of single heads are.
struct AllHeads {
    template <class O>
        requires std::is_same_v<std::remove_cvref_t<decltype(std::declval<const O&>().heads)>,
                                std::vector<at::Tensor>>
    std::vector<at::Tensor> operator()(const O& outputs) const {
        return outputs.heads;
    }
    static const char* name() { return "heads"; }
};

/// How the network below the auxiliary heads is trained.
enum class Backbone {
    with_heads,  ///< the heads' gradients reach it: students, and peers that learn from each other
    apart,       ///< by its own logits only; the heads' inputs are detached
    frozen,      ///< not at all: evaluation mode and no gradients; only the heads are trained
};

/// Options of `AugmentedNetwork`.
struct AugmentedNetworkOptions {
    /// Views per sample: the heads distinguish classes * views joint classes. At least 1.
    std::int64_t views = 4;
    Backbone backbone = Backbone::with_heads;
};

/// A network with an auxiliary head after each of some stages. The heads are modules from a feature to logits of
/// joint classes; in the released code each is a copy of the remaining stages (with as many blocks; after the last
/// stage one more, which keeps the size), average pooling and a separate classifier.
///
///     auto student = retort::augmented(net, retort::Taps{retort::tap<&Outputs::stages, 0>, ...}, {head1, ...});
///
/// Shares the network, which can be used without the heads afterwards. The heads are computed in evaluation mode,
/// too. A teacher's heads are trained with a frozen network or together with it (`Backbone`): the released code has
/// both.
/// Source: Yang, An, Cai, Xu, "Hierarchical Self-supervised Augmented Knowledge Distillation", IJCAI 2021, and
/// "Knowledge Distillation Using Hierarchical Self-Supervision Augmented Distribution", TNNLS 2022.
template <Network N, class Stages>
class AugmentedNetwork : public torch::nn::Module {
  public:
    /// \param stages `Taps` of the network's outputs, one for each head
    /// \throws ConfigError if the numbers of heads and taps differ, a head is empty, or `views` is less than 1
    AugmentedNetwork(N network, Stages stages, std::vector<torch::nn::Sequential> heads,
                     AugmentedNetworkOptions options = {})
        : torch::nn::Module("AugmentedNetwork"),
          network_(std::move(network)),
          stages_(std::move(stages)),
          heads_(std::move(heads)),
          options_(options) {
        if (heads_.empty() || heads_.size() != Stages::size) {
            throw ConfigError(detail::concat("AugmentedNetwork: expected a head for each of the ",
                                             Stages::size, " taps, found ", heads_.size()));
        }
        if (options_.views < 1) {
            throw ConfigError(
                detail::concat("AugmentedNetwork: expected at least 1 view, found ", options_.views));
        }
        // Non-owning: `network_` keeps it alive.
        register_module("network",
                        std::shared_ptr<torch::nn::Module>(std::shared_ptr<void>(), &network_.module()));
        for (std::size_t i = 0; i < heads_.size(); ++i) {
            if (heads_[i].is_empty() || heads_[i]->is_empty()) {
                throw ConfigError(
                    detail::concat("AugmentedNetwork: expected a module for head ", i, ", found none"));
            }
            register_module(detail::concat("head", i), heads_[i]);
        }
        if (options_.backbone == Backbone::frozen) {
            for (at::Tensor& each : network_.module().parameters()) each.requires_grad_(false);
            network_.module().eval();
        }
    }

    void train(bool on = true) override {
        torch::nn::Module::train(on);
        if (options_.backbone == Backbone::frozen) network_.module().eval();
    }

    /// \throws ShapeError if a head's logits are not of classes * views joint classes
    AugmentedOutputs forward(const at::Tensor& samples) {
        const auto outputs = [&] {
            const at::AutoGradMode mode(options_.backbone != Backbone::frozen && at::GradMode::is_enabled());
            return network_->forward(samples);
        }();
        static_assert(HasLogits<std::remove_cvref_t<decltype(outputs)>>,
                      "retort: the outputs of a network with auxiliary heads must have logits");
        AugmentedOutputs result{logits(outputs), stages_(outputs)};
        detail::check_logits("AugmentedNetwork", "the logits", result.logits);
        for (std::size_t i = 0; i < heads_.size(); ++i) {
            at::Tensor& each = result.heads[i];
            each = heads_[i]->forward(options_.backbone == Backbone::apart ? detail::constant(each) : each);
            if (each.dim() != 2 || each.size(1) != options_.views * result.logits.size(1)) {
                throw ShapeError(detail::concat("AugmentedNetwork: expected logits of ", options_.views,
                                                " * ", result.logits.size(1), " joint classes from head ", i,
                                                ", found ", detail::shape_text(each)));
            }
        }
        return result;
    }

    /// The network without the heads.
    const NetworkRef<N>& network() const { return network_; }

  private:
    NetworkRef<N> network_;
    Stages stages_;
    std::vector<torch::nn::Sequential> heads_;
    AugmentedNetworkOptions options_;
};

/// Creates an `AugmentedNetwork`.
/// \param network a module holder or a `shared_ptr` to a module
template <Network N, class... T>
    requires(!detail::ModuleObject<N>)
auto augmented(const N& network, const Taps<T...>& stages, std::vector<torch::nn::Sequential> heads,
               AugmentedNetworkOptions options = {}) {
    return std::make_shared<AugmentedNetwork<N, Taps<T...>>>(network, stages, std::move(heads), options);
}

}  // namespace retort
