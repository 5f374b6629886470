// SPDX-License-Identifier: BSL-1.0
/// \file
/// Law 9 for nested policies: the state and the learnable parts of terms, filters, schedules and gates are stored,
/// trained and resumed wherever they are: in adaptors, in nested adaptors, and on the edges of graphs.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/cohort.hpp>
#include <retort/knowledge/adaptor/filtered.hpp>
#include <retort/knowledge/adaptor/for_teacher.hpp>
#include <retort/knowledge/adaptor/on_classes.hpp>
#include <retort/knowledge/adaptor/on_plain_views.hpp>
#include <retort/knowledge/adaptor/standardized.hpp>
#include <retort/knowledge/adaptor/sum.hpp>
#include <retort/knowledge/adaptor/tempered.hpp>
#include <retort/knowledge/adaptor/term_adaptor.hpp>
#include <retort/knowledge/adaptor/within.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace nested_state_test {

using namespace retort_test;
using retort::Filtered;
using retort::ForTeacher;
using retort::itself;
using retort::Knowledge;
using retort::Phase;
using retort::Phases;
using retort::Progress;
using retort::Schedule;
using retort::Standardized;
using retort::Sum;
using retort::Tempered;
using retort::Trainer;
using retort::WarmUp;
using retort::Within;
using retort::operator*;  // for terms and schedules of this namespace

namespace {

/// A term whose loss depends on its earlier losses and on a learnable part, whose sizes come from the first batch.
/// \tparam taught whether it compares with a teacher, or with the targets
template <bool taught>
struct Recalling {
    static constexpr bool needs_teacher = taught, needs_target = !taught;

    std::string label;
    double temperature = 1.0;
    retort::Reduction reduction = retort::Reduction::batchmean;
    struct Shared {
        torch::nn::Linear part{nullptr};
        torch::Tensor memory = torch::zeros({});
    };
    std::shared_ptr<Shared> shared = std::make_shared<Shared>();

