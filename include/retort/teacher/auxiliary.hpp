// SPDX-License-Identifier: BSL-1.0
/// \file
/// A teacher that learns first, from another one.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/teacher/frozen.hpp>

namespace retort {

/// A network between a teacher and a student: it learns from the teacher, and then teaches as `Frozen` does.
/// Until it has learned it refuses to, so that trainers can be made in any order and none learns from a
/// network that knows nothing.
///
/// The auxiliary teacher of information flow modeling (Passalis, Tzelepi, Tefas, CVPR 2020) has the student's
/// architecture with twice the neurons in every layer, learns the teacher's final representation, and explains
/// every layer to the student:
///
///     retort::Auxiliary auxiliary{wide};
///     retort::Trainer explain{student, auxiliary, retort::Knowledge{...each layer...}, ...};
///     auxiliary.learn([&](auto& network) {
///         retort::Trainer{network, retort::Frozen{teacher}, retort::Knowledge{...last layer...}, ...}.fit(...);
///     });
///     explain.fit(...);
///
/// Copies share the network and whether it has learned. A module object must outlive the policy.
template <Network N>
class Auxiliary {
  public:
    explicit Auxiliary(N network)
        requires(!detail::ModuleObject<N>)
        : network_(std::move(network)), teacher_(network_) {}
    explicit Auxiliary(N& network)
        requires detail::ModuleObject<N>
        : network_(&network), teacher_(network) {}

    /// Lets it learn: `train(network)`. Where that returns, it teaches; where it throws, it does not.
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
    /// Whether it teaches.
    bool learned() const { return *learned_; }

    /// \throws ConfigError if it has not learned yet
    template <class I>
        requires Forwards<N, I>
    OutputsOf<N, I> operator()(const I& value) const {
        if (!*learned_) {
            throw ConfigError(
                "Auxiliary: expected an auxiliary teacher that has learned from a teacher (learn), found one "
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

template <class N>
Auxiliary(N) -> Auxiliary<N>;

}  // namespace retort
