// SPDX-License-Identifier: BSL-1.0
/// \file
/// The base of terms that pass changed logits to another term.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

#include <retort/core/no_outputs.hpp>
#include <retort/core/progress.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/knowledge/adaptor/term_adaptor.hpp>
#include <retort/knowledge/detail/logit_loss.hpp>

namespace retort::detail {

/// A term that sees `derived.changed(logits)` as the outputs of student and teacher. The teacher's logits are constants.
template <class Derived, SaysWhatItNeeds Term>
class LogitsAdaptor : public TermAdaptor<Term> {
    static_assert(!trains_teacher<Term>,
                  "retort: ForTeacher must wrap a term that changes logits, not the other way around: "
                  "ForTeacher{Standardized{...}}");

  public:
    LogitsAdaptor() = default;
    explicit(false) LogitsAdaptor(Term term) : TermAdaptor<Term>(std::move(term)) {}

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch,
                          const Progress& progress) const {
        const at::Tensor own = derived().changed(student_logits<Derived>(student));
        if constexpr (Term::needs_teacher) {
            const at::Tensor goal = derived().changed(constant(teacher_logits<Derived>(teacher)));
            return this->call(own, goal, batch, progress);
        } else {
            return this->call(own, NoOutputs{}, batch, progress);
        }
    }
    template <class Student, class Teacher, class B>
        requires HasPrepared<Term>
    void prepare(const Student& student, const Teacher* teacher, const B& batch) {
        const at::Tensor own = derived().changed(student_logits<Derived>(student));
        if constexpr (Term::needs_teacher) {
            if (teacher != nullptr) {
                const at::Tensor goal = derived().changed(constant(teacher_logits<Derived>(*teacher)));
                return this->prepare_term(own, &goal, batch);
            }
        }
        this->prepare_term(own, static_cast<const at::Tensor*>(nullptr), batch);
    }

  private:
    const Derived& derived() const { return static_cast<const Derived&>(*this); }
};

}  // namespace retort::detail
