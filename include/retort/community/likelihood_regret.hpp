// SPDX-License-Identifier: BSL-1.0
/// \file
/// Self-assessment by the regret of a likelihood.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/stack.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/optim/adam.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/checkpoint/module_state.hpp>
#include <retort/community/detail/fixed_seed.hpp>
#include <retort/community/evidence.hpp>
#include <retort/community/pixel_autoencoder.hpp>
#include <retort/core/error.hpp>
#include <retort/core/network.hpp>
#include <retort/data/detail/random.hpp>
#include <retort/detail/check.hpp>

namespace retort::community {

/// Options of `LikelihoodRegret`. Defaults named "released" are those of the released code; the others, of this library, cost
/// a hundredth of it.
struct LikelihoodRegretOptions {
    PixelAutoencoderOptions network{};
    double mean = 0;       ///< images are input * deviation + mean, in [0, 1]: undoes a normalization
    double deviation = 1;  ///< not 0
    // Fitting.
    std::int64_t epochs = 20;     ///< released: 200
    std::int64_t batch = 64;      ///< released: 128
    double learning_rate = 3e-3;  ///< of Adam; released: 3e-4
    // The regret.
    std::int64_t steps = 10;     ///< of the encoder of each image; released: 100
    double step_rate = 1e-3;     ///< of Adam; released: 2e-4
    double beta = 0.9;           ///< first beta of Adam
    double weight_decay = 5e-5;  ///< released
    std::int64_t batches = 1;    ///< importance samples are drawn in so many batches; released: 5
    std::int64_t samples = 16;   ///< of so many each; released: 200
    std::int64_t together = 32;  ///< images that are scored at once
    std::uint64_t seed = 0;

    void check() const {
        using namespace ::retort::detail;
        network.check();
        check_finite("LikelihoodRegret", "mean", mean);
        check_range("LikelihoodRegret", "a number of epochs", epochs, at_least(1));
        check_range("LikelihoodRegret", "a batch", batch, at_least(1));
        check_range("LikelihoodRegret", "a learning rate", learning_rate, above(0));
        check_range("LikelihoodRegret", "a number of steps", steps, at_least(0));
        check_range("LikelihoodRegret", "a step_rate", step_rate, above(0));
        check_range("LikelihoodRegret", "a number of batches", batches, at_least(1));
        check_range("LikelihoodRegret", "a number of samples", samples, at_least(1));
        check_range("LikelihoodRegret", "a number of images together", together, at_least(1));
        if (deviation == 0 || !std::isfinite(deviation))
            throw ConfigError(
                concat("LikelihoodRegret: expected a finite deviation other than 0, found ", deviation));
    }
};

/// How much more likely an image becomes when the encoder of a variational autoencoder is fitted to it alone: little for
/// images like those it was fitted to. Looks at the inputs, images [samples, channels, size, size].
///
/// Formula: \f$ NLL(x; q) - NLL(x; q_x) \f$ with \f$ NLL = -\log \frac1K \sum_k p(x|z_k) p(z_k) / q(z_k|x) \f$,
/// \f$ z_k \sim q(\cdot|x) \f$, and \f$ q_x \f$ after some steps of Adam on the evidence lower bound of x; may be slightly
/// negative, as the two use different samples. The encoders of all images of a batch are fitted at once.
/// Source: Xiao, Yan, Amit, "Likelihood Regret: An Out-of-Distribution Detection Score For Variational Auto-encoder", 2020.
class LikelihoodRegret {
  public:
    /// Standard normal numbers of these sizes.
    using Noise = std::function<at::Tensor(const std::vector<std::int64_t>&)>;

    explicit LikelihoodRegret(const LikelihoodRegretOptions& options = {}) : options_(options) { check(); }
    /// With an autoencoder that is fitted already.
    explicit LikelihoodRegret(PixelAutoencoder network, const LikelihoodRegretOptions& options)
        : options_(options), network_(std::move(network)) {
        check();
        network_->eval();
    }
    void check() const { options_.check(); }
    static std::string name() { return "likelihood_regret"; }
    PixelAutoencoder& network() { return network_; }

    /// Trains a new autoencoder.
    void fit(const Evidence& own) {
        const at::Tensor images = images_of(own).to(at::kFloat);
        const detail::FixedSeed fixed(options_.seed);
        PixelAutoencoder network(options_.network);
        network->to(images.device());
        network->train();
        torch::optim::Adam optimizer(network->parameters(),
                                     torch::optim::AdamOptions(options_.learning_rate));
        const at::AutoGradMode with_gradient(true);
        for (std::int64_t epoch = 0; epoch < options_.epochs; ++epoch) {
            const at::Tensor order =
                at::randperm(images.size(0), at::TensorOptions(at::kLong)).to(images.device());
            for (const at::Tensor& rows : order.split(options_.batch)) {
                if (rows.size(0) < 2 && images.size(0) > 1) continue;  // batch norm needs two
                const at::Tensor batch = images.index_select(0, rows);
                const Latent latent = network->encode(batch);
                const at::Tensor noise = at::randn(latent.mean.sizes(), latent.mean.options());
                optimizer.zero_grad();
                bound(latent, network->decode(drawn(latent, noise)), pixels(batch)).mean().backward();
                optimizer.step();
            }
        }
        network->eval();
        network_ = network;  // copies that share the former one keep it
    }
    /// \throws ConfigError before `fit`; ShapeError for images of another shape
    at::Tensor score(const Evidence& evidence) const {
        at::Generator generator = data::detail::make_generator({options_.seed}, data::detail::Stream::batch);
        return score(evidence, [&](const std::vector<std::int64_t>& sizes) {
            return at::randn(sizes, generator, at::TensorOptions(at::kFloat));
        });
    }
    /// The same with given noise: for each `together` images before [images, samples, latent], `batches` times; for each
    /// step [images, latent]; then after as before.
    at::Tensor score(const Evidence& evidence, const Noise& noise) const {
        if (network_.is_empty()) throw ConfigError("LikelihoodRegret: expected fit before score");
        const at::Tensor images = images_of(evidence).to(network_->parameters().front().scalar_type());
        std::vector<at::Tensor> result;
        for (const at::Tensor& some : images.split(options_.together)) result.push_back(regret(some, noise));
        return at::cat(result).to(at::kDouble);
    }

