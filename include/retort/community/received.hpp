// SPDX-License-Identifier: BSL-1.0
/// \file
/// The teacher that a student sees while it learns: labels that were received.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>
#include <retort/teacher/cached.hpp>

namespace retort::community {

/// A teacher that knows the labels of some samples, and of no others: those that another node gave. Samples are recognized by
/// their content, bit for bit.
class Received {
  public:
    /// \param input [samples, ...]
    /// \param logits [samples, classes]
    /// \throws ShapeError if there are not as many
    Received(const at::Tensor& input, at::Tensor logits) : logits_(std::move(logits)) {
        ::retort::detail::check_logits("Received", "logits", logits_);
        if (input.size(0) != logits_.size(0)) {
            throw ShapeError(::retort::detail::concat("Received: expected logits of ", input.size(0),
                                                      " samples, found those of ", logits_.size(0)));
        }
        std::int64_t row = 0;
        for (const auto& key : ::retort::detail::row_keys(input)) rows_.emplace(key, row++);
    }
    /// \throws DataError if a sample is not among them
    at::Tensor operator()(const at::Tensor& input) const {
        std::vector<std::int64_t> rows;
        for (const auto& key : ::retort::detail::row_keys(input)) {
            const auto found = rows_.find(key);
            if (found == rows_.end()) {
                throw DataError(::retort::detail::concat(
                    "Received: expected samples of the lesson, found another one in row ", rows.size()));
            }
            rows.push_back(found->second);
        }
        return logits_.index_select(0, at::tensor(rows, at::TensorOptions(at::kLong)).to(logits_.device()))
            .to(input.device());
    }

  private:
    std::map<::retort::detail::OutputStore::Key, std::int64_t> rows_;
    at::Tensor logits_;
};

}  // namespace retort::community
