// SPDX-License-Identifier: BSL-1.0
/// \file
/// The contract of a callback: what can happen around the steps of a run.
///
/// A callback is a type with any of these members:
///
/// | hook                      | when                                                                              |
/// |---------------------------|-----------------------------------------------------------------------------------|
/// | `on_restore(context)`     | before all others: restore an earlier state of the run here                       |
/// | `on_fit_begin(context)`   | before the first epoch: check for invalid setups here                             |
/// | `on_epoch_begin(context)` | before the first step of an epoch                                                 |
/// | `on_gradients(context)`   | gradients are computed, the parameters not yet updated                            |
/// | `on_step_end(context)`    | after a step                                                                      |
/// | `on_report(context)`      | running means have been read from the device (`FitOptions::report_every`)         |
/// | `on_epoch_end(context)`   | the epoch's row is complete, as far as the trainer and earlier callbacks fill it   |
/// | `on_settled(context)`     | after a step or an epoch and all callbacks of it: the run's state can be saved    |
/// | `on_fit_end(context)`     | after the last epoch, also if a callback stopped the run; not after an error      |
/// | `on_error(context)`       | an error ends the run; `fit` throws it next                                       |
///
/// A hook takes a `retort::FitContext&`, or `auto&` for the context with the trainer in it, and returns nothing or a
/// `bool`: false stops the run. A member with the name of a hook that cannot be called this way does not compile.
/// Callbacks run in the order given to `fit`; an lvalue is used in place, so that it can be inspected afterwards.
///
/// A run stopped between two steps has not ended its epoch: `on_epoch_end` is not called, the row holds what was
/// measured so far, and another `fit` resumes in the middle of the epoch.
///
/// A callback with state that affects the run has a member `checkpoint(retort::Archive&)` (checkpoint/archive.hpp).
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
#include <utility>
#include <vector>

#include <retort/callback/history.hpp>
#include <retort/checkpoint/archive.hpp>
#include <retort/core/error.hpp>
#include <retort/core/progress.hpp>

/// All hooks, in the order of the table: expands `macro(name)` for each. Everything that exists per hook is generated
/// from it.
#define RETORT_HOOKS(macro)                                                                            \
    macro(on_restore) macro(on_fit_begin) macro(on_epoch_begin) macro(on_gradients) macro(on_step_end) \
        macro(on_report) macro(on_epoch_end) macro(on_settled) macro(on_fit_end) macro(on_error)

namespace retort {

/// Means over the current epoch so far, as last read from the device.
struct Running {
    double loss = std::numeric_limits<double>::quiet_NaN();  ///< mean over the samples
    double accuracy =
        std::numeric_limits<double>::quiet_NaN();  ///< fraction of correct predictions; NaN if there
                                                   ///< are no class targets
    std::int64_t samples = 0;                      ///< samples seen in the epoch
    double seconds = 0;                            ///< time spent in the steps of the epoch
};

namespace detail {

/// Access to the run's state: see `RunState`.
struct RunHandle {
    std::function<StateItems()> snapshot;                      ///< all state, copied on its device
    std::function<void(const std::filesystem::path&)> resume;  ///< restores a checkpoint
    std::function<bool()> begun;                               ///< whether there is progress to lose
    at::Device device = at::kCPU;
};

}  // namespace detail

/// What the hooks of a callback see.
struct FitContext {
    Progress progress;                          ///< of the current epoch or step
    History& history;                           ///< what was measured; the last row is the current epoch's
    torch::nn::Module& student;                 ///< the student's module
    const std::vector<at::Tensor>& parameters;  ///< everything trained: the student's, the learnable
                                                ///< parts', a teacher's; empty before the first step
    Running running{};
    bool ending = false;                 ///< in `on_settled`: whether the run ends here
    detail::RunHandle run{};             ///< for callbacks that save the run
    std::vector<std::string> claimed{};  ///< the columns claimed by a writer in this call of `fit`
    /// In `on_gradients`: the parameters trained in this step, by learner.
    std::function<std::vector<std::vector<at::Tensor>>()> learners{};

    /// The parameters trained in this step, by learner.
    std::vector<std::vector<at::Tensor>> parameters_of_learners() const {
        return learners ? learners() : std::vector<std::vector<at::Tensor>>{parameters};
    }

    /// Claims a column of the history for this call of `fit`.
    /// \throws ConfigError if another callback, or the trainer, already writes it
    void claim(const std::string& column) {
        if (std::find(claimed.begin(), claimed.end(), column) != claimed.end()) {
            throw ConfigError(
                detail::concat("history: expected one writer per column, found a second one for \"", column,
                               "\": rename one of them"));
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

// Whether a class has a member of some name, of any kind: if so, the name is ambiguous in a class derived from it and
// from a probe. A final class is tested directly, which misses overloaded and templated members.
#define RETORT_HOOK(name)                                                                                \
    struct name {                                                                                        \
        struct Probe {                                                                                   \
            int name;                                                                                    \
        };                                                                                               \
        template <class T>                                                                               \
        struct Probed : T, Probe {};                                                                     \
        /** Whether T has a member of that name. */                                                      \
        template <class T>                                                                               \
        static constexpr bool named() {                                                                  \
            if constexpr (!std::is_class_v<T>) {                                                         \
                return false;                                                                            \
            } else if constexpr (std::is_final_v<T>) {                                                   \
                return requires { &T::name; };                                                           \
            } else {                                                                                     \
                return !requires { &Probed<T>::name; };                                                  \
            }                                                                                            \
        }                                                                                                \
        /** Calls it if it exists; returns whether the run continues. */                                 \
        template <class T, class Context>                                                                \
        static bool call(T& callback, Context& context) {                                                \
            if constexpr (requires { callback.name(context); }) {                                        \
                using Result = decltype(callback.name(context));                                         \
                static_assert(std::is_void_v<Result> || std::same_as<Result, bool>,                      \
                              "retort: the hook " #name " of a callback must return nothing or a bool"); \
                if constexpr (std::is_void_v<Result>) {                                                  \
                    callback.name(context);                                                              \
                    return true;                                                                         \
                } else {                                                                                 \
                    return callback.name(context);                                                       \
                }                                                                                        \
            } else {                                                                                     \
                static_assert(!named<T>(),                                                               \
                              "retort: a callback has a member " #name                                   \
                              " that cannot be called with (retort::FitContext&): it would never run");  \
                return true;                                                                             \
            }                                                                                            \
        }                                                                                                \
    };

namespace hook {
RETORT_HOOKS(RETORT_HOOK)
}  // namespace hook
#undef RETORT_HOOK

template <class T>
constexpr bool names_any_hook() {
#define RETORT_HOOK(name) || hook::name::named<T>()
    return false RETORT_HOOKS(RETORT_HOOK);
#undef RETORT_HOOK
}

/// Forwards every hook to another callback. A class derived from it hides the hooks that it changes.
template <class C>
class PassesHooksOn {
  public:
    explicit PassesHooksOn(C callback) : callback_(std::move(callback)) {}
#define RETORT_HOOK(name) \
    bool name(auto& context) { return hook::name::call(callback_, context); }
    RETORT_HOOKS(RETORT_HOOK)
#undef RETORT_HOOK
    C& callback() { return callback_; }

  private:
    C callback_;
};

}  // namespace detail

/// A type with at least one hook. (A final class whose hooks are all overloads or templates is not recognized.)
template <class T>
concept Callback = detail::names_any_hook<std::remove_cvref_t<T>>();

}  // namespace retort
