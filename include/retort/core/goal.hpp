// SPDX-License-Identifier: BSL-1.0
/// \file
/// Whether larger or smaller values are better.
#pragma once

namespace retort {

/// Whether larger or smaller values are better.
enum class Goal { maximize, minimize };

}  // namespace retort
