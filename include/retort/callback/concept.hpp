// SPDX-License-Identifier: BSL-1.0
/// \file
/// The contract of a callback: what can happen around the steps of a run.
///
/// A callback is a type with any of these members:
///
/// | hook                      | when                                                                              |
/// |---------------------------|-----------------------------------------------------------------------------------|
/// | `on_restore(context)`     | before all others: time to bring back an earlier state of the run                 |
/// | `on_fit_begin(context)`   | before the first epoch: time to refuse what cannot work                           |
/// | `on_epoch_begin(context)` | before the first step of an epoch                                                 |
/// | `on_gradients(context)`   | gradients are there, the parameters not yet changed                               |
/// | `on_step_end(context)`    | after a step                                                                      |
/// | `on_report(context)`      | running means have been read from the device (`FitOptions::report_every`)         |
/// | `on_epoch_end(context)`   | the row of the epoch is complete, as far as the trainer and the callbacks before know |
/// | `on_settled(context)`     | after a step or an epoch and all that the callbacks did about it: the run's state can be saved |
/// | `on_fit_end(context)`     | after the last epoch, also where a callback stopped the run; not after an error   |
/// | `on_error(context)`       | an error ends the run, and comes out of `fit` next                                |
///
/// A hook takes a `retort::FitContext&`, or `auto&` for the context with the trainer in it, and returns
/// nothing, or a `bool`: false stops the run. A member whose name is a hook's and which cannot be called so
/// does not compile. Callbacks run in the order in which they are given to `fit`; an lvalue is used in place,
/// so that it can be asked afterwards.
///
/// A run that is stopped between two steps has not ended its epoch: `on_epoch_end` is not called, the row holds what
/// was measured so far, and another `fit` goes on in the middle of the epoch.
///
/// A callback with state that matters to the run has a member `checkpoint(retort::Archive&)` (checkpoint/archive.hpp).
///
/// A minimal example:
///
///     struct SayLoss {
///         void on_epoch_end(retort::FitContext& context) { std::cout << context.history.last("loss") << '\n'; }
///     };
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <concepts>
#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include <retort/callback/history.hpp>
#include <retort/checkpoint/archive.hpp>
#include <retort/core/error.hpp>
#include <retort/core/progress.hpp>

namespace retort {

/// The means of the running epoch, as they were last read from the device.
struct Running {
    double loss = std::numeric_limits<double>::quiet_NaN();      ///< mean over the samples
    double accuracy = std::numeric_limits<double>::quiet_NaN();  ///< share of right answers; NaN where there
                                                                 ///< are no class targets
    std::int64_t samples = 0;                                    ///< how many samples the epoch has seen
    double seconds = 0;                                          ///< how long the steps of the epoch took
};

namespace detail {

/// The run as what can be saved: see `RunState`.
struct RunHandle {
    std::function<StateItems()> snapshot;                      ///< all state, copied on its device
    std::function<void(const std::filesystem::path&)> resume;  ///< goes back to a checkpoint
    std::function<bool()> begun;                               ///< whether there is something to lose
    at::Device device = at::kCPU;
};

}  // namespace detail

/// What the hooks of a callback see.
struct FitContext {
    Progress progress;                          ///< of the epoch or step at hand
    History& history;                           ///< what was measured; the last row is the running epoch's
    torch::nn::Module& student;                 ///< the student's module
    const std::vector<at::Tensor>& parameters;  ///< all that is trained: the student's, the learnable
                                                ///< parts', a teacher's; empty before the first step
    Running running{};
    bool ending = false;                 ///< in `on_settled`: whether the run ends here
    detail::RunHandle run{};             ///< for callbacks that save the run
    std::vector<std::string> claimed{};  ///< the columns that somebody writes in this call of `fit`
    /// In `on_gradients`: what the step trains, of each learner that learns in it. Not set where there is only one.
    std::function<std::vector<std::vector<at::Tensor>>()> learners{};

