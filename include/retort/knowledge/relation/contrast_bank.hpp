// SPDX-License-Identifier: BSL-1.0
/// \file
/// Contrast with memory banks: one vector per sample of the data set, from the student and from the teacher.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/relations.hpp>
#include <retort/knowledge/detail/alias_table.hpp>

namespace retort {

/// Options of `functional::noise_contrast`.
struct NoiseContrastOptions {
    double temperature = 0.07;  ///< above 0
    double epsilon = 1e-7;      ///< added to the noise's probability; at least 0

    /// \throws ConfigError
    void check() const {
        detail::check_range("noise_contrast", "a temperature", temperature, detail::above(0));
        detail::check_range("noise_contrast", "an epsilon", epsilon, detail::at_least(0));
    }
};

namespace detail {

/// How many numbers a block of `contrast_scores` holds at a time: 64 MiB in float32.
inline constexpr std::int64_t contrast_block = std::int64_t{1} << 24;

/// Whether the products with the whole bank cost less than gathering the requested rows.
inline bool against_whole_bank(const at::Tensor& bank, const at::Tensor& indices) {
    return bank.size(0) <= 8 * indices.size(1);
}

/// Calls `function(first, count)` for blocks of samples.
template <class Function>
void in_contrast_blocks(const at::Tensor& bank, const at::Tensor& indices, Function&& function) {
    const std::int64_t per_sample =
        against_whole_bank(bank, indices) ? bank.size(0) : indices.size(1) * bank.size(1);
    const std::int64_t at_once = std::clamp<std::int64_t>(contrast_block / per_sample, 1, indices.size(0));
    for (std::int64_t first = 0; first < indices.size(0); first += at_once) {
        function(first, std::min(at_once, indices.size(0) - first));
    }
}

/// The products of each sample's vector [batch, size] with the rows of the bank selected by its indices [batch,
/// count].
inline at::Tensor contrast_scores(const at::Tensor& vectors, const at::Tensor& bank,
                                  const at::Tensor& indices) {
    at::Tensor result = at::empty(indices.sizes(), vectors.options());
    in_contrast_blocks(bank, indices, [&](std::int64_t first, std::int64_t count) {
        const at::Tensor own = vectors.narrow(0, first, count);
        const at::Tensor chosen = indices.narrow(0, first, count);
        result.narrow(0, first, count)
            .copy_(against_whole_bank(bank, indices)
                       ? at::mm(own, bank.t()).gather(1, chosen)
                       : at::bmm(bank.index_select(0, chosen.reshape({-1})).view({count, -1, bank.size(1)}),
                                 own.unsqueeze(2))
                             .squeeze(2));
    });
    return result;
}

/// The weighted sum of the rows selected by the indices: [batch, size].
inline at::Tensor contrast_sums(const at::Tensor& weights, const at::Tensor& bank,
                                const at::Tensor& indices) {
    at::Tensor result = at::empty({indices.size(0), bank.size(1)}, weights.options());
    in_contrast_blocks(bank, indices, [&](std::int64_t first, std::int64_t count) {
        const at::Tensor own = weights.narrow(0, first, count);
        const at::Tensor chosen = indices.narrow(0, first, count);
        result.narrow(0, first, count)
            .copy_(against_whole_bank(bank, indices)
                       ? at::mm(at::zeros({count, bank.size(0)}, own.options()).scatter_add_(1, chosen, own),
                                bank)
                       : at::bmm(own.unsqueeze(1),
                                 bank.index_select(0, chosen.reshape({-1})).view({count, -1, bank.size(1)}))
                             .squeeze(1));
    });
    return result;
}

/// The noise-contrastive loss of each sample. Its gradient is computed with it, as the bank changes before the
/// backward pass runs, and keeping the rows used would take batch * count * size numbers.
class NoiseContrastFunction : public torch::autograd::Function<NoiseContrastFunction> {
  public:
    static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& /*vectors*/,
                              const at::Tensor& scores, const at::Tensor& bank, const at::Tensor& indices,
                              const at::Tensor& log_normalizer, const at::Tensor& log_noise,
                              double temperature, double epsilon, bool with_gradient) {
        // With the model's and the noise's logarithms x and log n, and c = n + epsilon: a positive costs
        // log(1 + c / e^x), a negative log((e^x + c) / n).
        const at::Tensor log_c = epsilon == 0 ? log_noise : (log_noise.exp() + epsilon).log();
        const at::Tensor odds = scores / temperature - log_normalizer - log_c;
        const std::int64_t negatives = scores.size(1) - 1;
        const at::Tensor positive = odds.narrow(1, 0, 1);
        const at::Tensor negative = odds.narrow(1, 1, negatives);
        const at::Tensor offset = (log_c - log_noise).expand_as(scores).narrow(1, 1, negatives);
        const at::Tensor loss =
            at::softplus(-positive, 1, 50).squeeze(1) + (at::softplus(negative, 1, 50) + offset).sum(1);
        if (with_gradient) {
            at::Tensor slope = odds.sigmoid();
            slope.narrow(1, 0, 1).sub_(1);
            slope.div_(temperature);
            context->save_for_backward({contrast_sums(slope, bank, indices)});
        }
        return loss;
    }
    static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                   torch::autograd::variable_list gradients) {
        if (at::GradMode::is_enabled()) {
            throw ConfigError("noise_contrast: its gradient is not differentiable (create_graph)");
        }
        const auto saved = context->get_saved_variables();
        return {saved[0] * gradients[0].unsqueeze(1), {}, {}, {}, {}, {}, {}, {}, {}};
    }
};