    torch::Tensor operator()(const auto& student, const auto& teacher, const auto& batch) const {
        const torch::Tensor scores = shared->part->forward(retort::logits(student)) / temperature;
        torch::Tensor losses;
        if constexpr (taught) {
            losses = (scores - retort::logits(teacher).detach()).square().mean(1);
        } else {
            losses = torch::cross_entropy_loss(scores, retort::target(batch), {}, torch::Reduction::None);
        }
        losses = losses * (1 + shared->memory);
        shared->memory = 0.5 * shared->memory + 0.1 * losses.detach().mean();
        return reduction == retort::Reduction::none ? losses : losses.mean();
    }
    std::string name() const { return label; }
    bool prepared() const { return !shared->part.is_empty(); }
    void prepare(const auto& student, const auto*, const auto&) {
        const std::int64_t classes = retort::logits(student).size(1);
        if (!prepared()) shared->part = torch::nn::Linear(classes, classes);
    }
    std::shared_ptr<torch::nn::Module> module() const { return prepared() ? shared->part.ptr() : nullptr; }
    void checkpoint(retort::Archive& archive) { archive("memory of " + label, shared->memory); }
};
using FromLabels = Recalling<false>;
using Taught = Recalling<true>;

/// A number that is changed from outside between two steps.
struct Number {
    std::string label;
    std::shared_ptr<double> value;
    void checkpoint(retort::Archive& archive) { archive("number of " + label, *value); }
};
struct NumberSchedule : Number {
    double weight(const Progress&) const { return *value; }
};
struct NumberGate : Number {
    static constexpr bool per_sample = false;
    double weight(std::int64_t, const Progress&) const { return *value; }
};
struct NumberFilter : Number {
    torch::Tensor operator()(const auto& student, const auto&, const auto&) const {
        return torch::full({retort::logits(student).size(0)}, *value);
    }
};
/// A gate that closes slightly with each call.
struct ClosingGate : Number {
    static constexpr bool per_sample = true;
    torch::Tensor operator()(const torch::Tensor& losses, const auto&, const auto&, const auto&) const {
        *value *= 0.9;
        return losses * *value;
    }
};

/// Creates the numbers of a composition, and changes them.
struct Numbers {
    template <class T>
    T make(const char* label) {
        all.push_back(std::make_shared<double>(1.0 + 0.1 * static_cast<double>(all.size())));
        return T{{label, all.back()}};
    }
    NumberSchedule schedule(const char* label) { return make<NumberSchedule>(label); }
    void change() {
        for (std::size_t i = 0; i < all.size(); ++i) *all[i] *= 1.0 - 0.01 * static_cast<double>(i + 1);
    }
    std::vector<std::shared_ptr<double>> all{};
};

/// Custom adaptors, as in the contracts.
template <retort::SaysWhatItNeeds Term>
struct SquareRoot : retort::TermAdaptor<Term> {
    torch::Tensor operator()(const auto& student, const auto& teacher, const auto& batch,
                             const Progress& progress) const {
        return this->call(student, teacher, batch, progress).sqrt();
    }
};
template <class Term>
SquareRoot(Term) -> SquareRoot<Term>;
template <retort::WeightSchedule S>
struct Doubled : retort::ScheduleAdaptor<S> {
    double weight(const Progress& progress) const { return 2 * this->schedule().weight(progress); }
};
template <class S>
Doubled(S) -> Doubled<S>;

using State = std::map<std::string, torch::Tensor>;
State read(const std::filesystem::path& file) {
    State result;
    for (const auto& item : retort::detail::read_state(file)) result[item.name] = item.tensor;
    return result;
}
bool has(const State& state, const std::string& ending) {
    return std::any_of(state.begin(), state.end(), [&](const auto& item) {
        return item.first.size() > ending.size() && item.first.ends_with("/" + ending);
    });
}
void check_same(const State& a, const State& b) {
    CHECK(a.size() == b.size());
    for (const auto& [name, value] : a) {
        INFO(name);
        REQUIRE(b.count(name) == 1);
        CHECK(same(value, b.at(name)));
    }
}

/// A trainer or a cohort, with its networks.
struct Run {
    virtual ~Run() = default;
    virtual void step(const PairBatch& batch) = 0;
    virtual void save(const std::filesystem::path& path) = 0;
    virtual void resume(const std::filesystem::path& path) = 0;
};
using Make = std::function<std::unique_ptr<Run>(Numbers&, std::uint64_t seed)>;

/// A run of four steps gives the same bits if it is saved after the second and resumed by another object; all
/// states and numbers are in the file, and the third step changes all learnable parts.
/// \param terms the labels of the terms
/// \param numbers the labels of the numbers
void check_resumes(const Make& make, const std::vector<std::string>& terms,
                   const std::vector<std::string>& numbers) {
    const auto batches = vectors(4);
    const TemporaryDirectory directory;
    Numbers apart;
    auto whole = make(apart, 1);
    for (const auto& batch : batches) {
        whole->step(batch);
        apart.change();
    }
    whole->save(directory / "whole");
    Numbers before;
    auto first = make(before, 1);
    for (std::size_t i = 0; i < 2; ++i) {
        first->step(batches[i]);
        before.change();
    }
    first->save(directory / "half");
    Numbers after;
    auto second = make(after, 2);
    second->resume(directory / "half");
    second->save(directory / "again");
    CHECK(read_file(directory / "again") == read_file(directory / "half"));
    for (std::size_t i = 2; i < 4; ++i) {
        second->step(batches[i]);
        after.change();
    }
    second->save(directory / "resumed");
    const State half = read(directory / "half"), end = read(directory / "whole");
    check_same(read(directory / "resumed"), end);

    for (const std::string& label : terms) {
        INFO(label);
        CHECK(has(half, "memory of " + label));
    }
    REQUIRE(numbers.size() == after.all.size());
    for (const std::string& label : numbers) {
        INFO(label);
        CHECK(has(half, "number of " + label));
    }
    std::size_t parts = 0;
    for (const auto& [name, value] : half) {
        const bool learnable =
            name.find("knowledge/parameters/") != std::string::npos ||
            (name.starts_with("built/edge") && name.find("/parameters/") != std::string::npos);
        if (!learnable || !name.ends_with("weight")) continue;
        INFO(name);
        ++parts;
        CHECK_FALSE(same(value, end.at(name)));
    }
    CHECK(parts == terms.size());
}

/// Networks that the runs train.
struct Networks {
    explicit Networks(std::uint64_t seed) {
        torch::manual_seed(7);
        teacher = Perceptron(5);
        torch::manual_seed(seed);
        if (seed != 7)
            teacher->last->reset_parameters();  // the initial values of trained parts do not matter
        student = Perceptron(8, 0.3);
    }
    Perceptron teacher{nullptr}, student{nullptr};
};
/// A trainer with the networks that it trains.
template <class Compose>
auto trainer_of(std::uint64_t seed, Compose compose) {
    using T = decltype(compose(std::declval<Networks&>()));
    struct TrainerRun final : Run {
        Networks networks;
        T trainer;
        TrainerRun(std::uint64_t with, Compose& function) : networks(with), trainer(function(networks)) {
            trainer.progress().epochs = 3;
            trainer.progress().steps_per_epoch = 4;
        }
        void step(const PairBatch& batch) override { trainer.step(batch); }
        void save(const std::filesystem::path& path) override { trainer.save(path); }
        void resume(const std::filesystem::path& path) override { trainer.resume(path); }
    };
    return std::make_unique<TrainerRun>(seed, compose);
}
/// A cohort along a graph.
template <class Graph>
struct CohortRun final : Run {
    using Learners = std::vector<retort::Learner<Perceptron>>;
    static constexpr retort::Sgd sgd{.learning_rate = 0.05, .momentum = 0.9};
    Networks networks;
    retort::CohortRun<Learners, Graph> run;

