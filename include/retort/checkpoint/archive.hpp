// SPDX-License-Identifier: BSL-1.0
/// \file
/// Named values that a checkpoint stores and restores.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/detail/byte_reader.hpp>
#include <retort/detail/check.hpp>

namespace retort {

namespace detail {

/// One value of a checkpoint: a tensor, a text, or neither (an undefined tensor).
struct StateItem {
    std::string name;
    at::Tensor tensor{};
    std::optional<std::string> text{};
};
using StateItems = std::vector<StateItem>;

}  // namespace detail

/// Stores and restores the state of a checkpoint by name. A policy, callback or teacher with state has one member for
/// both directions:
///
///     void checkpoint(retort::Archive& archive) {
///         archive("waited", waited_);
///         archive("best", best_);
///     }
///
/// which stores the values when the archive saves and sets them when it loads. Loading calls it twice: first only to
/// compare (`checking()`), so that a checkpoint that does not match changes nothing.
///
/// Values: `bool`, integers, floating-point numbers, `std::string`, `at::Tensor`, and vectors of `std::int64_t`,
/// `double`, `std::string` and `at::Tensor`. A tensor that is defined is set in place (device and strides stay;
/// type and shape must agree); an undefined one, and those of a vector, become new tensors on the CPU.
///
/// Names are unique within their scope; `in` opens a scope.
class Archive {
  public:
    /// Saves into `items`. Tensors are copied on their device.
    explicit Archive(detail::StateItems& items) : out_(&items) {}
    /// Compares with `items` (`load` false), or sets from them.
    /// \param where begins errors, such as the path of the checkpoint
    Archive(const detail::StateItems& items, bool load, std::string where)
        : in_(&items), load_(load), where_(std::move(where)), used_(items.size(), false) {
        for (std::size_t i = 0; i < items.size(); ++i) index_.emplace(items[i].name, i);
    }
    Archive(const Archive&) = delete;
    Archive& operator=(const Archive&) = delete;

    bool saving() const { return out_ != nullptr; }
    bool checking() const { return !saving() && !load_; }
    bool loading() const { return !saving() && load_; }

    /// Stores or sets a value.
    /// \throws CheckpointError if the checkpoint has none of that name, or one of another kind or shape
    template <class T>
        requires std::integral<T> || std::floating_point<T>
    void operator()(std::string_view name, T& value) {
        using Stored = std::conditional_t<std::same_as<T, bool>, bool,
                                          std::conditional_t<std::integral<T>, std::int64_t, double>>;
        if (saving()) {
            const auto stored = static_cast<Stored>(value);
            put(name, numbers(&stored, {}));
        } else if (const auto* stored =
                       static_cast<const Stored*>(get(name, type_of<Stored>(), 0).data_ptr());
                   load_) {
            value = static_cast<T>(*stored);
        }
    }
    void operator()(std::string_view name, std::string& value) {
        if (saving()) {
            out_->push_back({full(name), {}, value});
        } else if (const std::string& stored = text_of(name); load_) {
            value = stored;
        }
    }
    void operator()(std::string_view name, at::Tensor& value) {
        const at::NoGradGuard no_grad;
        if (saving()) {
            put(name, value.defined() ? value.detach().clone(at::MemoryFormat::Contiguous) : at::Tensor());
            return;
        }
        const at::Tensor& stored = get(name);
        if (value.defined() && (!stored.defined() || stored.scalar_type() != value.scalar_type() ||
                                stored.sizes() != value.sizes())) {
            refuse(name, kind(value), kind(stored));
        }
        if (!load_) return;
        if (value.defined()) {
            value.detach().copy_(stored);
        } else if (stored.defined()) {
            value = stored.clone();
        }
    }
    template <class T>
        requires std::same_as<T, std::int64_t> || std::same_as<T, double>
    void operator()(std::string_view name, std::vector<T>& values) {
        if (saving()) {
            put(name, numbers(values.data(), {static_cast<std::int64_t>(values.size())}));
        } else if (const at::Tensor& stored = get(name, type_of<T>(), 1); load_) {
            const auto* data = static_cast<const T*>(stored.data_ptr());
            values.assign(data, data + stored.numel());
        }
    }
    template <class T>
        requires std::same_as<T, std::string> || std::same_as<T, at::Tensor>
    void operator()(std::string_view name, std::vector<T>& values) {
        in(name, [&] {
            std::int64_t size = static_cast<std::int64_t>(values.size());
            now("size", size);
            if (!saving()) check_count(size);
            std::vector<T> read;
            for (std::int64_t i = 0; i < size; ++i) {
                if (saving()) {
                    (*this)(std::to_string(i), values[static_cast<std::size_t>(i)]);
                } else {
                    (*this)(std::to_string(i), read.emplace_back());
                }
            }
            if (loading()) values = std::move(read);
        });
    }

