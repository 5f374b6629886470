// SPDX-License-Identifier: BSL-1.0
/// \file
/// The contract of a knowledge term: one kind of knowledge, as a loss.
///
/// | expression | meaning |
/// |---|---|
/// | `T::needs_teacher` | required, `static constexpr bool`; if false, the term gets `retort::NoOutputs` for the teacher's outputs |
/// | `T::needs_target` | required, `static constexpr bool`; if true, the batch must have targets |
/// | `term(student_outputs, teacher_outputs, batch)` | required; the loss, a tensor without dimensions; gradients to the student's outputs and the term's own parameters only (and to the student's, if it `reads_parameters`) |
/// | `term(..., batch, progress)` | instead of this, for a term that depends on the progress |
/// | `T::trains_teacher` | optional, `static constexpr bool`; true: the term sees the teacher's outputs with their graph, and not as constants (`ForTeacher`) |
/// | `T::reads_parameters`, `term.bind(student)` | optional, together: `static constexpr bool`, true, and a function that takes the student as a `retort::NetworkRef`, before the first loss; for a term whose loss depends on the student's parameters beside its outputs, with gradients to them (`community::ElasticWeights`). A `Trainer` binds its terms; with a bare `Objective`, `objective.knowledge().bind(network)` |
/// | `term.name()` | optional; its name in histories and errors; default: the name of its type |
/// | `term.check()` | optional; throws ConfigError if an option is invalid |
/// | `term.module()` | optional; a `shared_ptr` to the module with the learnable parts, or null |
/// | `term.prepared()`, `term.prepare(student_outputs, &teacher_outputs, batch)` | optional, together; builds the learnable parts if their sizes come from the first batch, and moves them to its device; the pointer may be null if `prepared()` |
/// | `term.reduction`, or `term.give_samples()` | optional; a member of type `retort::Reduction`, or a function after which the term returns one loss per sample, [batch]; filters and per-sample gates require one of them |
/// | `term.checkpoint(archive)` | required if a call changes what later calls compute: stores or sets this state (`retort::Archive`). Learnable parts are stored without it |
///
/// A minimal example:
///
///     struct LogitNorm {
///         static constexpr bool needs_teacher = false, needs_target = false;
///         at::Tensor operator()(const auto& student, const auto&, const auto&) const {
///             return retort::logits(student).norm();
///         }
///     };
///
/// Copies of a term share its learnable parts, as copies of LibTorch's module holders do. They share the state that
/// `checkpoint` stores, too (keep it in a `shared_ptr`): adaptors call copies.
///
/// A term that holds other terms is derived from `retort::TermAdaptor`, which forwards all of the above. One that holds a
/// filter or a schedule stores it in its `checkpoint`. For public members named `term`, `filter`, `schedule` and the
/// like this is checked at compile time; for private ones it cannot be.
#pragma once

#include <ATen/core/Tensor.h>

#include <concepts>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include <retort/core/batch.hpp>
#include <retort/core/logits.hpp>
#include <retort/core/network.hpp>
#include <retort/core/no_outputs.hpp>
#include <retort/core/progress.hpp>
#include <retort/core/reduction.hpp>
#include <retort/detail/type_name.hpp>

namespace torch::nn {
class Module;
}