    /// What the step trains, apart for each learner; `parameters` where there is only one.
    std::vector<std::vector<at::Tensor>> parameters_of_learners() const {
        return learners ? learners() : std::vector<std::vector<at::Tensor>>{parameters};
    }

    /// Makes a column of the history one's own for this call of `fit`.
    /// \throws ConfigError if another callback, or the trainer, writes it already
    void claim(const std::string& column) {
        if (std::find(claimed.begin(), claimed.end(), column) != claimed.end()) {
            throw ConfigError(
                detail::concat("history: expected one writer for a column, found a second one for \"", column,
                               "\": give one of them another name"));
        }
        claimed.push_back(column);
        history.declare(column);
    }
};

/// The context with the trainer, for hooks that take `auto&`.
template <class T>
struct FitContextOf : FitContext {
    T& trainer;
};

namespace detail {

// For every hook: `names_<hook><T>` tells whether a class has a member of that name, whatever it is. Where T
// has one, the name is ambiguous in a class derived from T and from a probe. A final class is asked directly;
// there an overloaded or templated member stays unseen. `call_<hook>(callback, context)` calls it and tells
// whether the run goes on.
#define RETORT_HOOK(hook)                                                                           \
    struct probe_##hook {                                                                           \
        int hook;                                                                                   \
    };                                                                                              \
    template <class T>                                                                              \
    struct merged_##hook : T, probe_##hook {};                                                      \
    template <class T>                                                                              \
    constexpr bool names_##hook() {                                                                 \
        if constexpr (!std::is_class_v<T>) {                                                        \
            return false;                                                                           \
        } else if constexpr (std::is_final_v<T>) {                                                  \
            return requires { &T::hook; };                                                          \
        } else {                                                                                    \
            return !requires { &merged_##hook<T>::hook; };                                          \
        }                                                                                           \
    }                                                                                               \
    template <class T, class Context>                                                               \
    bool call_##hook(T& callback, Context& context) {                                               \
        if constexpr (requires { callback.hook(context); }) {                                       \
            using Result = decltype(callback.hook(context));                                        \
            static_assert(std::is_void_v<Result> || std::same_as<Result, bool>,                     \
                          "retort: the hook " #hook " of a callback returns nothing or a bool");    \
            if constexpr (std::is_void_v<Result>) {                                                 \
                callback.hook(context);                                                             \
                return true;                                                                        \
            } else {                                                                                \
                return callback.hook(context);                                                      \
            }                                                                                       \
        } else {                                                                                    \
            static_assert(!names_##hook<T>(),                                                       \
                          "retort: a callback has a member " #hook                                  \
                          " that cannot be called with (retort::FitContext&): it would never run"); \
            return true;                                                                            \
        }                                                                                           \
    }

RETORT_HOOK(on_restore)
RETORT_HOOK(on_fit_begin)
RETORT_HOOK(on_epoch_begin)
RETORT_HOOK(on_gradients)
RETORT_HOOK(on_step_end)
RETORT_HOOK(on_report)
RETORT_HOOK(on_epoch_end)
RETORT_HOOK(on_settled)
RETORT_HOOK(on_fit_end)
RETORT_HOOK(on_error)
#undef RETORT_HOOK

template <class T>
constexpr bool names_any_hook() {
    return names_on_restore<T>() || names_on_settled<T>() || names_on_error<T>() || names_on_fit_begin<T>() ||
           names_on_epoch_begin<T>() || names_on_gradients<T>() || names_on_step_end<T>() ||
           names_on_report<T>() || names_on_epoch_end<T>() || names_on_fit_end<T>();
}

}  // namespace detail

/// A type with at least one hook. (A final class whose hooks are all overloads or templates is not
/// recognized.)
template <class T>
concept Callback = detail::names_any_hook<std::remove_cvref_t<T>>();

}  // namespace retort
