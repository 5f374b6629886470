// SPDX-License-Identifier: BSL-1.0
/// \file
/// A trunk with a decision head for each task.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/core/network.hpp>

namespace retort::community {

/// The outputs of a `NodeNetwork`.
struct NodeOutputs {
    at::Tensor logits{};              ///< of the active head
    at::Tensor features{};            ///< of the trunk
    std::vector<at::Tensor> heads{};  ///< the logits of all heads
};

/// A trunk, from inputs to features [samples, features], with a linear decision head for each task.
template <Network Trunk>
class NodeNetwork : public torch::nn::Module {
  public:
    explicit NodeNetwork(Trunk trunk) : trunk_(std::move(trunk)) {
        register_module("trunk", NetworkRef<Trunk>(trunk_).module().shared_from_this());
    }

    NodeOutputs forward(const at::Tensor& input) {
        NodeOutputs result;
        result.features = NetworkRef<Trunk>(trunk_)->forward(input);
        for (torch::nn::Linear& head : heads_) result.heads.push_back(head->forward(result.features));
        if (!result.heads.empty()) result.logits = result.heads.at(active_);
        return result;
    }
    /// The logits of one head from features.
    at::Tensor decide(std::size_t head, const at::Tensor& features) {
        return heads_.at(head)->forward(features);
    }
    void add_head(std::int64_t features, std::int64_t classes) {
        heads_.push_back(
            register_module("head" + std::to_string(heads_.size()), torch::nn::Linear(features, classes)));
        active_ = heads_.size() - 1;
    }
    std::size_t heads() const { return heads_.size(); }
    /// Which head gives the logits of the outputs.
    void activate(std::size_t head) { active_ = head; }
    /// Only this head, and the trunk if `trunk`, are trained.
    void train_only(std::size_t head, bool trunk) {
        activate(head);
        for (const auto& each : this->named_parameters()) {
            const std::string own = "head" + std::to_string(head) + ".";
            const bool of_trunk = each.key().starts_with("trunk.");
            each.value().set_requires_grad(of_trunk ? trunk : each.key().starts_with(own));
        }
    }
    torch::nn::Module& trunk() { return NetworkRef<Trunk>(trunk_).module(); }

  private:
    Trunk trunk_;
    std::vector<torch::nn::Linear> heads_;
    std::size_t active_ = 0;
};

}  // namespace retort::community
