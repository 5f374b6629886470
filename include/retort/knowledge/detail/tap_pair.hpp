// SPDX-License-Identifier: BSL-1.0
/// \file
/// Shared by terms on intermediate features: a tap of the student and one of the teacher.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/tap/tap.hpp>
#include <retort/tap/taps.hpp>

namespace retort::detail {

template <class T, class O>
concept TapsOf = requires(const T& taps, const O& outputs) {
    { taps(outputs) } -> std::same_as<std::vector<at::Tensor>>;
};

/// A tap (or `Taps`) of the student and one of the teacher. Reads them, and names itself and them in errors about
/// missing tensors.
template <class StudentTap, class TeacherTap>
class TapPair {
  public:
    TapPair(const char* kind, StudentTap student, TeacherTap teacher)
        : kind_(kind), student_(std::move(student)), teacher_(std::move(teacher)) {}

    /// `hint(body->stage3)`
    std::string name() const { return concat(kind_, '(', student_name(), "->", teacher_name(), ')'); }
    std::string student_name() const { return tap_name(student_); }
    std::string teacher_name() const { return tap_name(teacher_); }

    /// The student's tensor; a vector of them for `Taps`.
    template <class Outputs>
    auto student(const Outputs& outputs) const {
        static_assert(
            TapOf<StudentTap, Outputs> || TapsOf<StudentTap, Outputs>,
            "retort: the student's tap of a term does not read a tensor from the student's outputs");
        return checked(student_(outputs), "student", student_name());
    }
    /// The teacher's tensor; a vector of them for `Taps`.
    template <class Outputs>
    auto teacher(const Outputs& outputs) const {
        static_assert(
            TapOf<TeacherTap, Outputs> || TapsOf<TeacherTap, Outputs>,
            "retort: the teacher's tap of a term does not read a tensor from the teacher's outputs");
        return checked(teacher_(outputs), "teacher", teacher_name());
    }

  private:
    at::Tensor checked(const at::Tensor& tensor, const char* whose, const std::string& tap) const {
        if (!tensor.defined()) {
            throw ShapeError(
                concat(name(), ": expected a tensor at the ", whose, "'s ", tap, ", found an undefined one"));
        }
        if (!tensor.is_floating_point()) {
            throw ShapeError(concat(name(), ": expected a tensor of a floating-point type at the ", whose,
                                    "'s ", tap, ", found ", tensor.scalar_type()));
        }
        return tensor;
    }
    std::vector<at::Tensor> checked(std::vector<at::Tensor> tensors, const char* whose,
                                    const std::string& tap) const {
        for (const at::Tensor& tensor : tensors) checked(tensor, whose, tap);
        return tensors;
    }

    const char* kind_;
    StudentTap student_;
    TeacherTap teacher_;
};

/// Calls `compute()`; adds the taps to its shape errors.
template <class Taps, class Compute>
at::Tensor naming_taps(const Taps& taps, std::string_view kind, Compute&& compute) {
    try {
        return std::forward<Compute>(compute)();
    } catch (const ShapeError& error) {
        std::string_view words = error.what();
        if (words.starts_with(kind)) words.remove_prefix(kind.size());
        if (words.starts_with(": ")) words.remove_prefix(2);
        throw ShapeError(concat(taps.name(), ": ", words));
    }
}

}  // namespace retort::detail
