// SPDX-License-Identifier: BSL-1.0
/// \file
/// Contrast without a bank of the data set's size: with the other samples of the batch, or with a queue of recent
/// ones.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Reduction.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <cstdint>
#include <optional>
#include <utility>

#include <retort/core/error.hpp>
#include <retort/core/reduction.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/relations.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/detail/feature.hpp>
#include <retort/knowledge/detail/reduce.hpp>
#include <retort/knowledge/relation/contrast_bank.hpp>

namespace retort {

/// Options of `functional::batch_contrast` and `functional::queue_contrast`.
struct ContrastOptions {
    double temperature = 0.07;  ///< above 0
    Reduction reduction =
        Reduction::batchmean;  ///< elements are samples; `batchmean` and `mean` are the same

    /// \throws ConfigError
    void check() const { detail::check_range("contrast", "a temperature", temperature, detail::above(0)); }
};

namespace detail {

inline TensorPair contrast_pair(const char* where, const at::Tensor& student, const at::Tensor& teacher) {
    const at::Tensor own = rows(where, "the student's vectors", student);
    const at::Tensor other = rows(where, "the teacher's vectors", teacher);
    check_alike(where, "the student's vectors", own, "the teacher's vectors", other);
    return in_one_type(own, other);
}

}  // namespace detail

namespace functional {

/// Discriminates each sample's vector in the other network from those of the rest of the batch, in both directions.
///
/// Formula: with \f$ L_{ij} = v^s_i \cdot v^t_j / T \f$,
/// \f$ -\log \mathrm{softmax}_j(L)_{ii} - \log \mathrm{softmax}_i(L)_{ii} \f$ for each sample.
/// Shapes: both [batch, size], usually of unit length.
/// Gradient: to both, as both come from trained maps; pass a detached tensor if one is a constant.
/// Reductions: mean over the samples (default), `sum`, `none`. A batch of one has no negatives: 0.
/// Hazards: depends on the whole batch; few negatives.
/// Source: the softmax form (InfoNCE; van den Oord, Li, Vinyals, 2018) of the loss in
/// `functional::noise_contrast`, with the batch for negatives, as the authors of contrastive representation
/// distillation suggest for large data sets.
/// \throws ShapeError, ConfigError
inline at::Tensor batch_contrast(const at::Tensor& student, const at::Tensor& teacher,
                                 const ContrastOptions& options = {}) {
    options.check();
    const auto [own, other] = detail::contrast_pair("batch_contrast", student, teacher);
    const at::Tensor logits = at::mm(own, other.t()) / options.temperature;
    const at::Tensor values =
        -(at::log_softmax(logits, 1).diagonal() + at::log_softmax(logits, 0).diagonal());
    return detail::reduce(values, options.reduction);
}

/// Discriminates each sample's vector in the other network from the rows of a queue.
///
/// Formula: \f$ -\log \frac{e^{v \cdot u / T}}{e^{v \cdot u / T} + \sum_j e^{v \cdot q_j / T}} \f$ for each
/// sample, with its vectors v and u and the rows q of the queue.
/// Shapes: vectors [batch, size], positives [batch, size], queue [length, size].
/// Gradient: to the vectors and the positives; the queue is a constant, which must not change before the
/// backward pass.
/// Reductions: mean over the samples (default), `sum`, `none`.
/// Source: He, Fan, Wu, Xie, Girshick, "Momentum Contrast for Unsupervised Visual Representation Learning",
/// CVPR 2020.
/// \throws ShapeError, ConfigError
inline at::Tensor queue_contrast(const at::Tensor& vectors, const at::Tensor& positives,
                                 const at::Tensor& queue, const ContrastOptions& options = {}) {
    options.check();
    const auto [own, other] = detail::contrast_pair("queue_contrast", vectors, positives);
    detail::check_defined("queue_contrast", "the queue", queue);
    if (queue.dim() != 2 || queue.size(0) == 0 || queue.size(1) != own.size(1)) {
        throw ShapeError(detail::concat("queue_contrast: expected a queue [length, ", own.size(1),
                                        "], found ", detail::shape_text(queue)));
    }
    detail::check_same_device("queue_contrast", "the vectors", own, "the queue", queue);
    const at::Tensor positive = (own * other).sum(1, /*keepdim=*/true);
    const at::Tensor rows = detail::constant(queue).to(own.scalar_type());
    const at::Tensor logits = at::cat({positive, at::mm(own, rows.t())}, 1) / options.temperature;
    const at::Tensor first = at::zeros({logits.size(0)}, logits.options().dtype(at::kLong));
    return detail::reduce(at::cross_entropy_loss(logits, first, /*weight=*/{}, at::Reduction::None),
                          options.reduction);
}

}  // namespace functional

/// The options of a `ContrastQueue`.
struct ContrastQueueOptions {
    std::int64_t length = 16384;  ///< at least 1; no batch may be larger
    std::int64_t size = 128;      ///< of the vectors
    double temperature = 0.07;    ///< above 0
};

/// Two queues of recent vectors, the student's and the teacher's, which start as random directions.
///
/// State, all in buffers and so in checkpoints: both queues and the position of the next rows.
class ContrastQueueImpl : public torch::nn::Module {
  public:
    /// \throws ConfigError
    explicit ContrastQueueImpl(const ContrastQueueOptions& options)
        : torch::nn::Module("ContrastQueue"), options_(options) {
        detail::check_range("ContrastQueue", "a length", options.length, detail::at_least(1));
        detail::check_range("ContrastQueue", "a size", options.size, detail::at_least(1));
        ContrastOptions{.temperature = options.temperature}.check();
        const auto rows = [&] {
            return detail::unit_rows(
                at::randn({options.length, options.size}, at::TensorOptions(at::kFloat)));
        };
        student_queue_ = register_buffer("student_queue", rows());
        teacher_queue_ = register_buffer("teacher_queue", rows());
        place_ = register_buffer("place", at::zeros({1}, at::TensorOptions(at::kLong)));
    }

