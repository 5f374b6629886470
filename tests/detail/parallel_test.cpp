// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/detail/parallel.hpp>

#include <ATen/Parallel.h>

#include <set>
#include <thread>

namespace parallel_test {

using namespace retort_test;
using retort::detail::parallel_pieces;

namespace {
/// The number of threads for one test.
class Threads {
  public:
    explicit Threads(int count) : before_(at::get_num_threads()) { at::set_num_threads(count); }
    Threads(const Threads&) = delete;
    Threads& operator=(const Threads&) = delete;
    ~Threads() { at::set_num_threads(before_); }

  private:
    int before_;
};
}  // namespace

TEST_CASE("parallel_pieces covers the range once, on every number of threads") {
    for (const int threads : {1, 2, 3}) {
        const Threads now(threads);
        for (const std::int64_t count : {1, 5, 6, 7, 100}) {
            for (const std::int64_t piece : {1, 3, 200}) {
                std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
                parallel_pieces(count, piece, [&](std::int64_t begin, std::int64_t size) {
                    for (std::int64_t i = begin; i < begin + size; ++i)
                        ++visits.at(static_cast<std::size_t>(i));
                });
                CHECK(std::all_of(visits.begin(), visits.end(), [](const auto& each) { return each == 1; }));
            }
        }
    }
}

TEST_CASE("parallel_pieces works on several threads, with the state of the calling thread") {
    if (at::get_parallel_info().find("OpenMP") == std::string::npos) {
        WARN("skipped: this LibTorch has no OpenMP");
        return;
    }
    const Threads now(2);
    std::mutex mutex;
    std::set<std::thread::id> threads;
    bool without_gradient = true, apart = true;
    OperatorCount operators;
    {
        const torch::NoGradGuard guard;
        parallel_pieces(8, 1, [&](std::int64_t, std::int64_t) {
            const auto value = torch::ones({3}).exp();
            const std::lock_guard lock(mutex);
            threads.insert(std::this_thread::get_id());
            without_gradient = without_gradient && !at::GradMode::is_enabled();
            apart = apart && at::in_parallel_region();
        });
    }
    CHECK(threads.size() == 2);
    CHECK(without_gradient);
    CHECK(apart);
    CHECK(operators.of("aten::exp") == 8);
}

TEST_CASE("parallel_pieces lets exceptions through") {
    for (const int threads : {1, 2}) {
        const Threads now(threads);
        CHECK_THROWS_AS(parallel_pieces(8, 1,
                                        [](std::int64_t begin, std::int64_t) {
                                            if (begin == 6) throw std::out_of_range("six");
                                        }),
                        std::out_of_range);
    }
}

}  // namespace parallel_test
