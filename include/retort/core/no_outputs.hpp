// SPDX-License-Identifier: BSL-1.0
/// \file
/// The outputs of an absent teacher.
#pragma once

namespace retort {

/// Passed to a term in place of the teacher's outputs if it does not need a teacher.
struct NoOutputs {};

}  // namespace retort
