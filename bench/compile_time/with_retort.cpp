// SPDX-License-Identifier: BSL-1.0
/// \file
/// The same with all of retort.
#include <torch/torch.h>

#include <retort/retort.hpp>
