// SPDX-License-Identifier: BSL-1.0
/// \file
/// Work in pieces on all CPU threads.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/TensorIterator.h>
#include <ATen/ThreadLocalState.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>

#include <algorithm>
#include <cstdint>

namespace retort::detail {

/// Calls `work(begin, size)` for the pieces of [0, count), each of `piece` elements, the last of fewer, on
/// LibTorch's threads. Operators within `work` run on the thread that calls them, so that the threads meet
/// once, and not at every operator; pieces should be many and small enough for a core's cache. Exceptions
/// come through.
///
/// `at::parallel_for` does nothing in parallel in code that is compiled without OpenMP's flag, as a user of a
/// header would have to know. Iterators over tensors are LibTorch's own compiled code, and do.
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
    // Rows of elements, of which there is one here: LibTorch makes this form of the simpler one by code of which
    // compilers warn.
    iterator.for_each(
        [&](char** data, const std::int64_t* strides, std::int64_t size, std::int64_t rows) {
            // As the calling thread: without autograd where that is off, with the profiler's hooks.
            const at::ThreadLocalStateGuard as_here(here);
            for (std::int64_t row = 0; row < rows; ++row) {
                for (std::int64_t i = 0; i < size; ++i)
                    one(*reinterpret_cast<const std::int64_t*>(data[0] + i * strides[0] + row * strides[1]));
            }
        },
        /*grain_size=*/1);
}

}  // namespace retort::detail
