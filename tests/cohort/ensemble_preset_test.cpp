// SPDX-License-Identifier: BSL-1.0
/// \file
/// HSAKD and BOC-KD as graphs: against reference values and hand-written steps, and what they leave unchanged.
#include <golden.hpp>
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/cohort.hpp>
#include <retort/data.hpp>
#include <retort/knowledge/connector/identity.hpp>
#include <retort/optim.hpp>
#include <retort/tap.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace ensemble_preset_test {

using namespace retort_test;
using retort::AugmentedOutputs;
using retort::Backbone;
using retort::Cohort;
using retort::Learner;
using retort::Sgd;
using retort::tap;
using retort::Taps;
using torch::nn::functional::cross_entropy;

namespace {

/// The sum of a graph's edges on outputs of one kind, by position.
template <class Graph, class Outputs>
torch::Tensor loss_of(const Graph& graph, const std::vector<Outputs>& outputs, const torch::Tensor& target) {
    torch::Tensor total = torch::zeros({}, torch::kFloat64);
    const PairBatch batch{torch::Tensor(), target};
    graph.each([&](std::size_t, const auto& edge) {
        const double weight = edge.weight(1, {});
        if (weight == 0) return;
        const Outputs& to = outputs.at(edge.receiver());
        if constexpr (std::remove_cvref_t<decltype(edge)>::from_labels) {
            total = total + edge.loss(to, retort::NoOutputs{}, batch, {}) * weight;
        } else {
            total = total + edge.loss(to, outputs.at(edge.source()), batch, {}) * weight;
        }
    });
    return total;
}

/// A ConvNet with two heads, after both of its maps.
torch::nn::Sequential head(std::int64_t channels, std::int64_t classes = 12) {
    using namespace torch::nn;
    return Sequential(Conv2d(ConvNetImpl::conv(channels, 6)), BatchNorm2d(6), ReLU(),
                      AdaptiveAvgPool2d(AdaptiveAvgPool2dOptions(1)), Flatten(), Linear(6, classes));
}
const Taps maps{tap<&ConvOutputs::early>, tap<&ConvOutputs::late>};
auto with_heads(const ConvNet& net, Backbone backbone = Backbone::with_heads) {
    const std::int64_t width = net->first->weight.size(0);
    return retort::augmented(net, maps, {head(width), head(2 * width)}, {.backbone = backbone});
}
retort::data::RotatedBatch turned(const PairBatch& batch) {
    return {retort::data::rotated(batch.first), batch.second, torch::arange(batch.second.size(0))};
}
const Sgd sgd{.learning_rate = 0.05, .momentum = 0.9, .weight_decay = 1e-3};
torch::optim::SGDOptions sgd_by_hand() {
    return torch::optim::SGDOptions(0.05).momentum(0.9).weight_decay(1e-3);
}
/// T^2 KL(source || receiver), mean over the rows.
torch::Tensor divergence(const torch::Tensor& receiver, const torch::Tensor& source, double temperature) {
    return retort::functional::soft_target(receiver, source, {.temperature = temperature});
}
torch::Tensor joint(const torch::Tensor& target) { return retort::functional::joint_labels(target, 4); }
torch::Tensor plain(const torch::Tensor& rows) { return rows.slice(0, 0, rows.size(0), 4); }

/// The number of forward passes of each module of a network.
struct CountedConvNetImpl : ConvNetImpl {
    using ConvNetImpl::ConvNetImpl;
    ConvOutputs forward(const torch::Tensor& images) {
        ++forwards;
        return ConvNetImpl::forward(images);
    }
    int forwards = 0;
};
TORCH_MODULE(CountedConvNet);

template <class Step>
std::map<std::string, std::size_t> operators_of(Step&& step) {
    for (int i = 0; i < 3; ++i) step();
    OperatorCount count;
    step();
    count.stop();
    auto result = count.by_name();
    for (const char* name : {"aten::detach", "detach"}) result.erase(name);
    return result;
}

}  // namespace