    CohortRun(std::uint64_t seed, const Graph& graph)
        : networks(seed),
          run(retort::Cohort{
              Learners{retort::Learner{networks.student, sgd}, retort::Learner{networks.teacher, sgd}}}
                  .along(graph)) {
        run.progress().epochs = 3;
        run.progress().steps_per_epoch = 4;
    }
    void step(const PairBatch& batch) override { run.step(batch); }
    void save(const std::filesystem::path& path) override { run.save(path); }
    void resume(const std::filesystem::path& path) override { run.resume(path); }
};

const retort::Sgd sgd{.learning_rate = 0.05, .momentum = 0.9};

}  // namespace

TEST_CASE("contents of adaptors of terms and schedules are trained, stored and resumed") {
    check_resumes(
        [](Numbers& numbers, std::uint64_t seed) {
            return trainer_of(seed, [&](Networks& nets) {
                torch::manual_seed(7);  // a frozen teacher is compared by its hash
                nets.teacher->last->reset_parameters();
                torch::manual_seed(seed);
                return Trainer{
                    nets.student, retort::Frozen{nets.teacher},
                    Knowledge{
                        FromLabels{"direct"},
                        Filtered{FromLabels{"filtered"}, numbers.make<NumberFilter>("filter")},
                        Sum{FromLabels{"first"}, numbers.schedule("of a sum") * Taught{"second"}},
                        Tempered{FromLabels{"tempered"}, numbers.schedule("temperature")},
                        Within{Taught{"within"}, itself, itself},
                        Standardized{Taught{"standardized"}},
                        retort::OnClasses{Taught{"on classes"}, torch::tensor({0, 2}, torch::kLong)},
                        retort::OnPlainViews{Taught{"on plain views"}, 2},
                        SquareRoot{Taught{"custom"}},
                    },
                    Schedule{
                        numbers.schedule("direct"),
                        Phases{Phase{1, numbers.schedule("first phase")},
                               Phase{0, numbers.schedule("last phase")}},
                        WarmUp{numbers.schedule("warm-up"), {.initial = 0.5}},
                        WarmUp{Phases{Phase{1, numbers.schedule("phase in warm-up")},
                                      Phase{0, WarmUp{numbers.schedule("warm-up in phase in warm-up")}}},
                               {.initial = 0.5}},
                        Doubled{Doubled{numbers.schedule("custom")}},
                        0.5,
                        0.5,
                        0.5,
                        0.5,
                    },
                    retort::WithLearningRate{retort::RebuiltEachEpoch{sgd},
                                             WarmUp{numbers.schedule("rate"), {.initial = 0.5}}}};
            });
        },
        {"direct", "filtered", "first", "second", "tempered", "within", "standardized", "on classes",
         "on plain views", "custom"},
        {"filter", "of a sum", "temperature", "direct", "first phase", "last phase", "warm-up",
         "phase in warm-up", "warm-up in phase in warm-up", "custom", "rate"});
}

TEST_CASE("so are those of nested adaptors, of weighted terms, and for a trainable teacher") {
    check_resumes(
        [](Numbers& numbers, std::uint64_t seed) {
            return trainer_of(seed, [&](Networks& nets) {
                return Trainer{
                    nets.student, retort::PartiallyTrainable{nets.teacher, {.parameters = "last.*"}},
                    Knowledge{
                        numbers.schedule("of the teacher") *
                            Filtered{ForTeacher{Standardized{FromLabels{"for the teacher"}}},
                                     numbers.make<NumberFilter>("of the teacher's filter")},
                        0.5 * Filtered{Standardized{Tempered{Taught{"one"}, numbers.schedule("temperature")}},
                                       numbers.make<NumberFilter>("filter")},
                        WarmUp{numbers.schedule("of a sum"), {.initial = 0.5}} *
                            Sum{Filtered{SquareRoot{FromLabels{"two"}},
                                         numbers.make<NumberFilter>("within a sum")},
                                numbers.schedule("of a sum in a sum") *
                                    Sum{Taught{"three"}, Doubled{numbers.schedule("innermost")} *
                                                             Within{Taught{"four"}, itself, itself}}},
                    },
                    retort::ParameterGroups{sgd, {{.names = "*.bias", .weight_decay = 0.0}}}};
            });
        },
        {"for the teacher", "one", "two", "three", "four"},
        {"of the teacher", "of the teacher's filter", "temperature", "filter", "of a sum", "within a sum",
         "of a sum in a sum", "innermost"});
}

