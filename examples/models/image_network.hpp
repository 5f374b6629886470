// SPDX-License-Identifier: BSL-1.0
/// \file
/// Image networks by name: learners whose architectures are only known at run time.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <charconv>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <retort/core/error.hpp>
#include <retort/core/logits.hpp>

#include "residual.hpp"
#include "small_cnn.hpp"
#include "wide_residual.hpp"

namespace models {

/// A network from images to logits.
struct ImageNetwork : torch::nn::Module {
    virtual at::Tensor forward(const at::Tensor& images) = 0;
};

/// Any of the networks as an `ImageNetwork`.
template <class Holder>
struct ImageNetworkOf : ImageNetwork {
    explicit ImageNetworkOf(Holder network) : net(register_module("net", std::move(network))) {}
    at::Tensor forward(const at::Tensor& images) override { return retort::logits(net->forward(images)); }
    Holder net;
};

/// The network by name: `cnn16` (`SmallCnn` of that width), `resnet32` (depth 6n + 2), `wrn28-2` (depth 6n + 4,
/// width).
/// \throws retort::ConfigError if there is no such network
inline std::shared_ptr<ImageNetwork> image_network(const std::string& name, std::int64_t classes,
                                                   std::int64_t channels) {
    const auto number = [](std::string_view word) {
        std::int64_t value = 0;
        const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
        return error == std::errc() && end == word.data() + word.size() ? value : 0;
    };
    const std::string_view word = name;
    if (word.starts_with("cnn")) {
        if (const std::int64_t width = number(word.substr(3)); width > 0) {
            return std::make_shared<ImageNetworkOf<SmallCnn>>(
                SmallCnn(SmallCnnOptions{.width = width, .classes = classes, .channels = channels}));
        }
    }
    if (word.starts_with("resnet")) {
        if (const std::int64_t depth = number(word.substr(6)); depth >= 8 && depth % 6 == 2) {
            return std::make_shared<ImageNetworkOf<ResidualNet>>(
                ResidualNet(ResidualOptions{.depth = depth, .classes = classes, .channels = channels}));
        }
    }
    if (word.starts_with("wrn")) {
        const std::size_t dash = word.find('-');
        const std::int64_t depth = number(word.substr(3, dash == std::string_view::npos ? dash : dash - 3));
        const std::int64_t width = dash == std::string_view::npos ? 0 : number(word.substr(dash + 1));
        if (depth >= 10 && depth % 6 == 4 && width > 0) {
            return std::make_shared<ImageNetworkOf<WideResidualNet>>(WideResidualNet(WideResidualOptions{
                .depth = depth, .width = width, .classes = classes, .channels = channels}));
        }
    }
    throw retort::ConfigError(
        "network: expected cnn<width>, resnet<6n + 2> or wrn<6n + 4>-<width>, found \"" + name + '"');
}

}  // namespace models
