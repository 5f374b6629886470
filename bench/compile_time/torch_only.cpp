// SPDX-License-Identifier: BSL-1.0
/// \file
/// What every user of LibTorch pays for already.
#include <torch/torch.h>