TEST_CASE("so are those on the edges of a compile-time graph") {
    check_resumes(
        [](Numbers& numbers, std::uint64_t seed) {
            retort::TransferGraph graph{
                retort::label<0>(FromLabels{"to 0"}, numbers.make<NumberGate>("gate"),
                                 WarmUp{numbers.schedule("weight"), {.initial = 0.5}}),
                retort::label<1>(FromLabels{"to 1"}),
                retort::label<1>(
                    Within{Tempered{Taught{"of itself"}, numbers.schedule("temperature")}, itself, itself},
                    numbers.make<ClosingGate>("closing gate")),
                retort::edge<1, 0>(
                    Filtered{Standardized{Taught{"filtered"}}, numbers.make<NumberFilter>("filter")},
                    numbers.make<ClosingGate>("closing gate of an edge"),
                    Phases{Phase{0, numbers.schedule("phase")}}),
            };
            return std::make_unique<CohortRun<decltype(graph)>>(seed, std::move(graph));
        },
        {"to 0", "to 1", "of itself", "filtered"},
        {"gate", "weight", "temperature", "closing gate", "filter", "closing gate of an edge", "phase"});
}

TEST_CASE("so are those on the edges of a run-time graph") {
    check_resumes(
        [](Numbers& numbers, std::uint64_t seed) {
            using Graph = retort::RuntimeGraph<torch::Tensor, PairBatch>;
            retort::GraphCatalog<torch::Tensor, PairBatch> catalog;
            catalog.term("to 0", FromLabels{"to 0"})
                .term("to 1", FromLabels{"to 1"})
                .gate("gate", numbers.make<NumberGate>("gate"))
                .gate("closing", numbers.make<ClosingGate>("closing gate"));
            retort::GraphDescription words;
            words.edges = {{.to = 0, .term = "to 0", .gate = "gate"},
                           {.to = 1, .term = "to 1", .gate = "closing"}};
            Graph graph = catalog.build(words);
            graph.edge(1, 0, Tempered{Taught{"tempered"}, numbers.schedule("temperature")},
                       numbers.make<NumberGate>("gate of an edge"),
                       WarmUp{numbers.schedule("weight"), {.initial = 0.5}});
            graph.edge(0, 1, Standardized{Taught{"standardized"}},
                       numbers.make<ClosingGate>("closing gate of an edge"));
            return std::make_unique<CohortRun<Graph>>(seed, graph);
        },
        {"to 0", "to 1", "tempered", "standardized"},
        {"gate", "closing gate", "temperature", "gate of an edge", "weight", "closing gate of an edge"});
}

TEST_CASE("a schedule's state is restored before the first batch determines the sizes of learnable parts") {
    // Until then the schedule of this new object would give all weights as 0.
    const auto batches = vectors(2);
    const TemporaryDirectory directory;
    const auto number = [](double value) {
        return NumberSchedule{{"weight", std::make_shared<double>(value)}};
    };
    Networks nets(7), others(8);
    Trainer trainer{nets.student, retort::NoTeacher{}, Knowledge{FromLabels{"term"}}, Schedule{number(0.5)},
                    sgd};
    trainer.step(batches[0]);
    trainer.save(directory / "state");
    trainer.step(batches[1]);
    Trainer resumed{others.student, retort::NoTeacher{}, Knowledge{FromLabels{"term"}}, Schedule{number(0.0)},
                    sgd};
    resumed.resume(directory / "state");
    resumed.step(batches[1]);
    CHECK(same(state(resumed.student()), state(trainer.student())));

    retort::RuntimeGraph<torch::Tensor, PairBatch> graph, again;
    graph.label(0, FromLabels{"term"}, NumberGate{{"gate", std::make_shared<double>(0.5)}}, number(0.5));
    again.label(0, FromLabels{"term"}, NumberGate{{"gate", std::make_shared<double>(0.0)}}, number(0.0));
    using Learners = std::vector<retort::Learner<Perceptron>>;
    retort::Cohort cohort{Learners{retort::Learner{nets.student, sgd}}},
        second{Learners{retort::Learner{others.student, sgd}}};
    auto run = cohort.along(graph);
    run.step(batches[0]);
    run.save(directory / "cohort");
    run.step(batches[1]);
    auto second_run = second.along(again);
    second_run.resume(directory / "cohort");
    second_run.step(batches[1]);
    CHECK(same(state(second.module()), state(cohort.module())));
}

}  // namespace nested_state_test
