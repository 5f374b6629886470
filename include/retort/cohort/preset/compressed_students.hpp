// SPDX-License-Identifier: BSL-1.0
/// \file
/// Online ensemble of students that are compressed ever more and share their stem (BOC-KD).
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <retort/cohort/edge.hpp>
#include <retort/cohort/gate/through.hpp>
#include <retort/cohort/preset/mutual_learning.hpp>
#include <retort/cohort/preset/online_ensemble.hpp>
#include <retort/cohort/transfer_graph.hpp>
#include <retort/core/error.hpp>
#include <retort/core/logits.hpp>
#include <retort/core/network.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/adaptor/within.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/detail/logit_loss.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/tap/taps.hpp>

namespace retort {

/// How many of a stage's channels a student keeps: \f$ \lfloor c (N - j) / N \rfloor \f$ of c for student j of N;
/// student 0 keeps all.
/// Source: see `compressed_students`.
/// \throws ConfigError if there is no such student, or nothing would be left
inline std::int64_t compressed_channels(std::int64_t channels, std::int64_t student, std::int64_t students) {
    if (student < 0 || student >= students) {
        throw ConfigError(detail::concat("compressed_channels: expected a student from 0 to ", students - 1,
                                         " of ", students, ", found ", student));
    }
    const std::int64_t kept = channels * (students - student) / students;
    if (kept < 1) {
        throw ConfigError(detail::concat("compressed_channels: expected at least 1 channel for student ",
                                         student, " of ", students, ", found ", kept, " of ", channels));
    }
    return kept;
}

/// Options of `LogitEnsemble`.
struct LogitEnsembleOptions {
    bool learnable = false;  ///< whether the weights learn; else all count the same, as in the released code
};

/// The weighted mean of students' logits: what an ensemble answers.
///
/// Formula: \f$ \sum_j w_j z_j \f$, w = 1 / N; learnable \f$ w = \sigma(a) \f$ with a parameter a for each student, 0
/// at the start.
/// Shapes: a list of [batch, classes]; [batch, classes].
/// Gradient: to the weights where they learn. The students' logits are constants: none of the sources lets the
/// ensemble's answer teach them. Weights that learn need a term on the ensemble:
/// `CompressedStudentsOptions::ensemble_weight`.
/// Source: see `compressed_students`. The released code declares weights and never trains them; the softmax is ours.
struct LogitEnsembleImpl : torch::nn::Cloneable<LogitEnsembleImpl> {
    explicit LogitEnsembleImpl(std::int64_t students, LogitEnsembleOptions options = {})
        : students_(students), options_(options) {
        if (students < 1) {
            throw ConfigError(
                detail::concat("LogitEnsemble: expected at least one student, found ", students));
        }
        reset();
    }
    void reset() override {
        if (options_.learnable) weights = register_parameter("weights", at::zeros({students_}));
    }
    /// \throws ShapeError if there are not as many, or they do not fit together
    at::Tensor forward(const std::vector<at::Tensor>& answers) {
        std::vector<at::Tensor> constants;
        constants.reserve(answers.size());
        for (const at::Tensor& each : answers) {
            detail::check_defined("LogitEnsemble", "the logits of a student", each);
            constants.push_back(detail::constant(each));
        }
        const at::Tensor all =
            detail::stacked_branches("LogitEnsemble", constants, static_cast<std::size_t>(students_));
        if (!options_.learnable) return all.mean(1);
        return (all * at::softmax(weights, 0).view({1, students_, 1})).sum(1);
    }
    at::Tensor weights{};  ///< a; undefined where they do not learn

  private:
    std::int64_t students_;
    LogitEnsembleOptions options_;
};
TORCH_MODULE(LogitEnsemble);

/// Whose gradients reach the stem that students share.
enum class StemGradient {
    all,  ///< all students': what the released code does by default (its flag means the opposite of its comment)
    first,  ///< those of student 0 only; the others take what the stem gives as a constant
};

/// Options of `StemEnsemble`.
struct StemEnsembleOptions {
    StemGradient gradient = StemGradient::all;
    LogitEnsembleOptions weights{};
};

/// What a `StemEnsemble` gives.
template <class StudentOutputs>
struct StemEnsembleOutputs {
    at::Tensor logits;                     ///< of the ensemble
    std::vector<StudentOutputs> students;  ///< of each, student 0 first
};

/// Students behind one stem, and their ensemble (`LogitEnsemble`), as one network.
///
///     auto net = retort::stem_ensemble(stem, std::vector{student_0, student_1, student_2});
template <Network Stem, Network Student>
class StemEnsemble : public torch::nn::Module {
  public:
    using Outputs = StemEnsembleOutputs<OutputsOf<Student, at::Tensor>>;

