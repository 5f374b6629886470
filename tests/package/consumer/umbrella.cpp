// SPDX-License-Identifier: BSL-1.0
/// \file
/// All of retort, from where it was installed.
#include <retort/retort.hpp>
