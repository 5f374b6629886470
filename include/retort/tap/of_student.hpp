// SPDX-License-Identifier: BSL-1.0
/// \file
/// A tap of one student's outputs in those of an ensemble.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

#include <retort/core/error.hpp>
#include <retort/tap/tap.hpp>

namespace retort {

/// A tap of student J's outputs, in the outputs of an ensemble, which have a member `students` with elements.
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
/// Creates an `OfStudent`.
template <std::size_t J, class Tap>
OfStudent<J, Tap> of_student(Tap tap) {
    return OfStudent<J, Tap>(std::move(tap));
}

}  // namespace retort
