// SPDX-License-Identifier: BSL-1.0
/// \file
/// Teachers: frozen networks and ensembles.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/core/progress.hpp>
#include <retort/teacher.hpp>

namespace teacher_test {

using namespace retort_test;
using retort::Ensemble;
using retort::EnsembleOptions;
using retort::Frozen;

namespace {
/// Returns the same logits for any input, and counts calls and updates.
struct Fixed {
    torch::Tensor answer;
    std::shared_ptr<int> asked = std::make_shared<int>(0), told = std::make_shared<int>(0);
    torch::Tensor operator()(const torch::Tensor&) const {
        ++*asked;
        return answer;
    }
    void update(const retort::Progress&) const { ++*told; }
};
const auto none = torch::rand({1, 4});
torch::Tensor doubles(const std::vector<double>& values) {
    return torch::tensor(values, torch::kFloat64).reshape({1, -1});
}
}  // namespace

TEST_CASE("a frozen network runs in evaluation mode, without gradient, and is unchanged") {
    torch::manual_seed(1);
    ConvNet net(4, 0.5);
    net->train();
    net->norm->eval();
    net->second->weight.requires_grad_(false);
    const auto before = state(*net);
    const auto x = torch::rand({5, 1, 8, 8}).requires_grad_();
    const Frozen teacher{net};
    const auto outputs = teacher(x);
    CHECK_FALSE(outputs.logits.requires_grad());
    CHECK_FALSE(outputs.early.requires_grad());
    CHECK(same(outputs.logits, teacher(x).logits));  // no dropout
    CHECK(same(before, state(*net)));
    CHECK((net->is_training() && !net->norm->is_training() && net->drop->is_training()));
    CHECK((net->first->weight.requires_grad() && !net->second->weight.requires_grad()));
    net->eval();
    const torch::NoGradGuard no_grad;
    CHECK(same(outputs.logits, net->forward(x).logits));
    CHECK(teacher.modules() == std::vector<torch::nn::Module*>{net.get()});
}

TEST_CASE("a teacher's outputs can be saved for a backward pass") {
    Perceptron net;
    const auto w = torch::rand({3, 3}).requires_grad_();
    (Frozen{net}(torch::rand({2, 4})).mm(w)).sum().backward();
    CHECK(w.grad().defined());
}

TEST_CASE("a teacher is a holder, a shared_ptr or a referenced object") {
    Perceptron holder;
    const auto x = torch::rand({2, 4});
    CHECK(same(Frozen{holder}(x), Frozen{holder.ptr()}(x)));
    PerceptronImpl object;
    const Frozen by_reference{object};
    CHECK(by_reference.modules().front() == &object);
    CHECK_THROWS_AS(Frozen{Perceptron(nullptr)}, retort::ConfigError);
}

TEST_CASE("the grad mode of the caller is restored") {
    Perceptron net;
    Frozen{net}(torch::rand({2, 4}));
    CHECK(torch::GradMode::is_enabled());
    CHECK_THROWS(Frozen{net}(torch::rand({2, 5})));
    CHECK(torch::GradMode::is_enabled());
    CHECK(net->is_training());
}

TEST_CASE("an ensemble averages logits, by weight") {
    const Fixed a{doubles({1, 2, 3})}, b{doubles({3, 2, -3})};
    CHECK(close(Ensemble{a, b}(none).logits, doubles({2, 2, 0}), 1e-12));
    CHECK(close(Ensemble{EnsembleOptions{.weights = {3, 1}}, a, b}(none).logits, doubles({1.5, 2, 1.5}),
                1e-12));
    CHECK(close(Ensemble{a}(none).logits, a.answer, 1e-12));
}

TEST_CASE("an ensemble averages probabilities: the softmax of its logits is their mean") {
    const Fixed a{doubles({std::log(8.0), 0})}, b{doubles({0, 0})};  // (8/9, 1/9), (1/2, 1/2)
    Ensemble ensemble{EnsembleOptions{.mean = EnsembleOptions::Mean::of_probabilities, .weights = {1, 3}}, a,
                      b};
    const double p = 0.25 * 8 / 9 + 0.75 / 2;
    CHECK(close(ensemble(none).logits.softmax(1), doubles({p, 1 - p}), 1e-12));
    CHECK(close(ensemble(none).logits.exp(), doubles({p, 1 - p}), 1e-12));
}

TEST_CASE("an ensemble of extreme logits stays finite, in every type") {
    for (const auto type : {torch::kFloat64, torch::kFloat32, torch::kBFloat16, torch::kFloat16}) {
        const Fixed a{doubles({1e4, -1e4}).to(type)}, b{doubles({-1e4, 1e4}).to(type)};
        for (const auto mean : {EnsembleOptions::Mean::of_logits, EnsembleOptions::Mean::of_probabilities}) {
            const auto logits = Ensemble{EnsembleOptions{.mean = mean}, a, b}(none).logits;
            CHECK(logits.isfinite().all().item<bool>());
            CHECK(logits.scalar_type() == type);
            CHECK(close(logits.to(torch::kFloat64).softmax(1), doubles({0.5, 0.5}), 1e-6));
        }
    }
}

TEST_CASE("a weight of 0 leaves a member out of the mean, not out of the outputs") {
    const Fixed a{doubles({1, 2})}, b{doubles({5, 0})};
    for (const auto mean : {EnsembleOptions::Mean::of_logits, EnsembleOptions::Mean::of_probabilities}) {
        const auto outputs = Ensemble{EnsembleOptions{.mean = mean, .weights = {1, 0}}, a, b}(none);
        CHECK(close(outputs.logits.softmax(1), a.answer.softmax(1), 1e-12));
        CHECK(std::get<1>(outputs.members).is_same(b.answer));
    }
}

TEST_CASE("each member is called once, and updated after every step") {
    const Fixed a{doubles({1, 2})}, b{doubles({5, 0})};
    Ensemble ensemble{Ensemble{EnsembleOptions{}, a}, b};
    ensemble(none);
    CHECK((*a.asked == 1 && *b.asked == 1));
    ensemble.update(retort::Progress{});
    CHECK((*a.told == 1 && *b.told == 1));
}

TEST_CASE("members of different outputs, and of an ensemble of ensembles") {
    ConvNet conv;
    const Fixed fixed{torch::zeros({5, 3})};
    Ensemble ensemble{Frozen{conv}, fixed};
    const auto outputs = ensemble(torch::rand({5, 1, 8, 8}));
    CHECK(outputs.logits.sizes() == at::IntArrayRef({5, 3}));
    CHECK(std::get<0>(outputs.members).early.dim() == 4);
    CHECK(ensemble.modules() == std::vector<torch::nn::Module*>{conv.get()});
    ConvNet other;
    Ensemble nested{Ensemble{EnsembleOptions{}, Frozen{conv}}, Frozen{other}};
    CHECK(nested.modules() == std::vector<torch::nn::Module*>{conv.get(), other.get()});
    CHECK(close(nested(torch::ones({1, 1, 8, 8})).logits, (Frozen{conv}(torch::ones({1, 1, 8, 8})).logits +
                                                           Frozen{other}(torch::ones({1, 1, 8, 8})).logits) /
                                                              2));
}

TEST_CASE("an ensemble's logits have no gradient") {
    const Fixed asking{doubles({1, 2}).requires_grad_()};
    CHECK_FALSE((Ensemble{asking, asking}(none).logits.requires_grad()));
}

TEST_CASE("invalid weights are refused") {
    const Fixed a{doubles({1, 2})};
    const auto words = [&](std::vector<double> weights) {
        return words_of<retort::ConfigError>(
            [&] { Ensemble{EnsembleOptions{.weights = std::move(weights)}, a, a}; });
    };
    CHECK(words({1.0}) == "Ensemble: expected one weight for each of the 2 teachers, found 1");
    CHECK(words({1, -1}) == "Ensemble: expected weights of at least 0, found -1");
    CHECK(holds(words({1, std::nan("")}), "found nan"));
    CHECK(holds(words({1, std::numeric_limits<double>::infinity()}), "found inf"));
    CHECK(words({0, 0}) == "Ensemble: expected a weight above 0, found only zeros");
}

TEST_CASE("members with different numbers of classes are named") {
    const Fixed a{doubles({1, 2})}, b{doubles({1, 2, 3})}, flat{torch::rand({3})};
    const auto words = [](auto ensemble) { return words_of<retort::ShapeError>([&] { ensemble(none); }); };
    CHECK(words(Ensemble{a, b}) ==
          "Ensemble: expected the logits of teacher 0 and those of teacher 1 of equal shape, found [1, 2] "
          "and [1, 3]");
    CHECK(holds(words(Ensemble{a, flat}),
                "Ensemble: expected the logits of teacher 1 of shape [batch, classes]"));
}

TEST_CASE("no teacher has no outputs") {
    retort::NoTeacher teacher;
    STATIC_REQUIRE(std::is_same_v<decltype(teacher(none)), retort::NoOutputs>);
    CHECK(retort::detail::teacher_modules(teacher).empty());
}

TEST_CASE("an auxiliary teacher teaches once it has been trained, and not before") {
    torch::manual_seed(1);
    ConvNet net(4, 0.5);
    const retort::Auxiliary auxiliary{net};
    auto copy = auxiliary;  // stored like in a trainer
    const auto x = torch::rand({2, 1, 8, 8});
    const std::string words = "Auxiliary: expected an auxiliary teacher that has been trained (learn)";
    CHECK(holds(words_of<retort::ConfigError>([&] { auxiliary(x); }), words));
    CHECK_THROWS_AS(copy.learn([](ConvNet&) { throw std::runtime_error("half-way"); }), std::runtime_error);
    CHECK_FALSE(auxiliary.learned());
    copy.learn([&](ConvNet& network) {
        CHECK(network.get() == net.get());
        CHECK_FALSE(auxiliary.learned());
        const torch::NoGradGuard no_grad;
        network->last->bias.fill_(7);
    });
    CHECK(auxiliary.learned());
    CHECK(same(auxiliary(x).logits, Frozen{net}(x).logits));
    CHECK_FALSE(auxiliary(x).logits.requires_grad());
    CHECK(auxiliary.modules() == std::vector<torch::nn::Module*>{net.get()});
    retort::Auxiliary object{*net};  // a module object is referenced
    object.learn([&](ConvNetImpl& network) { CHECK(&network == net.get()); });
    CHECK(object.learned());
}

TEST_CASE("each network of a distillation chain teaches the next") {
    Perceptron large(16), middle(8), small(4);
    const auto x = torch::rand({3, 4});
    std::vector<std::string> seen;
    const auto remember = [&](const std::string& learner, std::size_t generation) {
        seen.push_back(learner + std::to_string(generation));
    };
    // Each adopts the bias of its teacher's output, so that the last one has that of the first.
    retort::distillation_chain(
        Fixed{torch::full({1, 3}, 5.0)},
        [&](auto& learner, const auto& teacher, std::size_t generation) {
            const torch::NoGradGuard no_grad;
            learner->last->weight.zero_();
            learner->last->bias.copy_(teacher(x)[0] + 1);
            remember(learner.get() == middle.get() ? "middle" : "small", generation);
        },
        middle, small);
    CHECK(seen == std::vector<std::string>{"middle0", "small1"});
    CHECK(small->last->bias.eq(7).all().item<bool>());

    std::vector<Perceptron> generations;
    for (int i = 0; i < 4; ++i) generations.emplace_back(4);
    retort::distillation_chain(
        Frozen{large},
        [&](Perceptron& learner, const auto& teacher, std::size_t generation) {
            REQUIRE(teacher.modules().size() == 1);
            CHECK(teacher.modules()[0] ==
                  (generation == 0 ? large.get() : generations[generation - 1].get()));
            CHECK(learner.get() == generations[generation].get());
            seen.emplace_back();
        },
        generations);
    CHECK(seen.size() == 2 + 4);
}

}  // namespace teacher_test