TEST_CASE("augmented_teacher, augmented_student and augmented_peers agree with HSAKD's released code") {
    int compared = 0;
    for (const golden::Case& reference : golden::cases("hsakd_teacher__hsakd")) {
        const auto logits = reference.leaf("logits");
        const auto heads = reference.leaves("aux_logits");
        const auto value = loss_of(retort::augmented_teacher(), std::vector{AugmentedOutputs{logits, heads}},
                                   reference.input("target"));
        CHECK(golden::agrees(reference, value, {{"logits", {logits}}, {"aux_logits", heads}}));
        ++compared;
    }
    for (const golden::Case& reference : golden::cases("hsakd_student__hsakd")) {
        const auto logits = reference.leaf("logits_student");
        const auto heads = reference.leaves("aux_logits_student");
        const std::vector outputs{
            AugmentedOutputs{reference.input("logits_teacher"), reference.inputs("aux_logits_teacher")},
            AugmentedOutputs{logits, heads}};
        const auto value = loss_of(retort::augmented_student<0, 1>({.temperature = reference.option("T")}),
                                   outputs, reference.input("target"));
        CHECK(
            golden::agrees(reference, value, {{"logits_student", {logits}}, {"aux_logits_student", heads}}));
        ++compared;
    }
    for (const golden::Case& reference : golden::cases("hsakd_online__hsakd")) {
        const std::vector outputs{
            AugmentedOutputs{reference.leaf("logits_0"), reference.leaves("aux_logits_0")},
            AugmentedOutputs{reference.leaf("logits_1"), reference.leaves("aux_logits_1")}};
        const auto value = loss_of(retort::augmented_peers({.temperature = reference.option("T")}), outputs,
                                   reference.input("target"));
        CHECK(golden::agrees(reference, value,
                             {{"logits_0", {outputs[0].logits}},
                              {"logits_1", {outputs[1].logits}},
                              {"aux_logits_0", outputs[0].heads},
                              {"aux_logits_1", outputs[1].heads}}));
        ++compared;
    }
    CHECK(compared == 10);
}

namespace {
/// The outputs of a student of the reference.
struct Mapped {
    torch::Tensor logits;
    std::vector<torch::Tensor> maps;
};
using MappedEnsemble = retort::StemEnsembleOutputs<Mapped>;
template <std::size_t N>
void compare_compressed(const golden::Case& reference) {
    INFO(reference.name());
    const auto logits = reference.leaves("logits");
    const auto features = reference.leaves("maps");  // of every student, block after block
    REQUIRE(reference.option("blocks") == 2);
    REQUIRE(features.size() == 2 * N);
    const auto ratios = reference.option_list("ratios");
    const retort::CompressedStudentsOptions options{.label_weight = ratios[0],
                                                    .feature_weight = ratios[1],
                                                    .response_weight = ratios[2],
                                                    .temperature = reference.option("T")};
    MappedEnsemble outputs;
    for (std::size_t j = 0; j < N; ++j)
        outputs.students.push_back({logits[j], {features[j], features[N + j]}});
    outputs.logits = retort::LogitEnsemble(static_cast<std::int64_t>(N))->forward(logits);
    golden::Tensors leaves{{"logits", logits}, {"maps", features}};
    const auto check = [&](auto graph) {
        const PairBatch batch{torch::Tensor(), reference.input("target")};
        std::size_t hint = 0;
        graph.each([&](std::size_t, auto& edge) {
            if constexpr (!std::remove_cvref_t<decltype(edge)>::from_labels) {
                edge.prepare(outputs, outputs, batch);
                if (reference.option("adaptation") != 1) return;
                const auto name =
                    retort::detail::concat("adapt.block", hint / (N - 1), ".student", hint % (N - 1) + 1);
                ++hint;
                const auto parts = edge.module()->parameters();
                const torch::NoGradGuard no_grad;
                parts.at(0).copy_(reference.parameter(name + ".weight"));
                parts.at(1).copy_(reference.parameter(name + ".bias"));
                leaves[name + ".weight"] = {parts[0]};
                leaves[name + ".bias"] = {parts[1]};
            }
        });
        const auto value = loss_of(graph, std::vector{outputs}, batch.second);
        if (torch::isfinite(reference.value()).template item<bool>()) {
            CHECK(golden::agrees(reference, value, leaves));
        } else {  // 0 log 0 in its explicit entropy
            CHECK(torch::isfinite(value).template item<bool>());
        }
    };
    if (reference.option("adaptation") == 1) {
        check(retort::compressed_students<N>(Taps{tap<&Mapped::maps, 0>, tap<&Mapped::maps, 1>}, options));
    } else {  // means over the channels, whose numbers may differ
        check(retort::compressed_students<N>(Taps{[](const Mapped& each) { return each.maps.at(0).mean(1); },
                                                  [](const Mapped& each) { return each.maps.at(1).mean(1); }},
                                             options, retort::Identity{}));
    }
}
}  // namespace