    /// The losses of the samples [batch]: the student's vectors against the teacher's queue plus the reverse.
    /// Then, if gradients are enabled, the vectors replace the oldest rows.
    at::Tensor forward(const at::Tensor& student, const at::Tensor& teacher) {
        const std::int64_t batch = student.defined() && student.dim() > 0 ? student.size(0) : 0;
        if (batch > options_.length) {
            throw ShapeError(detail::concat("contrast: expected a batch of at most the queue's ",
                                            options_.length, " rows, found ", batch, " samples"));
        }
        const ContrastOptions options{.temperature = options_.temperature, .reduction = Reduction::none};
        // Copies, as the queues change before the backward pass.
        const at::Tensor loss =
            functional::queue_contrast(student, teacher, teacher_queue_.clone(), options) +
            functional::queue_contrast(teacher, student, student_queue_.clone(), options);
        if (at::GradMode::is_enabled()) {
            const at::NoGradGuard no_gradient;
            const at::Tensor places =
                (at::arange(batch, place_.options()) + place_).remainder(options_.length);
            student_queue_.index_copy_(0, places, student.to(student_queue_.scalar_type()));
            teacher_queue_.index_copy_(0, places, teacher.to(teacher_queue_.scalar_type()));
            place_.add_(batch).remainder_(options_.length);
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
    ContrastQueueOptions options_;
    at::Tensor student_queue_, teacher_queue_, place_;
};
/// Holder of `ContrastQueueImpl`.
class ContrastQueue : public torch::nn::ModuleHolder<ContrastQueueImpl> {
  public:
    using torch::nn::ModuleHolder<ContrastQueueImpl>::ModuleHolder;
    using Impl = ContrastQueueImpl;
};

}  // namespace retort
