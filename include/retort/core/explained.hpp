// SPDX-License-Identifier: BSL-1.0
/// \file
/// Errors of LibTorch within a step, with what it was doing.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <concepts>
#include <string>
#include <string_view>
#include <utility>

#include <retort/core/batch.hpp>
#include <retort/core/error.hpp>
#include <retort/core/logits.hpp>
#include <retort/core/progress.hpp>

namespace retort::detail {

/// Type, shape and device of a tensor, as text: `Float [4, 8] on cpu`.
inline std::string tensor_text(const at::Tensor& tensor) {
    return tensor.defined() ? concat(tensor.scalar_type(), ' ', tensor.sizes(), " on ", tensor.device())
                            : std::string("an undefined tensor");
}
template <class T>
std::string input_text(const T& value) {
    if constexpr (std::same_as<T, at::Tensor>) {
        return tensor_text(value);
    } else {
        return "no single tensor";
    }
}
/// The logits and targets that a term sees.
template <class Student, class Teacher, class B>
std::string term_text(const Student& student, const Teacher* teacher, const B& batch) {
    std::string result;
    if constexpr (HasLogits<Student>)
        result.append("; student's logits: ").append(tensor_text(logits(student)));
    if constexpr (HasLogits<Teacher>) {
        if (teacher != nullptr) result.append("; teacher's logits: ").append(tensor_text(logits(*teacher)));
    }
    if constexpr (LabeledBatch<B>) result.append("; targets: ").append(tensor_text(target(batch)));
    return result;
}

/// What to do about an error of LibTorch, where that is known.
inline std::string_view remedy(std::string_view message) {
    const auto has = [message](std::string_view part) {
        return message.find(part) != std::string_view::npos;
    };
    if (has("Expected more than 1 value per channel"))
        return " (batch norm needs more than one sample: leave the last batch out, "
               "data::LoaderOptions::drop_last)";
    if (has("is out of bounds") || has("out of range"))
        return " (are all targets and indices from 0 to the number of classes less 1?)";
    if (has("expected scalar type") || has("should be the same") || has("dtype") ||
        has("Expected object of scalar"))
        return " (do the floating-point types of inputs, networks and options agree?)";
    if (has("on the same device")) return " (are networks, batches and options on one device?)";
    return "";
}

/// Calls `function`. What LibTorch throws in it becomes a StepError with epoch, step, `what()` and, if known, the
/// remedy; memory that runs out stays LibTorch's error.
template <class F, class What>
decltype(auto) explained(const Progress& progress, F&& function, const What& what) {
    try {
        return std::forward<F>(function)();
    } catch (const c10::OutOfMemoryError&) {
        throw;
    } catch (const c10::Error& error) {
        const std::string message = error.what_without_backtrace();
        throw StepError(concat(what(), ": in epoch ", progress.epoch, ", step ", progress.step,
                               ", LibTorch: ", message, remedy(message)));
    }
}

}  // namespace retort::detail