TEST_CASE("compressed_students agree with BOC-KD's released code") {
    int compared = 0;
    for (const golden::Case& reference : golden::cases("bockd__bockd")) {
        const double students = reference.option("students");
        if (students == 3) compare_compressed<3>(reference);
        if (students == 5) compare_compressed<5>(reference);
        if (students == 3 || students == 5) ++compared;
    }
    CHECK(compared == 6);
}

TEST_CASE("law 2: a step of two augmented peers is the hand-written step, bit for bit") {
    torch::manual_seed(1);
    CountedConvNet a(4), b(6);
    const auto one = retort::augmented(a, maps, {head(4), head(8)});
    const auto two = retort::augmented(b, maps, {head(6), head(12)});
    ConvNet c(4), d(6);
    const auto first = with_heads(c), second = with_heads(d);
    copy_state(*one, *first);
    copy_state(*two, *second);
    const auto batch = turned(images(1)[0]);
    torch::optim::SGD ours_a(one->parameters(), sgd_by_hand()), ours_b(two->parameters(), sgd_by_hand()),
        hand_a(first->parameters(), sgd_by_hand()), hand_b(second->parameters(), sgd_by_hand());
    const auto by_hand = [&] {
        const AugmentedOutputs z[] = {first->forward(batch.input), second->forward(batch.input)};
        std::vector<torch::Tensor> losses;
        for (std::size_t i = 0; i < 2; ++i) {
            const AugmentedOutputs peer = retort::detail::as_constants(z[1 - i]);
            auto loss = cross_entropy(plain(z[i].logits), batch.target);
            const auto labels = joint(batch.target);
            auto hard = cross_entropy(z[i].heads[0], labels);
            hard = hard + cross_entropy(z[i].heads[1], labels);
            loss = loss + hard;
            auto soft = divergence(z[i].heads[0], peer.heads[0], 3);
            soft = soft + divergence(z[i].heads[1], peer.heads[1], 3);
            loss = loss + soft;
            loss = loss + divergence(z[i].logits, peer.logits, 3);
            losses.push_back(loss);
        }
        hand_a.zero_grad();
        hand_b.zero_grad();
        for (auto& each : losses) each.backward();
        hand_a.step();
        hand_b.step();
    };
    const auto expected = operators_of(by_hand);
    REQUIRE(expected.size() > 20);
    Cohort cohort{Learner{one, ours_a}, Learner{two, ours_b}};
    auto graph = retort::augmented_peers();
    auto run = cohort.along(graph);
    CHECK(operators_of([&] { run.step(batch); }) == expected);
    CHECK(same(state(*one), state(*first)));
    CHECK(same(state(*two), state(*second)));
    CHECK(a->forwards == 4);  // one forward pass per step
    CHECK(b->forwards == 4);
}

TEST_CASE("law 5: the order of augmented peers does not matter") {
    const auto run = [](bool swapped) {
        torch::manual_seed(2);
        ConvNet a(4), b(6);
        const auto one = with_heads(a), two = with_heads(b);
        Cohort cohort{Learner{swapped ? two : one, sgd}, Learner{swapped ? one : two, sgd}};
        auto training = cohort.along(retort::augmented_peers());
        for (const auto& batch : images(3)) training.step(turned(batch));
        return std::pair(state(*one), state(*two));
    };
    const auto straight = run(false), swapped = run(true);
    CHECK(same(straight.first, swapped.first));
    CHECK(same(straight.second, swapped.second));
}