    /// The same, but sets the value also when only comparing: for a local variable that decides what follows.
    template <class T>
    void now(std::string_view name, T& value) {
        const bool load = std::exchange(load_, true);
        try {
            (*this)(name, value);
        } catch (...) {
            load_ = load;
            throw;
        }
        load_ = load;
    }

    /// Stores a description; a checkpoint with another one is refused.
    /// \throws CheckpointError with both descriptions
    void expect(std::string_view name, std::string description) {
        if (saving()) {
            (*this)(name, description);
        } else if (const std::string& stored = text_of(name); stored != description) {
            throw CheckpointError(detail::concat(where_, ": ", full(name), ": this run has \"", description,
                                                 "\", the checkpoint was made with \"",
                                                 detail::excerpt(stored, 300), "\""));
        }
    }

    /// Runs `function` in a scope of that name. When comparing, everything in the scope must be used.
    template <class Function>
    void in(std::string_view name, Function&& function) {
        const std::size_t before = prefix_.size();
        prefix_.append(name).push_back('/');
        function();
        if (checking()) check_used();
        prefix_.resize(before);
    }
    /// Whether the checkpoint has such a scope. Not for saving.
    bool has(std::string_view scope) const {
        std::string prefix = full(scope);
        prefix.push_back('/');
        for (const detail::StateItem& item : *in_) {
            if (item.name.starts_with(prefix)) return true;
        }
        return false;
    }
    /// What errors begin with.
    const std::string& where() const { return where_; }

  private:
    template <class T>
    static constexpr at::ScalarType type_of() {
        return std::same_as<T, bool> ? at::kBool : std::same_as<T, double> ? at::kDouble : at::kLong;
    }
    template <class T>
    static at::Tensor numbers(const T* data, const std::vector<std::int64_t>& sizes) {
        at::Tensor result = at::empty(sizes, at::TensorOptions(type_of<T>()));
        if (result.numel() > 0) std::memcpy(result.data_ptr(), data, result.nbytes());
        return result;
    }
    static std::string kind(const at::Tensor& tensor) {
        return tensor.defined()
                   ? detail::concat(at::toString(tensor.scalar_type()), " ", detail::shape_text(tensor))
                   : std::string("an undefined tensor");
    }
    std::string full(std::string_view name) const {
        std::string result = prefix_;
        return result.append(name);
    }
    void put(std::string_view name, at::Tensor tensor) {
        out_->push_back({full(name), std::move(tensor), std::nullopt});
    }
    const detail::StateItem& item(std::string_view name, const char* what) {
        const auto found = index_.find(full(name));
        if (found == index_.end()) refuse(name, what, "nothing of that name");
        used_[found->second] = true;
        return (*in_)[found->second];
    }
    const std::string& text_of(std::string_view name) {
        const detail::StateItem& found = item(name, "a text");
        if (!found.text) refuse(name, "a text", kind(found.tensor));
        return *found.text;
    }
    const at::Tensor& get(std::string_view name) {
        const detail::StateItem& found = item(name, "a tensor");
        if (found.text) refuse(name, "a tensor", "a text");
        return found.tensor;
    }
    const at::Tensor& get(std::string_view name, at::ScalarType type, std::int64_t dimensions) {
        const at::Tensor& found = get(name);
        if (!found.defined() || found.scalar_type() != type || found.dim() != dimensions) {
            refuse(name,
                   detail::concat(at::toString(type),
                                  dimensions == 0 ? " of no dimension" : " of one dimension"),
                   kind(found));
        }
        return found;
    }
    void check_count(std::int64_t size) const {
        if (size < 0 || static_cast<std::size_t>(size) > in_->size()) {
            throw CheckpointError(detail::concat(where_, ": ", prefix_, "size: expected at most the ",
                                                 in_->size(), " values of the checkpoint, found ", size));
        }
    }
    void check_used() const {
        for (std::size_t i = 0; i < in_->size(); ++i) {
            if (!used_[i] && (*in_)[i].name.starts_with(prefix_)) {
                throw CheckpointError(
                    detail::concat(where_, ": ", detail::excerpt((*in_)[i].name),
                                   ": the checkpoint has it, and this run has nothing of that name"));
            }
        }
    }
    template <class Expected, class Found>
    [[noreturn]] void refuse(std::string_view name, const Expected& expected, const Found& found) const {
        throw CheckpointError(
            detail::concat(where_, ": ", full(name), ": expected ", expected, ", found ", found));
    }

