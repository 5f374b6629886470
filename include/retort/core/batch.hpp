// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a batch is: any type for which `retort::input(batch)` finds a tensor. For a batch with targets,
/// `retort::target(batch)` finds one too.
#pragma once

#include <ATen/core/Tensor.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include <retort/core/device.hpp>
#include <retort/core/error.hpp>
#include <retort/core/progress.hpp>

namespace retort {

namespace detail::batch {

// Poison pills: only functions found by argument-dependent lookup count as user overloads.
void input() = delete;
void target() = delete;
void to_device() = delete;

template <class T>
concept TensorLike = std::same_as<std::remove_cvref_t<T>, at::Tensor>;

template <class B>
concept HasOwnInput = requires(const B& batch) {
    { input(batch) } -> std::convertible_to<at::Tensor>;
};
template <class B>
concept HasOwnTarget = requires(const B& batch) {
    { target(batch) } -> std::convertible_to<at::Tensor>;
};
template <class B>
concept HasOwnMove = requires(const B& batch, at::Device device) {
    { to_device(batch, device) } -> std::convertible_to<B>;
};
template <class B>
concept HasInputMember = requires(const B& batch) { requires TensorLike<decltype((batch.input))>; };
template <class B>
concept HasDataMember = requires(const B& batch) { requires TensorLike<decltype((batch.data))>; };
template <class B>
concept HasTargetMember = requires(const B& batch) { requires TensorLike<decltype((batch.target))>; };

template <class B, std::size_t I>
concept HasTensorElement = requires(const B& batch) {
    std::tuple_size<B>::value;
    requires(std::tuple_size<B>::value > I);
    requires TensorLike<decltype(std::get<I>(batch))>;
};

struct Input {
    template <class B>
        requires TensorLike<B> || HasOwnInput<B> || HasInputMember<B> || HasDataMember<B> ||
                 HasTensorElement<B, 0>
    decltype(auto) operator()(const B& batch) const {
        if constexpr (TensorLike<B>) {
            return static_cast<const at::Tensor&>(batch);
        } else if constexpr (HasOwnInput<B>) {
            return input(batch);
        } else if constexpr (HasInputMember<B>) {
            return static_cast<const at::Tensor&>(batch.input);
        } else if constexpr (HasDataMember<B>) {
            return static_cast<const at::Tensor&>(batch.data);
        } else {
            return static_cast<const at::Tensor&>(std::get<0>(batch));
        }
    }
};

struct Target {
    template <class B>
        requires HasOwnTarget<B> || HasTargetMember<B> || HasTensorElement<B, 1>
    decltype(auto) operator()(const B& batch) const {
        if constexpr (HasOwnTarget<B>) {
            return target(batch);
        } else if constexpr (HasTargetMember<B>) {
            return static_cast<const at::Tensor&>(batch.target);
        } else {
            return static_cast<const at::Tensor&>(std::get<1>(batch));
        }
    }
};

}  // namespace detail::batch

/// The tensor fed to the networks. Looked up in this order: the batch itself, if it is a tensor; a function
/// `input(batch)` in the namespace of the batch's type; a member `input`; a member `data` (`torch::data::Example<>`);
/// the first element of a pair or tuple.
inline constexpr detail::batch::Input input{};

/// The targets (usually class indices of shape [batch]). Looked up in this order: a function `target(batch)` in the
/// namespace of the batch's type; a member `target`; the second element of a pair or tuple.
inline constexpr detail::batch::Target target{};

/// A batch: `retort::input(batch)` finds a tensor.
template <class B>
concept Batch = requires(const B& batch) { ::retort::input(batch); };

/// A batch with targets: `retort::target(batch)` finds a tensor too.
template <class B>
concept LabeledBatch = Batch<B> && requires(const B& batch) { ::retort::target(batch); };

/// How many views of each sample the input of a batch holds, in consecutive rows with the plain one first: a member
/// `views`, or 1 without it. There is one target per sample.
template <Batch B>
std::int64_t view_count(const B& batch) {
    if constexpr (requires { std::int64_t{batch.views}; }) {
        return batch.views;
    } else {
        return 1;
    }
}

namespace detail {

/// How many samples a batch has, whatever the number of their views.
template <class B>
std::int64_t sample_count(const B& batch) {
    return input(batch).size(0) / view_count(batch);
}

/// The input of a batch.
/// \throws DataError if it has no samples
template <class B>
decltype(auto) input_of(const B& batch, const Progress& progress) {
    static_assert(Batch<B>,
                  "retort: not a batch: expected a tensor, a pair or tuple of tensors, a member "
                  "`input` or `data`, or a "
                  "function input(batch) in the namespace of the type");
    const auto& value = input(batch);
    if (!value.defined() || value.dim() == 0 || value.size(0) == 0) {
        throw DataError(concat("batch: expected at least one sample, found ",
                               value.defined() ? concat(value.sizes()) : std::string("an undefined tensor"),
                               " in epoch ", progress.epoch, ", step ", progress.step));
    }
    return value;
}

}  // namespace detail

namespace detail::batch {

struct ToDevice {
    /// The batch with its tensors on `device`.
    template <class B>
    B operator()(B batch, at::Device device) const {
        if constexpr (HasOwnMove<B>) {
            return to_device(batch, device);
        } else if constexpr (TensorLike<B>) {
            return on(batch, device);
        } else if constexpr (HasTensorElement<B, 0>) {
            std::apply([&](auto&... elements) { (move_element(elements, device), ...); }, batch);
            return batch;
        } else {
            if constexpr (HasInputMember<B>) move_element(batch.input, device);
            if constexpr (HasDataMember<B>) move_element(batch.data, device);
            if constexpr (HasTargetMember<B>) move_element(batch.target, device);
            if constexpr (HasOwnInput<B>) check_moved(input(batch), device);
            return batch;
        }
    }

  private:
    static at::Tensor on(const at::Tensor& tensor, at::Device device) {
        // `Tensor::to` issues an operator even if there is nothing to move; a step must not.
        return !tensor.defined() || tensor.device() == device ? tensor
                                                              : tensor.to(device, /*non_blocking=*/true);
    }
    static void check_moved(const at::Tensor& tensor, at::Device device) {
        if (tensor.defined() && tensor.device() != device) {
            throw ShapeError(detail::concat("batch: expected the input on ", device, ", found it on ",
                                            tensor.device(),
                                            "; a custom batch type needs a function "
                                            "to_device(batch, device) in its namespace"));
        }
    }
    template <class E>
    static void move_element(E& element, at::Device device) {
        if constexpr (TensorLike<E>) element = on(element, device);
    }
};

}  // namespace detail::batch

/// `retort::to_device(batch, device)`: the batch with its tensors on `device`. Handles tensors, pairs, tuples and the
/// members `input`, `data` and `target`; a batch type with other tensors provides its own `to_device(batch, device)`.
inline constexpr detail::batch::ToDevice to_device{};

}  // namespace retort