TEST_CASE("a student with heads learns along a graph as in a trainer, and its teacher is unchanged") {
    torch::manual_seed(3);
    ConvNet big(6), small(4), twin(4);
    const auto teacher = with_heads(big), student = with_heads(small), other = with_heads(twin);
    copy_state(*student, *other);
    const auto before = state(*teacher);
    Cohort cohort{Learner{teacher}, Learner{student, sgd}};
    auto graph = retort::augmented_student<0, 1>();
    const retort::SoftTarget soft{.temperature = 3};
    retort::Trainer trainer{
        other, retort::Frozen{teacher},
        retort::Knowledge{retort::OnPlainViews<retort::CrossEntropy>{},
                          retort::AugmentedSoftTarget{retort::AllHeads{}, retort::AllHeads{}}, soft},
        retort::Schedule{1.0, 1.0, 1.0}, sgd};
    auto run = cohort.along(graph);
    for (const auto& batch : images(3)) {
        const auto result = run.step(turned(batch));
        trainer.step(turned(batch));
        CHECK(result.losses[1].terms.size() == 3);
    }
    CHECK(same(state(*student), state(*other)));
    CHECK(same(state(*teacher), before));

    // On the plain views only, computed manually.
    auto plain_graph = retort::augmented_student<0, 1>({.head_weight = 0, .plain_responses = true});
    const auto batch = turned(images(1)[0]);
    const auto result = cohort.along(plain_graph).losses(batch);
    CHECK_FALSE(result[1].terms[1].defined());
    const torch::NoGradGuard no_grad;
    teacher->eval();
    const auto goal = plain(teacher->forward(batch.input).logits);
    const auto own = plain(student->forward(batch.input).logits);
    CHECK(close(result[1].terms[2], divergence(own, goal, 3), 1e-5));
}

TEST_CASE("heads learn on a network that is frozen, apart from them, or with them") {
    const auto batches = images(3);
    const auto train = [&](Backbone backbone, double label_weight) {
        torch::manual_seed(4);
        ConvNet net(4);
        const auto teacher = with_heads(net, backbone);
        const auto before = state(*net);
        const auto heads = state(*teacher);
        Cohort cohort{Learner{teacher, sgd}};
        auto run = cohort.along(retort::augmented_teacher({.label_weight = label_weight}));
        for (const auto& batch : batches) run.step(turned(batch));
        CHECK_FALSE(same(state(*teacher), heads));
        return std::pair(before, state(*net));
    };
    const auto frozen = train(Backbone::frozen, 1.0);
    CHECK(same(frozen.first, frozen.second));  // running statistics, too
    const auto apart = train(Backbone::apart, 1.0);
    CHECK_FALSE(same(apart.first, apart.second));
    CHECK_FALSE(same(train(Backbone::with_heads, 1.0).second, apart.second));
}

TEST_CASE("samples of several views count once, and the accuracy is that of the plain views") {
    torch::manual_seed(6);
    ConvNet a(4), b(4);
    const auto one = with_heads(a), two = with_heads(b);
    Cohort cohort{Learner{one, Sgd{.learning_rate = 1e-12}}, Learner{two, Sgd{.learning_rate = 1e-12}}};
    auto graph = retort::augmented_peers();
    std::vector<retort::data::RotatedBatch> batches;
    double right = 0;
    for (const auto& each : images(2)) {
        batches.push_back(turned(each));
        const torch::NoGradGuard no_grad;
        right +=
            plain(one->forward(batches.back().input).logits).argmax(1).eq(each.second).sum().item<double>();
    }
    const auto& history = cohort.along(graph).fit(batches, {.epochs = 1});
    CHECK(history.last("samples") == 12);
    CHECK(history.last("accuracy_0") == Approx(right / 12));
    CHECK(history.has("augmented_soft_target(heads->heads)_1_to_0"));
}

namespace {
/// After a stem of 4 channels: one map, and logits.
struct StudentOutputs {
    torch::Tensor logits, map;
};
struct SmallStudentImpl : torch::nn::Module {
    explicit SmallStudentImpl(std::int64_t width)
        : convolution(register_module("convolution", ConvNetImpl::conv(4, width))),
          last(register_module("last", torch::nn::Linear(width, 3))) {}
    StudentOutputs forward(const torch::Tensor& x) {
        ++forwards;
        const auto map = torch::relu(convolution->forward(x));
        return {last->forward(map.mean({2, 3})), map};
    }
    torch::nn::Conv2d convolution;
    torch::nn::Linear last;
    int forwards = 0;
};
TORCH_MODULE(SmallStudent);
auto ensemble_of(retort::StemEnsembleOptions options = {}) {
    const torch::nn::Conv2d stem(ConvNetImpl::conv(1, 4));
    std::vector<SmallStudent> students;
    for (std::int64_t j = 0; j < 3; ++j) students.emplace_back(retort::compressed_channels(8, j, 3));
    return retort::stem_ensemble(stem, students, options);
}
const Taps student_maps{tap<&StudentOutputs::map>};
}  // namespace

