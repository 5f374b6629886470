// SPDX-License-Identifier: BSL-1.0
/// \file
/// A moving average of the student as its teacher.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/checkpoint/module_state.hpp>
#include <retort/core/progress.hpp>
#include <retort/detail/move_average.hpp>
#include <retort/teacher/detail/state_pairs.hpp>
#include <retort/teacher/frozen.hpp>

namespace retort {

/// Options of `MovingAverage`.
struct MovingAverageOptions {
    /// How buffers, such as the statistics of batch norm, are handled.
    enum class Buffers {
        copy,     ///< copied from the student (the default)
        average,  ///< averaged like the parameters if floating-point, otherwise copied
        keep,     ///< kept as they are at the start
    };
    double decay = 0.999;  ///< \f$ \alpha \f$, at least 0, below 1
    /// Use \f$ \min(\alpha, 1 - 1/(t + 1)) \f$ in step t (from 1), so that the initial, untrained weights are
    /// forgotten quickly. As in the code released by Tarvainen and Valpola.
    bool warm_up = true;
    Buffers buffers = Buffers::copy;
};

/// A teacher whose parameters are the moving average of the student's: the mean teacher.
///
/// Formula, after every step: \f$ \theta' \leftarrow \alpha\theta' + (1 - \alpha)\theta \f$; for 16-bit parameters
/// in float32, of which the teacher has the rounded values.
/// Source: Tarvainen, Valpola, "Mean teachers are better role models", NeurIPS 2017, eq. 3.
///
/// The average is a separate network of the same architecture, created by the user; it starts from the student's
/// weights, which are copied when the policy is constructed, and teaches as `Frozen` does:
///
///     Net student, average;
///     retort::Trainer trainer{student, retort::MovingAverage{average, student, {.decay = 0.99}}, ...};
///
/// Copies of the policy share the networks, but each counts its steps separately. Module objects must outlive it.
/// \throws ConfigError if the decay is out of range, or the networks differ in the names, shapes or types of their
/// parameters and buffers, or share one
template <Network Average, Network Student>
class MovingAverage {
  public:
    template <class A, class S>
        requires std::same_as<std::remove_cvref_t<A>, Average> &&
                     std::same_as<std::remove_cvref_t<S>, Student>
    MovingAverage(A&& average, S&& student, const MovingAverageOptions& options = {})
        : options_(options), average_(average), teacher_(std::forward<A>(average)), student_(student) {
        static_assert(
            !detail::ModuleObject<Student> || std::is_lvalue_reference_v<S>,
            "retort: a module object must outlive its teacher policy: pass a variable, a holder or a "
            "shared_ptr");
        detail::check_decay("MovingAverage", options.decay);
        detail::copy_student("MovingAverage", "average", average_.module(), student_.module());
    }

    template <class I>
        requires Forwards<Average, I>
    OutputsOf<Average, I> operator()(const I& value) const {
        return teacher_(value);
    }

    /// Updates the average; called by the trainer after every step.
    void update(const Progress&) {
        ++steps_;
        const double decay = detail::decay_in_step(options_.decay, options_.warm_up, steps_);
        const at::NoGradGuard no_grad;
        std::vector<at::Tensor> mine, theirs, narrow;
        const auto collect = [&](const auto& own, const auto& others, bool average) {
            auto other = others.begin();  // the same names in the same order: checked on construction
            for (const auto& each : own) {
                if (average && each.value().is_floating_point()) {
                    const at::ScalarType type = each.value().scalar_type();
                    if (type == at::kHalf || type == at::kBFloat16) {
                        narrow.push_back(each.value());
                        if (precise_.size() < narrow.size())
                            precise_.push_back(detail::average_of(each.value()));
                        mine.push_back(precise_[narrow.size() - 1].to(each.value().device()));
                        precise_[narrow.size() - 1] = mine.back();
                    } else {
                        mine.push_back(each.value());
                    }
                    theirs.push_back(other->value());
                } else {
                    each.value().copy_(other->value());
                }
                ++other;
            }
        };
        collect(average_.module().named_parameters(), student_.module().named_parameters(), true);
        if (options_.buffers != MovingAverageOptions::Buffers::keep) {
            collect(average_.module().named_buffers(), student_.module().named_buffers(),
                    options_.buffers == MovingAverageOptions::Buffers::average);
        }
        detail::move_average(mine, theirs, decay);
        for (std::size_t i = 0; i < narrow.size(); ++i) narrow[i].copy_(precise_[i]);
    }

    /// Stores or restores the average.
    void checkpoint(Archive& archive) {
        detail::archive_module(archive, average_.module());
        archive("steps", steps_);
        archive("precise", precise_);
    }

    std::vector<torch::nn::Module*> modules() const { return teacher_.modules(); }
    /// The number of steps averaged.
    std::int64_t steps() const { return steps_; }

  private:
    MovingAverageOptions options_;
    NetworkRef<Average> average_;
    Frozen<Average> teacher_;
    NetworkRef<Student> student_;
    std::vector<at::Tensor> precise_;  // the averages of 16-bit parameters, in float32
    std::int64_t steps_ = 0;
};

template <class A, class S>
MovingAverage(A&&, S&&, MovingAverageOptions = {})
    -> MovingAverage<std::remove_cvref_t<A>, std::remove_cvref_t<S>>;

}  // namespace retort
