// SPDX-License-Identifier: BSL-1.0
/// \file
/// The learnable part of a term.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include <retort/core/error.hpp>
#include <retort/detail/tensor.hpp>

namespace retort::detail {

/// Lets learnable parts draw their initial values without advancing the global generator: at weight 0 a
/// term must not change a run. The numbers follow from the program's seed and from `salt`.
class ScopedSeed {
  public:
    explicit ScopedSeed(std::string_view salt) : generator_(at::detail::getDefaultCPUGenerator()) {
        const std::lock_guard<std::mutex> lock(generator_.mutex());
        before_ = generator_.get_state();
        std::uint64_t hash = 14695981039346656037ULL ^ generator_.current_seed();  // FNV-1a
        for (const char c : salt) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
        generator_.set_current_seed(hash);
    }
    ScopedSeed(const ScopedSeed&) = delete;
    ScopedSeed& operator=(const ScopedSeed&) = delete;
    ~ScopedSeed() {
        const std::lock_guard<std::mutex> lock(generator_.mutex());
        generator_.set_state(before_);
    }

  private:
    at::Generator generator_;
    at::Tensor before_;
};

/// The tensor in the type of the module's parameters, in which it computes.
inline at::Tensor in_type_of(const torch::nn::Module& module, const at::Tensor& tensor) {
    for (const at::Tensor& parameter : module.parameters()) {
        if (parameter.is_floating_point()) return in_type(tensor, parameter.scalar_type());
    }
    return tensor;
}

/// The learnable part of a term: a module that is built when its sizes are known, and shared by copies of the term,
/// like the parameters of a module by its holders.
/// \tparam Holder a module holder
template <class Holder>
class Learnable {
  public:
    /// Builds the module with `make()`, with random numbers derived from the program's seed and `name`.
    template <class Make>
    void build(std::string_view name, Make&& make) {
        const ScopedSeed guard(name);
        state_->holder = std::forward<Make>(make)();
        state_->built = true;
    }
    bool built() const { return state_->built; }
    /// Moves the module to the device and type of `like`.
    void follow(const at::Tensor& like) const {
        if (built()) state_->holder->to(like.device(), like.scalar_type());
    }
    /// \throws ConfigError if there is no module yet
    auto* operator->() const {
        if (!built()) {
            throw ConfigError(
                "knowledge: the sizes of a learnable part are unknown; call prepare with the outputs of a "
                "first batch");
        }
        return state_->holder.get();
    }
    /// The module, or null.
    std::shared_ptr<torch::nn::Module> module() const { return built() ? state_->holder.ptr() : nullptr; }

  private:
    struct State {
        Holder holder{nullptr};
        bool built = false;
    };
    std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace retort::detail
