// SPDX-License-Identifier: BSL-1.0
/// \file
/// All of retort, from its installed location.
#include <retort/retort.hpp>
