// SPDX-License-Identifier: BSL-1.0
/// \file
/// Retention by rehearsal: a few samples of earlier tasks are learned again.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/scalar_tensor.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/community/exemplars.hpp>
#include <retort/core/error.hpp>
#include <retort/core/network.hpp>
#include <retort/core/no_outputs.hpp>
#include <retort/core/progress.hpp>
#include <retort/data/detail/random.hpp>
#include <retort/detail/check.hpp>
#include <retort/knowledge/weighted.hpp>

namespace retort::community {

using ::retort::operator*;  // found by the namespace of its terms: 0.5 * ElasticWeights{}

/// A few samples of each task, in a memory of bounded size that the tasks share evenly. A new task makes the earlier ones give
/// places up: their last samples, so a choice that is ordered by importance (`herding`) keeps the best.
class RehearsalMemory {
  public:
    struct Task {
        at::Tensor input{};   ///< [samples, ...]
        at::Tensor target{};  ///< [samples, classes]: probabilities
    };

    /// \param places how many samples all tasks have together; at least 1
    explicit RehearsalMemory(std::int64_t places) : places_(places) {
        ::retort::detail::check_range("RehearsalMemory", "a number of places", places,
                                      ::retort::detail::at_least(1));
    }

    /// \param position of the task; a task that is there is replaced
    /// \throws ShapeError if there are not as many targets as inputs
    void add(std::size_t position, const at::Tensor& input, const at::Tensor& target) {
        if (!input.defined() || !target.defined() || input.dim() < 1 || target.dim() != 2 ||
            input.size(0) != target.size(0)) {
            throw ShapeError("RehearsalMemory: expected inputs and as many rows of class probabilities");
        }
        if (tasks_.size() <= position) tasks_.resize(position + 1);
        tasks_[position] = {input.detach().clone(), target.detach().clone()};
        shrink();
    }
    const std::vector<Task>& tasks() const { return tasks_; }
    std::int64_t places() const { return places_; }
    std::int64_t size() const {
        std::int64_t result = 0;
        for (const Task& each : tasks_) result += each.input.defined() ? each.input.size(0) : 0;
        return result;
    }

    void checkpoint(Archive& archive) {
        std::vector<at::Tensor> inputs, targets;
        for (const Task& each : tasks_) {
            inputs.push_back(each.input);
            targets.push_back(each.target);
        }
        archive("inputs", inputs);
        archive("targets", targets);
        if (!archive.loading()) return;
        if (inputs.size() != targets.size())
            throw CheckpointError(archive.where() + ": rehearsal: expected as many inputs as targets");
        tasks_.clear();
        for (std::size_t i = 0; i < inputs.size(); ++i) tasks_.push_back({inputs[i], targets[i]});
    }

  private:
    void shrink() {
        const std::vector<std::int64_t> shares = shares_of(places_, static_cast<std::int64_t>(tasks_.size()));
        for (std::size_t i = 0; i < tasks_.size(); ++i) {
            Task& each = tasks_[i];
            if (!each.input.defined() || each.input.size(0) <= shares[i]) continue;
            each.input = each.input.narrow(0, 0, shares[i]).clone();
            each.target = each.target.narrow(0, 0, shares[i]).clone();
        }
    }

    std::int64_t places_;
    std::vector<Task> tasks_;
};

/// Options of `Rehearsal`. The defaults are of this library.
struct RehearsalOptions {
    std::int64_t places = 200;  ///< samples of all earlier tasks together
    std::int64_t batch = 32;    ///< how many of them each step learns
    double weight = 1;          ///< at least 0
    std::uint64_t seed = 0;     ///< of their order

    void check() const {
        using namespace ::retort::detail;
        check_range("Rehearsal", "a number of places", places, at_least(1));
        check_range("Rehearsal", "a batch", batch, at_least(1));
        check_range("Rehearsal", "a weight", weight, at_least(0));
    }
};

/// Rehearsal: a knowledge term, the cross-entropy of the earlier tasks' heads on a few remembered samples, with what the
/// network said of them when the task was learned as targets.
///
/// Formula: weight times the mean over the samples of a step of \f$ -\sum_c t_c \log s_c \f$. Which samples a step learns
/// depends on seed, epoch and step alone. 0 before the first `remember`.
/// Gradient: to the student's parameters. The student's `forward` returns outputs with a member `heads`, the logits of each
/// task's head. Copies share their memory.
/// Source: Robins, "Catastrophic forgetting, rehearsal and pseudorehearsal", 1995.
class Rehearsal {
  public:
    static constexpr bool needs_teacher = false;
    static constexpr bool needs_target = false;
    static constexpr bool reads_parameters = true;