    void checkpoint(Archive& archive) {
        bool fitted = !network_.is_empty();
        archive.now("fitted", fitted);
        if (!fitted) {
            if (archive.loading()) network_ = PixelAutoencoder(nullptr);
            return;
        }
        if (archive.loading() || (!archive.saving() && network_.is_empty())) {
            const detail::FixedSeed fixed(options_.seed);
            network_ = PixelAutoencoder(options_.network);
            network_->eval();
        }
        archive.in("network", [&] { ::retort::detail::archive_module(archive, *network_); });
    }

  private:
    at::Tensor images_of(const Evidence& evidence) const {
        const at::Tensor& input = evidence.input;
        const PixelAutoencoderOptions& network = options_.network;
        if (!input.defined() || input.dim() != 4 || input.size(0) < 1 || input.size(1) != network.channels ||
            input.size(2) != network.size || input.size(3) != network.size || !input.is_floating_point()) {
            throw ShapeError(::retort::detail::concat(
                "LikelihoodRegret: expected images of shape [samples, ", network.channels, ", ", network.size,
                ", ", network.size, "] and a floating-point type, found ",
                input.defined() ? ::retort::detail::shape_text(input) : std::string("an undefined tensor")));
        }
        return (input.detach() * options_.deviation + options_.mean).clamp(0, 1);
    }
    at::Tensor pixels(const at::Tensor& images) const {
        return (images * static_cast<double>(options_.network.levels - 1)).to(at::kLong);
    }
    static at::Tensor drawn(const Latent& latent, const at::Tensor& noise) {
        return latent.mean + (latent.log_variance / 2).exp() * noise;
    }
    /// The log-likelihood of the pixels, by image.
    static at::Tensor likelihood(const at::Tensor& logits, const at::Tensor& pixels) {
        return at::log_softmax(logits, 1).gather(1, pixels.unsqueeze(1)).flatten(1).sum(1);
    }
    /// The negative evidence lower bound, by image.
    static at::Tensor bound(const Latent& latent, const at::Tensor& logits, const at::Tensor& pixels) {
        const at::Tensor divergence =
            (latent.mean.square() + latent.log_variance.exp() - 1 - latent.log_variance).sum(1) / 2;
        return divergence - likelihood(logits, pixels);
    }
    /// The negative log-likelihood by importance samples, by image.
    at::Tensor importance(const Latent& latent, const at::Tensor& pixels, const Noise& noise) const {
        const at::NoGradGuard no_grad;
        const std::int64_t count = latent.mean.size(0);
        const std::int64_t width = latent.mean.size(1);
        std::vector<at::Tensor> weights;
        for (std::int64_t i = 0; i < options_.batches; ++i) {
            const at::Tensor drawn_noise = noise({count, options_.samples, width}).to(latent.mean.options());
            const at::Tensor deviation = (latent.log_variance / 2).exp().unsqueeze(1);
            const at::Tensor z = latent.mean.unsqueeze(1) + deviation * drawn_noise;
            std::vector<at::Tensor> likelihoods;
            for (std::int64_t k = 0; k < options_.samples; ++k)
                likelihoods.push_back(likelihood(network_->decode(z.select(1, k)), pixels));
            // log p(x|z) + log p(z) - log q(z|x)
            weights.push_back(
                at::stack(likelihoods, 1) +
                (drawn_noise.square().sum(2) - z.square().sum(2) + latent.log_variance.sum(1, true)) / 2);
        }
        const at::Tensor all = at::cat(weights, 1);
        return std::log(static_cast<double>(all.size(1))) - at::logsumexp(all, {1});
    }
    at::Tensor regret(const at::Tensor& images, const Noise& noise) const {
        const at::Tensor truth = pixels(images);
        const Latent latent = [&] {
            const at::NoGradGuard no_grad;
            return network_->encode(images);
        }();
        const at::Tensor before = importance(latent, truth, noise);
        std::vector<at::Tensor> encoders = network_->own_encoders(images.size(0));
        {
            const at::AutoGradMode with_gradient(true);
            torch::optim::Adam optimizer(encoders, torch::optim::AdamOptions(options_.step_rate)
                                                       .betas(std::make_tuple(options_.beta, 0.999))
                                                       .weight_decay(options_.weight_decay));
            for (std::int64_t step = 0; step < options_.steps; ++step) {
                const Latent own = network_->encode_each(images, encoders);
                const at::Tensor drawn_noise = noise(own.mean.sizes().vec()).to(own.mean.options());
                const std::vector<at::Tensor> gradients = torch::autograd::grad(
                    {bound(own, network_->decode(drawn(own, drawn_noise)), truth).sum()}, encoders);
                for (std::size_t i = 0; i < encoders.size(); ++i) encoders[i].mutable_grad() = gradients[i];
                optimizer.step();
            }
        }
        const Latent after = [&] {
            const at::NoGradGuard no_grad;
            return network_->encode_each(images, encoders);
        }();
        return before - importance(after, truth, noise);
    }

    LikelihoodRegretOptions options_;
    mutable PixelAutoencoder network_{nullptr};
};

}  // namespace retort::community
