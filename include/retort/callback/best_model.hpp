// SPDX-License-Identifier: BSL-1.0
/// \file
/// Keeps the student of the best epoch.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <retort/callback/concept.hpp>
#include <retort/callback/monitor.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>

namespace retort {

/// Options of `BestModel`.
struct BestModelOptions {
    std::string column = "validation_accuracy";  ///< of the history
    Goal goal = Goal::maximize;
    bool restore = true;  ///< restore the best parameters and buffers of the student when the run ends
};

/// Keeps a copy of the student's parameters and buffers from the best epoch. Monitor a validation column, never the
/// test set.
class BestModel {
  public:
    explicit BestModel(BestModelOptions options = {})
        : options_(std::move(options)), monitor_(options_.column, options_.goal) {}

    void on_fit_begin(FitContext& context) { monitor_.check("BestModel", context.history); }
    void on_epoch_end(FitContext& context) {
        if (monitor_.judge("BestModel", context.history, 0.0, context.progress) !=
            detail::Monitor::Verdict::better)
            return;
        const at::NoGradGuard no_grad;
        kept_.clear();
        for (const at::Tensor& tensor : state(context.student)) kept_.push_back(tensor.detach().clone());
    }
    void on_fit_end(FitContext& context) {
        if (options_.restore && !kept_.empty()) restore(context.student);
    }

    void checkpoint(Archive& archive) {
        monitor_.checkpoint(archive);
        archive("kept", kept_);
    }

    /// Copies the parameters and buffers of the best epoch into a module.
    /// \throws ConfigError if no epoch has ended yet, or the module is a different one
    void restore(torch::nn::Module& module) const {
        const at::NoGradGuard no_grad;
        const std::vector<at::Tensor> tensors = state(module);
        if (kept_.empty() || tensors.size() != kept_.size()) {
            throw ConfigError(detail::concat("BestModel: expected a module with the ", kept_.size(),
                                             " parameters and buffers that were kept, found ",
                                             tensors.size()));
        }
        for (std::size_t i = 0; i < tensors.size(); ++i) {
            if (tensors[i].sizes() != kept_[i].sizes()) {
                throw ConfigError(detail::concat(
                    "BestModel: expected a module with the parameters and buffers that "
                    "were kept, found one of shape ",
                    detail::shape_text(tensors[i]), " in place of ", detail::shape_text(kept_[i])));
            }
        }
        for (std::size_t i = 0; i < tensors.size(); ++i) tensors[i].copy_(kept_[i]);
    }
    /// The best epoch so far (from 0), and its value. -1 and NaN before the first.
    std::int64_t best_epoch() const { return monitor_.best_epoch(); }
    double best() const { return monitor_.best(); }

  private:
    static std::vector<at::Tensor> state(const torch::nn::Module& module) {
        std::vector<at::Tensor> result = module.parameters();
        for (const at::Tensor& buffer : module.buffers()) {
            if (buffer.defined()) result.push_back(buffer);
        }
        return result;
    }
    BestModelOptions options_;
    detail::Monitor monitor_;
    std::vector<at::Tensor> kept_;
};

}  // namespace retort