namespace retort {

/// A type that declares whether it needs a teacher and targets.
template <class T>
concept SaysWhatItNeeds = requires {
    { T::needs_teacher } -> std::convertible_to<bool>;
    { T::needs_target } -> std::convertible_to<bool>;
};

/// A term whose loss can be computed from these outputs and this batch.
template <class T, class StudentOutputs, class TeacherOutputs, class B>
concept ComputesLoss =
    requires(const T& term, const StudentOutputs& student, const TeacherOutputs& teacher, const B& batch) {
        { term(student, teacher, batch) } -> std::same_as<at::Tensor>;
    } || requires(const T& term, const StudentOutputs& student, const TeacherOutputs& teacher, const B& batch,
                  const Progress& progress) {
        { term(student, teacher, batch, progress) } -> std::same_as<at::Tensor>;
    };

/// A knowledge term for these outputs and this batch.
template <class T, class StudentOutputs, class TeacherOutputs, class B>
concept KnowledgeTerm = SaysWhatItNeeds<T> && ComputesLoss<T, StudentOutputs, TeacherOutputs, B>;

namespace detail {

template <class T>
concept HasReduction = requires(T& term) {
    { term.reduction } -> std::same_as<Reduction&>;
};
template <class T>
concept HasGiveSamples = requires(T& term) { term.give_samples(); };

}  // namespace detail

/// A term that can return one loss per sample.
template <class T>
concept PerSampleTerm = SaysWhatItNeeds<T> && (detail::HasReduction<T> || detail::HasGiveSamples<T>);

namespace detail {

/// Makes a term return one loss per sample.
template <PerSampleTerm T>
void ask_for_samples(T& term) {
    if constexpr (HasReduction<T>) {
        term.reduction = Reduction::none;
    } else {
        term.give_samples();
    }
}

/// Whether a term, or one in a Knowledge, trains the teacher.
template <class T>
constexpr bool trains_teacher = requires { requires bool(T::trains_teacher); };

/// Whether a term, or one in a Knowledge, reads the student's parameters.
template <class T>
constexpr bool reads_parameters = requires { requires bool(T::reads_parameters); };
template <class T>
concept HasBind =
    requires(T& term, const NetworkRef<std::shared_ptr<torch::nn::Module>>& student) { term.bind(student); };

template <class T>
concept HasModule = requires(const T& term) { term.module(); };
template <class T>
concept HasPrepared = requires(const T& term) { term.prepared(); };

/// Whether a term with a public member `term` forwards the members that the inner term needs to be trained.
template <class T>
constexpr bool forwards_term() {
    if constexpr (requires(T& outer) { outer.term; }) {
        using Inner = std::remove_cvref_t<decltype(std::declval<T&>().term)>;
        return (!HasModule<Inner> || HasModule<T>) && (!HasPrepared<Inner> || HasPrepared<T>) &&
               (!trains_teacher<Inner> || trains_teacher<T>) &&
               (!reads_parameters<Inner> || reads_parameters<T>);
    } else {
        return true;
    }
}

template <class T>
std::string term_name(const T& term) {
    if constexpr (requires { std::string(term.name()); }) {
        return std::string(term.name());
    } else {
        return std::string(type_name<T>());
    }
}

/// Calls a term with or without the progress, whichever it accepts. A term that needs no teacher gets none.
template <class Term, class Student, class Teacher, class B>
at::Tensor call_term(const Term& term, const Student& student, const Teacher& teacher, const B& batch,
                     const Progress& progress) {
    if constexpr (!Term::needs_teacher && !std::same_as<Teacher, NoOutputs>) {
        return call_term(term, student, NoOutputs{}, batch, progress);
    } else if constexpr (requires { term(student, teacher, batch, progress); }) {
        return term(student, teacher, batch, progress);
    } else {
        return term(student, teacher, batch);
    }
}

/// Passes the outputs of a first batch to a term that needs them.
template <class T, class Student, class Teacher, class B>
void prepare_term(T& term, const Student& student, const Teacher* teacher, const B& batch) {
    if constexpr (requires { term.prepare(student, teacher, batch); }) term.prepare(student, teacher, batch);
}

/// Gives a term the student, where it reads its parameters.
template <class T, class Student>
void bind_term(T& term, const NetworkRef<Student>& student) {
    if constexpr (reads_parameters<T>) {
        static_assert(
            requires { term.bind(student); },
            "retort: a term that says it reads the student's parameters (reads_parameters) needs a member "
            "bind(const retort::NetworkRef<Student>&), and its student must be a network of that kind");
        term.bind(student);
    } else {
        static_assert(!HasBind<T>,
                      "retort: a term with a member bind says so: static constexpr bool reads_parameters "
                      "= true");
    }
}

/// The learnable part of a term; null if it has none.
template <class T>
std::shared_ptr<torch::nn::Module> term_module(const T& term) {
    if constexpr (requires { term.module(); }) {
        return term.module();
    } else {
        return nullptr;
    }
}

template <class T>
bool term_prepared(const T& term) {
    if constexpr (requires { term.prepared(); }) {
        return term.prepared();
    } else {
        return true;
    }
}

}  // namespace detail
}  // namespace retort
