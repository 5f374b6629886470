// SPDX-License-Identifier: BSL-1.0
/// \file
/// What every user of LibTorch compiles anyway.
#include <torch/torch.h>
