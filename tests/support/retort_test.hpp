// SPDX-License-Identifier: BSL-1.0
/// \file
/// Included by every test: LibTorch, Catch2 and a few helpers.
#pragma once

#include <torch_and_catch.hpp>

#include <ATen/record_function.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace retort_test {

/// The result of comparing two tensors: true or false, with a message. `CHECK(same(a, b))` prints it when it
/// fails.
class Comparison {
  public:
    explicit Comparison(std::string difference) : difference_(std::move(difference)) {}
    explicit operator bool() const { return difference_.empty(); }
    friend std::ostream& operator<<(std::ostream& stream, const Comparison& comparison) {
        return stream << (comparison.difference_.empty() ? "no difference" : comparison.difference_);
    }

  private:
    std::string difference_;
};

namespace detail {

inline std::string difference_in_kind(const torch::Tensor& a, const torch::Tensor& b) {
    std::ostringstream text;
    if (a.defined() != b.defined()) {
        text << "one tensor is defined, the other is not";
    } else if (a.defined() && a.sizes() != b.sizes()) {
        text << "sizes differ: " << a.sizes() << " and " << b.sizes();
    }
    return std::move(text).str();
}

inline std::string largest_difference(const torch::Tensor& a, const torch::Tensor& b) {
    const auto left = a.detach().cpu().to(torch::kFloat64).flatten();
    const auto right = b.detach().cpu().to(torch::kFloat64).flatten();
    const auto distance = (left - right).abs();
    const auto where = distance.argmax().item<std::int64_t>();
    std::ostringstream text;
    text.precision(17);
    text << "largest absolute difference " << distance[where].item<double>() << " at flat index " << where
         << " of " << distance.numel() << ": " << left[where].item<double>() << " and "
         << right[where].item<double>();
    return std::move(text).str();
}

}  // namespace detail

/// Whether both tensors are equal in type, sizes and every bit. (NaN equals NaN of the same bits, 0 does not equal
/// -0.)
inline Comparison same(const torch::Tensor& a, const torch::Tensor& b) {
    if (auto difference = detail::difference_in_kind(a, b); !difference.empty())
        return Comparison(difference);
    if (!a.defined()) return Comparison("");
    if (a.scalar_type() != b.scalar_type()) {
        std::ostringstream text;
        text << "types differ: " << a.scalar_type() << " and " << b.scalar_type();
        return Comparison(std::move(text).str());
    }
    const auto left = a.detach().cpu().contiguous();
    const auto right = b.detach().cpu().contiguous();
    if (left.nbytes() == 0 || std::memcmp(left.data_ptr(), right.data_ptr(), left.nbytes()) == 0) {
        return Comparison("");
    }
    return Comparison("not bit-identical; " + detail::largest_difference(a, b));
}

/// Whether |a - b| <= atol + rtol * |b| in every element. Compared in float64; NaN is never close.
inline Comparison close(const torch::Tensor& a, const torch::Tensor& b, double rtol = 1e-5,
                        double atol = 1e-8) {
    if (auto difference = detail::difference_in_kind(a, b); !difference.empty())
        return Comparison(difference);
    if (!a.defined()) return Comparison("");
    const auto left = a.detach().cpu().to(torch::kFloat64);
    const auto right = b.detach().cpu().to(torch::kFloat64);
    if (left.numel() == 0 || torch::allclose(left, right, rtol, atol)) return Comparison("");
    return Comparison(detail::largest_difference(a, b));
}

/// A temporary directory for one test. It is removed with its contents at the end of the scope.
class TemporaryDirectory {
  public:
    TemporaryDirectory() {
        auto pattern = (std::filesystem::temp_directory_path() / "retort-test-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr)
            throw std::runtime_error("cannot make a directory like " + pattern);
        path_ = pattern;
    }
    ~TemporaryDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

    const std::filesystem::path& path() const { return path_; }
    std::filesystem::path operator/(const std::filesystem::path& name) const { return path_ / name; }
    /// The names in the directory, sorted.
    std::vector<std::string> names() const {
        std::vector<std::string> found;
        for (const auto& entry : std::filesystem::directory_iterator(path_)) {
            found.push_back(entry.path().filename().string());
        }
        std::sort(found.begin(), found.end());
        return found;
    }

  private:
    std::filesystem::path path_;
};

/// Writes `bytes` to a new file.
inline void write_file(const std::filesystem::path& path, std::string_view bytes) {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    if (!file.flush()) throw std::runtime_error("cannot write " + path.string());
}

/// All bytes of a file.
inline std::string read_file(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("cannot read " + path.string());
    std::ostringstream bytes;
    bytes << file.rdbuf();
    return std::move(bytes).str();
}

/// Records the operators that this thread, and the backward passes that it starts, pass to LibTorch's
/// dispatcher while this object lives. Each dispatched operator counts once; an operator that is composed of
/// others (`aten::linear`) counts in addition to its parts. At most one of these may live at a time.
class OperatorCount {
  public:
    OperatorCount() {
        OperatorCount* none = nullptr;
        if (!active_.compare_exchange_strong(none, this))
            throw std::logic_error("another OperatorCount is alive");
        // Thread-local callbacks travel with a backward pass into autograd's own threads; global ones would
        // also count operators of unrelated threads.
        handle_ = at::addThreadLocalCallback(
            at::RecordFunctionCallback(&OperatorCount::record).scopes({at::RecordScope::FUNCTION}));
    }
    ~OperatorCount() { stop(); }
    OperatorCount(const OperatorCount&) = delete;
    OperatorCount& operator=(const OperatorCount&) = delete;

    /// Ends the recording; the counts stay readable.
    void stop() {
        if (handle_ == at::INVALID_CALLBACK_HANDLE) return;
        at::removeCallback(handle_);
        handle_ = at::INVALID_CALLBACK_HANDLE;
        active_ = nullptr;
    }
    /// Resets the counts.
    void reset() {
        const std::lock_guard lock(mutex_);
        names_.clear();
    }

    /// The number of operators.
    std::size_t total() const {
        const std::lock_guard lock(mutex_);
        return names_.size();
    }
    /// The number of operators called `name`, such as `aten::addmm`.
    std::size_t of(std::string_view name) const {
        const std::lock_guard lock(mutex_);
        return static_cast<std::size_t>(std::count(names_.begin(), names_.end(), name));
    }
    /// The number of operators by name.
    std::map<std::string, std::size_t> by_name() const {
        const std::lock_guard lock(mutex_);
        std::map<std::string, std::size_t> counts;
        for (const auto& name : names_) ++counts[name];
        return counts;
    }
    /// The operators in the order in which they were dispatched.
    std::vector<std::string> names() const {
        const std::lock_guard lock(mutex_);
        return names_;
    }

  private:
    static std::unique_ptr<at::ObserverContext> record(const at::RecordFunction& function) {
        const std::string_view name = function.name();
        // Ranges that are not operators (such as an optimizer's step) have names without a namespace.
        if (name.find("::") == std::string_view::npos) return nullptr;
        if (auto* count = active_.load()) {
            const std::lock_guard lock(count->mutex_);
            count->names_.emplace_back(name);
        }
        return nullptr;
    }

    inline static std::atomic<OperatorCount*> active_ = nullptr;
    mutable std::mutex mutex_;
    std::vector<std::string> names_;
    at::CallbackHandle handle_ = at::INVALID_CALLBACK_HANDLE;
};

}  // namespace retort_test
