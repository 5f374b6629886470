// SPDX-License-Identifier: BSL-1.0
/// \file
/// Networks with additional heads, branches and stems.
#pragma once

#include <retort/network/augmented_network.hpp>