inline void check_contrast(const at::Tensor& vectors, const at::Tensor& bank, const at::Tensor& indices) {
    rows("noise_contrast", "the vectors", vectors);
    check_defined("noise_contrast", "the bank", bank);
    check_defined("noise_contrast", "the indices", indices);
    if (vectors.dim() != 2 || bank.dim() != 2 || bank.size(0) == 0 || bank.size(1) != vectors.size(1)) {
        throw ShapeError(
            concat("noise_contrast: expected vectors [batch, size] and a bank [samples, size], found ",
                   shape_text(vectors), " and ", shape_text(bank)));
    }
    if (indices.dim() != 2 || indices.size(0) != vectors.size(0) || indices.size(1) < 2 ||
        indices.scalar_type() != at::kLong) {
        throw ShapeError(concat("noise_contrast: expected int64 indices [batch, 1 + negatives] for ",
                                vectors.size(0), " samples, found ", shape_text(indices), " of ",
                                indices.scalar_type()));
    }
    check_same_device("noise_contrast", "the vectors", vectors, "the bank", bank);
    check_same_device("noise_contrast", "the vectors", vectors, "the indices", indices);
}

}  // namespace detail

namespace functional {

/// Discriminates a sample's own row of a bank from randomly drawn rows: noise-contrastive estimation.
///
/// Formula: with \f$ x_j = e^{v \cdot m_j / T} / Z \f$ and \f$ n_j = K p_j \f$ (K negatives, drawn with
/// probability p), \f$ -\log \frac{x_0}{x_0 + n_0 + \epsilon} - \sum_{j=1}^{K} \log \frac{n_j}{x_j + n_j +
/// \epsilon} \f$ for each sample; computed in logarithms throughout.
/// Shapes: vectors [batch, size], bank [samples, size], indices [batch, 1 + K] into the bank, the positive
/// first; `log_normalizer` log Z, one number; `log_noise` log n, one number or [batch, 1 + K]. Returns
/// [batch].
/// Gradient: to the vectors. First derivatives only. The bank may change before the backward pass.
/// Memory: blocks of 2^24 numbers, not batch * (1 + K) * size.
/// Source: Tian, Krishnan, Isola, "Contrastive Representation Distillation", ICLR 2020, in the form of the
/// released code (its Eq. 18); Gutmann, Hyvarinen, 2010.
/// \throws ShapeError, ConfigError
inline at::Tensor noise_contrast(const at::Tensor& vectors, const at::Tensor& bank, const at::Tensor& indices,
                                 const at::Tensor& log_normalizer, const at::Tensor& log_noise,
                                 const NoiseContrastOptions& options = {}) {
    options.check();
    detail::check_contrast(vectors, bank, indices);
    const at::Tensor own = detail::at_least_float32(vectors);
    const at::Tensor rows = bank.scalar_type() == own.scalar_type() ? bank : bank.to(own.scalar_type());
    const at::Tensor scores = detail::contrast_scores(detail::constant(own), rows, indices);
    return detail::NoiseContrastFunction::apply(own, scores, rows, indices, log_normalizer, log_noise,
                                                options.temperature, options.epsilon,
                                                own.requires_grad() && at::GradMode::is_enabled());
}

}  // namespace functional

namespace detail {

/// Moves buffers; those of floating-point type become float64 if `type` is, otherwise float32; the others keep their
/// type, unlike in LibTorch's own `Module::to`.
inline void buffers_to(torch::nn::Module& module, std::optional<at::Device> device, at::ScalarType type) {
    for (auto& buffer : module.named_buffers(/*recurse=*/false)) {
        at::Tensor& tensor = buffer.value();
        at::TensorOptions options = tensor.options();
        if (device) options = options.device(*device);
        if (tensor.is_floating_point())
            options = options.dtype(type == at::kDouble ? at::kDouble : at::kFloat);
        tensor.set_data(tensor.to(options));
    }
}

}  // namespace detail

