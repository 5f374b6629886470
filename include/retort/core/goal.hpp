// SPDX-License-Identifier: BSL-1.0
/// \file
/// Which values are good.
#pragma once

namespace retort {

/// Whether large or small values are good.
enum class Goal { maximize, minimize };

}  // namespace retort
