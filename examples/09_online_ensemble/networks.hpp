// SPDX-License-Identifier: BSL-1.0
/// \file
/// Residual networks that share their first part, or have several exits.
#pragma once

#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/network/branch_gate.hpp>
#include <retort/network/peer_attention.hpp>

#include "../models/residual.hpp"

namespace ensembles {

using models::ResidualOptions;

inline std::int64_t blocks_of(const ResidualOptions& options) { return (options.depth - 2) / 6; }

/// The first convolution of a residual network, normalized and rectified.
inline torch::nn::Sequential make_stem(const ResidualOptions& options) {
    torch::nn::Sequential stem(
        torch::nn::Conv2d(torch::nn::Conv2dOptions(options.channels, options.stem, 3).padding(1).bias(false)),
        torch::nn::BatchNorm2d(options.stem), torch::nn::ReLU());
    models::begin_residual(*stem);
    return stem;
}

/// The part of a `ResidualNet` after the stem.
struct BodyImpl : torch::nn::Module {
    explicit BodyImpl(const ResidualOptions& options) {
        std::int64_t width = options.stem;
        for (std::size_t i = 0; i < 3; ++i) {
            stages[i] = register_module(
                "stage" + std::to_string(i + 1),
                models::residual_stage(width, options.stages[i], blocks_of(options), i > 0 ? 2 : 1));
            width = options.stages[i];
        }
        classifier = register_module("classifier", torch::nn::Linear(width, options.classes));
        models::begin_residual(*this);
    }
    models::ImageOutputs forward(const at::Tensor& stem) {
        models::ImageOutputs outputs;
        outputs.stem = stem;
        at::Tensor x = stem;
        for (std::size_t i = 0; i < 3; ++i) outputs.stages[i] = x = stages[i]->forward(x);
        outputs.pooled = x.mean({2, 3});
        outputs.logits = classifier(outputs.pooled);
        return outputs;
    }
    std::array<torch::nn::Sequential, 3> stages{nullptr, nullptr, nullptr};
    torch::nn::Linear classifier{nullptr};
};
TORCH_MODULE(Body);

/// The logits and features of branches.
struct BranchOutputs {
    std::vector<at::Tensor> branches;  ///< logits of each
    std::vector<at::Tensor> groups;    ///< the targets of each peer (`PeerBranches`)
    at::Tensor ensemble;               ///< `GatedBranches`: the gated mean; `PeerBranches`: the peers' mean
    at::Tensor logits;                 ///< `GatedBranches`: of branch 0; `PeerBranches`: of the leader
};

/// A residual network with several copies of its last stage and classifier.
struct BranchesImpl : torch::nn::Module {
    BranchesImpl(const ResidualOptions& options, std::size_t count) {
        shared = register_module("shared", make_stem(options));
        std::int64_t width = options.stem;
        for (std::size_t i = 0; i < 2; ++i) {
            models::add_residual_stage(shared, width, options.stages[i], blocks_of(options), i > 0 ? 2 : 1);
            width = options.stages[i];
        }
        for (std::size_t i = 0; i < count; ++i) {
            stages.push_back(
                register_module("stage" + std::to_string(i),
                                models::residual_stage(width, options.stages[2], blocks_of(options), 2)));
            classifiers.push_back(register_module("classifier" + std::to_string(i),
                                                  torch::nn::Linear(options.stages[2], options.classes)));
        }
        models::begin_residual(*this);
    }
    /// The output of the shared part, and the logits and pooled features of each branch.
    struct Outputs {
        at::Tensor shared;
        std::vector<at::Tensor> logits, features;
    };
    Outputs forward(const at::Tensor& images) {
        Outputs outputs;
        outputs.shared = shared->forward(images);
        for (std::size_t i = 0; i < stages.size(); ++i) {
            outputs.features.push_back(stages[i]->forward(outputs.shared).mean({2, 3}));
            outputs.logits.push_back(classifiers[i](outputs.features.back()));
        }
        return outputs;
    }
    torch::nn::Sequential shared{nullptr};
    std::vector<torch::nn::Sequential> stages;
    std::vector<torch::nn::Linear> classifiers;
};
TORCH_MODULE(Branches);

/// ONE: a gate weights the branches.
struct GatedBranchesImpl : torch::nn::Module {
    GatedBranchesImpl(const ResidualOptions& options, std::size_t count)
        : branches(register_module("branches", Branches(options, count))),
          gate(register_module("gate",
                               retort::BranchGate(options.stages[1], static_cast<std::int64_t>(count)))) {}
    BranchOutputs forward(const at::Tensor& images) {
        auto outputs = branches->forward(images);
        BranchOutputs result;
        result.ensemble = gate->forward(outputs.shared.mean({2, 3}), outputs.logits);
        result.branches = std::move(outputs.logits);
        result.logits = result.branches[0];
        return result;
    }
    Branches branches;
    retort::BranchGate gate;
};
TORCH_MODULE(GatedBranches);

/// OKDDip: peers with attention for each other, and a leader.
struct PeerBranchesImpl : torch::nn::Module {
    PeerBranchesImpl(const ResidualOptions& options, std::size_t peers)
        : branches(register_module("branches", Branches(options, peers + 1))),
          attention(register_module("attention", retort::PeerAttention(options.stages[2]))) {}
    BranchOutputs forward(const at::Tensor& images) {
        auto outputs = branches->forward(images);
        BranchOutputs result;
        result.logits = outputs.logits.back();
        outputs.logits.pop_back();
        outputs.features.pop_back();
        result.groups = attention->forward(outputs.features, outputs.logits);
        result.ensemble = at::stack(outputs.logits, 2).mean(2);
        result.branches = std::move(outputs.logits);
        return result;
    }
    Branches branches;
    retort::PeerAttention attention;
};
TORCH_MODULE(PeerBranches);

/// The outputs of a network with exits.
struct ExitOutputs {
    std::vector<at::Tensor> exits;     ///< logits after the first and second stage
    std::vector<at::Tensor> features;  ///< the inputs of their classifiers, as wide as `feature`
    at::Tensor feature;
    at::Tensor logits;
};

/// BYOT: a residual network with an exit after each of its first two stages. An exit has as many blocks as the
/// remaining network.
struct ExitNetImpl : torch::nn::Module {
    explicit ExitNetImpl(const ResidualOptions& options)
        : net(register_module("net", models::ResidualNet(options))) {
        for (std::size_t i = 0; i < 2; ++i) {
            torch::nn::Sequential exit;
            std::int64_t width = options.stages[i];
            for (std::size_t stage = i + 1; stage < 3; ++stage) {
                models::add_residual_stage(exit, width, options.stages[stage], blocks_of(options), 2);
                width = options.stages[stage];
            }
            models::begin_residual(*exit);
            exits.push_back(register_module("exit" + std::to_string(i), exit));
            classifiers.push_back(
                register_module("classifier" + std::to_string(i), torch::nn::Linear(width, options.classes)));
        }
    }
    ExitOutputs forward(const at::Tensor& images) {
        const models::ImageOutputs whole = net->forward(images);
        ExitOutputs result{{}, {}, whole.pooled, whole.logits};
        for (std::size_t i = 0; i < 2; ++i) {
            result.features.push_back(exits[i]->forward(whole.stages[i]).mean({2, 3}));
            result.exits.push_back(classifiers[i](result.features.back()));
        }
        return result;
    }
    models::ResidualNet net;
    std::vector<torch::nn::Sequential> exits;
    std::vector<torch::nn::Linear> classifiers;
};
TORCH_MODULE(ExitNet);

}  // namespace ensembles
