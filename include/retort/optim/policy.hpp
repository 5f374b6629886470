// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a trainer takes as its optimizer.
#pragma once

#include <c10/util/Exception.h>
#include <c10/util/Type.h>
#include <torch/serialize/archive.h>

#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/core/error.hpp>
#include <retort/core/progress.hpp>
#include <retort/optim/concept.hpp>
#include <retort/optim/rebuilt_each_epoch.hpp>
#include <retort/optim/sgd.hpp>
#include <retort/optim/with_learning_rate.hpp>

namespace retort {

namespace detail {

/// Stores or sets the state of an optimizer as `torch::save` writes it.
/// \throws ConfigError if the optimizer stores nothing
inline void archive_torch_optimizer(Archive& archive, torch::optim::Optimizer& optimizer) {
    std::string bytes;
    if (archive.saving()) {
        torch::serialize::OutputArchive out;
        optimizer.save(out);
        std::ostringstream stream;
        out.save_to(stream);
        bytes = std::move(stream).str();
        torch::serialize::InputArchive stored;
        stored.load_from(bytes.data(), bytes.size());
        if (stored.keys().empty()) {
            throw ConfigError(
                concat("optimizer: ", c10::demangle(typeid(optimizer).name()),
                       " stores nothing: it needs a member save and load, or checkpoint(retort::Archive&)"));
        }
    }
    archive("torch", bytes);
    if (!archive.loading()) return;
    try {
        torch::serialize::InputArchive in;
        in.load_from(bytes.data(), bytes.size());
        optimizer.load(in);
    } catch (const c10::Error& error) {
        throw CheckpointError(concat(archive.where(), ": optimizer: ", error.what_without_backtrace()));
    }
}

}  // namespace detail

/// What a trainer takes as its optimizer: a recipe (`Sgd`, `AdamW`, `Lars`, `FromTorch<...>`; in `ParameterGroups`,
/// `RebuiltEachEpoch` and `WithLearningRate`, nested in this order from the inside), or an existing optimizer, as an
/// lvalue that outlives the trainer or as a `shared_ptr`. An existing one gets the learnable parts of the knowledge
/// as another parameter group, with its default options.
///
/// In an existing optimizer of LibTorch 2.12 or later with several groups, an option of a group that equals the initial
/// value of its type counts as unset: `SGDOptions(0.1).weight_decay(0)` gets the weight decay of the optimizer's
/// defaults. Set such options after construction, in `param_groups()`.
///
/// Type-erased: LibTorch's optimizers cost one virtual call per step anyway.
class OptimizerPolicy {
    using Named = std::vector<NamedParameter>;

  public:
    template <OptimizerRecipe Recipe>
    explicit(false) OptimizerPolicy(Recipe recipe) {
        static_assert(!detail::hides_schedule<Recipe>(),
                      "retort: a learning-rate schedule must be outermost: WithLearningRate{...} around the "
                      "other recipes");
        detail::check_policy(recipe);
        fresh_each_epoch_ = detail::rebuilt_each_epoch<Recipe>();
        const auto shared = std::make_shared<Recipe>(std::move(recipe));
        if constexpr (requires { shared->schedule.weight(Progress{}); }) {
            rate_ = [shared](const Progress& progress) { return shared->schedule.weight(progress); };
        }
        archive_recipe_ = [shared](Archive& archive) { detail::archive_policy(archive, "recipe", *shared); };
        build_ = [shared](std::vector<NamedParameter> student, const Named& parts) {
            student.insert(student.end(), parts.begin(), parts.end());
            return Built(std::shared_ptr(detail::build_optimizer(*shared, student)));
        };
    }
    template <class O>
        requires std::derived_from<O, torch::optim::Optimizer>
    explicit(false) OptimizerPolicy(std::shared_ptr<O> optimizer) {
        if (optimizer == nullptr) throw ConfigError("optimizer: expected an optimizer, found a null pointer");
        build_ = [optimizer = std::move(optimizer)](const Named& student, const Named& parts) {
            adopt(*optimizer, detail::tensors_of(student), detail::tensors_of(parts));
            return Built(optimizer);
        };
    }
    template <std::derived_from<torch::optim::Optimizer> O>
        requires(!std::is_const_v<O>)
    explicit(false) OptimizerPolicy(O& optimizer)
        : OptimizerPolicy(std::shared_ptr<O>(&optimizer, [](O*) {})) {}

    /// Builds the optimizer on the student's parameters and those of the learnable parts.
    void build(const std::vector<NamedParameter>& student, const std::vector<NamedParameter>& parts) {
        Built built = build_(student, parts);
        if (fresh_each_epoch_) {
            built_for_ = student;
            built_for_.insert(built_for_.end(), parts.begin(), parts.end());
        }
        optimizer_ = std::move(built.optimizer);
        archive_ = std::move(built.archive);
        for (const torch::optim::OptimizerParamGroup& group : optimizer_->param_groups()) {
            rates_.push_back(group.options().get_lr());
        }
    }
    bool built() const { return optimizer_ != nullptr; }
    /// The optimizer.
    /// \pre built()
    torch::optim::Optimizer& optimizer() const { return *optimizer_; }

