// SPDX-License-Identifier: BSL-1.0
/// \file
/// Gradient descent on multi-tensor operators, compared with LibTorch's own.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/detail/compat.hpp>
#include <retort/optim/sgd.hpp>

namespace sgd_test {

using namespace retort_test;
using retort::Sgd;

namespace {
/// Three parameters, one of which gets a gradient in every third step, one never.
std::vector<torch::Tensor> parameters(torch::ScalarType type) {
    auto generator = at::detail::createCPUGenerator(3);
    std::vector<torch::Tensor> result;
    for (const std::int64_t size : {5, 1, 7}) {
        result.push_back(torch::randn({size, 2}, generator, type).requires_grad_());
    }
    result.push_back(torch::randn({2}, generator, type).requires_grad_());
    return result;
}
torch::Tensor loss(const std::vector<torch::Tensor>& p, int step) {
    auto value = (p[0] * p[0] * 0.3).sum() + (p[0].sum() * p[1]).sin().sum();
    return step % 3 == 1 ? value + (p[2] - 1).pow(4).mean() : value;
}
}  // namespace

TEST_CASE("the same bits as LibTorch's SGD, for all options") {
#ifdef __FMA__
    // A program compiled only for such CPUs rounds once, whatever LibTorch does.
    if (!retort::detail::compat::kernels_for_avx2()) return;
#endif
    for (const auto type : {torch::kFloat32, torch::kFloat64}) {
        for (const double momentum : {0.0, 0.9}) {
            for (const double dampening : {0.0, 0.3}) {
                for (const double decay : {0.0, 5e-4}) {
                    for (const bool nesterov : {false, true}) {
                        if (nesterov && (momentum == 0 || dampening != 0)) continue;
                        const auto ours = parameters(type), theirs = parameters(type);
                        const auto recipe = Sgd{.learning_rate = 0.05,
                                                .momentum = momentum,
                                                .dampening = dampening,
                                                .weight_decay = decay,
                                                .nesterov = nesterov};
                        const auto one = recipe.build(ours);
                        torch::optim::SGD other(theirs, torch::optim::SGDOptions(0.05)
                                                            .momentum(momentum)
                                                            .dampening(dampening)
                                                            .weight_decay(decay)
                                                            .nesterov(nesterov));
                        for (int step = 0; step < 25; ++step) {
                            if (step == 10) {  // a learning rate that changes meanwhile
                                one->param_groups()[0].options().set_lr(0.01);
                                other.param_groups()[0].options().set_lr(0.01);
                            }
                            one->zero_grad();
                            other.zero_grad();
                            loss(ours, step).backward();
                            loss(theirs, step).backward();
                            one->step();
                            other.step();
                        }
                        INFO("momentum " << momentum << ", dampening " << dampening << ", decay " << decay
                                         << ", Nesterov " << nesterov);
                        CHECK(same(ours, theirs));
                        CHECK(same(ours[3], parameters(type)[3]));
                    }
                }
            }
        }
    }
}

TEST_CASE("torch::save and torch::load carry the momenta") {
    const auto recipe = Sgd{.learning_rate = 0.05, .momentum = 0.9};
    const auto whole = parameters(torch::kFloat32), halves = parameters(torch::kFloat32);
    const auto steps = [](auto& optimizer, const std::vector<torch::Tensor>& p, int from, int to) {
        for (int step = from; step < to; ++step) {
            optimizer.zero_grad();
            loss(p, step).backward();
            optimizer.step();
        }
    };
    steps(*recipe.build(whole), whole, 0, 8);
    std::stringstream stream;
    {
        const auto before = recipe.build(halves);
        steps(*before, halves, 0, 4);
        torch::serialize::OutputArchive archive;
        before->save(archive);
        archive.save_to(stream);
    }
    const auto after = recipe.build(halves);
    torch::serialize::InputArchive archive;
    archive.load_from(stream);
    after->load(archive);
    steps(*after, halves, 4, 8);
    CHECK(same(whole, halves));
}

TEST_CASE("one step, computed manually") {
    const auto p = torch::tensor({2.0}, torch::kFloat64).requires_grad_();
    const auto optimizer =
        Sgd{.learning_rate = 0.5, .momentum = 0.5, .weight_decay = 0.25, .nesterov = true}.build({p});
    p.mutable_grad() = torch::tensor({1.0}, torch::kFloat64);
    optimizer->step();
    // g = 1 + 0.25 * 2 = 1.5; v = 1.5; p = 2 - 0.5 * (1.5 + 0.5 * 1.5) = 0.875
    CHECK(p.item<double>() == 0.875);
    optimizer->step();
    // g = 1 + 0.25 * 0.875 = 1.21875; v = 0.75 + 1.21875 = 1.96875; p = 0.875 - 0.5 * (1.21875 + 0.984375)
    CHECK(p.item<double>() == 0.875 - 0.5 * (1.21875 + 0.984375));
}

TEST_CASE("several groups have several options") {
    const auto a = torch::ones({1}).requires_grad_(), b = torch::ones({1}).requires_grad_();
    const auto optimizer = Sgd{.learning_rate = 0.5}.build({a});
    retort::MultiTensorSgdOptions slow;
    slow.learning_rate = 0.25;
    optimizer->add_param_group({{b}, std::make_unique<retort::MultiTensorSgdOptions>(slow)});
    (a + b).sum().backward();
    optimizer->step();
    CHECK((a.item<double>() == 0.5 && b.item<double>() == 0.75));
}

TEST_CASE("a closure is called once, with gradients, and its loss is returned") {
    const auto p = torch::ones({1}).requires_grad_();
    const auto optimizer = Sgd{.learning_rate = 0.5}.build({p});
    int calls = 0;
    const torch::NoGradGuard no_grad;
    const auto value = optimizer->step([&] {
        ++calls;
        optimizer->zero_grad();
        const auto result = (3 * p).sum();
        result.backward();
        return result;
    });
    CHECK(calls == 1);
    CHECK(value.item<double>() == 3.0);
    CHECK(p.item<double>() == -0.5);
}

TEST_CASE("a step without any gradient changes nothing; gradients and their tensors stay untouched") {
    const auto p = torch::ones({3}).requires_grad_();
    const auto optimizer = Sgd{.learning_rate = 0.5, .momentum = 0.9, .weight_decay = 0.1}.build({p});
    optimizer->step();
    CHECK(same(p, torch::ones({3})));
    p.mutable_grad() = torch::full({3}, 2.0F);
    for (int i = 0; i < 3; ++i) optimizer->step();
    CHECK(same(p.grad(), torch::full({3}, 2.0F)));
}

TEST_CASE("invalid options are refused") {
    const auto words = [](const Sgd& options) {
        const auto check = words_of<retort::ConfigError>([&] { options.check(); });
        CHECK(words_of<retort::ConfigError>([&] { options.build({torch::ones({1}).requires_grad_()}); }) ==
              check);
        return check;
    };
    const double nan = std::nan("");
    CHECK(words({.learning_rate = -1}) == "Sgd: expected a learning rate of at least 0, found -1");
    CHECK(holds(words({.learning_rate = nan}), "found nan"));
    CHECK(words({.momentum = -0.5}) == "Sgd: expected a momentum of at least 0, found -0.5");
    CHECK(words({.weight_decay = -1e-4}) == "Sgd: expected a weight decay of at least 0, found -0.0001");
    CHECK(holds(words({.dampening = nan}), "Sgd: expected a finite dampening"));
    CHECK(holds(words({.nesterov = true}), "Nesterov's momentum needs a momentum above 0 and no dampening",
                "found momentum 0 and dampening 0"));
    CHECK(holds(words({.momentum = 0.9, .dampening = 0.1, .nesterov = true}), "dampening 0.1"));
    CHECK(words({.learning_rate = 0}).empty());
}

}  // namespace sgd_test
