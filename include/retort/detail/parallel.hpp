// SPDX-License-Identifier: BSL-1.0
/// \file
/// Chunks of work on all CPU threads.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/TensorIterator.h>
#include <ATen/ThreadLocalState.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>

#include <algorithm>
#include <cstdint>

namespace retort::detail {

/// Calls `work(begin, size)` for the chunks of [0, count), each of `piece` elements, the last possibly smaller, on
/// LibTorch's threads. Operators within `work` run on the calling thread, so that threads synchronize once and not at
/// every operator; chunks should be many and fit a core's cache. Exceptions propagate.
///
/// `at::parallel_for` runs serially in code compiled without OpenMP's flag, which users of a header would have to
/// know. Tensor iterators are compiled within LibTorch, and run in parallel.
template <class Work>
void parallel_pieces(std::int64_t count, std::int64_t piece, const Work& work) {
    const std::int64_t pieces = (count + piece - 1) / piece;
    const auto one = [&](std::int64_t index) { work(index * piece, std::min(piece, count - index * piece)); };
    if (pieces == 1 || at::get_num_threads() == 1 || at::in_parallel_region()) {
        for (std::int64_t index = 0; index < pieces; ++index) one(index);
        return;
    }
    at::Tensor indices = at::arange(pieces, at::kLong);
    auto iterator = at::TensorIterator::borrowing_nullary_op(indices);
    const at::ThreadLocalState here;
    // The form for rows of elements, here one row: LibTorch wraps the simpler form in code that compilers warn about.
    iterator.for_each(
        [&](char** data, const std::int64_t* strides, std::int64_t size, std::int64_t rows) {
            // With the state of the calling thread: autograd mode, profiler hooks.
            const at::ThreadLocalStateGuard as_here(here);
            for (std::int64_t row = 0; row < rows; ++row) {
                for (std::int64_t i = 0; i < size; ++i)
                    one(*reinterpret_cast<const std::int64_t*>(data[0] + i * strides[0] + row * strides[1]));
            }
        },
        /*grain_size=*/1);
}

}  // namespace retort::detail
