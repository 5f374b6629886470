// SPDX-License-Identifier: BSL-1.0
/// \file
/// The parts of a published data set.
#pragma once

namespace retort::data {

/// The part of a published data set. A validation set is taken from the training part by `stratified_split`.
enum class Split { train, test };

}  // namespace retort::data
