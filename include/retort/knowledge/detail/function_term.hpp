// SPDX-License-Identifier: BSL-1.0
/// \file
/// A term that is one function of a student's and a teacher's tensors, without learnable parts.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>

#include <retort/knowledge/concept.hpp>
#include <retort/knowledge/detail/tap_pair.hpp>

namespace retort::detail {

/// A term bound to taps: `Function(student, teacher, options)`.
/// \tparam Options with `check()`, which throws ConfigError for invalid options
template <class StudentTap, class TeacherTap, class Options, auto Function>
class FunctionTerm {
  public:
    static constexpr bool needs_teacher = true;
    static constexpr bool needs_target = false;

    FunctionTerm(const char* kind, StudentTap student, TeacherTap teacher, Options options)
        : kind_(kind), taps_(kind, std::move(student), std::move(teacher)), options_(std::move(options)) {
        options_.check();
    }

    std::string name() const { return taps_.name(); }
    void check() const { options_.check(); }
    const Options& options() const { return options_; }

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B&) const {
        return naming_taps(
            taps_, kind_, [&] { return Function(taps_.student(student), taps_.teacher(teacher), options_); });
    }

  private:
    const char* kind_;
    TapPair<StudentTap, TeacherTap> taps_;
    Options options_;
};

}  // namespace retort::detail
