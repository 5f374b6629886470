// SPDX-License-Identifier: BSL-1.0
/// \file
/// SimKD: matches the student's projected feature to the teacher's last map, and classifies it with the teacher's
/// classifier.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <memory>
#include <utility>

#include <retort/knowledge/connector/bottleneck.hpp>
#include <retort/knowledge/detail/feature.hpp>
#include <retort/knowledge/detail/feature_term.hpp>
#include <retort/knowledge/detail/fixed_head.hpp>
#include <retort/knowledge/feature/hint.hpp>

namespace retort {

namespace detail {

/// A projector, and the size of the teacher's map.
template <class Holder>
class SimKdModule : public torch::nn::Module {
  public:
    SimKdModule(Holder projector, std::int64_t height, std::int64_t width)
        : torch::nn::Module("SimKd"),
          projector_(register_module("projector", std::move(projector))),
          height_(height),
          width_(width) {}
    at::Tensor forward(const at::Tensor& feature) { return projector_->forward(feature); }
    std::int64_t height() const { return height_; }
    std::int64_t width() const { return width_; }

  private:
    Holder projector_;
    std::int64_t height_, width_;
};

template <Connector C>
struct SimKdParts {
    C projector;
    HintOptions options;

    static bool sized() { return false; }
    auto build(at::IntArrayRef student, at::IntArrayRef teacher) const {
        using Module = SimKdModule<decltype(projector.build(student, teacher))>;
        const auto [height, width] = spatial_sizes("SimKd", teacher);
        return torch::nn::ModuleHolder<Module>(
            std::make_shared<Module>(projector.build(student, teacher), height, width));
    }
    template <class Module>
    at::Tensor loss(Module& module, const at::Tensor& student, const at::Tensor& teacher) const {
        check_features("SimKd", student, teacher, 4, "[batch, channels, height, width]");
        const auto [source, goal] = pool_larger("SimKd", student, constant(teacher));
        return functional::hint(module.forward(source), goal, options);
    }
    static void check() {}
};

}  // namespace detail

/// SimKD: squared difference of the student's projected feature and the teacher's, both before the teacher's
/// classifier.
///
///     retort::SimKd simkd{retort::tap<&SmallOutputs::body>, retort::tap<&BigOutputs::stage3>};
///     // after training, with the student in evaluation mode:
///     auto logits = simkd.predict(student->forward(images), big->classifier);
///
/// Formula: \f$ \mathrm{mean} (p(F_s) - F_t)^2 \f$; the larger map is average-pooled to the size of the smaller,
/// before the projector p. Use it alone: the student's own classifier is neither trained nor used.
/// Shapes: [batch, channels, height, width].
/// Gradient: to the student's feature and the projector.
/// Reductions: those of `Hint`.
/// Learnable: the projector, by default a `Bottleneck` with factor 2. The prediction is the teacher's classifier on
/// the projected feature, so projector and classifier remain part of the student at inference.
/// Source: Chen, Mei, Zhang, Wang, Feng, Chen, "Knowledge Distillation with the Reused Teacher Classifier",
/// CVPR 2022, Eq. 3.
template <class StudentTap, class TeacherTap, Connector C = Bottleneck>
class SimKd : public detail::FeatureTerm<StudentTap, TeacherTap, detail::SimKdParts<C>> {
  public:
    explicit SimKd(StudentTap student, TeacherTap teacher, C projector = {}, HintOptions options = {})
        : SimKd::FeatureTerm("sim_kd", std::move(student), std::move(teacher),
                             {std::move(projector), options}) {}

    /// The student's feature as passed to the teacher's classifier: projected, and at most as large as the teacher's
    /// map in the first batch.
    /// Shapes: [batch, channels of the teacher, height, width].
    template <class Student>
    at::Tensor project(const Student& outputs) const {
        const at::Tensor feature = this->taps_.student(outputs);
        detail::check_feature(this->name(), "the student's feature", feature, 4,
                              "[batch, channels, height, width]");
        return this->learnable_->forward(
            detail::pooled_to(feature, std::min(feature.size(2), this->learnable_->height()),
                              std::min(feature.size(3), this->learnable_->width())));
    }
    /// The logits: the teacher's classifier on the mean of the projected feature. For inference use
    /// `module()->eval()` and a `NoGradGuard`, as for the student.
    /// \param classifier `torch::nn::Linear`, or another network or callable on [batch, channels]
    template <class Student, class Head>
    at::Tensor predict(const Student& outputs, const Head& classifier) const {
        return detail::FixedHead<Head>("SimKd", classifier)(project(outputs).mean({2, 3}));
    }
};

}  // namespace retort
