// SPDX-License-Identifier: BSL-1.0
/// \file
/// Scoped autocast.
#pragma once

#include <ATen/autocast_mode.h>
#include <ATen/core/Tensor.h>

#include <retort/detail/compat.hpp>

namespace retort::detail {

/// While it lives, operators that LibTorch considers safe compute in a narrower type on a device.
class Autocast {
  public:
    Autocast(at::DeviceType device, at::ScalarType type)
        : device_(device), enabled_(compat::autocast_enabled(device)), type_(compat::autocast_type(device)) {
        compat::set_autocast_type(device, type);
        compat::set_autocast_enabled(device, true);
        at::autocast::increment_nesting();
    }
    Autocast(const Autocast&) = delete;
    Autocast& operator=(const Autocast&) = delete;
    ~Autocast() {
        // Narrow copies of parameters are valid until the parameters change.
        if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
        compat::set_autocast_enabled(device_, enabled_);
        compat::set_autocast_type(device_, type_);
    }

  private:
    at::DeviceType device_;
    bool enabled_;
    at::ScalarType type_;
};

}  // namespace retort::detail
