// SPDX-License-Identifier: BSL-1.0
/// \file
/// AdamW compared with LibTorch's own, Lars with manually computed values, and properties of all optimizers of the
/// library.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/detail/type_name.hpp>
#include <retort/optim.hpp>

namespace fused_optimizer_test {

using namespace retort_test;
using retort::AdamW;
using retort::Lars;
using retort::Sgd;

namespace {
using Tensors = std::vector<torch::Tensor>;

/// Of several sizes (full blocks and remainders), one in another memory order, one that gets a gradient only in every
/// third step, one never.
Tensors parameters(torch::ScalarType type = torch::kFloat32) {
    auto generator = at::detail::createCPUGenerator(3);
    const auto some = [&](at::IntArrayRef sizes) {
        return torch::randn(sizes, generator, torch::kFloat64).to(type);
    };
    Tensors result{some({5, 7}), some({64}), some({1}), some({2, 3, 4, 4}).to(at::MemoryFormat::ChannelsLast),
                   some({7, 2}), some({2})};
    for (auto& each : result) each.requires_grad_();
    return result;
}
torch::Tensor loss(const Tensors& p, int step) {
    auto value =
        (p[0] * p[0] * 0.3).sum() + (p[1].sum() * p[2]).sin().sum() + p[1].pow(4).mean() + p[3].exp().mean();
    return step % 3 == 1 ? value + (p[4] - 1).pow(4).mean() : value;
}
template <class Optimizer>
void train(Optimizer& optimizer, const Tensors& p, int from, int to) {
    for (int step = from; step < to; ++step) {
        for (const auto& each : p) each.mutable_grad() = torch::Tensor();
        loss(p, step).backward();
        optimizer.step();
    }
}
/// A non-contiguous parameter: no loop over memory.
torch::Tensor strided(const torch::Tensor& values) {
    const auto wide = torch::zeros({values.size(0), 2 * values.size(1)}, values.options());
    auto result = wide.slice(1, 0, values.size(1)).detach();
    result.copy_(values);
    return result.requires_grad_();
}
template <class Recipe>
void check_ways(const Recipe& recipe) {
    INFO(retort::detail::type_name<Recipe>());
    // Operators, and the loop, from equal parameters and gradients.
    const auto start = torch::randn({9, 5}, torch::kFloat64);
    const auto dense = start.clone().requires_grad_(), apart = strided(start);
    const auto one = recipe.build({dense}), other = recipe.build({apart});
    for (int i = 0; i < 6; ++i) {
        const auto gradient = torch::randn({9, 5}, torch::kFloat64);
        dense.mutable_grad() = gradient;
        apart.mutable_grad() = strided(gradient).detach();
        one->step();
        other->step();
    }
    CHECK_FALSE(apart.is_non_overlapping_and_dense());
    CHECK(close(dense, apart, 1e-12, 1e-14));
    CHECK_FALSE(same(dense, start));

    // A gradient in another memory order, or of another type.
    const auto straight = torch::randn({4, 6}, torch::kFloat64).requires_grad_();
    const auto turned = straight.detach().clone().requires_grad_();
    const auto gradient = torch::randn({4, 6}, torch::kFloat64);
    const auto a = recipe.build({straight}), b = recipe.build({turned});
    for (int i = 0; i < 3; ++i) {
        straight.mutable_grad() = gradient;
        turned.mutable_grad() = gradient.t().contiguous().t();
        a->step();
        b->step();
    }
    CHECK(same(straight, turned));

    // Shared parameters are updated once.
    const auto shared = torch::ones({3, 3}).requires_grad_(), single = torch::ones({3, 3}).requires_grad_();
    const auto twice = recipe.build({shared, shared}), once = recipe.build({single});
    for (int i = 0; i < 3; ++i) {
        for (const auto& each : {shared, single}) each.mutable_grad() = torch::full({3, 3}, 0.5F);
        twice->step();
        once->step();
    }
    CHECK(same(shared, single));

    // In bfloat16.
    const auto narrow = torch::ones({3, 3}, torch::kBFloat16).requires_grad_();
    const auto small = recipe.build({narrow});
    narrow.mutable_grad() = torch::ones({3, 3}, torch::kBFloat16);
    const auto before = narrow.detach().clone();
    for (int i = 0; i < 2; ++i) small->step();
    CHECK_FALSE(same(narrow, before));
    CHECK(narrow.scalar_type() == torch::kBFloat16);

    // No gradient, no update; no parameters, and parameters without elements, are fine.
    const auto none = torch::ones({3}).requires_grad_(), empty = torch::ones({0}).requires_grad_();
    const auto idle = recipe.build({none, empty});
    empty.mutable_grad() = torch::ones({0});
    idle->step();
    CHECK(same(none, torch::ones({3})));

    // Many elements, on all threads: as on one.
    const auto many = torch::randn({300, 401}), few = many.clone();
    const auto push = torch::randn({300, 401});
    const int threads = at::get_num_threads();
    const auto steps = [&](const torch::Tensor& values, int count) {
        at::set_num_threads(count);
        auto p = values.detach().requires_grad_(), q = torch::zeros({5}).requires_grad_();
        const auto optimizer = recipe.build({q, p});
        for (int i = 0; i < 2; ++i) {
            p.mutable_grad() = push;
            q.mutable_grad() = torch::ones({5});
            optimizer->step();
        }
        at::set_num_threads(threads);
        return p.detach();
    };
    CHECK(same(steps(many, 2), steps(few, 1)));

    // Graphs that saved a parameter notice that it has changed.
    const auto kept = torch::ones({2, 2}).requires_grad_();
    const auto mover = recipe.build({kept});
    kept.mutable_grad() = torch::ones({2, 2});
    const auto square = (kept * kept).sum();
    mover->step();
    CHECK_THROWS_WITH(square.backward(), Catch::Contains("modified by an inplace operation"));

    // The state is saved to files, and restored.
    const auto whole = parameters(), halves = parameters();
    const auto through = recipe.build(whole);
    train(*through, whole, 0, 8);
    std::stringstream stream;
    {
        const auto first = recipe.build(halves);
        train(*first, halves, 0, 4);
        torch::serialize::OutputArchive archive;
        first->save(archive);
        archive.save_to(stream);
    }
    const auto second = recipe.build(halves);
    torch::serialize::InputArchive archive;
    archive.load_from(stream);
    second->load(archive);
    train(*second, halves, 4, 8);
    CHECK(same(whole, halves));

    const auto smaller = recipe.build({torch::ones({5, 6}).requires_grad_()});
    CHECK_THROWS_WITH(smaller->load(archive),
                      Catch::Contains("of the parameter's shape [5, 6], found [5, 7]"));

    // A group that is added later, and parameters that change their type meanwhile.
    const auto p = torch::ones({3, 3}).requires_grad_(), later = torch::ones({2, 2}).requires_grad_();
    const auto growing = recipe.build({p});
    p.mutable_grad() = torch::ones({3, 3});
    growing->step();
    growing->add_param_group({{later}, growing->param_groups()[0].options().clone()});
    later.mutable_grad() = torch::ones({2, 2});
    growing->step();
    CHECK(later.detach().sum().template item<double>() < 4);
    p.set_data(p.detach().to(torch::kFloat64));
    p.mutable_grad() = torch::ones({3, 3}, torch::kFloat64);
    growing->step();
    CHECK(p.detach().sum().template item<double>() < 9);
}
/// The explicit formula, which both kinds of kernels must agree with.
template <class T, class Kernel>
void check_kernels(Kernel kernel, int pointers) {
    for (const std::int64_t size : {1, 15, 16, 37}) {
        std::vector<std::vector<T>> plain, fused;
        for (int i = 0; i < pointers; ++i) {
            const auto values = torch::rand({size}, c10::CppTypeToScalarType<T>::value) + 0.1;
            plain.emplace_back(values.template data_ptr<T>(), values.template data_ptr<T>() + size);
        }
        fused = plain;
        retort::detail::run_blocks<false>(kernel(plain), 0, size);
        retort::detail::run_kernel(kernel(fused), 0, size);
        const double bound = std::is_same_v<T, float> ? 2e-6 : 4e-15;
        for (std::size_t i = 0; i < plain.size(); ++i) {
            for (std::size_t j = 0; j < plain[i].size(); ++j)
                CHECK(std::abs(plain[i][j] - fused[i][j]) <= bound * std::abs(plain[i][j]) + bound);
        }
    }
}
}  // namespace

TEST_CASE("AdamW agrees with LibTorch's, for all options") {
    for (const auto type : {torch::kFloat32, torch::kFloat64}) {
        for (const double decay : {0.0, 0.1}) {
            for (const bool amsgrad : {false, true}) {
                for (const double beta : {0.9, 0.5}) {
                    const auto ours = parameters(type), theirs = parameters(type);
                    const auto one = AdamW{.learning_rate = 0.05,
                                           .betas = {beta, 0.99},
                                           .eps = 1e-6,
                                           .weight_decay = decay,
                                           .amsgrad = amsgrad}
                                         .build(ours);
                    torch::optim::AdamW other(theirs, torch::optim::AdamWOptions(0.05)
                                                          .betas({beta, 0.99})
                                                          .eps(1e-6)
                                                          .weight_decay(decay)
                                                          .amsgrad(amsgrad));
                    for (int part = 0; part < 2; ++part) {
                        train(*one, ours, 10 * part, 10 * part + 10);
                        train(other, theirs, 10 * part, 10 * part + 10);
                        for (auto* optimizer :
                             std::initializer_list<torch::optim::Optimizer*>{one.get(), &other})
                            optimizer->param_groups()[0].options().set_lr(0.01);
                    }
                    INFO("decay " << decay << ", amsgrad " << amsgrad << ", beta " << beta << ", " << type);
                    for (std::size_t i = 0; i < ours.size(); ++i) {
                        const double bound = type == torch::kFloat32 ? 2e-6 : 4e-15;
                        CHECK(close(ours[i], theirs[i], bound, bound));
                    }
                    CHECK(same(ours[5], parameters(type)[5]));
                }
            }
        }
    }
}

TEST_CASE("AdamW: one step, computed manually") {
    const auto p = torch::tensor({2.0}, torch::kFloat64).requires_grad_();
    const auto optimizer =
        AdamW{.learning_rate = 0.5, .betas = {0.5, 0.75}, .eps = 0.25, .weight_decay = 0.25}.build({p});
    p.mutable_grad() = torch::tensor({4.0}, torch::kFloat64);
    optimizer->step();
    // m = 2, v = 4; m / (1 - 0.5) = 4, v / (1 - 0.75) = 16; p = 2 * (1 - 0.125) - 0.5 * 4 / (4 + 0.25)
    CHECK(p.item<double>() == Approx(1.75 - 2.0 / 4.25).epsilon(1e-15));
}

TEST_CASE("Lars: manually computed values") {
    const auto p = torch::tensor({{3.0, 4.0}}, torch::kFloat64).requires_grad_();
    const auto bias = torch::tensor({1.0, 1.0}, torch::kFloat64).requires_grad_();
    const auto optimizer =
        Lars{.learning_rate = 0.5, .momentum = 0.5, .weight_decay = 0.2, .trust = 0.1, .eps = 1.0}.build(
            {p, bias});
    p.mutable_grad() = torch::tensor({{0.0, 8.0}}, torch::kFloat64);
    bias.mutable_grad() = torch::tensor({1.0, 2.0}, torch::kFloat64);
    optimizer->step();
    // r = 0.1 * 5 / (8 + 0.2 * 5 + 1) = 0.05; v = 0.5 * 0.05 * ((0, 8) + 0.2 * (3, 4)) = (0.015, 0.22)
    CHECK(close(p, torch::tensor({{2.985, 3.78}}, torch::kFloat64), 1e-15, 0));
    CHECK(close(bias, torch::tensor({0.5, 0.0}, torch::kFloat64), 1e-15,
                1e-15));  // plain, without weight decay
    optimizer->step();
    const double norm = std::sqrt(2.985 * 2.985 + 3.78 * 3.78);
    const double rate = 0.5 * 0.1 * norm / (8 + 0.2 * norm + 1);
    CHECK(close(
        p,
        torch::tensor({{2.985 - (0.0075 + rate * 0.2 * 2.985), 3.78 - (0.11 + rate * (8 + 0.2 * 3.78))}},
                      torch::kFloat64),
        1e-14, 0));
    CHECK(close(bias, torch::tensor({0.5 - 0.75, 0.0 - 1.5}, torch::kFloat64), 1e-15, 1e-15));

    // Norms of 0; vectors adapted if requested.
    const auto zero = torch::zeros({2, 2}, torch::kFloat64).requires_grad_();
    const auto vector = torch::tensor({3.0, 4.0}, torch::kFloat64).requires_grad_();
    const auto all = Lars{.learning_rate = 0.5, .trust = 0.1, .exclude_vectors = false}.build({zero, vector});
    zero.mutable_grad() = torch::ones({2, 2}, torch::kFloat64);
    vector.mutable_grad() = torch::tensor({0.0, 5.0}, torch::kFloat64);
    all->step();
    CHECK(same(zero, torch::full({2, 2}, -0.5, torch::kFloat64)));
    CHECK(close(vector, torch::tensor({3.0, 3.75}, torch::kFloat64), 1e-15, 0));
}

TEST_CASE("all optimizers of the library: other orders, shared parameters, files, threads") {
    torch::manual_seed(1);
    check_ways(Sgd{.learning_rate = 0.05, .momentum = 0.9, .weight_decay = 0.01, .nesterov = true});
    check_ways(AdamW{.learning_rate = 0.05});
    check_ways(AdamW{.learning_rate = 0.05, .amsgrad = true});
    check_ways(Lars{.learning_rate = 0.5, .weight_decay = 0.01, .trust = 0.1});
    check_ways(Lars{.learning_rate = 0.05, .trust = 1.0, .exclude_vectors = false});
}

TEST_CASE("kernels for CPUs with and without fused multiplication and addition agree") {
    torch::manual_seed(1);
    const auto both = []<class T>(T) {
        check_kernels<T>(
            [](auto& m) {
                return retort::detail::SgdKernel<T>{m[0].data(), m[1].data(), m[2].data(), T(0.1), T(0.9),
                                                    T(1),        T(0.01),     false,       true};
            },
            3);
        check_kernels<T>(
            [](auto& m) {
                return retort::detail::AdamWKernel<T>{
                    m[0].data(), m[1].data(), m[2].data(), m[3].data(), m[4].data(), T(0.99), T(0.9),
                    T(0.1),      T(0.99),     T(0.01),     T(1e-8),     T(0.1),      T(0.5)};
            },
            5);
        check_kernels<T>(
            [](auto& m) {
                return retort::detail::LarsKernel<T>{m[0].data(), m[1].data(), m[2].data(),
                                                     T(0.1),      T(0.9),      T(0.01)};
            },
            3);
    };
    both(float());
    both(double());
}

TEST_CASE("a step on the CPU issues no operator, however many parameters there are") {
    Tensors all;
    for (int i = 0; i < 20; ++i) {
        all.push_back(torch::ones({3, 3}).requires_grad_());
        all.back().mutable_grad() = torch::ones({3, 3});
    }
    const auto operators = [&](const auto& recipe) {
        const auto optimizer = recipe.build(all);
        optimizer->step();
        OperatorCount count;
        optimizer->step();
        count.stop();
        return count.total();
    };
    CHECK(operators(Sgd{.momentum = 0.9}) == 0);
    CHECK(operators(AdamW{}) == 0);
    CHECK(operators(Lars{}) == 0);
}

TEST_CASE("sparse gradients: plain descent accepts them, others refuse") {
    const auto p = torch::ones({4, 2}).requires_grad_();
    p.mutable_grad() = torch::sparse_coo_tensor(torch::tensor({{1}}), torch::ones({1, 2}), {4, 2});
    const auto words = [&](const auto& recipe) {
        return words_of<retort::ConfigError>([&] { recipe.build({p})->step(); });
    };
    CHECK(words(AdamW{}) ==
          "AdamW: expected dense gradients, found a sparse one for parameter 0 of shape [4, 2]");
    CHECK(holds(words(Lars{}), "Lars: expected dense gradients"));
    CHECK(holds(words(Sgd{.momentum = 0.9}), "Sgd: expected dense gradients"));
    CHECK(holds(words(Sgd{.weight_decay = 0.9}), "Sgd: expected dense gradients"));
    CHECK(same(p, torch::ones({4, 2})));
    Sgd{.learning_rate = 0.5}.build({p})->step();
    CHECK(same(p, torch::tensor({{1.0F, 1.0F}, {0.5F, 0.5F}, {1.0F, 1.0F}, {1.0F, 1.0F}})));
}

TEST_CASE("a step that ends in an error leaves nothing for the next one") {
    const auto p = torch::ones({40}).requires_grad_(), q = torch::ones({4, 2}).requires_grad_();
    retort::MultiTensorAdamW optimizer(std::vector{torch::optim::OptimizerParamGroup(Tensors{p}),
                                                   torch::optim::OptimizerParamGroup(Tensors{q})},
                                       AdamW{});
    p.mutable_grad() = torch::ones({40});
    q.mutable_grad() = torch::sparse_coo_tensor(torch::tensor({{1}}), torch::ones({1, 2}), {4, 2});
    CHECK(holds(words_of<retort::ConfigError>([&] { optimizer.step(); }), "expected dense gradients"));
    const auto before = p.detach().clone();
    for (const auto& each : {p, q}) each.mutable_grad() = torch::Tensor();
    optimizer.step();
    CHECK(same(p, before));

    // Nor does it count as a step for the parameters before the refused one in its group.
    const auto a = torch::ones({40}).requires_grad_(), b = torch::ones({40}).requires_grad_();
    retort::MultiTensorAdamW with_refused({a, q}, AdamW{}), alone({b}, AdamW{});
    a.mutable_grad() = torch::ones({40});
    q.mutable_grad() = torch::sparse_coo_tensor(torch::tensor({{1}}), torch::ones({1, 2}), {4, 2});
    CHECK_THROWS_AS(with_refused.step(), retort::ConfigError);
    q.mutable_grad() = torch::Tensor();
    b.mutable_grad() = torch::ones({40});
    for (int i = 0; i < 2; ++i) {
        with_refused.step();
        alone.step();
    }
    CHECK(same(a, b));
}

TEST_CASE("groups have their own options in every optimizer, with every version of LibTorch") {
    const auto check = [](const auto& recipe) {
        INFO(retort::detail::type_name<decltype(recipe)>());
        const auto w = torch::ones({2, 2}, torch::kFloat64).requires_grad_();
        const auto b = torch::ones({2}, torch::kFloat64).requires_grad_();
        const auto optimizer =
            retort::ParameterGroups{recipe,
                                    {retort::no_decay_on_vectors(), {.names = "w", .learning_rate = 0.1}}}
                .build({{"w", w}, {"b", b}});
        for (const auto& each : {w, b}) each.mutable_grad() = torch::zeros_like(each);
        optimizer->step();
        CHECK(close(w, torch::full({2, 2}, 0.995, torch::kFloat64), 1e-12, 0));  // 1 - 0.5 * 0.1 * 0.1
        CHECK(same(b, torch::ones({2}, torch::kFloat64)));
    };
    check(Sgd{.learning_rate = 0.5, .weight_decay = 0.1});
    check(Sgd{.learning_rate = 0.5, .momentum = 0.9, .weight_decay = 0.1});
    check(AdamW{.learning_rate = 0.5, .weight_decay = 0.1});
    check(Lars{.learning_rate = 0.5, .weight_decay = 0.1});  // a gradient of 0: the ratio is 1

    // One group after the other.
    const auto a = torch::ones({1}).requires_grad_(), b = torch::ones({1}).requires_grad_();
    const auto optimizer = AdamW{.learning_rate = 0.5, .weight_decay = 0.1}.build({a});
    using Options = retort::MultiTensorAdamWOptions;
    optimizer->add_param_group(
        {{b}, std::make_unique<Options>(AdamW{.learning_rate = 0.5, .weight_decay = 0.0})});
    for (const auto& each : {a, b}) each.mutable_grad() = torch::zeros({1});
    optimizer->step();
    CHECK(a.item<float>() == Approx(0.95F));
    CHECK(b.item<float>() == 1.0F);
    const auto adding = [&](std::unique_ptr<torch::optim::OptimizerOptions> options) {
        return words_of<retort::ConfigError>(
            [&] { optimizer->add_param_group({{torch::ones({1}).requires_grad_()}, std::move(options)}); });
    };
    CHECK(adding(std::make_unique<retort::MultiTensorSgdOptions>()) ==
          "AdamW: expected a group with options of AdamW, found options of another optimizer");
    CHECK(holds(adding(std::make_unique<Options>(AdamW{.eps = -1})), "AdamW: expected an epsilon"));
    CHECK(optimizer->param_groups().size() == 2);
}

TEST_CASE("LibTorch's optimizers have recipes with their options") {
    const auto w = torch::ones({2}).requires_grad_();
    const auto optimizer =
        retort::FromTorch<torch::optim::SGD>{torch::optim::SGDOptions(0.5).weight_decay(0.1)}.build({w});
    w.mutable_grad() = torch::zeros({2});
    optimizer->step();
    CHECK(close(w, torch::full({2}, 0.95F), 1e-6, 0));
}

TEST_CASE("invalid options of AdamW and Lars are refused") {
    const auto words = [](const auto& options) {
        const auto check = words_of<retort::ConfigError>([&] { options.check(); });
        CHECK(words_of<retort::ConfigError>([&] { options.build({torch::ones({1}).requires_grad_()}); }) ==
              check);
        return check;
    };
    CHECK(words(AdamW{.learning_rate = -1}) == "AdamW: expected a learning rate of at least 0, found -1");
    CHECK(words(AdamW{.betas = {0.9, 1.0}}) == "AdamW: expected betas of at least 0 and below 1, found 1");
    CHECK(words(AdamW{.eps = -1}) == "AdamW: expected an epsilon of at least 0, found -1");
    CHECK(holds(words(AdamW{.weight_decay = std::nan("")}), "AdamW: expected a weight decay"));
    CHECK(holds(words(Lars{.momentum = -1}), "Lars: expected a momentum"));
    CHECK(holds(words(Lars{.learning_rate = -1}), "Lars: expected a learning rate"));
    CHECK(holds(words(Lars{.weight_decay = -1}), "Lars: expected a weight decay"));
    CHECK(words(Lars{.trust = 0}) == "Lars: expected a trust above 0, found 0");
    CHECK(words(Lars{}).empty());
    CHECK(words(AdamW{}).empty());
}

}  // namespace fused_optimizer_test
