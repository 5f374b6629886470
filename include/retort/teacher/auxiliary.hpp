// SPDX-License-Identifier: BSL-1.0
/// \file
/// A teacher that is itself trained first, by another teacher.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/teacher/frozen.hpp>

namespace retort {

/// A network between a teacher and a student: the teacher trains it first, then it teaches as `Frozen` does. Until
/// it has been trained it refuses to teach, so that trainers can be created in any order and no student learns from
/// an untrained network.
///
/// The auxiliary teacher of information flow modeling (Passalis, Tzelepi, Tefas, CVPR 2020) has the student's
/// architecture with twice the neurons in every layer, learns the teacher's final representation, and teaches the
/// student layer by layer:
///
///     retort::Auxiliary auxiliary{wide};
///     retort::Trainer trainer{student, auxiliary, retort::Knowledge{...each layer...}, ...};
///     auxiliary.learn([&](auto& network) {
///         retort::Trainer{network, retort::Frozen{teacher}, retort::Knowledge{...last layer...}, ...}.fit(...);
///     });
///     trainer.fit(...);
///
/// Copies share the network and whether it has been trained. A module object must outlive the policy.
template <Network N>
class Auxiliary {
  public:
    explicit Auxiliary(N network)
        requires(!detail::ModuleObject<N>)
        : network_(std::move(network)), teacher_(network_) {}
    explicit Auxiliary(N& network)
        requires detail::ModuleObject<N>
        : network_(&network), teacher_(network) {}

    /// Trains the network: `train(network)`. If that returns, it teaches from now on; if it throws, it does not.
    template <class Train>
    void learn(Train&& train) {
        *learned_ = false;
        if constexpr (detail::ModuleObject<N>) {
            std::forward<Train>(train)(*network_);
        } else {
            std::forward<Train>(train)(network_);
        }
        *learned_ = true;
    }
    /// Whether it has been trained.
    bool learned() const { return *learned_; }

    /// \throws ConfigError if it has not been trained yet
    template <class I>
        requires Forwards<N, I>
    OutputsOf<N, I> operator()(const I& value) const {
        if (!*learned_) {
            throw ConfigError(
                "Auxiliary: expected an auxiliary teacher that has been trained (learn), found one "
                "that has not");
        }
        return teacher_(value);
    }
    std::vector<torch::nn::Module*> modules() const { return teacher_.modules(); }

  private:
    std::conditional_t<detail::ModuleObject<N>, N*, N> network_;
    Frozen<N> teacher_;
    std::shared_ptr<bool> learned_ = std::make_shared<bool>(false);
};

template <Network N>
Auxiliary(N) -> Auxiliary<N>;

}  // namespace retort
