// SPDX-License-Identifier: BSL-1.0
/// \file
/// The cost of a cohort: a step of mutual learning (all gates open) of 2, 3, 5 and 7 learners, compared with the same
/// step hand-written with the loss functions; with a graph known at compile time and with one assembled at run time.
///
/// Counted: operators, without those of the optimizers, which are the same. The hand-written step detaches each peer
/// once, with an operator; the cohort does so without one. Timed: CPU time of one thread, alternating; the ratio is
/// that of the fastest, which is least affected by other load on the machine.
///
/// Instruction counts have no noise: `instructions.sh` counts those of `counted_steps` with valgrind.
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <retort/cohort.hpp>

#include "../common/measure.hpp"
#include "models/residual.hpp"

namespace {

using namespace measure;

const auto sgd_options = torch::optim::SGDOptions(0.01).momentum(0.9).weight_decay(5e-4);

struct PerceptronImpl : torch::nn::Module {
    PerceptronImpl()
        : hidden(register_module("hidden", torch::nn::Linear(64, 32))),
          out(register_module("out", torch::nn::Linear(32, 10))) {}
    torch::Tensor forward(const torch::Tensor& x) { return out(torch::relu(hidden(x))); }
    torch::nn::Linear hidden;
    torch::nn::Linear out;
};
TORCH_MODULE(Perceptron);

/// Networks with their optimizers; all sets start from the same weights.
template <class Net>
struct Networks {
    Networks(std::size_t count, const std::function<Net()>& make) {
        torch::manual_seed(1);
        for (std::size_t i = 0; i < count; ++i) {
            nets.push_back(make());
            optimizers.push_back(std::make_unique<UncountedSgd>(nets.back()->parameters(), sgd_options));
        }
    }
    std::vector<Net> nets;
    std::vector<std::unique_ptr<UncountedSgd>> optimizers;
};

template <class Net>
void step_hand_written(Networks<Net>& all, const std::pair<torch::Tensor, torch::Tensor>& batch) {
    const std::size_t count = all.nets.size();
    std::vector<torch::Tensor> logits;
    std::vector<torch::Tensor> peers;
    for (Net& net : all.nets) {
        logits.push_back(retort::logits(net->forward(batch.first)));
        peers.push_back(logits.back().detach());
    }
    std::vector<torch::Tensor> losses;
    for (std::size_t i = 0; i < count; ++i) {
        torch::Tensor loss = torch::nn::functional::cross_entropy(logits[i], batch.second);
        for (std::size_t j = 0; j < count; ++j) {
            if (j == i) continue;
            loss = loss + retort::functional::soft_target(logits[i], peers[j], {.temperature = 1.0});
        }
        losses.push_back(std::move(loss));
    }
    for (auto& optimizer : all.optimizers) optimizer->zero_grad();
    for (torch::Tensor& loss : losses) loss.backward();
    for (auto& optimizer : all.optimizers) optimizer->step();
}

template <class Net, std::size_t... I>
auto cohort_of(Networks<Net>& all, std::index_sequence<I...>) {
    return retort::Cohort{retort::Learner{all.nets[I], *all.optimizers[I]}...};
}

long without_detach(const Counts& counts) {
    const auto found = counts.operators.find("aten::detach");
    return counts.total() - (found == counts.operators.end() ? 0 : found->second);
}

template <class Net>
void check_equal(const Networks<Net>& one, const Networks<Net>& other) {
    for (std::size_t i = 0; i < one.nets.size(); ++i) {
        const auto mine = one.nets[i]->parameters();
        const auto theirs = other.nets[i]->parameters();
        for (std::size_t k = 0; k < mine.size(); ++k) {
            if (!mine[k].equal(theirs[k])) {
                std::fprintf(
                    stderr,
                    "the steps of a cohort ended with different weights than the hand-written ones\n");
                std::exit(1);
            }
        }
    }
}

bool within = true;  // whether all ratios are

/// One set of networks per kind of step, all with the same initial weights.
template <std::size_t N, class Net>
class Steps {
  public:
    using Batch = std::pair<torch::Tensor, torch::Tensor>;

    Steps(const std::function<Net()>& make, const Batch& batch)
        : batch_(batch),
          hand(N, make),
          known(N, make),
          open(N, make),
          run_(run_of(known)),
          open_run_(open_run_of(open)) {}

    void hand_written() { step_hand_written(hand, batch_); }
    void composed() { run_.step(batch_); }
    void at_run_time() { open_run_.step(batch_); }

  private:
    static auto run_of(Networks<Net>& all) {
        return cohort_of(all, std::make_index_sequence<N>{}).along(retort::mutual_learning<N>());
    }
    static auto open_run_of(Networks<Net>& all) {
        std::vector<retort::Learner<Net>> learners;
        for (std::size_t i = 0; i < N; ++i) learners.emplace_back(all.nets[i], *all.optimizers[i]);
        return retort::Cohort{std::move(learners)}.along(
            retort::mutual_learning<retort::OutputsOf<Net, torch::Tensor>, Batch>(N));
    }

    const Batch& batch_;

  public:
    Networks<Net> hand;
    Networks<Net> known;
    Networks<Net> open;

