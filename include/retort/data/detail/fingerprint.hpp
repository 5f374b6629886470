// SPDX-License-Identifier: BSL-1.0
/// \file
/// Identifies the contents of a data set.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include <retort/data/dataset.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/hash.hpp>
#include <retort/detail/tensor.hpp>

namespace retort::data::detail {

/// Data sets of more bytes are identified by some of their samples.
inline constexpr std::int64_t most_hashed = std::int64_t{256} << 20;

/// Adds a tensor's rows to a hash, some at a time: all of them, or, of a tensor of more than `most` bytes, evenly spaced
/// ones of as many bytes, the first and the last among them.
inline void add_rows(::retort::detail::Hash& hash, const at::Tensor& tensor, std::int64_t most) {
    const std::int64_t count = tensor.size(0);
    const std::int64_t width =
        std::max<std::int64_t>(1, static_cast<std::int64_t>(tensor.numel() / count) *
                                      static_cast<std::int64_t>(tensor.element_size()));
    const std::int64_t at_once = std::clamp<std::int64_t>((std::int64_t{1} << 22) / width, 1, count);
    const std::int64_t pieces = (count + at_once - 1) / at_once;
    const std::int64_t chosen =
        std::clamp<std::int64_t>(most / (at_once * width), std::min<std::int64_t>(pieces, 2), pieces);
    for (std::int64_t i = 0; i < chosen; ++i) {
        const std::int64_t piece = chosen == 1 ? 0 : i * (pieces - 1) / (chosen - 1);
        const std::int64_t begin = piece * at_once;
        const at::Tensor rows =
            ::retort::detail::in_memory(tensor.narrow(0, begin, std::min(at_once, count - begin)));
        hash.add(rows.data_ptr(), rows.nbytes());
    }
}

/// Types, shapes, the number of classes and a hash of the contents: 16 digits.
inline std::string fingerprint(const Dataset& dataset, std::int64_t most = most_hashed) {
    const c10::NoGradGuard no_grad;
    ::retort::detail::Hash hash;
    for (const at::Tensor& tensor : {dataset.inputs, dataset.targets}) {
        if (!tensor.defined()) continue;
        hash.add(::retort::detail::concat(tensor.scalar_type(), ' ', ::retort::detail::shape_text(tensor)));
        add_rows(hash, tensor, most);
    }
    hash.add(std::to_string(dataset.classes));
    return hash.text();
}

/// The fingerprint of a data set, computed when it is first asked for; copies share it.
class LazyFingerprint {
  public:
    const std::string& of(const Dataset& dataset) const {
        std::call_once(state_->once, [&] { state_->text = fingerprint(dataset); });
        return state_->text;
    }

  private:
    struct State {
        std::once_flag once;
        std::string text;
    };
    std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace retort::data::detail
