// SPDX-License-Identifier: BSL-1.0
/// \file
/// Embedding compression: matches the student's feature to a compressed form of the teacher's embedding.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/mse_loss.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>

#include <limits>
#include <memory>
#include <utility>

#include <retort/core/batch.hpp>
#include <retort/core/logits.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/connector/linear_map.hpp>
#include <retort/knowledge/detail/cosine_distances.hpp>
#include <retort/knowledge/detail/feature.hpp>
#include <retort/knowledge/detail/feature_term.hpp>
#include <retort/knowledge/detail/learnable.hpp>
#include <retort/knowledge/detail/reduce.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>

namespace retort {

/// Options of `CompressedEmbedding` and `functional::embedding_distance`. The available sources do not state the
/// paper's values: these are this library's choice.
struct CompressedEmbeddingOptions {
    /// The distance of two embeddings.
    enum class Distance {
        cosine,   ///< 1 - cosine
        squared,  ///< mean squared difference
    };

    Distance distance = Distance::cosine;
    double distance_weight = 1;  ///< at least 0
    double teacher_weight = 1;   ///< at least 0; 0: the distance alone trains the compressor
    /// Whether the distance trains the compressor too, or the student only.
    bool distance_trains_compressor = true;
    Reduction reduction = Reduction::mean;  ///< elements are the samples

    void check() const {
        detail::check_range("CompressedEmbedding", "a distance_weight", distance_weight, detail::at_least(0));
        detail::check_range("CompressedEmbedding", "a teacher_weight", teacher_weight, detail::at_least(0));
        if (teacher_weight == 0 && !distance_trains_compressor) {
            throw ConfigError(
                "CompressedEmbedding: expected a teacher weight above 0 or distance_trains_compressor, found "
                "a compressor that nothing trains");
        }
    }
};

namespace functional {

/// Distance of two embeddings: \f$ 1 - \cos(f_s, e) \f$ (an embedding of zeros has cosine 0 and no
/// gradient), or the mean squared difference; mean over the samples.
/// Shapes: both [batch, size].
/// Gradient: to both, since the embedding may be trained; detach it otherwise.
inline at::Tensor embedding_distance(const at::Tensor& student, const at::Tensor& embedding,
                                     const CompressedEmbeddingOptions& options = {}) {
    detail::check_feature("embedding_distance", "the student's feature", student, 2, "[batch, size]");
    detail::check_alike("embedding_distance", "the student's feature", student, "the embedding", embedding);
    if (student.dim() != 2) {
        throw ShapeError(
            detail::concat("embedding_distance: expected features of shape [batch, size], found ",
                           detail::shape_text(student)));
    }
    const detail::TensorPair both = detail::in_one_type(student, embedding);
    const at::Tensor one = detail::at_least_float32(both.student);
    const at::Tensor other = detail::at_least_float32(both.teacher);
    if (options.distance == CompressedEmbeddingOptions::Distance::squared) {
        return detail::reduce((one - other).pow(2).mean(1), options.reduction);
    }
    if (!other.requires_grad()) {
        return detail::reduce(
            detail::cosine_distances(one, other, 1e-12, std::numeric_limits<double>::infinity()),
            options.reduction);
    }
    return detail::reduce(1 - (detail::normalized(one, 1) * detail::normalized(other, 1)).sum(1),
                          options.reduction);
}

}  // namespace functional

namespace detail {

/// The compressor and the classifier it is trained with.
template <class Holder>
class CompressionModule : public torch::nn::Module {
  public:
    CompressionModule(Holder compressor, std::int64_t size, std::int64_t classes)
        : torch::nn::Module("CompressedEmbedding"),
          compressor_(register_module("compressor", std::move(compressor))) {
        if (classes > 0) classifier_ = register_module("classifier", torch::nn::Linear(size, classes));
    }
    at::Tensor forward(const at::Tensor& embedding) { return compressor_->forward(embedding); }
    at::Tensor classify(const at::Tensor& compressed) { return classifier_->forward(compressed); }

  private:
    Holder compressor_;
    torch::nn::Linear classifier_{nullptr};
};

template <Connector C>
struct CompressionParts {
    C compressor;
    CompressedEmbeddingOptions options;
    std::int64_t classes = 0;  // known with the first batch

    static bool sized() { return false; }
    auto build(at::IntArrayRef student, at::IntArrayRef teacher) const {
        using Module = CompressionModule<decltype(compressor.build(teacher, student))>;
        if (student.size() != 2) {
            throw ShapeError(
                concat("CompressedEmbedding: expected the student's feature of shape [batch, "
                       "size], found ",
                       shape_text(student)));
        }
        return torch::nn::ModuleHolder<Module>(
            std::make_shared<Module>(compressor.build(teacher, student), student[1], classes));
    }
    void check() const { options.check(); }
};

}  // namespace detail

/// Embedding compression: a compressor reduces the teacher's frozen embedding, which may come from another task, to
/// the size of the student's feature; it is trained with a classifier on the targets, and the student's feature is
/// matched to the result.
///
/// Formula: \f$ w_d \, d(f_s, c(e_t)) + w_t \, \mathrm{CE}(W c(e_t) + b, y) \f$ with the compressor c.
/// Shapes: the student's feature [batch, size], the teacher's embedding as the compressor accepts it; targets as for
/// `CrossEntropy`.
/// Gradient: to the student's feature from the distance only; to the compressor from both; to the classifier
/// from the cross-entropy. Never negative.
/// Reductions: elements are the samples.
/// Learnable: compressor (by default `LinearMap`) and classifier, built from the first batch.
/// Source: Ding, Lerch, "Embedding Compression for Teacher-to-Student Knowledge Transfer", 2024; the available sources
/// give the idea but not the formula, so the distance and the weights are this library's choice.
template <class StudentTap, class TeacherTap, Connector C = LinearMap>
class CompressedEmbedding : public detail::FeatureTerm<StudentTap, TeacherTap, detail::CompressionParts<C>> {
    using Base = detail::FeatureTerm<StudentTap, TeacherTap, detail::CompressionParts<C>>;

  public:
    static constexpr bool needs_target = true;

    explicit CompressedEmbedding(StudentTap student, TeacherTap teacher, C compressor = {},
                                 CompressedEmbeddingOptions options = {})
        : Base("compressed_embedding", std::move(student), std::move(teacher),
               {std::move(compressor), options}) {}

    template <class Student, class Teacher, class B>
    void prepare(const Student& student, const Teacher* teacher, const B& batch) {
        const at::Tensor& scores = detail::student_logits<CompressedEmbedding>(student);
        if (this->parts_.options.teacher_weight > 0) this->parts_.classes = scores.size(1);
        Base::prepare(student, teacher, batch);
    }

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch) const {
        const CompressedEmbeddingOptions& options = this->parts_.options;
        const at::Tensor feature = this->taps_.student(student);
        const at::Tensor embedding = detail::constant(this->taps_.teacher(teacher));
        return this->naming([&] {
            const at::Tensor compressed =
                this->learnable_->forward(detail::in_type_of(*this->module(), embedding));
            at::Tensor result =
                options.distance_weight *
                functional::embedding_distance(
                    feature, options.distance_trains_compressor ? compressed : compressed.detach(), options);
            if (options.teacher_weight > 0) {
                result =
                    result + options.teacher_weight *
                                 functional::cross_entropy(this->learnable_->classify(compressed),
                                                           target(batch), {.reduction = options.reduction});
            }
            return result;
        });
    }
};

}  // namespace retort
