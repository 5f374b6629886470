// SPDX-License-Identifier: BSL-1.0
/// \file
/// The parts of a published data set.
#pragma once

namespace retort::data {

/// The part of a published data set. `stratified_split` takes a validation set from the training part.
enum class Split { train, test };

}  // namespace retort::data
