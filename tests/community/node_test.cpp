// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>

#include <retort/community.hpp>
#include <retort/optim/sgd.hpp>
#include <retort/transport.hpp>

namespace node_test {

using namespace retort::community;
using retort::transport::Local;
using retort::transport::LocalNetwork;
using retort::transport::Message;
using retort::transport::Messenger;
using retort_test::same;
using retort_test::TemporaryDirectory;
using Outcome = CycleReport::Outcome;

struct TrunkImpl : torch::nn::Module {
    TrunkImpl() : body(register_module("body", torch::nn::Linear(6, 16))) {}
    torch::Tensor forward(const torch::Tensor& x) { return torch::tanh(body->forward(x)); }
    torch::nn::Linear body;
};
TORCH_MODULE(Trunk);

/// Where a test can make a node die while it learns.
struct MakeTrunk {
    std::shared_ptr<int> left = std::make_shared<int>(1000);
    Trunk operator()() const {
        if ((*left)-- == 0) throw retort::transport::Death{"learning"};
        return Trunk();
    }
};
using TestNode = Node<MakeTrunk, Mahalanobis, Best, ElasticWeights, retort::Sgd, Local>;

/// Two classes in a place of their own.
struct Data {
    torch::Tensor input, target;
};
/// Where the data of a task are, and in which direction its classes lie apart.
std::pair<torch::Tensor, torch::Tensor> geometry(int task) {
    torch::manual_seed(static_cast<std::uint64_t>(1000 + task));
    const torch::Tensor place = 2 * torch::randn({6});
    const torch::Tensor apart = torch::randn({6});
    return {place, apart / apart.norm()};
}
Data data_of(int task, std::int64_t count, std::int64_t seed) {
    const auto [place, apart] = geometry(task);
    torch::manual_seed(static_cast<std::uint64_t>(10 * seed + task));
    const torch::Tensor target = torch::arange(count).remainder(2);
    const torch::Tensor side = (target * 2 - 1).to(torch::kFloat).unsqueeze(1);
    return {place + 1.5 * side * apart + 0.4 * torch::randn({count, 6}), target};
}
const std::vector<std::string> sides{"left", "right"};

NodeOptions options_of(const std::string& name) {
    return {
        .name = name, .lesson = 64, .chunk = 40, .references = 64, .holdout = 32, .epochs = 20, .batch = 16};
}
std::unique_ptr<TestNode> make_node(const LocalNetwork& network, const NodeOptions& options,
                                    const MakeTrunk& make = {}) {
    return std::make_unique<TestNode>(make, Mahalanobis({.space = Space::input}), Best{},
                                      ElasticWeights({.weight = 10, .fisher = {.samples = 16}}),
                                      retort::Sgd{.learning_rate = 0.1, .momentum = 0.9},
                                      network.node(options.name), options);
}
/// A node that knows a task from the start.
std::unique_ptr<TestNode> expert(const LocalNetwork& network, const NodeOptions& options, int task) {
    auto node = make_node(network, options);
    const Data own = data_of(task, 160, 1);
    node->learn_own(sides, own.input, own.target);
    return node;
}
double accuracy(const TestNode& node, int task) {
    const Data test = data_of(task, 100, 3);
    const Observation seen = node.assess(test.input);
    return seen.logits.argmax(1).eq(test.target).to(torch::kDouble).mean().item<double>();
}
CycleReport learn(TestNode& node, int task) {
    const Data stream = data_of(task, 64, 2);
    node.observe(stream.input);
    return node.learn();
}

TEST_CASE("node: a student finds out who knows, and learns from them") {
    const LocalNetwork network;
    const auto a = expert(network, options_of("a"), 0);
    const auto b = expert(network, options_of("b"), 1);
    const auto c = expert(network, options_of("c"), 2);
    a->hello();
    CHECK(a->roster().size() == 2);

    CHECK(a->observe(data_of(0, 64, 2).input).known);
    CHECK_FALSE(a->ready());
    CHECK(a->learn().outcome == Outcome::nothing);

    const double own = accuracy(*a, 0);
    CHECK(own > 0.9);
    const CycleReport report = learn(*a, 2);
    CHECK(report.outcome == Outcome::learned);
    CHECK(report.teachers == std::vector<std::string>{"c"});
    CHECK(report.offers >= 1);
    CHECK(report.traffic.bytes_sent > 64 * 6 * 4);
    CHECK(a->tasks() == 2);
    CHECK(a->learned_from(1) == "c");
    CHECK(a->classes(1) == sides);
    CHECK(accuracy(*a, 2) > 0.9);
    CHECK(accuracy(*a, 0) > own - 0.1);
    CHECK(a->ledger().count(LedgerEntry::Kind::learned) == 1);
    CHECK(a->ledger().entries().back().second.rows == 64);
    CHECK(c->taught().count(LedgerEntry::Kind::taught) >= 2);  // chunks
    CHECK(b->taught().entries().empty());
    CHECK(a->roster().reputation("c") > 0.5);

    // Now it knows, and can teach: alone with it, another node learns from it what it was never shown labels of.
    CHECK(a->observe(data_of(2, 64, 4).input).known);
    (void)network.kill("c");
    NodeOptions patient = options_of("d");
    patient.tolerance = 0.5;  // its own task is not what this is about
    const auto d = expert(network, patient, 3);
    const CycleReport next = learn(*d, 2);
    for (const auto& [who, why] : next.refused) UNSCOPED_INFO(who << ": " << why);
    CHECK(next.outcome == Outcome::learned);
    CHECK(next.teachers == std::vector<std::string>{"a"});
    CHECK(accuracy(*d, 2) > 0.9);
}

TEST_CASE("node: data that nobody knows are kept, and learned when somebody comes who does") {
    const LocalNetwork network;
    const auto a = expert(network, options_of("a"), 0);
    const auto b = expert(network, options_of("b"), 1);
    const std::string before = a->model();
    CHECK(learn(*a, 3).outcome == Outcome::unanswered);
    CHECK(a->model() == before);
    CHECK(a->ready());
    CHECK(a->ledger().count(LedgerEntry::Kind::unknown) == 1);
    const auto d = expert(network, options_of("d"), 3);
    d->hello();
    const CycleReport report = a->learn();
    CHECK(report.outcome == Outcome::learned);
    CHECK(report.teachers == std::vector<std::string>{"d"});
}

TEST_CASE("node: what is kept is bounded") {
    const LocalNetwork network;
    NodeOptions few = options_of("a");
    few.tasks = 1;
    const auto a = expert(network, few, 0);
    const auto b = expert(network, options_of("b"), 1);
    for (int i = 0; i < 5; ++i) a->observe(data_of(1, 50, 10 + i).input);
    CHECK(a->observe(data_of(1, 50, 9).input).collected == 64);
    CHECK(a->learn().outcome == Outcome::refused);
    CHECK(a->tasks() == 1);
    CHECK_THROWS_AS(a->learn_own(sides, data_of(1, 50, 1).input, data_of(1, 50, 1).target),
                    retort::ConfigError);
}

/// The opposite of a retention: once told to, it replaces the trunk by each step's gradient (at a learning rate of 0.1).
struct Collapse {
    static constexpr bool needs_teacher = false;
    static constexpr bool needs_target = false;
    static constexpr bool reads_parameters = true;
    struct State {
        double weight = 0;
        std::vector<torch::Tensor> trunk{};
    };
    std::shared_ptr<State> state = std::make_shared<State>();
    template <class Student>
    void bind(const retort::NetworkRef<Student>& student) {
        state->trunk.clear();
        for (const auto& each : student.module().named_parameters()) {
            if (each.key().starts_with("trunk.")) state->trunk.push_back(each.value());
        }
    }
    template <class Outputs, class B>
    torch::Tensor operator()(const Outputs&, const retort::NoOutputs&, const B&) const {
        torch::Tensor sum = torch::zeros({});
        for (const torch::Tensor& each : state->trunk) sum = sum + each.square().sum();
        return state->weight * sum;
    }
    template <class Net>
    void retain(Net&, std::size_t, const torch::Tensor&, const torch::Tensor&) {}
};

TEST_CASE("node: a lesson that would make it forget leaves the weights") {
    const LocalNetwork network;
    NodeOptions options = options_of("a");
    options.epochs = 60;
    const Collapse collapse;
    Node<MakeTrunk, Mahalanobis, Best, Collapse, retort::Sgd, Local> a(
        MakeTrunk{}, Mahalanobis({.space = Space::input}), Best{}, collapse,
        retort::Sgd{.learning_rate = 0.1}, network.node("a"), options);
    const Data own = data_of(0, 160, 1);
    a.learn_own(sides, own.input, own.target);
    const auto b = expert(network, options_of("b"), 1);
    const std::string before = a.model();
    collapse.state->weight = 5;
    a.observe(data_of(1, 64, 2).input);
    const CycleReport report = a.learn();
    CHECK(report.outcome == Outcome::refused);
    CHECK(a.model() == before);
    CHECK(a.tasks() == 1);
    REQUIRE(report.refused.size() == 1);
    CHECK(report.refused[0].first == "b");
    CHECK_THAT(report.refused[0].second, Catch::Contains("task 0 would be forgotten"));
    // The data are kept: another lesson may go well.
    collapse.state->weight = 0;
    CHECK(a.ready());
    CHECK(a.learn().outcome == Outcome::learned);
}

// --- teachers that cannot be trusted ---

enum class Fault {
    nan,
    infinite,
    shape,
    classes,
    shuffled,
    other_model,
    other_labels,
    lie,
    huge,
    type,
    error,
    silent_offer
};

/// Claims to know everything, best of all, and answers lessons with a fault.
class BadTeacher {
  public:
    BadTeacher(const LocalNetwork& network, const std::string& name, Fault fault)
        : fault_(fault),
          messenger_(network.node(name),
                     {.name = name, .run = "community", .inbox = "retort.community.inbox"}) {
        served_.push_back(messenger_.serve("retort.community.hello", [](const Message&) {
            return Message{.kind = "HELLO", .fields = {{"input", ""}, {"tasks", "1"}}};
        }));
        served_.push_back(messenger_.serve("retort.community.query", [this](const Message& query) {
            Message offer{.kind = "OFFER", .model = "m"};
            offer.fields = {{"task", "0"},
                            {"classes", R"(["left","right"])"},
                            {"covers", "[0,1]"},
                            {"outside", "0"},
                            {"strangeness", "0"}};
            torch::Tensor logits = honest(query.tensor("probe"));
            if (fault_ == Fault::silent_offer) logits = torch::full_like(logits, std::nan(""));
            offer.tensors.insert("logits", logits);
            return offer;
        }));
        served_.push_back(messenger_.serve("retort.community.lesson." + name, [this](const Message& lesson) {
            const torch::Tensor rows = lesson.tensor("rows");
            torch::Tensor logits = honest(rows).clone();
            Message answer{.kind = "LABELS", .model = "m"};
            if (fault_ == Fault::nan) logits[3][0] = std::nan("");
            if (fault_ == Fault::infinite) logits[0][0] = std::numeric_limits<float>::infinity();
            if (fault_ == Fault::shape) logits = logits.narrow(0, 1, logits.size(0) - 1).contiguous();
            if (fault_ == Fault::classes) logits = torch::cat({logits, logits}, 1);
            if (fault_ == Fault::shuffled) logits = logits.flip(0).contiguous();
            if (fault_ == Fault::other_model) answer.model = "n";
            if (fault_ == Fault::other_labels) logits = -logits;
            if (fault_ == Fault::huge) logits = logits * 1e6;
            if (fault_ == Fault::type) logits = logits.to(torch::kLong);
            if (fault_ == Fault::error) throw std::runtime_error("no time today");
            answer.tensors.insert("logits", logits);
            answer.tensors.insert("known", torch::ones({rows.size(0)}, torch::kBool));
            return answer;
        }));
    }

