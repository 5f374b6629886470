// SPDX-License-Identifier: BSL-1.0
/// \file
/// Two implementations of one loss, timed alternately.
#pragma once

#include <torch/torch.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace bench {

/// A loss on prepared tensors, by retort and hand-written.
struct Case {
    std::vector<torch::Tensor> leaves;  ///< whose gradients are computed
    std::function<torch::Tensor()> own;
    std::function<torch::Tensor()> hand_written;
    double tolerance = 1e-3;  ///< maximum relative difference of values and gradients; below 0: not compared
};

/// A row of the table.
struct Entry {
    std::string name;
    std::string shapes;
    std::function<Case()> make;
};
using Entries = std::vector<Entry>;

inline torch::Tensor normal(std::vector<std::int64_t> sizes) { return torch::randn(sizes); }
inline torch::Tensor leaf(std::vector<std::int64_t> sizes) { return torch::randn(sizes).requires_grad_(); }

/// `own(student, teacher)` and `hand_written(student, teacher)` on two random tensors.
template <class Own, class HandWritten>
Entry entry(std::string name, std::string shapes, std::vector<std::int64_t> student,
            std::vector<std::int64_t> teacher, Own own, HandWritten hand_written, double tolerance = 1e-3) {
    return {std::move(name), std::move(shapes), [=] {
                const torch::Tensor s = leaf(student);
                const torch::Tensor t = normal(teacher);
                return Case{{s}, [=] { return own(s, t); }, [=] { return hand_written(s, t); }, tolerance};
            }};
}

Entries logit_entries();
Entries feature_entries();
Entries relation_entries();
Entries language_entries();

}  // namespace bench
