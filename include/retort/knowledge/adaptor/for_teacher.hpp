// SPDX-License-Identifier: BSL-1.0
/// \file
/// A term that trains the teacher.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <string>

#include <retort/core/batch.hpp>
#include <retort/core/error.hpp>
#include <retort/core/no_outputs.hpp>
#include <retort/knowledge/adaptor/term_adaptor.hpp>
#include <retort/knowledge/concept.hpp>

namespace retort {

/// A term that takes the teacher in place of the student: trains the parameters of a `PartiallyTrainable` teacher.
///
///     retort::Knowledge{retort::CrossEntropy{}, retort::SoftTarget{}, retort::ForTeacher{retort::CrossEntropy{}}}
///
/// It belongs directly in the `Knowledge` of a trainer, not in other terms. Gradient: to the teacher's trainable
/// parameters and the term's own; none to the student. All other terms of that Knowledge see the teacher's outputs as
/// constants. Its name is that of the term with the prefix `teacher_`.
/// \throws ConfigError if the teacher's outputs are constants, as they are within another term
template <SaysWhatItNeeds Term>
struct ForTeacher : TermAdaptor<Term> {
    static_assert(
        !Term::needs_teacher,
        "retort: the term of a ForTeacher cannot need a teacher: the teacher has none. Use a term such as "
        "retort::CrossEntropy; networks that learn from each other are a retort::Cohort");
    static constexpr bool needs_teacher = true;
    static constexpr bool trains_teacher = true;

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student&, const Teacher& teacher, const B& batch,
                          const Progress& progress) const {
        static_assert(ComputesLoss<Term, Teacher, NoOutputs, B>,
                      "retort: the term of a ForTeacher cannot be called with the outputs of the teacher in "
                      "place of the student's");
        at::Tensor value = this->call(teacher, NoOutputs{}, batch, progress);
        if (at::GradMode::is_enabled() && value.defined() && !value.requires_grad()) {
            throw ConfigError(
                detail::concat(name(),
                               ": expected outputs of the teacher with their graph, found constants: the "
                               "term must be directly in the Knowledge of a Trainer, and the teacher must "
                               "have trainable parameters"));
        }
        return value;
    }
    std::string name() const { return "teacher_" + TermAdaptor<Term>::name(); }
    template <class Student, class Teacher, class B>
        requires detail::HasPrepared<Term>
    void prepare(const Student&, const Teacher* teacher, const B& batch) {
        if (teacher != nullptr) this->prepare_term(*teacher, static_cast<const NoOutputs*>(nullptr), batch);
    }
};

template <class Term>
ForTeacher(Term) -> ForTeacher<Term>;

}  // namespace retort