    /// Sets the learning rates for this progress, where they follow a schedule. Before that, rebuilds the optimizer
    /// at the start of an epoch if the recipe requires it (`RebuiltEachEpoch`).
    void set_learning_rate(const Progress& progress) {
        rebuild(progress);
        if (!rate_) return;
        const double factor = rate_(progress);
        if (!(factor >= 0 && std::isfinite(factor))) {
            throw ConfigError(
                detail::concat("learning rate: expected the schedule to give a factor of at least 0, found ",
                               factor, " in epoch ", progress.epoch, ", step ", progress.step));
        }
        std::size_t group = 0;
        for (torch::optim::OptimizerParamGroup& each : optimizer_->param_groups()) {
            if (group < rates_.size()) each.options().set_lr(rates_[group++] * factor);
        }
    }
    /// The learning rate of the first parameter group.
    /// \pre built()
    double learning_rate() const { return optimizer_->param_groups().front().options().get_lr(); }

    /// Stores or sets the optimizer's state (by its `checkpoint(retort::Archive&)`, or as LibTorch saves it), the
    /// learning rates, and the schedule's state. Other options are not stored.
    /// \throws CheckpointError if it is another optimizer, for other parameters, or with other initial learning rates
    /// \pre built()
    void checkpoint(Archive& archive) {
        const torch::optim::Optimizer& optimizer = *optimizer_;  // typeid of a call would evaluate it
        archive.expect("type", c10::demangle(typeid(optimizer).name()));
        std::string groups;
        std::vector<double> rates;
        for (const torch::optim::OptimizerParamGroup& group : optimizer_->param_groups()) {
            std::size_t numbers = 0;
            for (const at::Tensor& each : group.params()) numbers += static_cast<std::size_t>(each.numel());
            const double first = rates.size() < rates_.size() ? rates_[rates.size()] : 0.0;
            groups.append(groups.empty() ? "" : "; ")
                .append(detail::concat(group.params().size(), " tensors of ", numbers,
                                       " numbers, learning rate ", first));
            rates.push_back(group.options().get_lr());
        }
        archive.expect("groups", groups);
        archive("rates", rates);
        archive("epoch", epoch_);
        archive.in("state", [&] { archive_(archive); });
        if (archive_recipe_) archive_recipe_(archive);
        if (!archive.loading()) return;
        std::size_t group = 0;
        for (torch::optim::OptimizerParamGroup& each : optimizer_->param_groups()) {
            if (group < rates.size()) each.options().set_lr(rates[group++]);
        }
    }

  private:
    /// An optimizer and the function that stores its state: its type is known where it is built.
    struct Built {
        template <class O>
        explicit Built(std::shared_ptr<O> built)
            : optimizer(built), archive([built](Archive& into) {
                  if constexpr (Checkpointed<O>) {
                      built->checkpoint(into);
                  } else {
                      detail::archive_torch_optimizer(into, *built);
                  }
              }) {}
        std::shared_ptr<torch::optim::Optimizer> optimizer;
        std::function<void(Archive&)> archive;
    };
    static bool holds(torch::optim::Optimizer& optimizer, const at::Tensor& parameter) {
        for (const torch::optim::OptimizerParamGroup& group : optimizer.param_groups()) {
            for (const at::Tensor& each : group.params()) {
                if (each.is_same(parameter)) return true;
            }
        }
        return false;
    }
    void rebuild(const Progress& progress) {
        if (!fresh_each_epoch_ || epoch_ == progress.epoch) return;
        // If the start of this epoch was not seen, the state comes from a checkpoint, and is kept.
        if (epoch_ >= 0 || progress.step == 0) {
            rates_.clear();
            build(Named(built_for_), {});
        }
        epoch_ = progress.epoch;
    }
    static void adopt(torch::optim::Optimizer& optimizer, const std::vector<at::Tensor>& student,
                      const std::vector<at::Tensor>& parts) {
        bool any = false;
        for (const at::Tensor& parameter : student) any = any || holds(optimizer, parameter);
        if (!any) {
            throw ConfigError(
                "optimizer: expected one that was built on the student's parameters, found none of them in "
                "it");
        }
        add_missing(optimizer, parts);
    }
    static void add_missing(torch::optim::Optimizer& optimizer, const std::vector<at::Tensor>& parts) {
        std::vector<at::Tensor> missing;
        for (const at::Tensor& parameter : parts) {
            if (!holds(optimizer, parameter)) missing.push_back(parameter);
        }
        if (!missing.empty())
            optimizer.add_param_group(torch::optim::OptimizerParamGroup(std::move(missing)));
    }

    std::function<Built(const Named&, const Named&)> build_;
    Named built_for_;  // of an optimizer that is rebuilt
    std::function<double(const Progress&)> rate_;
    std::function<void(Archive&)> archive_, archive_recipe_;
    std::shared_ptr<torch::optim::Optimizer> optimizer_;
    std::vector<double> rates_;  // of the groups, before any schedule
    bool fresh_each_epoch_ = false;
    std::int64_t epoch_ = -1;  // in which it was last used, if rebuilt each epoch
};

}  // namespace retort
