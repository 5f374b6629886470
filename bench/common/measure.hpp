// SPDX-License-Identifier: BSL-1.0
/// \file
/// Counts the operators and tensor allocations of some work, and times two kinds of work alternately.
#pragma once

#include <torch/torch.h>

#include <ATen/record_function.h>
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <ctime>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace measure {

// --- counting

struct Counts {
    std::map<std::string, long> operators;
    long allocations = 0;

    long total() const {
        long sum = 0;
        for (const auto& [name, count] : operators) sum += count;
        return sum;
    }
};

inline Counts* counts = nullptr;  // where to count; null: nowhere

inline std::unique_ptr<at::ObserverContext> count_operator(const at::RecordFunction& function) {
    const std::string name = function.name();
    if (counts != nullptr && name.starts_with("aten::")) ++counts->operators[name];
    return nullptr;
}

/// Counts every tensor allocation on this thread.
struct CountAllocations : c10::MemoryReportingInfoBase {
    // The types of the totals differ between versions of LibTorch; the overload that does not override is never
    // called.
    void reportMemoryUsage(void*, std::int64_t size, std::int64_t, std::int64_t, c10::Device) { count(size); }
    void reportMemoryUsage(void*, std::int64_t size, std::size_t, std::size_t, c10::Device) { count(size); }
    bool memoryProfilingEnabled() const override { return true; }

  private:
    static void count(std::int64_t size) {
        if (counts != nullptr && size > 0) ++counts->allocations;
    }
};

/// Runs `work` and counts its operators and allocations on this thread.
inline Counts counted(const std::function<void()>& work) {
    Counts result;
    const auto handle = at::addGlobalCallback(
        at::RecordFunctionCallback(&count_operator).scopes({at::RecordScope::FUNCTION}));
    {
        const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE,
                                        std::make_shared<CountAllocations>());
        counts = &result;
        work();
        counts = nullptr;
    }
    at::removeCallback(handle);
    return result;
}

/// LibTorch's SGD, excluded from the counts.
struct UncountedSgd : torch::optim::SGD {
    using SGD::SGD;
    using SGD::step;
    torch::Tensor step(LossClosure closure = nullptr) override {
        Counts* const paused = std::exchange(counts, nullptr);
        torch::Tensor loss = SGD::step(std::move(closure));
        counts = paused;
        return loss;
    }
};

// --- timing

inline double cpu_seconds() {
    std::timespec now{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

inline double seconds_of(const std::function<void()>& work, int times) {
    const double begin = cpu_seconds();
    for (int i = 0; i < times; ++i) work();
    return (cpu_seconds() - begin) / times;
}

inline double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    const std::size_t half = values.size() / 2;
    return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

struct Times {
    double first = 0;
    double second = 0;
    double ratio = 0;           // second to first, median over the pairs
    double fastest_second = 0;  // for comparisons with what is not timed alternately
    double fastest_first = 0;
};

/// Times two kinds of work alternately, also alternating which goes first.
inline Times compare(const std::function<void()>& first, const std::function<void()>& second, int pairs,
                     int times) {
    std::vector<double> firsts;
    std::vector<double> seconds;
    std::vector<double> ratios;
    for (int pair = 0; pair < pairs; ++pair) {
        if (pair % 2 == 0) {
            firsts.push_back(seconds_of(first, times));
            seconds.push_back(seconds_of(second, times));
        } else {
            seconds.push_back(seconds_of(second, times));
            firsts.push_back(seconds_of(first, times));
        }
        ratios.push_back(seconds.back() / firsts.back());
    }
    return {median(firsts), median(seconds), median(ratios),
            *std::min_element(seconds.begin(), seconds.end()),
            *std::min_element(firsts.begin(), firsts.end())};
}

}  // namespace measure