  private:
    /// The truth about the student's own task; a liar tells the opposite.
    torch::Tensor honest(const torch::Tensor& rows) const {
        const auto [place, apart] = geometry(0);
        const torch::Tensor x =
            (rows - place).matmul(apart).unsqueeze(1) * (fault_ == Fault::lie ? -1.0 : 1.0);
        return torch::cat({-x, x}, 1);
    }

    Fault fault_;
    Messenger<Local> messenger_;
    std::vector<retort::transport::Subscription> served_;
};

TEST_CASE("node: labels that cannot be trusted leave the weights, and the honest second best teaches") {
    const std::map<Fault, std::string> reasons{{Fault::nan, "not finite"},
                                               {Fault::infinite, "not finite"},
                                               {Fault::shape, "labels of shape"},
                                               {Fault::classes, "labels of shape"},
                                               {Fault::shuffled, "rows"},
                                               {Fault::other_model, "labels of model n"},
                                               {Fault::other_labels, "labels other than the offer's"},
                                               {Fault::lie, "wrong labels for known samples"},
                                               {Fault::huge, "a logit of"},
                                               {Fault::type, "labels of shape"},
                                               {Fault::error, "no time today"},
                                               {Fault::silent_offer, "not finite"}};
    std::string learned;
    for (const auto& [fault, words] : reasons) {
        INFO(words);
        const LocalNetwork network;
        const auto a = expert(network, options_of("a"), 0);
        const auto b = expert(network, options_of("b"), 1);
        const BadTeacher bad(network, "bad", fault);
        const CycleReport report = learn(*a, 1);
        CHECK(report.outcome == Outcome::learned);
        CHECK(report.teachers == std::vector<std::string>{"b"});
        REQUIRE(report.refused.size() == 1);
        CHECK(report.refused[0].first == "bad");
        CHECK_THAT(report.refused[0].second, Catch::Contains(words));
        bool written = false;
        for (const auto& [key, entry] : a->ledger().entries())
            written = written || (entry.kind == LedgerEntry::Kind::refused && entry.peer == "bad" &&
                                  entry.reason == report.refused[0].second);
        CHECK(written);
        CHECK(a->roster().reputation("bad") < 0.5);
        // The bad one changed no bit of what was learned.
        if (learned.empty()) learned = a->model();
        CHECK(a->model() == learned);
        // Alone, it teaches nothing.
        const LocalNetwork other;
        const auto lonely = expert(other, options_of("a"), 0);
        const BadTeacher only(other, "bad", fault);
        const std::string before = lonely->model();
        CHECK(learn(*lonely, 1).outcome == Outcome::refused);
        CHECK(lonely->model() == before);
        CHECK(lonely->tasks() == 1);
    }
}

// --- files ---

TEST_CASE("node: stored and read again, it is the same") {
    const TemporaryDirectory directory;
    NodeOptions stored = options_of("a");
    stored.directory = directory / "a";
    LocalNetwork network;
    const auto b = expert(network, options_of("b"), 1);
    auto a = expert(network, stored, 0);
    CHECK(learn(*a, 1).outcome == Outcome::learned);
    const std::string model = a->model();
    const torch::Tensor scores = a->score(1, data_of(1, 10, 5).input);
    const std::string ledger = a->ledger().csv();
    a.reset();
    const auto again = make_node(network, stored);
    CHECK(again->model() == model);
    CHECK(again->tasks() == 2);
    CHECK(same(again->score(1, data_of(1, 10, 5).input), scores));
    CHECK(again->ledger().csv() == ledger);
    CHECK(again->roster().has("b"));
    CHECK_FALSE(again->ready());
    NodeOptions other = stored;
    other.name = "z";
    CHECK_THROWS_AS(make_node(network, other), retort::CheckpointError);
}

TEST_CASE("node: killed while it learns, it resumes to the same bits") {
    const std::string undisturbed = [] {
        const LocalNetwork network;
        const auto b = expert(network, options_of("b"), 1);
        const auto a = expert(network, options_of("a"), 0);
        learn(*a, 1);
        return a->model();
    }();
    const TemporaryDirectory directory;
    NodeOptions stored = options_of("a");
    stored.directory = directory / "a";
    const LocalNetwork network;
    const auto b = expert(network, options_of("b"), 1);
    const MakeTrunk make;
    auto a = make_node(network, stored, make);
    const Data own = data_of(0, 160, 1);
    a->learn_own(sides, own.input, own.target);
    *make.left = 0;
    CHECK_THROWS_AS(learn(*a, 1), retort::transport::Death);
    a.reset();
    a = make_node(network, stored);
    CHECK(a->cycle().phase == EducationCycle::Phase::learning);
    const CycleReport report = a->learn();
    CHECK(report.outcome == Outcome::learned);
    CHECK(a->model() == undisturbed);
    CHECK(a->ledger().count(LedgerEntry::Kind::learned) == 1);
}

TEST_CASE("node: errors") {
    const LocalNetwork network;
    NodeOptions wrong = options_of("a");
    wrong.temperature = 0;
    CHECK_THROWS_WITH(make_node(network, wrong), "Node: expected a temperature above 0, found 0");
    const auto a = expert(network, options_of("b"), 0);
    CHECK_THROWS_WITH(a->assess(torch::zeros({2, 5})),
                      "Node b: expected samples of shape [6], as those of its tasks, found [5]");
    CHECK_THROWS_AS(a->assess(torch::zeros({2, 6}, torch::kLong)), retort::ShapeError);
}

}  // namespace node_test