    detail::StateItems* out_ = nullptr;
    const detail::StateItems* in_ = nullptr;
    bool load_ = false;
    std::string where_;
    std::string prefix_;
    std::unordered_map<std::string_view, std::size_t> index_;
    std::vector<bool> used_;
};

/// A type with state that goes into checkpoints.
template <class T>
concept Checkpointed = requires(T& value, Archive& archive) { value.checkpoint(archive); };

namespace detail {

// Whether a class has a member of that name, of any kind: if so, the name is ambiguous in a class derived from it and
// from the probe.
struct CheckpointProbe {
    int checkpoint;
};
template <class T>
struct WithCheckpointProbe : T, CheckpointProbe {};
template <class T>
constexpr bool names_checkpoint() {
    if constexpr (!std::is_class_v<T>) {
        return false;
    } else if constexpr (std::is_final_v<T>) {
        return requires { &T::checkpoint; };
    } else {
        return !requires { &WithCheckpointProbe<T>::checkpoint; };
    }
}

template <class Member>
concept HeldState = !std::is_reference_v<Member> && Checkpointed<std::remove_cv_t<Member>>;
/// Whether a policy holds another one with state, in a public member with a conventional name. (Private members cannot
/// be inspected.)
template <class T>
constexpr bool holds_state() {
    return requires(T& policy) { requires HeldState<decltype(policy.term)>; } ||
           requires(T& policy) { requires HeldState<decltype(policy.filter)>; } ||
           requires(T& policy) { requires HeldState<decltype(policy.gate)>; } ||
           requires(T& policy) { requires HeldState<decltype(policy.schedule)>; } ||
           requires(T& policy) { requires HeldState<decltype(policy.temperature)>; } ||
           requires(T& policy) { requires HeldState<decltype(policy.weight)>; } ||
           requires(T& policy) { requires HeldState<decltype(policy.recipe)>; } ||
           requires(T& policy) { requires HeldState<decltype(policy.callback)>; };
}

/// Stores or sets the state of a policy, in a scope of that name, if it has state.
/// \param count how many policies with state there were
template <class T>
void archive_policy(Archive& archive, std::string_view name, T& policy, std::size_t* count = nullptr) {
    if constexpr (Checkpointed<T>) {
        archive.in(name, [&] { policy.checkpoint(archive); });
        if (count != nullptr) ++*count;
    } else {
        static_assert(
            !names_checkpoint<std::remove_cv_t<T>>(),
            "retort: a member checkpoint cannot be called with (retort::Archive&): its state would be lost");
        static_assert(!holds_state<std::remove_cv_t<T>>(),
                      "retort: a policy holds another one with state, but has no member void "
                      "checkpoint(retort::Archive&) that stores it: "
                      "the state would be lost. Terms and schedules that hold others are derived from "
                      "retort::TermAdaptor and "
                      "retort::ScheduleAdaptor, which do that");
    }
}

}  // namespace detail
}  // namespace retort
