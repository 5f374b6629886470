// SPDX-License-Identifier: BSL-1.0
/// \file
/// Outputs of networks for the tests of features.
#pragma once

#include <retort_test.hpp>

#include <retort/tap/tap.hpp>
#include <retort/tap/taps.hpp>

namespace feature_test {

struct SmallOutputs {
    torch::Tensor logits, body;
    std::vector<torch::Tensor> stages;
};
struct BigOutputs {
    torch::Tensor logits, stage3;
    std::vector<torch::Tensor> stages;
};

inline constexpr auto body = retort::tap<&SmallOutputs::body>;
inline constexpr auto stage3 = retort::tap<&BigOutputs::stage3>;

inline SmallOutputs small(const torch::Tensor& feature, const torch::Tensor& logits = {}) {
    return {.logits = logits, .body = feature, .stages = {}};
}
inline BigOutputs big(const torch::Tensor& feature, const torch::Tensor& logits = {}) {
    return {.logits = logits, .stage3 = feature, .stages = {}};
}

/// Prepares a term with a first batch, sets the reference's parameters, and returns the loss of that batch.
template <class Term>
torch::Tensor prepared(Term& term, const SmallOutputs& student, const BigOutputs& teacher) {
    const torch::Tensor no_targets;
    term.prepare(student, &teacher, no_targets);
    return no_targets;
}

/// The message of the error that a call throws.
template <class Error, class Function>
std::string message(Function&& function) {
    try {
        std::forward<Function>(function)();
    } catch (const Error& error) {
        return error.what();
    }
    return "nothing was thrown";
}

}  // namespace feature_test
