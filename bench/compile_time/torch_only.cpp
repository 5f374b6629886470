// SPDX-License-Identifier: BSL-1.0
/// \file
/// The baseline: what every user of LibTorch compiles.
#include <torch/torch.h>