TEST_CASE("law 2: a step of compressed students is the hand-written step, including adaptations") {
    torch::manual_seed(7);
    const auto net = ensemble_of(), hand = ensemble_of();
    copy_state(*net, *hand);
    const auto batch = images(1)[0];
    Cohort cohort{Learner{net, sgd}};
    auto graph = retort::compressed_students<3>(student_maps);
    // The adaptations are learned from the first step on: weight and bias for 2 students.
    auto run = cohort.along(graph);
    run.step(batch);
    std::size_t learned_parts = 0;
    graph.each([&](std::size_t, const auto& edge) {
        if (edge.module() == nullptr) return;
        for (const auto& part : edge.module()->parameters()) {
            for (const auto& group : run.optimizer(0)->param_groups()) {
                for (const auto& each : group.params()) learned_parts += each.is_same(part) ? 1 : 0;
            }
            CHECK(part.grad().abs().sum().template item<double>() > 0);
        }
    });
    CHECK(learned_parts == 4);

    // Another one with the same adaptations.
    copy_state(*hand, *net);
    torch::nn::Conv2d adaptations[] = {torch::nn::Conv2d(torch::nn::Conv2dOptions(5, 8, 1)),
                                       torch::nn::Conv2d(torch::nn::Conv2dOptions(2, 8, 1))};
    auto fresh = retort::compressed_students<3>(student_maps);
    std::vector<std::shared_ptr<torch::nn::Module>> parts;
    torch::optim::SGD ours(net->parameters(), sgd_by_hand());
    Cohort again{Learner{net, ours}};
    auto second = again.along(fresh);
    const auto loss = second.losses(batch)[0].total;  // determines the sizes of the adaptations
    fresh.each([&](std::size_t, const auto& edge) {
        if (edge.module()) parts.push_back(edge.module());
    });
    REQUIRE(parts.size() == 2);
    std::vector<torch::Tensor> learned = hand->parameters();
    for (std::size_t i = 0; i < 2; ++i) {
        copy_state(*parts[i], *adaptations[i]);
        CHECK_FALSE(same(adaptations[i]->weight.slice(1, 0, 2), adaptations[0]->weight.slice(1, 2, 4)));
    }
    torch::optim::SGD theirs(learned, sgd_by_hand());
    std::vector<torch::Tensor> extra;
    for (const auto& each : adaptations) {
        for (const auto& parameter : each->parameters()) extra.push_back(parameter);
    }
    theirs.add_param_group(torch::optim::OptimizerParamGroup(extra));
    const auto by_hand = [&] {
        const auto outputs = hand->forward(batch.first);
        std::vector<torch::Tensor> terms;
        for (const auto& each : outputs.students)
            terms.push_back(cross_entropy(each.logits, batch.second) * 0.7);
        for (std::size_t j = 1; j < 3; ++j) {
            terms.push_back(torch::mse_loss(adaptations[j - 1]->forward(outputs.students[j].map),
                                            outputs.students[0].map.detach()) *
                            0.15);
        }
        for (const auto& each : outputs.students)
            terms.push_back(divergence(each.logits, outputs.logits, 2) * 0.15);
        torch::Tensor total = terms[0];
        for (std::size_t i = 1; i < terms.size(); ++i) total = total + terms[i];
        theirs.zero_grad();
        total.backward();
        theirs.step();
        return total;
    };
    const auto expected = operators_of([&] { by_hand(); });
    const int before = net->student(2)->forwards;
    CHECK(operators_of([&] { second.step(batch); }) == expected);
    CHECK(net->student(2)->forwards == before + 4);
    CHECK(same(state(*net), state(*hand)));
    for (std::size_t i = 0; i < 2; ++i) CHECK(same(state(*parts[i]), state(*adaptations[i])));
}

