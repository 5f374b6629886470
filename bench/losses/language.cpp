// SPDX-License-Identifier: BSL-1.0
#include <retort/knowledge/logit/fused_token_divergence.hpp>
#include <retort/knowledge/logit/token_divergence.hpp>

#include "compositions.hpp"
#include "measure.hpp"

namespace bench {

namespace {
namespace own = retort::functional;
using Form = retort::TokenDivergence::Form;
}  // namespace

Entries language_entries() {
    Entries result;
    using T = const torch::Tensor&;
    for (const std::int64_t words : {32000, 128000}) {
        const std::string shapes = "2048x" + std::to_string(words);
        const std::vector<std::int64_t> sizes{2048, words};
        result.push_back(entry(
            "token_divergence", shapes, sizes, sizes, [](T s, T t) { return own::token_divergence(s, t); },
            [](T s, T t) { return hand_written::token_forward(s, t); }));
        if (words == 32000) {
            result.push_back(entry(
                "token_divergence, reverse", shapes, sizes, sizes,
                [](T s, T t) { return own::token_divergence(s, t, {}, {.form = Form::reverse}); },
                [](T s, T t) { return hand_written::token_reverse(s, t); }));
            result.push_back(entry(
                "token_divergence, Jensen-Shannon", shapes, sizes, sizes,
                [](T s, T t) { return own::token_divergence(s, t, {}, {.form = Form::jensen_shannon}); },
                [](T s, T t) { return hand_written::token_jensen_shannon(s, t); }));
            result.push_back({"token_divergence, teacher's 64 words", shapes, [sizes] {
                                  const torch::Tensor s = leaf(sizes);
                                  const auto t = own::sparse_teacher(normal(sizes), 64);
                                  return Case{{s},
                                              [=] { return own::token_divergence(s, t); },
                                              [=] {
                                                  return hand_written::token_sparse(
                                                      s, t.indices, t.log_probabilities, t.log_rest);
                                              }};
                              }});
        }
        result.push_back(
            {"fused_token_divergence, from 256 and 512 wide", shapes, [words] {
                 const torch::Tensor h = leaf({2048, 256});
                 const torch::Tensor w = (0.1 * normal({words, 256})).requires_grad_();
                 const torch::Tensor th = normal({2048, 512});
                 const torch::Tensor tw = 0.1 * normal({words, 512});
                 return Case{
                     {h, w},
                     [=] {
                         return own::fused_token_divergence(retort::ProjectedLogits{h, w},
                                                            retort::ProjectedLogits{th, tw});
                     },
                     [=] { return hand_written::token_forward(torch::linear(h, w), torch::linear(th, tw)); }};
             }});
    }
    return result;
}

}  // namespace bench
