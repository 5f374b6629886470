// SPDX-License-Identifier: BSL-1.0
/// \file
/// The cost of the losses of the catalog compared with hand-written compositions of LibTorch's operators
/// (compositions.hpp): time of forward and backward pass, and peak memory.
///
///     losses                       all of them
///     losses soft_target 512       those whose name or shapes contain one of these
///
/// Both run alternately, also alternating which goes first; a time is the median, the ratio that of the medians,
/// hand-written to the library's: above 1 the library is faster. One thread: CPU time, unaffected by other programs.
/// Memory is that of tensors besides the inputs, gradients included. Both must agree in value and gradients; the
/// program fails if they do not.
#include <torch/torch.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <exception>

#include "allocations.hpp"
#include "measure.hpp"

namespace {

using bench::Case;
using bench::Entries;
using bench::Entry;

struct Settings {
    std::vector<std::string> only{};
    double seconds = 1.0;
    int pairs = 0;
    int threads = 1;
};

double now(bool cpu) {
    std::timespec time{};
    ::clock_gettime(cpu ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    const std::size_t half = values.size() / 2;
    return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

/// A forward and a backward pass, with gradients reset.
torch::Tensor pass(const Case& each, const std::function<torch::Tensor()>& loss) {
    for (const torch::Tensor& leaf : each.leaves) leaf.mutable_grad() = torch::Tensor();
    torch::Tensor value = loss();
    value.backward();
    return value.detach();
}

struct Outcome {
    torch::Tensor value;
    std::vector<torch::Tensor> gradients;
    std::int64_t peak = 0;
};
Outcome outcome(const Case& each, const std::function<torch::Tensor()>& loss) {
    Outcome result;
    for (const torch::Tensor& leaf : each.leaves) leaf.mutable_grad() = torch::Tensor();
    {
        const retort_test::AllocationCount count;
        result.value = pass(each, loss);
        result.peak = count.peak();
    }
    for (const torch::Tensor& leaf : each.leaves) {
        result.gradients.push_back(leaf.grad());
        leaf.mutable_grad() = torch::Tensor();
    }
    return result;
}

/// The largest difference in units of the largest value.
double deviation(const torch::Tensor& one, const torch::Tensor& other) {
    const torch::NoGradGuard no_gradient;
    if (!one.defined() || !other.defined()) return one.defined() == other.defined() ? 0.0 : 1.0;
    const double most = other.abs().max().item<double>();
    const double apart = (one - other).abs().max().item<double>();
    return apart == 0 ? 0.0 : apart / std::max(most, 1e-30);
}

struct Row {
    double own = 0;  // seconds
    double hand_written = 0;
    std::int64_t own_peak = 0;
    std::int64_t hand_written_peak = 0;
    int pairs = 0;
    double apart = 0;
    bool agree = true;
};

Row measured(const Entry& entry, const Settings& settings) {
    torch::manual_seed(1);
    const Case each = entry.make();
    Row row;
    {
        const Outcome own = outcome(each, each.own);
        const Outcome hand_written = outcome(each, each.hand_written);
        row.own_peak = own.peak;
        row.hand_written_peak = hand_written.peak;
        if (each.tolerance >= 0) {
            row.apart = deviation(own.value, hand_written.value);
            for (std::size_t i = 0; i < own.gradients.size(); ++i) {
                row.apart = std::max(row.apart, deviation(own.gradients[i], hand_written.gradients[i]));
            }
            row.agree = row.apart <= each.tolerance;
        }
    }
    const bool cpu = settings.threads == 1;
    const auto seconds_of = [&](const std::function<torch::Tensor()>& loss, int times) {
        const double begin = now(cpu);
        for (int i = 0; i < times; ++i) pass(each, loss);
        return (now(cpu) - begin) / times;
    };
    const double once = seconds_of(each.own, 1) + seconds_of(each.hand_written, 1);
    const int times = static_cast<int>(std::clamp(4e-3 / once, 1.0, 1000.0));
    row.pairs = settings.pairs > 0
                    ? settings.pairs
                    : static_cast<int>(std::clamp(settings.seconds / (once * times), 5.0, 1001.0)) | 1;
    std::vector<double> own, hand_written;
    for (int pair = 0; pair < row.pairs; ++pair) {
        if (pair % 2 == 0) own.push_back(seconds_of(each.own, times));
        hand_written.push_back(seconds_of(each.hand_written, times));
        if (pair % 2 != 0) own.push_back(seconds_of(each.own, times));
    }
    row.own = median(own);
    row.hand_written = median(hand_written);
    return row;
}

std::string duration(double seconds) {
    char text[32];
    if (seconds < 1e-3) {
        std::snprintf(text, sizeof text, "%.1f us", 1e6 * seconds);
    } else if (seconds < 1) {
        std::snprintf(text, sizeof text, "%.2f ms", 1e3 * seconds);
    } else {
        std::snprintf(text, sizeof text, "%.2f s", seconds);
    }
    return text;
}

std::string memory(std::int64_t bytes) {
    char text[32];
    const auto size = static_cast<double>(bytes);
    if (size < 1024.0 * 1024) {
        std::snprintf(text, sizeof text, "%.0f KiB", size / 1024);
    } else {
        std::snprintf(text, sizeof text, "%.1f MiB", size / (1024.0 * 1024));
    }
    return text;
}

bool chosen(const Entry& entry, const std::vector<std::string>& only) {
    const std::string all = entry.name + " " + entry.shapes;
    return only.empty() || std::any_of(only.begin(), only.end(), [&](const std::string& part) {
               return all.find(part) != std::string::npos;
           });
}

int run(const Settings& settings, bool list) {
    Entries entries;
    for (const auto& part : {bench::logit_entries(), bench::feature_entries(), bench::relation_entries(),
                             bench::language_entries()}) {
        entries.insert(entries.end(), part.begin(), part.end());
    }
    std::erase_if(entries, [&](const Entry& entry) { return !chosen(entry, settings.only); });
    if (entries.empty()) {
        std::fprintf(stderr, "losses: no loss of that name; --list shows all\n");
        return 2;
    }
    if (list) {
        for (const Entry& entry : entries) std::printf("%s, %s\n", entry.name.c_str(), entry.shapes.c_str());
        return 0;
    }
    torch::set_num_threads(settings.threads);
    std::printf("LibTorch %s, %d thread%s, float32, forward and backward pass\n\n", TORCH_VERSION,
                settings.threads, settings.threads == 1 ? "" : "s");
    std::printf(
        "| loss | shapes | hand-written | retort | speedup | hand-written | retort | memory ratio | pairs "
        "|\n");
    std::printf("|---|---|---:|---:|---:|---:|---:|---:|---:|\n");
    const Entry* slowest = nullptr;
    double least = 0;
    bool agree = true;
    for (const Entry& entry : entries) {
        const Row row = measured(entry, settings);
        const double ratio = row.hand_written / row.own;
        std::printf("| %s | %s | %s | %s | %.2f | %s | %s | %.2f | %d |\n", entry.name.c_str(),
                    entry.shapes.c_str(), duration(row.hand_written).c_str(), duration(row.own).c_str(),
                    ratio, memory(row.hand_written_peak).c_str(), memory(row.own_peak).c_str(),
                    static_cast<double>(row.hand_written_peak) / static_cast<double>(row.own_peak),
                    row.pairs);
        std::fflush(stdout);
        if (!row.agree) {
            std::fprintf(stderr, "%s, %s: the two differ by %.1e\n", entry.name.c_str(), entry.shapes.c_str(),
                         row.apart);
            agree = false;
        }
        if (slowest == nullptr || ratio < least) {
            slowest = &entry;
            least = ratio;
        }
    }
    std::printf("\nlowest speedup: %.2f (%s, %s)\n", least, slowest->name.c_str(), slowest->shapes.c_str());
    return agree ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"Time and memory of the losses compared with compositions of LibTorch's operators"};
    Settings settings;
    bool list = false;
    app.add_option("loss", settings.only, "substrings of names or shapes; default: all");
    app.add_option("--seconds", settings.seconds, "approximate time per loss")->check(CLI::PositiveNumber);
    app.add_option("--pairs", settings.pairs, "number of measurement pairs, instead of --seconds")
        ->check(CLI::PositiveNumber);
    app.add_option("--threads", settings.threads, "of LibTorch; more than one: wall-clock time")
        ->check(CLI::PositiveNumber);
    app.add_flag("--list", list, "list names and shapes only");
    CLI11_PARSE(app, argc, argv);
    try {
        return run(settings, list);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "losses: %s\n", error.what());
        return 2;
    }
}