TEST_CASE("the weights of an ensemble learn if a term trains them") {
    const auto batch = images(1)[0];
    torch::manual_seed(9);
    const auto net = ensemble_of({.weights = {.learnable = true}});
    const auto outputs = net->forward(batch.first);
    std::vector<torch::Tensor> answers;
    for (const auto& each : outputs.students) answers.push_back(each.logits);
    CHECK(close(outputs.logits, torch::stack(answers).mean(0), 1e-5, 1e-6));  // equal at the start
    Cohort cohort{Learner{net, sgd}};
    auto silent = retort::compressed_students<3>(student_maps);
    cohort.along(silent).step(batch);
    const auto& weights = net->ensemble()->weights;
    CHECK(same(weights, torch::zeros({3})));  // nothing trains them
    auto graph = retort::compressed_students<3>(student_maps, {.ensemble_weight = 0.5});
    const auto result = cohort.along(graph).step(batch);
    CHECK_FALSE(same(weights, torch::zeros({3})));
    CHECK(result.losses[0].terms.back().defined());
    // The ensemble's own loss trains only the weights.
    net->zero_grad();
    cross_entropy(net->forward(batch.first).logits, batch.second).backward();
    for (const auto& each : net->named_parameters()) {
        INFO(each.key());
        const bool zero =
            !each.value().grad().defined() || each.value().grad().abs().sum().item<double>() == 0;
        CHECK(zero == (each.key() != "ensemble.weights"));
    }
}

TEST_CASE("rotated views, manually and in a loader, from any batch on") {
    const auto image = torch::tensor({1, 2, 3, 4}, torch::kByte).view({1, 1, 2, 2});
    const auto views = retort::data::rotated(torch::cat({image, image + 4}));
    REQUIRE(views.sizes() == torch::IntArrayRef({8, 1, 2, 2}));
    CHECK(same(views[1], torch::tensor({2, 4, 1, 3}, torch::kByte).view({1, 2, 2})));
    CHECK(same(views[2], torch::tensor({4, 3, 2, 1}, torch::kByte).view({1, 2, 2})));
    CHECK(same(views[3], torch::tensor({3, 1, 4, 2}, torch::kByte).view({1, 2, 2})));
    CHECK(same(views[4], (image + 4)[0]));
    const auto dataset = retort::data::in_memory(torch::rand({10, 1, 4, 4}), torch::arange(10) % 3, 3);
    const retort::data::LoaderOptions options{.batch_size = 4, .seed = 3};
    const retort::data::Loader plain_batches{dataset, options, retort::data::HorizontalFlip{}};
    const retort::data::Loader rotated{dataset, options,
                                       retort::data::RotatedViews{retort::data::HorizontalFlip{}}};
    CHECK(rotated.size() == 3);
    CHECK(holds(rotated.description(), "10 samples (contents ",
                ") in batches of 4, shuffled, seed 3, RotatedViews{.transform = "
                "HorizontalFlip{.probability = 0.5}}"));
    std::vector<torch::Tensor> inputs;
    for (const auto& batch : plain_batches(1)) inputs.push_back(batch.input);
    std::size_t number = 1;
    for (const auto& batch : rotated(1, 1)) {
        CHECK(same(batch.input, retort::data::rotated(inputs.at(number++))));
        CHECK(retort::view_count(batch) == 4);
        CHECK(batch.input.size(0) == 4 * batch.target.size(0));
        CHECK(same(dataset.targets.index_select(0, batch.index), batch.target));
    }
    CHECK(number == 3);
    CHECK(retort::view_count(images(1)[0]) == 1);
}

namespace {
/// Everything in a cohort trained without interruption, and in one saved in the middle of an epoch and resumed by
/// another one: `make(seed)` returns a cohort.
template <class Make, class Graph, class Source>
void check_resumed(Make&& make, Graph&& graph_of, const Source& source) {
    const TemporaryDirectory directory;
    const auto bytes_of = [&](auto& run) {
        run.save(directory / "all");
        std::map<std::string, torch::Tensor> result;
        for (const auto& item : retort::detail::read_state(directory / "all")) {
            if (!item.name.starts_with("history/")) result[item.name] = item.tensor;
        }
        return result;
    };
    auto whole = make(1).along(graph_of());
    whole.fit(source, {.epochs = 2});
    const auto expected = bytes_of(whole);
    auto first = make(1).along(graph_of());
    first.fit(source, {.epochs = 2}, retort::on_step_end([](retort::FitContext& context) {
                  return context.progress.epoch != 1 || context.progress.step != 1;
              }));
    first.save(directory / "middle");
    auto second = make(2).along(graph_of());
    second.resume(directory / "middle");
    REQUIRE(second.progress().step == 1);
    second.fit(source, {.epochs = 2});
    const auto found = bytes_of(second);
    REQUIRE(found.size() == expected.size());
    for (const auto& [name, value] : expected) {
        INFO(name);
        CHECK(same(found.at(name), value));
    }
}
}  // namespace

