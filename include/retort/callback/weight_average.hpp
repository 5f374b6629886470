// SPDX-License-Identifier: BSL-1.0
/// \file
/// A moving average of the student's weights.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <retort/callback/concept.hpp>
#include <retort/checkpoint/archive.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/move_average.hpp>

namespace retort {

/// Options of `WeightAverage`.
struct WeightAverageOptions {
    double decay = 0.999;  ///< \f$ \alpha \f$, at least 0, below 1
    /// Use \f$ \min(\alpha, 1 - 1/(t + 1)) \f$ in step t (from 1), so that the initial, untrained weights are
    /// forgotten quickly.
    bool warm_up = true;
    /// Also average floating-point buffers, such as the statistics of batch norm. If false, the average uses the
    /// student's.
    bool buffers = false;
    bool hand_over = false;  ///< copy the average into the student when `fit` ends, also if it was stopped
};

template <class C>
class DuringAverage;

/// A moving average of the student's weights, for evaluation and use; it does not affect training:
///
///     retort::WeightAverage average{{.decay = 0.999}};
///     trainer.fit(batches, {.epochs = 240}, average,
///                 average.during(retort::Validation{validation_batches}.named("average")));
///     average.copy_to(*student);
///
/// Formula, after every step: \f$ \theta' \leftarrow \alpha\theta' + (1 - \alpha)\theta \f$, starting from the
/// initial weights. Source: Polyak, Juditsky, "Acceleration of stochastic approximation by averaging", 1992, for the
/// idea; the exponential form as in `MovingAverage`, which is a teacher.
///
/// The average of 16-bit weights is kept in float32. In a cohort it averages all learners. The average is part of checkpoints. It never waits for the device. Copies
/// share it.
class WeightAverage {
  public:
    /// \throws ConfigError if the decay is out of range
    explicit WeightAverage(WeightAverageOptions options = {}) : state_(std::make_shared<State>()) {
        detail::check_decay("WeightAverage", options.decay);
        state_->options = options;
    }

    /// Wraps a callback that sees the average in place of the student's weights at the end of epochs: `Validation`, `BestModel`.
    template <Callback C>
    auto during(C callback) const {
        return DuringAverage<C>(*this, std::move(callback));
    }
    /// Copies the average into a module.
    /// \throws ConfigError if there is no average yet, or the module is a different one
    void copy_to(torch::nn::Module& module) const {
        const at::NoGradGuard no_grad;
        const auto tensors = averaged(module);
        check(tensors);
        for (std::size_t i = 0; i < tensors.size(); ++i) tensors[i].copy_(state_->average[i]);
    }
    /// Whether there is an average: from the start of `fit` on.
    bool begun() const { return !state_->average.empty(); }
    /// The number of steps averaged.
    std::int64_t steps() const { return state_->steps; }

    void on_fit_begin(FitContext& context) {
        const at::NoGradGuard no_grad;
        const auto tensors = averaged(context.student);
        if (state_->average.empty()) {
            for (const at::Tensor& each : tensors) state_->average.push_back(detail::average_of(each));
        }
        check(tensors);
        // Tensors restored from a checkpoint are on the CPU.
        for (std::size_t i = 0; i < tensors.size(); ++i)
            state_->average[i] = state_->average[i].to(tensors[i].device());
    }
    void on_step_end(FitContext& context) {
        const at::NoGradGuard no_grad;
        const WeightAverageOptions& options = state_->options;
        detail::move_average(state_->average, averaged(context.student),
                             detail::decay_in_step(options.decay, options.warm_up, ++state_->steps));
    }
    void on_fit_end(FitContext& context) {
        if (state_->options.hand_over) copy_to(context.student);
    }
    /// Stores or restores the average.
    void checkpoint(Archive& archive) {
        archive("average", state_->average);
        archive("steps", state_->steps);
    }

    /// While it lives, the module has the averaged weights.
    class Exchange {
      public:
        Exchange(const WeightAverage& average, torch::nn::Module& module)
            : tensors_(average.averaged(module)) {
            const at::NoGradGuard no_grad;
            for (const at::Tensor& each : tensors_) own_.push_back(each.detach().clone());
            average.copy_to(module);
        }
        Exchange(const Exchange&) = delete;
        Exchange& operator=(const Exchange&) = delete;
        ~Exchange() {
            const at::NoGradGuard no_grad;
            for (std::size_t i = 0; i < tensors_.size(); ++i) tensors_[i].copy_(own_[i]);
        }

      private:
        std::vector<at::Tensor> tensors_, own_;
    };
    /// Gives the module the averaged weights while the result lives, then restores its own.
    Exchange in(torch::nn::Module& module) const { return Exchange(*this, module); }

  private:
    struct State {
        WeightAverageOptions options{};
        std::vector<at::Tensor> average{};
        std::int64_t steps = 0;
    };
    /// The averaged tensors: the floating-point ones, as others have no average.
    std::vector<at::Tensor> averaged(const torch::nn::Module& module) const {
        std::vector<at::Tensor> result;
        const auto add = [&](const std::vector<at::Tensor>& tensors) {
            for (const at::Tensor& each : tensors) {
                if (each.defined() && each.is_floating_point()) result.push_back(each);
            }
        };
        add(module.parameters());
        if (state_->options.buffers) add(module.buffers());
        return result;
    }
    void check(const std::vector<at::Tensor>& tensors) const {
        const std::vector<at::Tensor>& average = state_->average;
        bool fits = !average.empty() && tensors.size() == average.size();
        for (std::size_t i = 0; fits && i < tensors.size(); ++i)
            fits = tensors[i].sizes() == average[i].sizes();
        if (!fits) {
            throw ConfigError(detail::concat(
                "WeightAverage: expected a module with the ", average.size(),
                " tensors that were averaged, found ", tensors.size(),
                average.empty() ? " (there is no average before the first fit)" : " or other shapes"));
        }
    }

    std::shared_ptr<State> state_;
};

/// A callback that sees the averaged weights at the end of epochs: see `WeightAverage::during`.
template <class C>
class DuringAverage : public detail::PassesHooksOn<C> {
  public:
    DuringAverage(WeightAverage average, C callback)
        : detail::PassesHooksOn<C>(std::move(callback)), average_(std::move(average)) {}

    bool on_fit_begin(auto& context) {
        if (!average_.begun()) {
            throw ConfigError(
                "WeightAverage: expected it before the callbacks that see the average (during), "
                "found "
                "it after them or not at all");
        }
        return detail::hook::on_fit_begin::call(this->callback(), context);
    }
    bool on_epoch_end(auto& context) {
        const auto exchange = average_.in(context.student);
        return detail::hook::on_epoch_end::call(this->callback(), context);
    }
    void checkpoint(Archive& archive) { detail::archive_policy(archive, "callback", this->callback()); }

  private:
    WeightAverage average_;
};

}  // namespace retort
