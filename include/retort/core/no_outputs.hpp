// SPDX-License-Identifier: BSL-1.0
/// \file
/// The outputs of a teacher that is not there.
#pragma once

namespace retort {

/// What a term gets in place of the teacher's outputs where it does not need a teacher.
struct NoOutputs {};

}  // namespace retort