TEST_CASE("law 9: augmented peers and compressed students resume in the middle of an epoch, bit for bit") {
    auto generator = at::detail::createCPUGenerator(5);
    const auto dataset = retort::data::in_memory(torch::randn({12, 1, 8, 8}, generator),
                                                 torch::randint(0, 3, {12}, generator, torch::kLong), 3);
    const retort::data::LoaderOptions options{.batch_size = 4, .seed = 3};
    check_resumed(
        [](std::uint64_t seed) {
            torch::manual_seed(seed);
            return Cohort{Learner{with_heads(ConvNet(4, 0.3)), sgd}, Learner{with_heads(ConvNet(6)), sgd}};
        },
        [] { return retort::augmented_peers(); },
        retort::data::Loader{dataset, options, retort::data::RotatedViews{retort::data::HorizontalFlip{}}});
    check_resumed(
        [](std::uint64_t seed) {
            torch::manual_seed(seed);
            return Cohort{Learner{ensemble_of({.weights = {.learnable = true}}), sgd}};
        },
        [] { return retort::compressed_students<3>(student_maps, {.ensemble_weight = 0.5}); },
        retort::data::Loader{dataset, options, retort::data::HorizontalFlip{}});
}

TEST_CASE("mismatched heads, students, views and options are errors") {
    const auto config = [](auto&& function) { return words_of<retort::ConfigError>(function); };
    const auto shape = [](auto&& function) { return words_of<retort::ShapeError>(function); };
    ConvNet net(4);
    const auto batch = images(1)[0];
    CHECK(holds(shape([] { retort::data::rotated(torch::zeros({2, 1, 3, 4})); }), "expected square images",
                "[2, 1, 3, 4]"));
    CHECK(holds(config([] { retort::augmented_peers({.temperature = 0}); }), "temperature"));
    CHECK(holds(config([] { retort::augmented_student<0, 1>({.head_weight = -1}); }),
                "a head_weight of at least 0"));
    CHECK(holds(config([] { retort::augmented_teacher({.views = 0}); }), "at least 1 view"));
    // Batches without views.
    const auto teacher = with_heads(net);
    Cohort cohort{Learner{teacher, sgd}};
    auto graph = retort::augmented_teacher();
    CHECK(holds(shape([&] { cohort.along(graph).step(batch); }),
                "expected 4 consecutive views of each sample"));
    // Heads of different networks.
    ConvNet other(4);
    const auto one_head = retort::augmented(other, Taps{tap<&ConvOutputs::late>}, {head(8)});
    Cohort unequal{Learner{teacher, sgd}, Learner{one_head, sgd}};
    auto peers = retort::augmented_peers();
    CHECK(holds(shape([&] { unequal.along(peers).step(turned(batch)); }), "heads->heads",
                "as many heads of the student as of the teacher"));

    CHECK(retort::compressed_channels(64, 4, 5) == 12);
    CHECK(retort::compressed_channels(16, 1, 5) == 12);
    CHECK(holds(config([] { retort::compressed_channels(16, 5, 5); }), "from 0 to 4"));
    CHECK(holds(config([] { retort::compressed_channels(4, 4, 5); }), "at least 1 channel", "found 0 of 4"));
    CHECK(holds(config([] { retort::compressed_students<3>(student_maps, {.label_weight = -1}); }),
                "a label_weight"));
    const auto ensemble = ensemble_of();
    Cohort three{Learner{ensemble, sgd}};
    auto four = retort::compressed_students<4>(student_maps);
    CHECK(
        holds(shape([&] { three.along(four).step(batch); }), "expected a student 3, found only 3 students"));
}

}  // namespace ensemble_preset_test