/// The options of a `ContrastBank`.
struct ContrastBankOptions {
    std::int64_t samples = 0;        ///< of the data set; at least 1
    std::int64_t size = 128;         ///< of the vectors
    std::int64_t negatives = 16384;  ///< drawn for each sample; at least 1
    double temperature = 0.07;       ///< above 0
    double momentum = 0.5;           ///< weight of the old row; from 0 to 1
    at::Tensor weights = {};  ///< [samples]: how often each is drawn as a negative; undefined: equally often
};

/// Two memory banks with one row per sample of the data set, and the sampler of negatives.
///
/// State, all in buffers and so in checkpoints: both banks, the normalizers (set by the first batch), the position in
/// the sequence of random numbers, the alias table for unequal weights.
class ContrastBankImpl : public torch::nn::Module {
  public:
    /// \throws ConfigError
    explicit ContrastBankImpl(ContrastBankOptions options)
        : torch::nn::Module("ContrastBank"), options_(std::move(options)) {
        detail::check_range("ContrastBank", "a number of samples", options_.samples,
                            detail::in_half_open(1, 2147483648));
        detail::check_range("ContrastBank", "a size", options_.size, detail::at_least(1));
        detail::check_range("ContrastBank", "a number of negatives", options_.negatives, detail::at_least(1));
        detail::check_range("ContrastBank", "a momentum", options_.momentum, detail::in_closed(0, 1));
        NoiseContrastOptions{.temperature = options_.temperature}.check();
        const double bound = 1 / std::sqrt(static_cast<double>(options_.size) / 3);
        const auto rows = [&] {
            return at::rand({options_.samples, options_.size}, at::TensorOptions(at::kFloat))
                .mul_(2 * bound)
                .sub_(bound);
        };
        student_bank_ = register_buffer("student_bank", rows());
        teacher_bank_ = register_buffer("teacher_bank", rows());
        log_normalizers_ = register_buffer(
            "log_normalizers",
            at::full({2}, std::numeric_limits<double>::quiet_NaN(), at::TensorOptions(at::kFloat)));
        random_ = register_buffer("random", at::randint(std::numeric_limits<std::int64_t>::max(), {1},
                                                        at::TensorOptions(at::kLong)));
        if (options_.weights.defined()) {
            if (options_.weights.dim() != 1 || options_.weights.size(0) != options_.samples) {
                throw ConfigError(detail::concat("ContrastBank: expected ", options_.samples,
                                                 " weights, one for each sample, found ",
                                                 detail::shape_text(options_.weights)));
            }
            const detail::AliasTable table = detail::alias_table(options_.weights.cpu());
            accept_ = register_buffer("accept", table.accept);
            alias_ = register_buffer("alias", table.alias);
            const at::Tensor shares = options_.weights.cpu().to(at::kDouble);
            log_shares_ = register_buffer("log_shares", (shares / shares.sum()).log().to(at::kFloat));
        }
    }

    /// The losses of the samples [batch]: the teacher's vectors against the student's bank plus the student's
    /// against the teacher's. Then, if gradients are enabled, the rows of the samples are updated with their
    /// vectors.
    /// \param ids indices of the samples in the data set: [batch], int64, distinct
    at::Tensor forward(const at::Tensor& student, const at::Tensor& teacher, const at::Tensor& ids) {
        check_ids(student, ids);
        const bool training = at::GradMode::is_enabled();
        at::Tensor indices;
        {
            const at::NoGradGuard no_gradient;
            indices = at::cat({ids.unsqueeze(1), negatives(ids.size(0), training)}, 1);
        }
        return contrast(student, teacher, ids, indices);
    }
    /// With given negatives: `indices` [batch, 1 + K], the sample itself first.
    at::Tensor contrast(const at::Tensor& student, const at::Tensor& teacher, const at::Tensor& ids,
                        const at::Tensor& indices) {
        check_ids(student, ids);
        detail::check_alike("contrast", "the student's vectors", student, "the teacher's vectors", teacher);
        const bool training = at::GradMode::is_enabled();
        const at::Tensor loss =
            half(student, teacher_bank_, indices, 0) + half(teacher, student_bank_, indices, 1);
        if (training) {
            const at::NoGradGuard no_gradient;
            follow(student_bank_, student, ids);
            follow(teacher_bank_, teacher, ids);
        }
        return loss;
    }

