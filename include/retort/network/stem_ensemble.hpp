// SPDX-License-Identifier: BSL-1.0
/// \file
/// Students that share a stem, as one network.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/core/logits.hpp>
#include <retort/core/network.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/network/logit_ensemble.hpp>

namespace retort {

/// Whose gradients reach the shared stem.
enum class StemGradient {
    all,  ///< all students': what the released code does by default (its flag means the opposite of its comment)
    first,  ///< those of student 0 only; for the others the stem's output is a constant
};

/// Options of `StemEnsemble`.
struct StemEnsembleOptions {
    StemGradient gradient = StemGradient::all;
    LogitEnsembleOptions weights{};
};

/// The outputs of a `StemEnsemble`.
template <class StudentOutputs>
struct StemEnsembleOutputs {
    at::Tensor logits;                     ///< of the ensemble
    std::vector<StudentOutputs> students;  ///< of each, student 0 first
};

/// Students after a shared stem, and their ensemble (`LogitEnsemble`), as one network.
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
                      "retort: the outputs of the students of an ensemble must have logits");
        const auto add = [&](std::string name, torch::nn::Module& module) {
            // Non-owning: the references keep them alive.
            register_module(std::move(name),
                            std::shared_ptr<torch::nn::Module>(std::shared_ptr<void>(), &module));
        };
        add("stem", stem_.module());
        for (std::size_t j = 0; j < students_.size(); ++j)
            add(detail::concat("student", j), students_[j].module());
    }

    /// \throws ShapeError if the students' logits do not match
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

/// Creates a `StemEnsemble` of module holders or `shared_ptr`s to modules.
template <Network Stem, Network Student>
    requires(!detail::ModuleObject<Stem> && !detail::ModuleObject<Student>)
auto stem_ensemble(const Stem& stem, const std::vector<Student>& students, StemEnsembleOptions options = {}) {
    return std::make_shared<StemEnsemble<Stem, Student>>(stem, students, options);
}

}  // namespace retort
