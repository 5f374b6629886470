// SPDX-License-Identifier: BSL-1.0
/// \file
/// The contract of a teacher: the source of knowledge.
///
/// | expression | meaning |
/// |---|---|
/// | `teacher(input)` | required; the outputs, without gradient, in evaluation mode, the teacher's state untouched |
/// | `teacher.modules()` | optional; its modules, as `std::vector<torch::nn::Module*>`: for moving to a device and for checks |
/// | `teacher.update(progress)` | optional; for a teacher that learns along with the student; called after every step |
/// | `teacher.identity()` | optional; a text that identifies a teacher without modules: for stores of its outputs |
/// | `T::learns_along` | optional, `static constexpr bool`; true for a teacher that changes during a run other than by `update` |
/// | `teacher.trainable_parameters()`, `teacher.with_gradient(input)` | optional, both or neither; for a teacher with parameters trained by `ForTeacher` terms: those parameters, as `std::vector<retort::NamedParameter>`, and its outputs with their graph |
///
/// A teacher that learns along has a member `checkpoint(retort::Archive&)` with what goes into checkpoints; any other
/// is not stored in them, only identified by a hash of its modules.
///
/// A minimal example:
///
///     struct Oracle {                                    // knows the answer from the input
///         at::Tensor operator()(const at::Tensor& input) const { return input.mean({1, 2, 3}).unsqueeze(1) * scale; }
///         at::Tensor scale;
///     };
#pragma once

#include <torch/nn/module.h>

#include <concepts>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <retort/core/network.hpp>
#include <retort/core/no_outputs.hpp>
#include <retort/core/progress.hpp>

namespace retort {

/// A teacher for inputs of type `I`.
template <class T, class I>
concept Teacher = !Network<T> && requires(T& teacher, const I& value) { teacher(value); };

/// The outputs of a teacher for an `I`.
template <class T, class I>
using TeacherOutputsOf = std::remove_cvref_t<decltype(std::declval<T&>()(std::declval<const I&>()))>;

/// A teacher that is updated after every step.
template <class T>
concept Updated = requires(T& teacher, const Progress& progress) { teacher.update(progress); };
/// A teacher that changes during a run.
template <class T>
concept LearnsAlong = Updated<T> || requires { requires bool(T::learns_along); };
/// A teacher with parameters that are trained together with the student's: by `ForTeacher` terms only.
template <class T>
concept LearnsByGradient = requires(T& teacher) {
    { teacher.trainable_parameters() } -> std::same_as<std::vector<NamedParameter>>;
};

namespace detail {

/// A teacher that says which one it is.
template <class T>
concept Identified = requires(const T& teacher) {
    { teacher.identity() } -> std::same_as<std::string>;
};

template <class T>
std::vector<torch::nn::Module*> teacher_modules(const T& teacher) {
    if constexpr (requires { teacher.modules(); }) {
        return teacher.modules();
    } else {
        return {};
    }
}

}  // namespace detail
}  // namespace retort