    /// \throws ConfigError if there are no students
    StemEnsemble(Stem stem, const std::vector<Student>& students, StemEnsembleOptions options = {})
        : torch::nn::Module("StemEnsemble"),
          stem_(std::move(stem)),
          students_(students.begin(), students.end()),
          options_(options),
          ensemble_(register_module(
              "ensemble", LogitEnsemble(static_cast<std::int64_t>(students.size()), options.weights))) {
        static_assert(HasLogits<OutputsOf<Student, at::Tensor>>,
                      "retort: the outputs of the students of an ensemble hold logits");
        const auto add = [&](std::string name, torch::nn::Module& module) {
            // Not owned here: the references keep them.
            register_module(std::move(name),
                            std::shared_ptr<torch::nn::Module>(std::shared_ptr<void>(), &module));
        };
        add("stem", stem_.module());
        for (std::size_t j = 0; j < students_.size(); ++j)
            add(detail::concat("student", j), students_[j].module());
    }

    /// \throws ShapeError if the students' logits do not fit together
    Outputs forward(const at::Tensor& samples) {
        const at::Tensor shared = stem_->forward(samples);
        const at::Tensor others = options_.gradient == StemGradient::all ? shared : detail::constant(shared);
        Outputs result;
        std::vector<at::Tensor> answers;
        for (std::size_t j = 0; j < students_.size(); ++j) {
            result.students.push_back(students_[j]->forward(j == 0 ? shared : others));
            answers.push_back(retort::logits(result.students.back()));
        }
        result.logits = ensemble_->forward(answers);
        return result;
    }

    std::size_t size() const { return students_.size(); }
    const NetworkRef<Stem>& stem() const { return stem_; }
    const NetworkRef<Student>& student(std::size_t j) const { return students_.at(j); }
    const LogitEnsemble& ensemble() const { return ensemble_; }

  private:
    NetworkRef<Stem> stem_;
    std::vector<NetworkRef<Student>> students_;
    StemEnsembleOptions options_;
    LogitEnsemble ensemble_;
};

/// Makes a `StemEnsemble` of module holders or `shared_ptr`s to modules.
template <Network Stem, Network Student>
    requires(!detail::ModuleObject<Stem> && !detail::ModuleObject<Student>)
auto stem_ensemble(const Stem& stem, const std::vector<Student>& students, StemEnsembleOptions options = {}) {
    return std::make_shared<StemEnsemble<Stem, Student>>(stem, students, options);
}

/// A tap of student J's outputs, among the outputs of an ensemble: they have a member `students` with elements.
template <std::size_t J, class Tap>
class OfStudent {
  public:
    explicit OfStudent(Tap tap) : tap_(std::move(tap)) {}

    /// \throws ShapeError if there is no such student
    template <class O>
        requires requires(const O& outputs) { outputs.students.size(); }
    at::Tensor operator()(const O& outputs) const {
        using Student = std::remove_cvref_t<decltype(outputs.students[J])>;
        static_assert(TapOf<Tap, Student>,
                      "retort: a tap of OfStudent does not read a tensor from a student's outputs");
        if (outputs.students.size() <= J) {
            throw ShapeError(detail::concat("tap: expected a student ", J, ", found only ",
                                            outputs.students.size(), " students"));
        }
        return tap_(outputs.students[J]);
    }
    std::string name() const { return detail::concat("student", J, '.', detail::tap_name(tap_)); }