  private:
    decltype(run_of(std::declval<Networks<Net>&>())) run_;
    decltype(open_run_of(std::declval<Networks<Net>&>())) open_run_;
};

/// What a profiler measures.
[[gnu::noinline]] void counted_steps(const std::function<void()>& step, int times) {
    for (int i = 0; i < times; ++i) step();
}

/// Some steps of one kind only.
template <std::size_t N>
void only(const std::string& kind, int times) {
    const std::pair<torch::Tensor, torch::Tensor> batch{torch::randn({32, 64}), torch::randint(10, {32})};
    Steps<N, Perceptron> steps([] { return Perceptron(); }, batch);
    const std::function<void()> step = [&] {
        kind == "hand" ? steps.hand_written() : kind == "known" ? steps.composed() : steps.at_run_time();
    };
    step();  // the first one creates what the others reuse
    counted_steps(step, times);
}

template <std::size_t N, class Net>
void report(const std::function<Net()>& make, const std::pair<torch::Tensor, torch::Tensor>& batch, int pairs,
            int times, double& one_learner) {
    Steps<N, Net> steps(make, batch);
    const auto& [hand, known, open] = std::tie(steps.hand, steps.known, steps.open);
    const auto hand_written = [&] { steps.hand_written(); };
    const auto composed = [&] { steps.composed(); };
    const auto at_run_time = [&] { steps.at_run_time(); };
    hand_written();
    composed();
    at_run_time();
    const Counts theirs = counted(hand_written);
    const Counts ours = counted(composed);
    const Counts open_ours = counted(at_run_time);
    check_equal(hand, known);
    check_equal(hand, open);
    const Times fixed_time = compare(hand_written, composed, pairs, times);
    check_equal(hand, known);
    const Times open_time = compare(hand_written, at_run_time, pairs, times);
    const auto ratio = [](const Times& each) { return each.fastest_second / each.fastest_first; };
    if (one_learner == 0) one_learner = fixed_time.fastest_second / N;
    const double operators =
        static_cast<double>(without_detach(ours)) / static_cast<double>(without_detach(theirs));
    const double open_operators =
        static_cast<double>(without_detach(open_ours)) / static_cast<double>(without_detach(theirs));
    std::printf("  %zu        %6ld   %6ld   %.3f   %.3f    %8.3f ms  %8.3f ms   %.3f   %.3f      %.2f\n", N,
                theirs.total(), ours.total(), operators, open_operators, 1e3 * fixed_time.fastest_first,
                1e3 * fixed_time.fastest_second, ratio(fixed_time), ratio(open_time),
                fixed_time.fastest_second / one_learner);
    std::fflush(stdout);
    within = within && operators == 1.0 && open_operators == 1.0 && ratio(fixed_time) <= 1.02;
}

template <class Net>
void table(const char* title, const std::function<Net()>& make,
           const std::pair<torch::Tensor, torch::Tensor>& batch, int pairs, int times) {
    std::printf(
        "%s\n"
        "            operators         ratio (no detach)  time a step                  ratio             in "
        "learners\n"
        "  learners  hand     cohort   known   run-time   hand         cohort         known   run-time   of "
        "the "
        "first row\n",
        title);
    double one = 0;
    report<2, Net>(make, batch, pairs, times, one);
    report<3, Net>(make, batch, pairs, times, one);
    report<5, Net>(make, batch, pairs, times, one);
    report<7, Net>(make, batch, pairs, times, one);
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"The cost of a cohort compared with a hand-written step."};
    int pairs = 15;
    std::string kind;
    std::size_t learners = 3;
    int times = 20;
    app.add_option("--pairs", pairs, "Measurements of each kind")
        ->capture_default_str()
        ->check(CLI::Range(1, 1000000));
    app.add_option("--only", kind, "Measure nothing: make steps of one kind, for a profiler")
        ->check(CLI::IsMember({"hand", "known", "run-time"}));
    app.add_option("--learners", learners, "With --only: perceptrons, 2, 3, 5 or 7")
        ->capture_default_str()
        ->check(CLI::IsMember({2, 3, 5, 7}));
    app.add_option("--steps", times, "With --only: so many")
        ->capture_default_str()
        ->check(CLI::Range(1, 1000000));
    CLI11_PARSE(app, argc, argv);
    at::set_num_threads(1);
    torch::manual_seed(2);
    if (!kind.empty()) {
        const auto run = learners == 2   ? &only<2>
                         : learners == 3 ? &only<3>
                         : learners == 5 ? &only<5>
                                         : &only<7>;
        run(kind, times);
        return 0;
    }
    table<Perceptron>(
        "Perceptrons 64-32-10, batch 32", [] { return Perceptron(); },
        {torch::randn({32, 64}), torch::randint(10, {32})}, 2 * pairs, 60);
    table<models::ResidualNet>(
        "resnet8, batch 16, images of 32 x 32", [] { return models::resnet(8); },
        {torch::randn({16, 3, 32, 32}), torch::randint(100, {16})}, pairs, 1);
    std::printf("%s\n", within ? "Operators as hand-written, and at most 1.02 of the time."
                               : "MORE than hand-written: operators, or 1.02 of the time.");
    return within ? 0 : 1;
}
