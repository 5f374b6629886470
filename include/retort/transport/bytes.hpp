// SPDX-License-Identifier: BSL-1.0
/// \file
/// Bytes that several owners share.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace retort::transport {

/// Bytes that do not change, shared by their owners. Copies and slices are cheap, and keep the bytes alive.
class Bytes {
  public:
    Bytes() = default;
    /// Takes the content over.
    Bytes(std::string content) {  // NOLINT(google-explicit-constructor): a string is bytes
        const auto owned = std::make_shared<const std::string>(std::move(content));
        view_ = *owned;
        owner_ = owned;
    }
    /// \pre `view` is valid as long as `owner`
    Bytes(std::shared_ptr<const void> owner, std::string_view view) : owner_(std::move(owner)), view_(view) {}

    std::string_view view() const { return view_; }
    std::size_t size() const { return view_.size(); }
    bool empty() const { return view_.empty(); }
    /// At most `count` bytes from `begin` on.
    Bytes slice(std::size_t begin, std::size_t count = std::string_view::npos) const {
        return {owner_, view_.substr(std::min(begin, view_.size()), count)};
    }

  private:
    std::shared_ptr<const void> owner_{};
    std::string_view view_{};
};

}  // namespace retort::transport
