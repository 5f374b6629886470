// SPDX-License-Identifier: BSL-1.0
/// \file
/// What to read of a file of weights.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace retort {

/// The metadata of a safetensors file.
using Metadata = std::map<std::string, std::string>;

/// What to read of a file of weights.
struct ReadOptions {
    /// The key of the state dictionary in a file of torch.save, or several with dots between them: "teacher.state_dict".
    /// Empty: where the outermost dictionary holds more than tensors, the first of `state_dict`, `model_state_dict`,
    /// `model`, `net` and `module` that exists; otherwise the outermost.
    std::string key{};
    /// Gets the names of the entries that cannot be read: those that are not dense tensors, and tensors of a type that
    /// this version of LibTorch does not have. Null: such entries are an error.
    std::vector<std::string>* left_out = nullptr;
    /// Gets the metadata of a safetensors file, if not null.
    Metadata* metadata = nullptr;
};

}  // namespace retort