  private:
    Tap tap_;
};
/// Makes an `OfStudent`.
template <std::size_t J, class Tap>
OfStudent<J, Tap> of_student(Tap tap) {
    return OfStudent<J, Tap>(std::move(tap));
}

/// Options of `compressed_students`. The defaults are those of the released code for CIFAR-100; for CIFAR-10 it has
/// other ones.
struct CompressedStudentsOptions {
    double label_weight = 0.7;      ///< r_0, of each student's cross-entropy
    double feature_weight = 0.15;   ///< r_1, of the features of student 0
    double response_weight = 0.15;  ///< r_2, of the ensemble's answers
    double temperature = 2.0;       ///< above 0
    /// Of the ensemble's own cross-entropy, which the released code only logs. It teaches the weights of the ensemble,
    /// where they learn, and nothing else.
    double ensemble_weight = 0.0;
    CrossEntropy labels{};

    /// \throws ConfigError
    void check() const {
        for (const auto& [what, weight] :
             {std::pair("a label_weight", label_weight), std::pair("a feature_weight", feature_weight),
              std::pair("a response_weight", response_weight),
              std::pair("an ensemble_weight", ensemble_weight)}) {
            detail::check_weight("CompressedStudentsOptions", what, weight);
        }
        detail::check_temperature("CompressedStudentsOptions", temperature);
    }
};

namespace detail {

struct LogitsTap {
    template <HasLogits O>
    at::Tensor operator()(const O& outputs) const {
        return retort::logits(outputs);
    }
    static const char* name() { return "logits"; }
};

}  // namespace detail

/// BOC-KD as edges of a learner that is an ensemble of students (`stem_ensemble`, or any network whose outputs have
/// members `students` and `logits`, those of the ensemble): student 0, which is not compressed, teaches the others by
/// its features, their ensemble teaches all by its answers.
///
///     auto graph = retort::compressed_students<3>(
///         retort::Taps{retort::tap<&Outputs::stages, 0>, retort::tap<&Outputs::stages, 1>,
///                      retort::tap<&Outputs::stages, 2>});
///
/// Formula: \f$ r_0 \sum_j \mathrm{CE}(z_j, y) + r_1 \sum_b \sum_{j > 0} \mathrm{mean} (A_{bj}(F^b_j) - F^b_0)^2 + r_2
/// \sum_j T^2 \mathrm{KL}(p_e \| p_j) \f$; features of student 0 and answers of the ensemble are constants.
/// Learnable: the adaptations A, one for each block and student, built from the first batch and in the optimizer from
/// the first step. (In the released code they are not trained in the first epoch; then they come into a new optimizer,
/// at half the learning rate, and what the optimizer remembered of all others is lost.)
/// \param blocks `Taps` of a student's outputs: the blocks' feature maps
/// \param adaptation connector; `Identity` where the taps give equal sizes already
/// Source: Walawalkar, Shen, Savvides, "Online Ensemble Model Compression using Knowledge Distillation", ECCV 2020, as
/// in the released code.
/// \tparam N number of students, at least 2
/// \tparam Position of the learner whose edges these are
/// \throws ConfigError if an option makes no sense
template <std::size_t N, std::size_t Position = 0, class... Blocks, Connector Adaptation = Conv1x1>
auto compressed_students(const Taps<Blocks...>& blocks, const CompressedStudentsOptions& options = {},
                         const Adaptation& adaptation = {}) {
    static_assert(N > 1, "retort: an ensemble of compressed students has at least two of them");
    options.check();
    const gate::Through through;
    const detail::LogitsTap answer;
    const SoftTarget soft{.temperature = options.temperature};
    const auto hints_of = [&](const auto& block) {
        return [&]<std::size_t... J>(std::index_sequence<J...>) {
            return std::tuple(
                edge<Position, Position>(Hint(of_student<J + 1>(block), of_student<0>(block), adaptation),
                                         through, options.feature_weight)...);
        }(std::make_index_sequence<N - 1>{});
    };
    const auto hints =
        std::apply([&](const auto&... block) { return std::tuple_cat(hints_of(block)...); }, blocks.all());
    return [&]<std::size_t... J>(std::index_sequence<J...>) {
        return detail::graph_of(std::tuple_cat(
            std::tuple(label<Position>(Within(options.labels, of_student<J>(answer)), through,
                                       options.label_weight)...),
            hints,
            std::tuple(label<Position>(Within(soft, of_student<J>(answer), answer), through,
                                       options.response_weight)...),
            std::tuple(label<Position>(Within(options.labels, answer), through, options.ensemble_weight))));
    }(std::make_index_sequence<N>{});
}

}  // namespace retort