    void to(torch::Device device, torch::Dtype type, bool non_blocking = false) override {
        torch::nn::Module::to(device, non_blocking);
        detail::buffers_to(*this, device, type);
    }
    void to(torch::Dtype type, bool = false) override { detail::buffers_to(*this, std::nullopt, type); }
    void to(torch::Device device, bool non_blocking = false) override {
        torch::nn::Module::to(device, non_blocking);
    }

  private:
    at::Tensor negatives(std::int64_t batch, bool training) {
        const std::int64_t count = batch * options_.negatives;
        const at::Tensor bits = detail::random_bits(random_, count);
        if (training) detail::skip_random_bits(random_, count);
        const at::Tensor chosen = accept_.defined() ? detail::draw({accept_, alias_}, bits)
                                                    : detail::integers_of(bits, options_.samples);
        return chosen.view({batch, options_.negatives});
    }
    at::Tensor half(const at::Tensor& vectors, const at::Tensor& bank, const at::Tensor& indices,
                    std::int64_t position) {
        detail::check_contrast(vectors, bank, indices);
        const at::Tensor rows =
            vectors.scalar_type() == bank.scalar_type() ? vectors : vectors.to(bank.scalar_type());
        const bool training = at::GradMode::is_enabled();
        at::Tensor scores, normalizer, noise;
        {
            const at::NoGradGuard no_gradient;
            scores = detail::contrast_scores(detail::constant(rows), bank, indices);
            // Set by the first batch, without a device sync to check whether this is it.
            const auto count = static_cast<double>(options_.samples) / static_cast<double>(indices.numel());
            const at::Tensor fresh =
                at::logsumexp((scores / options_.temperature).view(-1), at::IntArrayRef({0})) +
                std::log(count);
            at::Tensor kept = log_normalizers_.select(0, position);
            normalizer = at::where(kept.isnan(), fresh.to(kept.scalar_type()), kept);
            if (training) kept.copy_(normalizer);
            const auto drawn = static_cast<double>(indices.size(1) - 1);
            noise = log_shares_.defined()
                        ? log_shares_.index_select(0, indices.reshape({-1})).view(indices.sizes()) +
                              std::log(drawn)
                        : at::full({1, 1}, std::log(drawn / static_cast<double>(options_.samples)),
                                   bank.options());
        }
        return detail::NoiseContrastFunction::apply(rows, scores, bank, indices, normalizer, noise,
                                                    options_.temperature, NoiseContrastOptions{}.epsilon,
                                                    training && rows.requires_grad());
    }
    void follow(at::Tensor& bank, const at::Tensor& vectors, const at::Tensor& ids) const {
        const at::Tensor moved = bank.index_select(0, ids) * options_.momentum +
                                 vectors.to(bank.scalar_type()) * (1 - options_.momentum);
        bank.index_copy_(0, ids, detail::unit_rows(moved));
    }
    void check_ids(const at::Tensor& vectors, const at::Tensor& ids) const {
        detail::check_defined("contrast", "the samples' numbers", ids);
        if (ids.dim() != 1 || ids.size(0) != vectors.size(0) || ids.scalar_type() != at::kLong) {
            throw ShapeError(detail::concat("contrast: expected int64 numbers [batch] of ", vectors.size(0),
                                            " samples, found ", detail::shape_text(ids), " of ",
                                            ids.scalar_type()));
        }
        detail::check_same_device("contrast", "the vectors", vectors, "the samples' numbers", ids);
        detail::check_same_device("contrast", "the bank", student_bank_, "the vectors", vectors);
        // On a device this would wait for it; there LibTorch asserts.
        if (ids.is_cpu()) {
            const auto* number = ids.data_ptr<std::int64_t>();
            for (std::int64_t i = 0; i < ids.size(0); ++i) {
                const std::int64_t id = number[i * ids.stride(0)];
                if (id < 0 || id >= options_.samples) {
                    throw ShapeError(detail::concat("contrast: expected numbers of samples from 0 to ",
                                                    options_.samples - 1, ", found ", id));
                }
            }
        }
    }

    ContrastBankOptions options_;
    at::Tensor student_bank_, teacher_bank_, log_normalizers_, random_, accept_, alias_, log_shares_;
};
/// Holder of `ContrastBankImpl`.
class ContrastBank : public torch::nn::ModuleHolder<ContrastBankImpl> {
  public:
    using torch::nn::ModuleHolder<ContrastBankImpl>::ModuleHolder;
    using Impl = ContrastBankImpl;
};

}  // namespace retort
