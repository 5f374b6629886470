// SPDX-License-Identifier: BSL-1.0
/// \file
/// Training without a teacher.
#pragma once

#include <retort/teacher/concept.hpp>

namespace retort {

/// No teacher. A term that needs one does not compile with it.
struct NoTeacher {
    template <class I>
    NoOutputs operator()(const I&) const {
        return {};
    }
};

}  // namespace retort
