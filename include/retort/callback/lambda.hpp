// SPDX-License-Identifier: BSL-1.0
/// \file
/// Callbacks from lambdas: for every hook (see callback/concept.hpp) a function of its name, `retort::on_epoch_end(...)`,
/// makes a callback with that hook from a function that takes a `retort::FitContext&` (or `auto&`) and returns nothing or
/// a `bool`:
///
///     trainer.fit(batches, {.epochs = 5}, retort::on_epoch_end([](retort::FitContext& context) {
///         return context.history.last("loss") > 0.01;    // false stops the run
///     }));
#pragma once

#include <utility>

#include <retort/callback/concept.hpp>

namespace retort {

// A callback with one hook, for each hook.
#define RETORT_LAMBDA(hook)                                                                       \
    namespace detail {                                                                            \
    template <class F>                                                                            \
    struct Lambda_##hook {                                                                        \
        F function;                                                                               \
        template <class Context>                                                                  \
        auto hook(Context& context) {                                                             \
            static_assert(                                                                        \
                requires { function(context); }, "retort: a function given to retort::" #hook     \
                                                 " cannot be called with (retort::FitContext&)"); \
            return function(context);                                                             \
        }                                                                                         \
    };                                                                                            \
    }                                                                                             \
    template <class F>                                                                            \
    auto hook(F function) {                                                                       \
        return detail::Lambda_##hook<F>{std::move(function)};                                     \
    }

RETORT_HOOKS(RETORT_LAMBDA)
#undef RETORT_LAMBDA

}  // namespace retort
