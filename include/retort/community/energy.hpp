// SPDX-License-Identifier: BSL-1.0
/// \file
/// Self-assessment by the energy of the logits.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/logsumexp.h>

#include <string>

#include <retort/community/evidence.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>

namespace retort::functional {

/// Formula: \f$ -T \log \sum_c \exp(z_c / T) \f$, one score per sample, larger is stranger.
/// \param logits [samples, classes]; gradient to them
/// \throws ConfigError if the temperature is not above 0; ShapeError
inline at::Tensor energy(const at::Tensor& logits, double temperature = 1) {
    detail::check_range("energy", "a temperature", temperature, detail::above(0));
    detail::check_logits("energy", "logits", logits);
    return at::logsumexp(logits / temperature, {1}) * -temperature;
}

}  // namespace retort::functional

namespace retort::community {

/// The energy of the task's logits: cheap, and needs nothing besides the network. Weak where the logits are few or the
/// network is overconfident, and goes stale when the trunk learns.
/// Source: Liu, Wang, Owens, Li, "Energy-based Out-of-distribution Detection", 2020.
struct Energy {
    double temperature = 1;  ///< above 0

    void check() const {
        ::retort::detail::check_range("Energy", "a temperature", temperature, ::retort::detail::above(0));
    }
    void fit(const Evidence&) {}
    at::Tensor score(const Evidence& evidence) const {
        ::retort::detail::check_logits("Energy", "logits of the task", evidence.logits);
        return functional::energy(evidence.logits.detach().to(at::kDouble), temperature);
    }
    static std::string name() { return "energy"; }
};

}  // namespace retort::community
