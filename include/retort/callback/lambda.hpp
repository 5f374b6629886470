// SPDX-License-Identifier: BSL-1.0
/// \file
/// Callbacks from lambdas.
#pragma once

#include <utility>

#include <retort/callback/concept.hpp>

namespace retort {

namespace detail {

#define RETORT_LAMBDA_CALLBACK(hook)                                                              \
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
    };

RETORT_LAMBDA_CALLBACK(on_fit_begin)
RETORT_LAMBDA_CALLBACK(on_epoch_begin)
RETORT_LAMBDA_CALLBACK(on_gradients)
RETORT_LAMBDA_CALLBACK(on_step_end)
RETORT_LAMBDA_CALLBACK(on_report)
RETORT_LAMBDA_CALLBACK(on_epoch_end)
RETORT_LAMBDA_CALLBACK(on_fit_end)
#undef RETORT_LAMBDA_CALLBACK

}  // namespace detail

/// A callback with one hook, made from a function that takes a `retort::FitContext&` (or `auto&`) and returns nothing
/// or a `bool`:
///
///     trainer.fit(batches, {.epochs = 5}, retort::on_epoch_end([](retort::FitContext& context) {
///         return context.history.last("loss") > 0.01;    // false stops the run
///     }));
template <class F>
auto on_fit_begin(F function) {
    return detail::Lambda_on_fit_begin<F>{std::move(function)};
}
/// See `on_fit_begin`.
template <class F>
auto on_epoch_begin(F function) {
    return detail::Lambda_on_epoch_begin<F>{std::move(function)};
}
/// See `on_fit_begin`.
template <class F>
auto on_gradients(F function) {
    return detail::Lambda_on_gradients<F>{std::move(function)};
}
/// See `on_fit_begin`.
template <class F>
auto on_step_end(F function) {
    return detail::Lambda_on_step_end<F>{std::move(function)};
}
/// See `on_fit_begin`.
template <class F>
auto on_report(F function) {
    return detail::Lambda_on_report<F>{std::move(function)};
}
/// See `on_fit_begin`.
template <class F>
auto on_epoch_end(F function) {
    return detail::Lambda_on_epoch_end<F>{std::move(function)};
}
/// See `on_fit_begin`.
template <class F>
auto on_fit_end(F function) {
    return detail::Lambda_on_fit_end<F>{std::move(function)};
}

}  // namespace retort
