// SPDX-License-Identifier: BSL-1.0
/// \file
/// The contract of a run: what `fit` trains step by step and checkpoints store. `Trainer` and `CohortRun` are runs.
///
/// A run has everything that `detail::StoredRun` requires (checkpoint/run_state.hpp), and
///
/// | expression                    | meaning |
/// |-------------------------------|-----------------------------------------------------------------------|
/// | `run.state()`                 | its state between steps: a `detail::RunState` of its record; `state().progress` is the current position |
/// | `run.module()`                | all networks that are trained, as one module |
/// | `run.parameters()`            | everything that is trained; empty before the first step |
/// | `run.learning_parameters()`   | what this step trains, by learner |
/// | `run.begin_fit()`             | before the first epoch |
/// | `run.write(history)`          | writes the columns that are not the record's |
/// | `run.complete(batch)`         | restores what needs a first batch: see `RunState::complete` |
/// | `run.forward(batch)`          | forward passes and losses: the result of a batch, with its autograd graph |
/// | `run.finite(result)`          | whether all its losses are finite. Waits for the device |
/// | `run.record_step(record, result, batch, accuracy, first)` | adds the losses of a step's first or further batch to a record, and the accuracy if requested; returns the `detail::Counted` predictions of the batch |
/// | `run.backward(result, share, first)` | adds the gradients, times `share`, to those of the step; the first batch clears them |
/// | `run.finish_gradients(factor)`| multiplies the accumulated gradients; returns whether to make the step |
/// | `run.finite_gradients()`      | whether all gradients of the step are finite. May wait for the device |
/// | `run.record_gradients(record)`| adds the same to a record, without waiting |
/// | `run.update()`, `run.skip()`  | makes the step of the optimizers and counts it; only counts it |
///
/// `detail::RunBase` implements most of this; a run adds little more than its forward passes.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <concepts>
#include <string>
#include <type_traits>
#include <vector>

#include <retort/callback/history.hpp>
#include <retort/checkpoint/run_state.hpp>
#include <retort/core/batch.hpp>
#include <retort/core/counted.hpp>
#include <retort/core/progress.hpp>

namespace retort {

/// A run, as far as can be checked without a batch.
template <class R>
concept TrainingRun = detail::StoredRun<R> && requires(R& run, History& history, double factor) {
    { run.state().progress } -> std::same_as<Progress&>;
    { run.history() } -> std::same_as<History&>;
    { run.record().columns() } -> std::same_as<std::vector<std::string>>;
    { run.module() } -> std::same_as<torch::nn::Module&>;
    { run.parameters() } -> std::same_as<const std::vector<at::Tensor>&>;
    { run.learning_parameters() } -> std::same_as<std::vector<std::vector<at::Tensor>>>;
    run.begin_fit();
    run.write(history);
    { run.finish_gradients(factor) } -> std::same_as<bool>;
    { run.finite_gradients() } -> std::same_as<bool>;
    run.update();
    run.skip();
};

/// A run that trains on batches of type `B`.
template <class R, class B>
concept TrainsOn =
    TrainingRun<R> && Batch<B> &&
    requires(R& run, const B& batch, decltype(run.record())& record, decltype(run.forward(batch))& result) {
        run.complete(batch);
        { run.finite(result) } -> std::same_as<bool>;
        {
            run.record_step(record, result, batch, /*accuracy=*/true, /*first=*/true)
        } -> std::same_as<detail::Counted>;
        run.record_gradients(record);
        run.backward(result, /*share=*/1.0, /*first=*/true);
    };

}  // namespace retort