    explicit Rehearsal(const RehearsalOptions& options = {})
        : options_(options), state_(std::make_shared<State>(options.places)) {
        check();
    }
    void check() const { options_.check(); }
    const RehearsalOptions& options() const { return options_; }
    static std::string name() { return "rehearsal"; }

    template <class Student>
        requires requires(const NetworkRef<Student>& student, const at::Tensor& input) {
            student->forward(input).heads;
        }
    void bind(const NetworkRef<Student>& student) {
        state_->heads = [student](const at::Tensor& input) { return student->forward(input).heads; };
    }

    /// Remembers a task of a node: the samples whose features are most typical (`herding`).
    template <class Network>
    void retain(Network& network, std::size_t task, const at::Tensor& input,
                const at::Tensor& probabilities) {
        const at::NoGradGuard no_grad;
        const EvalMode eval(network);
        const at::Tensor chosen = herding(network.forward(input).features, options_.places,
                                          {.normalize = HerdingOptions::Normalize::rows});
        state_->memory.add(task, input.index_select(0, chosen), probabilities.index_select(0, chosen));
    }

    RehearsalMemory& memory() { return state_->memory; }
    const RehearsalMemory& memory() const { return state_->memory; }

    template <class Student, class B>
    at::Tensor operator()(const Student& outputs, const NoOutputs&, const B&,
                          const Progress& progress) const {
        const std::vector<RehearsalMemory::Task>& tasks = state_->memory.tasks();
        const std::int64_t size = state_->memory.size();
        if (size == 0) return at::scalar_tensor(0.0, outputs.logits.options());
        if (!state_->heads)
            throw ConfigError("Rehearsal: expected the student (bind), found none: a Trainer gives it");
        const std::int64_t batch = std::min(options_.batch, size);
        at::Generator generator =
            data::detail::make_generator({options_.seed, static_cast<std::uint64_t>(progress.epoch),
                                          static_cast<std::uint64_t>(progress.step)},
                                         data::detail::Stream::batch);
        const at::Tensor chosen = std::get<0>(
            at::randperm(size, generator, at::TensorOptions(at::kLong)).narrow(0, 0, batch).sort());
        std::vector<at::Tensor> inputs, targets;
        std::vector<std::size_t> heads;
        std::int64_t first = 0;
        for (std::size_t i = 0; i < tasks.size(); ++i) {
            if (!tasks[i].input.defined()) continue;
            const std::int64_t count = tasks[i].input.size(0);
            const at::Tensor rows =
                chosen.masked_select(chosen.ge(first).logical_and(chosen.lt(first + count))).sub(first);
            first += count;
            if (rows.numel() == 0) continue;
            inputs.push_back(tasks[i].input.index_select(0, rows));
            targets.push_back(tasks[i].target.index_select(0, rows));
            heads.push_back(i);
        }
        const at::Device device = outputs.logits.device();
        const std::vector<at::Tensor> logits = state_->heads(at::cat(inputs).to(device));
        at::Tensor sum;
        std::int64_t row = 0;
        for (std::size_t i = 0; i < heads.size(); ++i) {
            const std::int64_t count = inputs[i].size(0);
            const at::Tensor own = logits.at(heads[i]).narrow(0, row, count);
            row += count;
            const at::Tensor loss = -(targets[i].to(device) * at::log_softmax(own, 1)).sum();
            sum = sum.defined() ? sum + loss : loss;
        }
        return sum * (options_.weight / static_cast<double>(batch));
    }

    void checkpoint(Archive& archive) { state_->memory.checkpoint(archive); }

  private:
    struct State {
        explicit State(std::int64_t places) : memory(places) {}
        RehearsalMemory memory;
        std::function<std::vector<at::Tensor>(const at::Tensor&)> heads{};
    };
    RehearsalOptions options_;
    std::shared_ptr<State> state_;
};

}  // namespace retort::community
