// SPDX-License-Identifier: BSL-1.0
#include <golden.hpp>
#include <retort_test.hpp>

#include <retort/community/elastic_weights.hpp>
#include <retort/community/rehearsal.hpp>
#include <retort/knowledge/adaptor/sum.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/optim/sgd.hpp>
#include <retort/teacher/no_teacher.hpp>
#include <retort/trainer/trainer.hpp>

namespace retention_test {

namespace golden = retort_test::golden;
using namespace retort::community;
using retort::NamedParameter;
using retort_test::close;
using retort_test::same;
using Labels = FisherOptions::Labels;
using Tasks = ElasticWeightsOptions::Tasks;

// --- elastic weights ---

/// The reference's network, fc2(tanh(fc1 x)), with weights by name.
std::vector<NamedParameter> weights_of(const golden::Case& each, std::size_t task,
                                       const std::vector<std::string>& names) {
    std::vector<NamedParameter> result;
    for (const std::string& name : names)
        result.push_back({name, each.parameters(name).at(task).clone().requires_grad_()});
    return result;
}
torch::Tensor logits_of(const std::vector<NamedParameter>& w, const torch::Tensor& x) {
    return torch::linear(torch::tanh(torch::linear(x, w[0].tensor, w[1].tensor)), w[2].tensor, w[3].tensor);
}
const std::vector<std::string> all_names{"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"};

struct Reference {
    FisherOptions fisher{};
    ElasticWeightsOptions weights{};
    std::string labels = "labels";
    double factor = 1;  ///< of the Fisher information
    std::vector<std::int64_t> classes{};
};

void compare(const golden::Case& each, const Reference& how) {
    INFO(each.file() << "/" << each.name());
    ElasticWeights elastic(how.weights);
    const std::size_t tasks = each.inputs("x").size();
    for (std::size_t task = 0; task < tasks; ++task) {
        const auto w = weights_of(each, task, all_names);
        const auto logits = [&](const torch::Tensor& x) {
            torch::Tensor all = logits_of(w, x);
            return how.classes.empty() ? all : all.index_select(1, torch::tensor(how.classes));
        };
        torch::Tensor labels;
        if (how.fisher.labels == Labels::given) {
            labels = each.inputs(how.labels)[task].clone();
            for (std::size_t i = 0; i < how.classes.size(); ++i)  // positions in the list; it is ascending
                labels.masked_fill_(each.inputs(how.labels)[task] == how.classes[i],
                                    static_cast<std::int64_t>(i));
        }
        std::vector<torch::Tensor> fisher = diagonal_fisher(retort::detail::tensors_of(w), logits,
                                                            each.inputs("x")[task], labels, how.fisher);
        for (torch::Tensor& f : fisher) f *= how.factor;
        if (how.weights.tasks == Tasks::separate) {
            for (std::size_t i = 0; i < fisher.size(); ++i)
                CHECK(close(fisher[i], each.components("fisher." + all_names[i])[task], 1e-9, 1e-12));
        }
        elastic.consolidate(w, fisher);
    }
    std::vector<NamedParameter> current;
    golden::Tensors leaves;
    for (const std::string& name : all_names) {
        const torch::Tensor leaf = each.leaf("current." + name);
        current.push_back({name, leaf});
        leaves["current." + name] = {leaf};
    }
    CHECK(golden::agrees(each, elastic.penalty(current), leaves));
}

TEST_CASE("elastic weights: Avalanche") {
    for (const golden::Case& each : golden::cases("ewc__avalanche")) {
        const bool online = each.word("mode") == "online";
        compare(each, {.fisher = {.labels = Labels::given,
                                  .batch = static_cast<std::int64_t>(each.option("batch"))},
                       .weights = {.weight = 2 * each.option("ewc_lambda"),
                                   .tasks = online ? Tasks::online : Tasks::separate,
                                   .decay = online ? each.option("decay_factor") : 1}});
    }
}

TEST_CASE("elastic weights: continual-learning") {
    for (const golden::Case& each : golden::cases("ewc__continual_learning")) {
        if (each.name() == "one_sample") continue;  // it divides by 0
        const std::string labels = each.word("fisher_labels");
        const auto batch = static_cast<std::int64_t>(each.option("batch"));
        Reference how{.fisher = {.labels = labels == "pred"  ? Labels::predicted
                                           : labels == "all" ? Labels::expected
                                                             : Labels::given,
                                 .batch = batch}};
        how.labels = labels == "sample" ? "sampled_labels" : "labels";
        const std::int64_t samples = each.inputs("x")[0].size(0);
        const std::int64_t batches = (samples + batch - 1) / batch;
        // It divides by one batch too few.
        how.factor = static_cast<double>(batches) / static_cast<double>(batches - 1);
        if (each.option("fisher_n") > 0) {
            how.fisher.samples = static_cast<std::int64_t>(each.option("fisher_n")) + 1;
            how.factor = 1;
        }
        const double gamma = each.option("gamma");
        how.weights = {.weight = each.option("offline") == 1 ? 1 : gamma,  // gamma counts twice there
                       .tasks = each.option("offline") == 1 ? Tasks::separate : Tasks::online,
                       .decay = gamma};
        for (const double c : each.option_list("allowed_classes"))
            how.classes.push_back(static_cast<std::int64_t>(c));
        compare(each, how);
    }
}

TEST_CASE("elastic weights: moskomule/ewc.pytorch") {
    for (const golden::Case& each : golden::cases("ewc__moskomule"))
        compare(each, {.fisher = {.labels = Labels::predicted}, .weights = {.weight = 2}});
}

TEST_CASE("elastic weights: FACIL averages the information of the tasks") {
    int compared = 0;
    for (const golden::Case& each : golden::cases("ewc__facil")) {
        const std::string type = each.word("sampling_type");
        const auto batch = static_cast<std::int64_t>(each.option("batch"));
        if (each.option("alpha") < 0 || each.option("num_samples") > 0 || type == "multinomial") continue;
        if (each.inputs("x")[0].size(0) % batch != 0 || each.inputs("x").back().size(0) % batch != 0)
            continue;
        INFO(each.name());
        ElasticWeights elastic(ElasticWeightsOptions{
            .weight = each.option("lamb"), .tasks = Tasks::average, .decay = each.option("alpha")});
        const std::vector<std::string> names{"fc1.weight", "fc1.bias"};
        for (std::size_t task = 0; task < each.inputs("x").size(); ++task) {
            const auto w = weights_of(each, task, names);
            const auto logits = [&](const torch::Tensor& x) {
                const torch::Tensor features = torch::tanh(torch::linear(x, w[0].tensor, w[1].tensor));
                std::vector<torch::Tensor> heads;
                for (std::size_t head = 0; head <= task; ++head) {
                    const std::string name = "task" + std::to_string(task) + ".head" + std::to_string(head);
                    heads.push_back(torch::linear(features, each.parameter(name + ".weight"),
                                                  each.parameter(name + ".bias")));
                }
                return torch::cat(heads, 1);
            };
            elastic.consolidate(
                w, diagonal_fisher(
                       retort::detail::tensors_of(w), logits, each.inputs("x")[task],
                       each.inputs("labels")[task],
                       {.labels = type == "true" ? Labels::given : Labels::predicted, .batch = batch}));
        }
        golden::Tensors leaves;
        std::vector<NamedParameter> current;
        for (const std::string& name : names) {
            current.push_back({name, each.leaf("current." + name)});
            leaves["current." + name] = {current.back().tensor};
        }
        CHECK(golden::agrees(each, elastic.penalty(current), leaves));
        ++compared;
    }
    CHECK(compared >= 3);
}

using Network = torch::nn::Sequential;
Network make_network() {
    torch::manual_seed(1);
    return Network(torch::nn::Linear(3, 4), torch::nn::Tanh(), torch::nn::Linear(4, 2));
}
using Batch = std::pair<torch::Tensor, torch::Tensor>;
struct WithLogits : torch::nn::Module {
    WithLogits() : body(register_module("body", make_network())) {}
    torch::Tensor forward(const torch::Tensor& x) { return body->forward(x); }
    Network body;
};

/// The weights after some steps on new data, with the knowledge.
template <class K>
torch::Tensor trained(K knowledge, ElasticWeights* elastic = nullptr) {
    const auto student = std::make_shared<WithLogits>();
    torch::manual_seed(2);
    const torch::Tensor x = torch::randn({20, 3});
    if (elastic != nullptr)
        elastic->consolidate(*student, [&](const auto& input) { return student->forward(input); }, x);
    retort::Trainer trainer{student, retort::NoTeacher{}, std::move(knowledge),
                            retort::Sgd{.learning_rate = 0.05}};
    for (int i = 0; i < 20; ++i) trainer.step(Batch{x, torch::arange(20).remainder(2)});
    return torch::cat({student->parameters()[0].flatten(), student->parameters()[2].flatten()}).detach();
}

TEST_CASE("elastic weights: in a trainer, a term like any other") {
    const torch::Tensor begin = [] {
        const WithLogits net;
        return torch::cat({net.parameters()[0].flatten(), net.parameters()[2].flatten()}).detach();
    }();
    const torch::Tensor free = trained(retort::Knowledge{1.0 * retort::CrossEntropy{}});
    ElasticWeights held(ElasticWeightsOptions{.weight = 30});
    const torch::Tensor with = trained(retort::Knowledge{1.0 * retort::CrossEntropy{}, 1.0 * held}, &held);
    CHECK((with - begin).norm().item<double>() < 0.7 * (free - begin).norm().item<double>());
    SECTION("at weight 0 it changes no bit") {
        ElasticWeights none;
        CHECK(same(trained(retort::Knowledge{1.0 * retort::CrossEntropy{}, 0.0 * none}, &none), free));
    }
    SECTION("before the first task it is 0") {
        CHECK(same(trained(retort::Knowledge{1.0 * retort::CrossEntropy{}, 1.0 * ElasticWeights{}}), free));
    }
    SECTION("in another term") {
        ElasticWeights inner(ElasticWeightsOptions{.weight = 30});
        const auto sum = retort::Sum{1.0 * inner};
        static_assert(decltype(sum)::reads_parameters);
        CHECK(same(trained(retort::Knowledge{1.0 * retort::CrossEntropy{}, 1.0 * sum}, &inner), with));
    }
}

TEST_CASE("elastic weights: without the student, an error") {
    ElasticWeights elastic;
    retort::Knowledge knowledge{elastic};
    const torch::Tensor outputs = torch::zeros({2, 2});
    CHECK_THROWS_WITH(elastic(outputs, retort::NoOutputs{}, outputs),
                      Catch::Contains("expected the student's parameters (bind), found none"));
    CHECK_THROWS_WITH(ElasticWeights(ElasticWeightsOptions{.weight = -1}),
                      "ElasticWeights: expected a weight of at least 0, found -1");
    CHECK_THROWS_WITH(elastic.consolidate({{"a", torch::zeros(2)}}, {}),
                      "ElasticWeights: expected 1 tensors of the Fisher information, found 0");
    elastic.consolidate({{"a", torch::zeros(2)}}, {torch::ones(2)});
    CHECK_THROWS_WITH(elastic.penalty({{"b", torch::zeros(2)}}),
                      "ElasticWeights: expected a parameter a, found none");
}

TEST_CASE("elastic weights: separate tasks take the memory of one, and their state is stored") {
    torch::manual_seed(1);
    ElasticWeights elastic(ElasticWeightsOptions{.weight = 2});
    torch::Tensor expected = torch::zeros({}, torch::kFloat64);
    const torch::Tensor now = torch::randn(5, torch::kFloat64);
    for (int task = 0; task < 6; ++task) {
        const torch::Tensor anchor = torch::randn(5, torch::kFloat64);
        const torch::Tensor fisher = torch::rand(5, torch::kFloat64) * (torch::arange(5) != task % 5);
        elastic.consolidate({{"w", anchor}}, {fisher});
        expected = expected + (fisher * (now - anchor).square()).sum();
    }
    CHECK(close(elastic.penalty({{"w", now}}), expected, 1e-12));
    retort::detail::StateItems items;
    retort::Archive saved(items);
    elastic.checkpoint(saved);
    CHECK(items.size() < 10);
    ElasticWeights other(ElasticWeightsOptions{.weight = 2});
    retort::Archive loaded(items, true, "here");
    other.checkpoint(loaded);
    CHECK(same(other.penalty({{"w", now}}), elastic.penalty({{"w", now}})));
}

// --- rehearsal ---

torch::Tensor places(const std::vector<std::int64_t>& values) { return torch::tensor(values, torch::kInt64); }

TEST_CASE("herding: published codes") {
    using Normalize = HerdingOptions::Normalize;
    const auto compare_all = [](const std::string& file, auto&& options) {
        for (const golden::Case& each : golden::cases(file)) {
            // Near ties, which the last bit decides.
            if (each.name().starts_with("duplicates") || each.name().starts_with("opposite_pairs")) continue;
            if (each.name() == "three_classes") continue;  // of one class only here
            INFO(file << "/" << each.name());
            const torch::Tensor found = herding(
                each.input("features"), static_cast<std::int64_t>(each.option("count")), options(each));
            CHECK(same(found, each.component("selected")));
        }
    };
    compare_all("herding__avalanche", [](const auto&) { return HerdingOptions{}; });
    compare_all("herding__facil", [](const auto&) { return HerdingOptions{.normalize = Normalize::rows}; });
    compare_all("herding__continual_learning", [](const auto& each) {
        return HerdingOptions{.normalize = each.option("normali"
                                                       "se") == 1
                                               ? Normalize::and_mean
                                               : Normalize::none};
    });
    compare_all("herding__icarl", [](const auto& each) {
        return HerdingOptions{.classical = true,
                              .iterations = static_cast<std::int64_t>(each.option("max_iterations"))};
    });
}

TEST_CASE("reservoir: algorithm R of continual-learning") {
    for (const golden::Case& each : golden::cases("reservoir__continual_learning")) {
        const auto budget = static_cast<std::int64_t>(each.option("budget"));
        const auto samples = static_cast<std::int64_t>(each.option("samples"));
        std::vector<std::int64_t> buffer;
        for (std::int64_t i = 0; i < samples; ++i) {
            const std::int64_t draw = i < budget ? 0 : each.input("draws")[i - budget].item<std::int64_t>();
            const std::int64_t place = reservoir_place(i, budget, draw);
            if (place == static_cast<std::int64_t>(buffer.size())) {
                buffer.push_back(i);
            } else if (place >= 0) {
                buffer[static_cast<std::size_t>(place)] = i;
            }
        }
        CHECK(same(places(buffer), each.component("buffer")));
    }
}

TEST_CASE("rehearsal: shares never exceed the memory") {
    for (const golden::Case& each : golden::cases("rehearsal_quota__avalanche_facil")) {
        if (each.option("adaptive") != 1) continue;
        INFO(each.name());
        const auto found = shares_of(static_cast<std::int64_t>(each.option("size")),
                                     static_cast<std::int64_t>(each.option("groups")));
        CHECK(same(places(found), each.component("avalanche")));
    }
}

TEST_CASE("rehearsal: the memory is bounded, and early tasks keep their best samples") {
    RehearsalMemory memory(10);
    for (std::size_t task = 0; task < 4; ++task) {
        const torch::Tensor input =
            torch::arange(8).unsqueeze(1).to(torch::kFloat) + 100 * static_cast<int>(task);
        memory.add(task, input, torch::ones({8, 1}));
        CHECK(memory.size() <= 10);
    }
    CHECK(memory.size() == 10);
    CHECK(memory.tasks()[0].input.flatten()[0].item<float>() == 0);
    CHECK(memory.tasks()[0].input.size(0) == 3);
    CHECK_THROWS_AS(memory.add(0, torch::ones({2, 1}), torch::ones({3, 1})), retort::ShapeError);
}

struct Heads {
    torch::Tensor logits;
    std::vector<torch::Tensor> heads;
};
struct TwoHeads : torch::nn::Module {
    TwoHeads()
        : trunk(register_module("trunk", torch::nn::Linear(3, 4))),
          one(register_module("one", torch::nn::Linear(4, 2))),
          two(register_module("two", torch::nn::Linear(4, 3))) {}
    Heads forward(const torch::Tensor& x) {
        const torch::Tensor features = torch::tanh(trunk->forward(x));
        const torch::Tensor a = one->forward(features), b = two->forward(features);
        return {b, {a, b}};
    }
    torch::nn::Linear trunk, one, two;
};

TEST_CASE("rehearsal: the cross-entropy of the earlier heads") {
    torch::manual_seed(1);
    const auto net = std::make_shared<TwoHeads>();
    Rehearsal rehearsal(RehearsalOptions{.places = 12, .batch = 12, .weight = 0.5});
    const torch::Tensor x = torch::randn({4, 3});
    const Heads outputs = net->forward(x);
    const torch::Tensor first = torch::randn({6, 3}), second = torch::randn({6, 3});
    const torch::Tensor p = torch::softmax(torch::randn({6, 2}), 1),
                        q = torch::softmax(torch::randn({6, 3}), 1);
    CHECK(rehearsal(outputs, retort::NoOutputs{}, x, retort::Progress{}).item<float>() == 0);
    rehearsal.memory().add(0, first, p);
    rehearsal.memory().add(1, second, q);
    CHECK_THROWS_WITH(rehearsal(outputs, retort::NoOutputs{}, x, retort::Progress{}),
                      Catch::Contains("expected the student (bind), found none"));
    rehearsal.bind(retort::NetworkRef<std::shared_ptr<TwoHeads>>(net));
    const torch::Tensor found = rehearsal(outputs, retort::NoOutputs{}, x, retort::Progress{});
    const torch::Tensor expected = -0.5 / 12 *
                                   ((p * torch::log_softmax(net->forward(first).heads[0], 1)).sum() +
                                    (q * torch::log_softmax(net->forward(second).heads[1], 1)).sum());
    CHECK(close(found, expected, 1e-6));
    found.backward();
    CHECK(net->trunk->weight.grad().defined());
}

}  // namespace retention_test
