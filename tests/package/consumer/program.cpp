// SPDX-License-Identifier: BSL-1.0
/// \file
/// A user's program: it links LibTorch, range-v3, zlib, SQLite and NATS only through retort::retort.
#include <ATen/ops/tensor.h>

#include <cmath>
#include <cstdio>

#include <range/v3/view/iota.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/version.hpp>
#if RETORT_WITH_ZLIB
#include <zlib.h>
#endif
#if RETORT_WITH_SQLITE
#include <sqlite3.h>
#endif
#if RETORT_WITH_NATS
#include <nats/nats.h>
#endif

int main() {
    const at::Tensor student = at::tensor({1.0, 2.0, 3.0}).reshape({1, 3});
    const at::Tensor teacher = at::tensor({3.0, 2.0, 1.0}).reshape({1, 3});
    const auto loss = [&](const at::Tensor& logits) {
        return retort::functional::soft_target(student, logits, {.temperature = 1.0}).item<double>();
    };
    // softmax(3, 2, 1) = (0.665241, 0.244728, 0.090031); KL = 2 (0.665241 - 0.090031)
    const bool right = std::abs(loss(teacher) - 1.150421) < 1e-5 && std::abs(loss(student)) < 1e-6;
    int sum = 0;
    for (const int i : ranges::views::iota(0, 4)) sum += i;
#if RETORT_WITH_ZLIB
    std::printf("zlib %s\n", zlibVersion());
#endif
#if RETORT_WITH_SQLITE
    std::printf("SQLite %s\n", sqlite3_libversion());
#endif
#if RETORT_WITH_NATS
    std::printf("NATS %s\n", nats_GetVersion());
#endif
    std::printf("retort %d.%d.%d: %s\n", RETORT_VERSION_MAJOR, RETORT_VERSION_MINOR, RETORT_VERSION_PATCH,
                right ? "right" : "wrong");
    return right && sum == 6 ? 0 : 1;
}
