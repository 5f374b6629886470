// SPDX-License-Identifier: BSL-1.0
/// \file
/// Counts allocations of tensors: a noise-free measure of memory.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <type_traits>

namespace retort_test {

/// Records the memory that tensors of this thread, and of the backward passes that it starts, allocate from and
/// release to LibTorch's allocators while this object lives. Uses the hook of LibTorch's profiler, which
/// must not run at the same time. What was allocated before does not count, nor does its release.
class AllocationCount {
  public:
    AllocationCount()
        : recorder_(std::make_shared<Recorder>()), guard_(c10::DebugInfoKind::PROFILER_STATE, recorder_) {}
    AllocationCount(const AllocationCount&) = delete;
    AllocationCount& operator=(const AllocationCount&) = delete;

    /// Resets the counts; current allocations count as earlier ones.
    void reset() { recorder_->reset(); }
    /// The number of allocations.
    std::size_t allocations() const { return recorder_->read().allocations; }
    /// Bytes in use now.
    std::int64_t bytes() const { return recorder_->read().bytes; }
    /// The maximum number of bytes in use at one time.
    std::int64_t peak() const { return recorder_->read().peak; }
    /// The bytes of the largest allocation.
    std::int64_t largest() const { return recorder_->read().largest; }

  private:
    struct Counts {
        std::size_t allocations = 0;
        std::int64_t bytes = 0, peak = 0, largest = 0;
    };
    using Base = c10::MemoryReportingInfoBase;
    // Depends on LibTorch's version.
    using Total = std::conditional_t<
        std::is_same_v<decltype(&Base::reportMemoryUsage),
                       void (Base::*)(void*, std::int64_t, std::size_t, std::size_t, c10::Device)>,
        std::size_t, std::int64_t>;
    class Recorder : public c10::MemoryReportingInfoBase {
      public:
        void reportMemoryUsage(void* memory, std::int64_t size, Total, Total, c10::Device) override {
            record(memory, size);
        }
        bool memoryProfilingEnabled() const override { return true; }

        void reset() {
            const std::lock_guard lock(mutex_);
            counts_ = {};
            live_.clear();
        }
        Counts read() const {
            const std::lock_guard lock(mutex_);
            return counts_;
        }

      private:
        void record(void* memory, std::int64_t size) {
            const std::lock_guard lock(mutex_);
            if (size > 0) {
                live_[memory] = size;
                ++counts_.allocations;
                counts_.bytes += size;
                counts_.largest = std::max(counts_.largest, size);
                counts_.peak = std::max(counts_.peak, counts_.bytes);
            } else if (const auto found = live_.find(memory); found != live_.end()) {
                counts_.bytes -= found->second;
                live_.erase(found);
            }
        }
        mutable std::mutex mutex_;
        Counts counts_;
        std::map<void*, std::int64_t> live_;
    };

    std::shared_ptr<Recorder> recorder_;
    c10::DebugInfoGuard guard_;
};

}  // namespace retort_test
