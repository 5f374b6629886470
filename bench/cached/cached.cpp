// SPDX-License-Identifier: BSL-1.0
/// \file
/// The cost of a teacher whose outputs are all in the store, compared with its forward: batches of 128 images of 3 x
/// 32 x 32, CPU time, one thread.
#include <torch/torch.h>

#include <benchmark/benchmark.h>
#include <filesystem>

#include <retort/tap/tap.hpp>
#include <retort/tap/taps.hpp>
#include <retort/teacher/cached.hpp>
#include <retort/teacher/frozen.hpp>

#include "models/pre_activation.hpp"

namespace {

const std::filesystem::path directory = std::filesystem::temp_directory_path() / "retort-bench-cached";

struct Teacher {
    Teacher() {
        at::set_num_threads(1);
        torch::manual_seed(1);
        net = models::PreActivationNet(models::PreActivationOptions{.width = 16, .classes = 100});
    }
    models::PreActivationNet net{nullptr};
    std::vector<torch::Tensor> batches = torch::randn({4 * 128, 3, 32, 32}).split(128);
};

void computed(benchmark::State& state) {
    const Teacher teacher;
    const retort::Frozen frozen{teacher.net};
    std::size_t i = 0;
    for (auto _ : state) benchmark::DoNotOptimize(frozen(teacher.batches[i++ % 4]).logits.data_ptr());
}
BENCHMARK(computed)->Unit(benchmark::kMillisecond);

template <class... Taps>
void cached(benchmark::State& state, const char* name, Taps... taps) {
    const Teacher teacher;
    const retort::Cached store{retort::Frozen{teacher.net}, {.directory = directory / name}, taps...};
    for (const auto& batch : teacher.batches) store(batch);
    std::size_t i = 0;
    for (auto _ : state) benchmark::DoNotOptimize(store(teacher.batches[i++ % 4]).logits.data_ptr());
    std::filesystem::remove_all(directory / name);
}
template <std::size_t I>
constexpr auto layer = retort::tap<&models::FlowOutputs::layers, I>;
BENCHMARK_CAPTURE(cached, logits, "logits")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(cached, logits_and_four_layers, "layers", layer<0>, layer<1>, layer<2>, layer<3>)
    ->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
