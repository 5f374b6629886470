// SPDX-License-Identifier: BSL-1.0
/// \file
/// The current streams of a thread, for use by other threads.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <vector>

namespace retort::data::detail {

/// The current streams of this thread, one for each device that has any. Current streams are thread-local, so that
/// work of another thread would otherwise not be ordered with that of this one.
inline std::vector<c10::Stream> current_streams() {
    std::vector<c10::Stream> streams;
    for (int t = 0; t < static_cast<int>(c10::DeviceType::COMPILE_TIME_MAX_DEVICE_TYPES); ++t) {
        const auto type = static_cast<c10::DeviceType>(t);
        if (type == c10::DeviceType::CPU || type == c10::DeviceType::Meta ||
            !c10::impl::hasDeviceGuardImpl(type))
            continue;
        const auto* devices = c10::impl::getDeviceGuardImpl(type);
        for (c10::DeviceIndex i = 0; i < devices->deviceCount(); ++i)
            streams.push_back(devices->getStream(c10::Device(type, i)));
    }
    return streams;
}

/// Makes them the current streams of this thread.
inline void set_current_streams(const std::vector<c10::Stream>& streams) {
    for (const c10::Stream& stream : streams)
        c10::impl::getDeviceGuardImpl(stream.device_type())->exchangeStream(stream);
}

}  // namespace retort::data::detail
