// SPDX-License-Identifier: BSL-1.0
/// \file
/// A member of the community: student or teacher, as the data at hand decide.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/softmax.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/checkpoint/file.hpp>
#include <retort/checkpoint/module_state.hpp>
#include <retort/community/calibration.hpp>
#include <retort/community/concept.hpp>
#include <retort/community/detail/fixed_seed.hpp>
#include <retort/community/education_cycle.hpp>
#include <retort/community/ledger.hpp>
#include <retort/community/node_network.hpp>
#include <retort/community/node_options.hpp>
#include <retort/community/received.hpp>
#include <retort/community/roster.hpp>
#include <retort/community/trust.hpp>
#include <retort/core/error.hpp>
#include <retort/core/network.hpp>
#include <retort/data/detail/random.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/hash.hpp>
#include <retort/knowledge/knowledge.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/knowledge/weighted.hpp>
#include <retort/teacher/no_teacher.hpp>
#include <retort/trainer/trainer.hpp>
#include <retort/transport/concept.hpp>
#include <retort/transport/message.hpp>
#include <retort/transport/messenger.hpp>

namespace retort::community {

/// What a node makes of samples.
struct Observation {
    bool known = false;
    std::size_t task = 0;  ///< the task that they fit best
    at::Tensor logits{};   ///< of that task's head, [samples, classes]; undefined if there is no task
    std::vector<std::string> classes{};  ///< of that task
    Verdict verdict{};
    std::int64_t collected = 0;  ///< how many unknown samples are waiting to be learned
};

/// How a cycle ended.
struct CycleReport {
    enum class Outcome {
        nothing,  ///< there are not enough unknown data
        learned,
        refused,      ///< nobody's labels could be learned from
        unanswered,   ///< nobody knows the data, or too few answered
        unreachable,  ///< a teacher could not be reached (`NodeOptions::fall_back` false)
    };
    Outcome outcome = Outcome::nothing;
    std::int64_t cycle = 0;
    std::size_t task = 0;                                        ///< of `learned`: its number here
    std::vector<std::string> teachers{};                         ///< of `learned`
    std::vector<std::int64_t> teacher_tasks{};                   ///< their numbers of the task
    std::vector<std::pair<std::string, std::string>> refused{};  ///< who was refused, and why
    std::int64_t offers = 0;
    transport::Traffic traffic{};  ///< of this node during the cycle; after a restart, since then

    static constexpr std::array<std::string_view, 5> outcomes{"nothing", "learned", "refused", "unanswered",
                                                              "unreachable"};
    std::string_view outcome_name() const { return outcomes[static_cast<std::size_t>(outcome)]; }
};

/// A node: a trunk, a decision head for each task, a self-assessment for each, and a ledger. Data that one of its tasks knows,
/// it answers, and teaches; of data that none knows it becomes a student, asks the community, and learns from who knows them.
///
///     retort::community::Node node{[] { return Trunk(); }, retort::community::Mahalanobis{},
///                                  retort::community::Best{}, retort::community::ElasticWeights{},
///                                  retort::AdamW{.learning_rate = 1e-3}, transport, {.name = "a"}};
///     node.learn_own({"cat", "dog"}, images, labels);      // what it knows from the start
///     node.hello();
///     if (!node.observe(batch).known && node.ready()) node.learn();
///
/// Queries and lessons of others are answered on the transport's threads from weights that change only when a cycle has
/// succeeded: a network that is training is a copy. A node has at most one cycle, and `observe`, `learn` and
/// `learn_own` are called on one thread.
///
/// With a directory, the state is stored after every step of a cycle and read on construction: `learn` resumes a cycle
/// in the phase it was in. A message that is sent again has the id it had, and lessons in a ledger have keys, so that what is
/// done twice is counted once. (A node that is killed while it trains begins the training again. Unknown samples are stored when
/// their cycle begins.)
///
/// Evaluation is per node: `assess` says what a node makes of samples without learning from them.
/// \tparam MakeTrunk returns a new trunk (a module holder or `shared_ptr`) whose `forward` gives [samples, features]
/// Source: Kaimakamidis, Mademlis, Pitas, "Collaborative Knowledge Distillation via a Learning-by-Education Node Community",
/// 2024. Only the abstract is public: protocol and all numbers are of this library.
template <std::invocable MakeTrunk, SelfAssessment Assessment, TeacherChoice Choice, class RetentionPolicy,
          class Optimizer, transport::Transport T>
class Node {
    using Trunk = std::invoke_result_t<MakeTrunk&>;
    static_assert(Network<Trunk> && !::retort::detail::ModuleObject<Trunk>,
                  "retort: the function of a Node returns a new trunk each time: a module holder, or a "
                  "shared_ptr to a module");
    using Net = NodeNetwork<Trunk>;
    static_assert(Retention<RetentionPolicy, Net>,
                  "retort: expected a retention (retort/community/concept.hpp): ElasticWeights, Rehearsal, "
                  "NoRetention");
    using Phase = EducationCycle::Phase;
    using Kind = LedgerEntry::Kind;
    using Outcome = CycleReport::Outcome;
    using Message = transport::Message;

  public:
    /// Serves the community at once, and reads the state of `options.directory`.
    /// \throws ConfigError, CheckpointError, TransportError
    explicit Node(MakeTrunk make_trunk, const Assessment& assessment, const Choice& choice,
                  const RetentionPolicy& retention, const Optimizer& optimizer, const T& carrier,
                  const NodeOptions& options)
        : make_trunk_(std::move(make_trunk)),
          assessment_(assessment),
          choice_(choice),
          retention_(retention),
          optimizer_(optimizer),
          options_(options),
          taught_(options.ledger),
          roster_(options.peers),
          ledger_(options.ledger),
          messenger_(carrier, {.name = options.name,
                               .run = options.community,
                               .inbox = "retort." + options.community + ".inbox"}) {
        options_.check();
        ::retort::detail::check_policy(assessment_);
        ::retort::detail::check_policy(retention_);
        {
            const detail::FixedSeed seed(options_.seed);
            network_ = std::make_shared<Net>(make_trunk_());
        }
        network_->eval();
        hash_ = hash_of(*network_);
        if (!options_.directory.empty()) read();
        serve();
    }
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;
    Node(Node&&) = delete;
    Node& operator=(Node&&) = delete;
    ~Node() = default;

    const std::string& name() const { return options_.name; }
    const NodeOptions& options() const { return options_; }

    /// Learns a task of its own, with labels.
    /// \param classes their names: the class space
    /// \param input [samples, ...]
    /// \param target [samples], positions in `classes`
    /// \param epochs 0: those of the options
    void learn_own(const std::vector<std::string>& classes, const at::Tensor& input, const at::Tensor& target,
                   std::int64_t epochs = 0) {
        check_input(input);
        if (target.dim() != 1 || target.size(0) != input.size(0) || target.scalar_type() != at::kLong)
            throw ShapeError("Node: expected a target (int64) for each sample of an own task");
        if (tasks_.size() >= options_.tasks)
            throw ConfigError("Node: no room for another task (NodeOptions::tasks)");
        const std::uint64_t seed = seed_of("own", static_cast<std::int64_t>(tasks_.size()));
        const Split split = split_of(input.size(0), seed);
        const std::shared_ptr<Net> fresh = with_head(static_cast<std::int64_t>(classes.size()), input, seed);
        using Pair = std::pair<at::Tensor, at::Tensor>;
        const auto batches = [&](std::int64_t epoch) {
            std::vector<Pair> result;
            for (const at::Tensor& rows : batches_of(split.learn, seed, epoch))
                result.emplace_back(input.index_select(0, rows), target.index_select(0, rows));
            return result;
        };
        train(fresh, NoTeacher{}, CrossEntropy{}, batches, epochs > 0 ? epochs : options_.epochs);
        commit(fresh, classes, input, target, split);
        save();
    }

    /// What the node makes of samples. Learns nothing from them.
    Observation assess(const at::Tensor& input) const {
        check_input(input);
        const std::lock_guard lock(mutex_);
        return assess_locked(input, Space::input);
    }
    /// The same, and collects samples that no task knows, as many as make a lesson.
    Observation observe(const at::Tensor& input) {
        Observation result = assess(input);
        if (!result.known && cycle_.phase == Phase::idle) {
            const std::int64_t have = cycle_.data.defined() ? cycle_.data.size(0) : 0;
            const std::int64_t take = std::min(options_.lesson - have, input.size(0));
            if (take > 0) {
                const at::Tensor rows = input.narrow(0, 0, take).detach().to(at::kCPU).clone();
                cycle_.data = have > 0 ? at::cat({cycle_.data, rows}) : rows;
            }
        }
        result.collected = cycle_.data.defined() ? cycle_.data.size(0) : 0;
        return result;
    }
    /// Whether there is something to learn: a cycle that was interrupted, or enough unknown samples.
    bool ready() const {
        return cycle_.phase != Phase::idle ||
               (cycle_.data.defined() && cycle_.data.size(0) >= options_.lesson);
    }
    /// Forgets collected samples.
    void discard() {
        if (cycle_.phase == Phase::idle) cycle_.data = at::Tensor();
    }

    /// Says hello to all, and gets to know those who answer.
    void hello() {
        Message message{.kind = "HELLO"};
        describe(message);
        messenger_.collect(subject("hello"), message, options_.within, [&](const Message& answer) {
            try {
                meet(answer);
            } catch (const TransportError&) {  // says nothing that is understood here
            }
            return true;
        });
        meet_all();
    }

    /// The cycle: asks, has a lesson, learns. Runs to its end, from wherever it is.
    /// \throws only what the own side is to blame for (a full disk, a network that cannot be trained)
    CycleReport learn() {
        const transport::Traffic before = messenger_.transport().traffic();
        CycleReport report;
        if (!ready()) return report;
        if (cycle_.phase == Phase::idle) {
            ++cycle_.number;
            enter(Phase::asking);
        }
        report.cycle = cycle_.number;
        while (cycle_.phase != Phase::idle) {
            if (cycle_.phase == Phase::asking) {
                ask(report);
            } else if (cycle_.phase == Phase::lesson) {
                have_lesson(report);
            } else {
                learn_lesson(report, before);
            }
        }
        report.offers = static_cast<std::int64_t>(last_offers_);
        report.traffic = messenger_.transport().traffic() - before;
        return report;
    }

    std::size_t tasks() const { return tasks_.size(); }
    const std::vector<std::string>& classes(std::size_t task) const { return tasks_.at(task).classes; }
    /// Who taught a task; empty: it is an own one.
    const std::string& learned_from(std::size_t task) const { return tasks_.at(task).from; }
    const Calibration& calibration(std::size_t task) const { return tasks_.at(task).calibration; }
    /// How strange samples are to a task, [samples].
    at::Tensor score(std::size_t task, const at::Tensor& input) const {
        const std::lock_guard lock(mutex_);
        return tasks_.at(task).assessment.score(evidence(*network_, task, input));
    }
    const Roster& roster() const { return roster_; }
    /// What it learned.
    const Ledger& ledger() const { return ledger_; }
    /// What it taught: a copy.
    Ledger taught() const {
        const std::lock_guard lock(mutex_);
        return taught_;
    }
    const EducationCycle& cycle() const { return cycle_; }
    Net& network() { return *network_; }
    const std::string& model() const { return hash_; }
    const transport::Messenger<T>& messenger() const { return messenger_; }

  private:
    struct Task {
        std::vector<std::string> classes{};
        std::string from{};
        Assessment assessment;
        Calibration calibration{};
        at::Tensor reference{}, reference_class{};  // samples that were learned from, and their classes
        at::Tensor holdout{}, holdout_class{};      // samples that were not
    };
    struct Split {
        at::Tensor learn, hold;
    };

    // --- the network ---

    static std::string hash_of(Net& network) { return ::retort::detail::hash_of_modules({&network}); }
    /// Does not depend on how many cycles were in vain: who asks again learns the same.
    std::uint64_t seed_of(std::string_view what, std::int64_t number) const {
        ::retort::detail::Hash hash;
        hash.add(options_.community);
        hash.add(options_.name);
        hash.add(what);
        hash.add(&number, sizeof number);
        hash.add(&options_.seed, sizeof options_.seed);
        return hash.value();
    }
    /// A copy of the network with one more head.
    std::shared_ptr<Net> with_head(std::int64_t classes, const at::Tensor& sample, std::uint64_t seed) {
        const detail::FixedSeed fixed(seed);
        auto fresh = std::make_shared<Net>(make_trunk_());
        const at::NoGradGuard no_grad;
        const std::int64_t features = [&] {
            const EvalMode eval(*network_);
            return network_->forward(sample.narrow(0, 0, 1)).features.size(1);
        }();
        for (const Task& each : tasks_)
            fresh->add_head(features, static_cast<std::int64_t>(each.classes.size()));
        const auto copy = [](const auto& from, const auto& to) {
            for (const auto& each : from) to[each.key()].copy_(each.value());
        };
        copy(network_->named_parameters(), fresh->named_parameters());
        copy(network_->named_buffers(), fresh->named_buffers());
        fresh->add_head(features, classes);
        fresh->train_only(tasks_.size(), options_.learn_trunk || tasks_.empty());
        return fresh;
    }
    static Evidence evidence(Net& network, std::size_t task, const at::Tensor& input) {
        const at::NoGradGuard no_grad;
        const EvalMode eval(network);
        NodeOutputs outputs = network.forward(input);
        return {.input = input, .features = outputs.features, .logits = outputs.heads.at(task)};
    }
    static double accuracy(Net& network, std::size_t task, const at::Tensor& input,
                           const at::Tensor& classes) {
        return evidence(network, task, input)
            .logits.argmax(1)
            .eq(classes)
            .to(at::kDouble)
            .mean()
            .template item<double>();
    }
    void check_input(const at::Tensor& input) const {
        if (!input.defined() || input.dim() < 2 || input.size(0) < 1 || !input.is_floating_point()) {
            throw ShapeError(::retort::detail::concat(
                "Node ", options_.name,
                ": expected samples of shape [samples, ...] and a floating-point type, found ",
                input.defined() ? ::retort::detail::shape_text(input) : std::string("an undefined tensor")));
        }
        if (!tasks_.empty() && input.sizes().slice(1) != tasks_.front().reference.sizes().slice(1)) {
            throw ShapeError(::retort::detail::concat("Node ", options_.name, ": expected samples of shape ",
                                                      tasks_.front().reference.sizes().slice(1),
                                                      ", as those of its tasks, found ",
                                                      input.sizes().slice(1)));
        }
    }

    // --- learning ---

    /// Which samples are learned from and which are held out.
    Split split_of(std::int64_t count, std::uint64_t seed) const {
        at::Generator generator = data::detail::make_generator({seed}, data::detail::Stream::split);
        const at::Tensor order = at::randperm(count, generator, at::TensorOptions(at::kLong));
        const std::int64_t held = std::max<std::int64_t>(1, std::min(options_.holdout, count / 5));
        return {order.narrow(0, held, count - held), order.narrow(0, 0, held)};
    }
    std::vector<at::Tensor> batches_of(const at::Tensor& rows, std::uint64_t seed, std::int64_t epoch) const {
        at::Generator generator = data::detail::make_generator({seed, static_cast<std::uint64_t>(epoch)},
                                                               data::detail::Stream::order);
        const at::Tensor order =
            rows.index_select(0, at::randperm(rows.size(0), generator, at::TensorOptions(at::kLong)));
        return order.split(options_.batch, 0);
    }
    template <class TeacherPolicy, class Term, class Batches>
    void train(const std::shared_ptr<Net>& fresh, TeacherPolicy teacher, const Term& term,
               const Batches& batches, std::int64_t epochs) {
        const auto fit = [&](auto knowledge) {
            Trainer trainer{fresh, std::move(teacher), std::move(knowledge), optimizer_};
            trainer.fit(batches, {.epochs = epochs, .train_accuracy = false});
        };
        // For networks with random numbers of their own, such as dropout.
        const detail::FixedSeed fixed(seed_of("train", static_cast<std::int64_t>(tasks_.size())));
        if constexpr (SaysWhatItNeeds<RetentionPolicy>) {
            fit(Knowledge{Weighted{1.0, term}, Weighted{1.0, retention_}});
        } else {
            fit(Knowledge{Weighted{1.0, term}});
        }
    }
    /// The network takes the place of the present one, with one more task; what was fitted to the trunk is fitted anew.
    void commit(const std::shared_ptr<Net>& fresh, std::vector<std::string> classes, const at::Tensor& input,
                const at::Tensor& target, const Split& split, std::string from = {}) {
        const std::size_t number = tasks_.size();
        std::vector<Task> tasks = tasks_;
        fresh->eval();
        const at::Tensor reference =
            split.learn.narrow(0, 0, std::min(options_.references, split.learn.size(0)));
        tasks.push_back({.classes = std::move(classes),
                         .from = std::move(from),
                         .assessment = assessment_,
                         .calibration = Calibration(options_.calibration),
                         .reference = input.index_select(0, reference).clone(),
                         .reference_class = target.index_select(0, reference).clone(),
                         .holdout = input.index_select(0, split.hold).clone(),
                         .holdout_class = target.index_select(0, split.hold).clone()});
        for (std::size_t i = 0; i < tasks.size(); ++i) {
            Task& each = tasks[i];
            each.assessment = assessment_;
            Evidence own = evidence(*fresh, i, each.reference);
            own.target = each.reference_class;
            each.assessment.fit(own);
            each.calibration.fit(each.assessment.score(evidence(*fresh, i, each.holdout)));
        }
        const at::Tensor probabilities =
            at::softmax(evidence(*fresh, number, tasks.back().reference).logits, 1);
        retention_.retain(*fresh, number, tasks.back().reference, probabilities);
        std::string hash = hash_of(*fresh);
        const std::lock_guard lock(mutex_);
        network_ = fresh;
        tasks_ = std::move(tasks);
        hash_ = std::move(hash);
    }

    // --- self-assessment ---

    /// \param space what `input` is: inputs or features
    Observation assess_locked(const at::Tensor& input, Space space) const {
        Observation best;
        if (tasks_.empty()) return best;
        const at::NoGradGuard no_grad;
        NodeOutputs outputs{.features = input};
        if (space == Space::input) {
            const EvalMode eval(*network_);
            outputs = network_->forward(input);
        }
        for (std::size_t i = 0; i < tasks_.size(); ++i) {
            const Evidence seen =
                space == Space::input
                    ? Evidence{.input = input, .features = outputs.features, .logits = outputs.heads.at(i)}
                    : of_features(i, input);
            const Verdict verdict = tasks_[i].calibration.judge(tasks_[i].assessment.score(seen));
            const bool better = i == 0 || std::tuple(!verdict.known, verdict.strangeness) <
                                              std::tuple(!best.verdict.known, best.verdict.strangeness);
            if (better) best = {verdict.known, i, seen.logits, tasks_[i].classes, verdict};
        }
        return best;
    }
    Evidence of_features(std::size_t task, const at::Tensor& features) const {
        const at::NoGradGuard no_grad;
        return {.features = features, .logits = network_->decide(task, features)};
    }

    // --- asking ---

    std::string subject(std::string_view kind) const {
        return ::retort::detail::concat("retort.", options_.community, '.', kind);
    }
    transport::Id id_of(std::string_view kind, std::string_view to, std::int64_t part) const {
        std::uint64_t halves[2];
        for (std::uint64_t i = 0; i < 2; ++i) {
            ::retort::detail::Hash hash;
            hash.add(&i, sizeof i);
            hash.add(options_.name);
            hash.add(kind);
            hash.add(to);
            hash.add(&part, sizeof part);
            hash.add(&cycle_.number, sizeof cycle_.number);
            const at::Tensor data = cycle_.data.contiguous();
            hash.add(data.data_ptr(), data.nbytes());
            halves[i] = hash.value() | 1U;
        }
        return {{halves[0], halves[1]}};
    }
    /// What is sent of samples: themselves, or their features.
    at::Tensor sent(const at::Tensor& input) const {
        if (options_.privacy == Privacy::samples) return input;
        const at::NoGradGuard no_grad;
        const EvalMode eval(*network_);
        return network_->forward(input).features;
    }
    std::string_view space_name() const {
        return options_.privacy == Privacy::samples ? "samples" : "features";
    }
    std::string trunk_hash() const { return ::retort::detail::hash_of_modules({&network_->trunk()}); }
    void describe(Message& message) const {
        message.fields["input"] = options_.input;
        message.fields["tasks"] = std::to_string(tasks_.size());
    }
    void describe_samples(Message& message) const {
        message.fields["input"] = options_.input;
        message.fields["space"] = space_name();
        if (options_.privacy == Privacy::features) message.fields["trunk"] = trunk_hash();
    }
    void meet(const Message& message) {
        if (message.sender == options_.name || message.kind != "HELLO") return;
        roster_.met(message.sender, message.field("input"), integer(message, "tasks"));
    }

    /// Those who said hello since.
    void meet_all() {
        std::vector<Message> greetings;
        {
            const std::lock_guard lock(mutex_);
            greetings.swap(greetings_);
        }
        for (const Message& each : greetings) {
            try {
                meet(each);
            } catch (const TransportError&) {  // says nothing that is understood here
            }
        }
    }
    void ask(CycleReport& report) {
        meet_all();
        if (roster_.size() == 0) hello();
        cycle_.offers.clear();
        const std::int64_t probe = std::min(options_.probe, cycle_.data.size(0));
        Message query{.kind = "QUERY", .id = id_of("QUERY", "", 0)};
        describe_samples(query);
        query.tensors.insert("probe", sent(cycle_.data.narrow(0, 0, probe)).contiguous());
        std::set<std::string> missing;
        for (const auto& [name, peer] : roster_.peers()) missing.insert(name);
        const std::size_t asked = missing.size();
        std::set<std::string> answered;
        for (int round = 0; round < options_.rounds && !missing.empty(); ++round) {
            messenger_.collect(subject("query"), query, options_.within, [&](const Message& answer) {
                if (answer.sender == options_.name || answered.contains(answer.sender))
                    return !missing.empty();
                if (answer.kind != "OFFER" && answer.kind != "DECLINE") return true;
                if (!roster_.has(answer.sender) && !roster_.met(answer.sender, options_.input, 0))
                    return true;
                answered.insert(answer.sender);
                missing.erase(answer.sender);
                try {
                    cycle_.offers.push_back(read_offer(answer, probe));
                } catch (const Error& error) {
                    refuse(report, answer.sender, error.what());
                }
                return !missing.empty();
            });
        }
        for (const std::string& each : answered) roster_.answered(each);
        for (const std::string& each : missing) roster_.stayed_silent(each);
        const auto heard = static_cast<double>(asked - missing.size());
        if (heard < options_.quorum * static_cast<double>(asked)) {
            note("", Kind::silent,
                 ::retort::detail::concat("answers of ", heard, " of ", asked, " nodes, expected a share of ",
                                          options_.quorum));
            return finish(report, Outcome::unanswered);
        }
        std::sort(cycle_.offers.begin(), cycle_.offers.end());
        const std::vector<std::string> doubts = contradicted(cycle_.offers, options_.trust);
        std::vector<Offer> offers;
        for (std::size_t i = 0; i < doubts.size(); ++i) {
            if (doubts[i].empty()) {
                offers.push_back(std::move(cycle_.offers[i]));
            } else {
                refuse(report, cycle_.offers[i].teacher, doubts[i]);
            }
        }
        cycle_.offers = std::move(offers);
        last_offers_ = cycle_.offers.size();
        cycle_.order.clear();
        for (const std::size_t each :
             choice_.order(cycle_.offers, seed_of("choice", static_cast<std::int64_t>(tasks_.size()))))
            cycle_.order.push_back(static_cast<std::int64_t>(each));
        cycle_.position = 0;
        cycle_.labels.clear();
        cycle_.teachers.clear();
        if (cycle_.order.empty()) {
            note("", Kind::unknown, ::retort::detail::concat("no offer of ", answered.size(), " nodes"));
            return finish(report, report.refused.empty() ? Outcome::unanswered : Outcome::refused);
        }
        enter(Phase::lesson);
    }
    Offer read_offer(const Message& message, std::int64_t probe) const {
        Offer offer{.teacher = message.sender, .model = message.model};
        offer.reason = ::retort::detail::excerpt(
            message.fields.contains("reason") ? message.field("reason") : std::string(), 200);
        offer.task = integer(message, "task");
        if (offer.task < 0) return offer;
        offer.classes = read_classes(message);
        offer.covers = read_covers(message, static_cast<std::int64_t>(offer.classes.size()));
        offer.verdict.outside = share(message, "outside");
        offer.verdict.strangeness = share(message, "strangeness");
        offer.verdict.known = message.kind == "OFFER";
        offer.logits = message.tensor("logits");
        if (offer.logits.dim() != 2 || offer.logits.size(0) != probe || !offer.logits.is_floating_point() ||
            offer.logits.size(1) != static_cast<std::int64_t>(offer.classes.size())) {
            throw TransportError(
                TransportError::Reason::unusable,
                ::retort::detail::concat("an offer with logits of shape ",
                                         ::retort::detail::shape_text(offer.logits), ", expected [", probe,
                                         ", ", offer.classes.size(), "]"));
        }
        if (!at::isfinite(offer.logits).all().template item<bool>())
            throw TransportError(TransportError::Reason::unusable,
                                 "an offer with logits that are not finite");
        return offer;
    }

    // --- a lesson ---

    void have_lesson(CycleReport& report) {
        const auto done = [&] { return !cycle_.labels.empty() && (Choice::one || cycle_.exhausted()); };
        while (!cycle_.exhausted() && !done()) {
            const Offer& offer = cycle_.offer();
            const Lesson lesson = lesson_for(offer);
            const at::Tensor rows = sent(lesson.rows);
            const std::int64_t count = rows.size(0);
            std::string failure;
            while (failure.empty() &&
                   static_cast<std::int64_t>(cycle_.chunks.size()) * options_.chunk < count) {
                const auto part = static_cast<std::int64_t>(cycle_.chunks.size());
                const std::int64_t begin = part * options_.chunk;
                Message asked{
                    .kind = "LESSON", .id = id_of("LESSON", offer.teacher, part), .model = offer.model};
                describe_samples(asked);
                asked.fields["task"] = std::to_string(offer.task);
                asked.fields["cycle"] = std::to_string(cycle_.number);
                asked.fields["part"] = std::to_string(part);
                asked.tensors.insert(
                    "rows", rows.narrow(0, begin, std::min(options_.chunk, count - begin)).contiguous());
                try {
                    const Message answer =
                        messenger_.request(subject("lesson." + offer.teacher), asked, options_.request);
                    if (answer.kind != "LABELS")
                        throw TransportError(TransportError::Reason::unusable, "no labels");
                    if (answer.model != offer.model) {
                        failure = distrust(lesson, offer, answer.model, {}, {}, options_.trust);
                        break;
                    }
                    const at::Tensor labels = answer.tensor("logits");
                    const at::Tensor known = answer.tensor("known");
                    const std::int64_t sent_rows = asked.tensor("rows").size(0);
                    if (labels.dim() != 2 || labels.size(0) != sent_rows || known.dim() != 1 ||
                        known.size(0) != sent_rows || known.scalar_type() != at::kBool ||
                        labels.size(1) != static_cast<std::int64_t>(offer.classes.size()) ||
                        !labels.is_floating_point()) {
                        failure = ::retort::detail::concat(
                            "labels of shape ", ::retort::detail::shape_text(labels), ", expected [",
                            sent_rows, ", ", offer.classes.size(), "]");
                        break;
                    }
                    cycle_.chunks.push_back(labels);
                    cycle_.known.push_back(known);
                    cycle_.failures = 0;
                    save_cycle();
                } catch (const TransportError& error) {
                    using Reason = TransportError::Reason;
                    if (error.reason == Reason::refused || error.reason == Reason::malformed ||
                        error.reason == Reason::too_large || error.reason == Reason::unusable) {
                        failure = error.what();
                    } else if (++cycle_.failures >= options_.patience) {
                        note(offer.teacher, Kind::silent, error.what());
                        if (!options_.fall_back) return finish(report, Outcome::unreachable);
                        break;
                    }
                }
            }
            if (failure.empty() &&
                static_cast<std::int64_t>(cycle_.chunks.size()) * options_.chunk >= count) {
                const at::Tensor labels = at::cat(cycle_.chunks);
                failure = distrust(lesson, offer, offer.model, labels, at::cat(cycle_.known), options_.trust);
                if (failure.empty()) {
                    cycle_.labels.push_back(lesson.labels_of(labels).clone());
                    cycle_.teachers.push_back(cycle_.order[static_cast<std::size_t>(cycle_.position)]);
                }
            }
            if (!failure.empty()) refuse(report, offer.teacher, failure);
            cycle_.next();
            save_cycle();
        }
        if (cycle_.labels.empty())
            return finish(report,
                          report.refused.empty() && !any_refused() ? Outcome::unreachable : Outcome::refused);
        enter(Phase::learning);
    }
    bool any_refused() const {
        return std::any_of(cycle_.entries.begin(), cycle_.entries.end(),
                           [](const auto& each) { return each.second.kind == Kind::refused; });
    }
    Lesson lesson_for(const Offer& offer) const {
        std::vector<at::Tensor> inputs, classes;
        for (const Task& each : tasks_) {
            if (!each.from.empty()) continue;  // labels that were only heard of prove nothing
            for (std::size_t own = 0; own < each.classes.size(); ++own) {
                const auto found = std::find(offer.classes.begin(), offer.classes.end(), each.classes[own]);
                const std::int64_t position = found - offer.classes.begin();
                if (found == offer.classes.end() ||
                    std::find(offer.covers.begin(), offer.covers.end(), position) == offer.covers.end())
                    continue;
                const at::Tensor rows =
                    each.holdout_class.eq(static_cast<std::int64_t>(own)).nonzero().squeeze(1);
                if (rows.numel() == 0) continue;
                inputs.push_back(each.holdout.index_select(0, rows));
                classes.push_back(at::full({rows.numel()}, position, at::TensorOptions(at::kLong)));
            }
        }
        const at::Tensor canary = inputs.empty() ? at::Tensor() : at::cat(inputs);
        const at::Tensor canary_class = inputs.empty() ? at::Tensor() : at::cat(classes);
        return make_lesson(cycle_.data, std::min(options_.probe, cycle_.data.size(0)), canary, canary_class,
                           options_.trust, seed_of(offer.teacher, static_cast<std::int64_t>(tasks_.size())));
    }

    // --- learning from a lesson ---

    void learn_lesson(CycleReport& report, const transport::Traffic& before) {
        if (tasks_.size() >= options_.tasks) {
            note("", Kind::unknown, "no room for another task (NodeOptions::tasks)");
            return finish(report, Outcome::refused);
        }
        const auto offer_of = [&](std::int64_t position) -> const Offer& {
            return cycle_.offers.at(static_cast<std::size_t>(position));
        };
        at::Tensor labels;
        if constexpr (Choice::one) {
            labels = cycle_.labels.back();
        } else {
            labels = choice_.combine(cycle_.labels);
        }
        std::string names;
        for (const std::int64_t each : cycle_.teachers)
            names.append(names.empty() ? "" : ",").append(offer_of(each).teacher);
        const std::uint64_t seed = seed_of("lesson", static_cast<std::int64_t>(tasks_.size()));
        const Split split = split_of(cycle_.data.size(0), seed);
        const at::Tensor& data = cycle_.data;
        const std::shared_ptr<Net> fresh = with_head(labels.size(1), data, seed);
        std::string failure;
        double accuracy_before = 0;
        double accuracy_after = 0;
        try {
            train(
                fresh, Received(data, labels), SoftTarget{.temperature = options_.temperature},
                [&](std::int64_t epoch) {
                    std::vector<at::Tensor> result;
                    for (const at::Tensor& rows : batches_of(split.learn, seed, epoch))
                        result.push_back(data.index_select(0, rows));
                    return result;
                },
                options_.epochs);
            for (std::size_t i = 0; i < tasks_.size() && failure.empty(); ++i) {
                const double was = accuracy(*network_, i, tasks_[i].holdout, tasks_[i].holdout_class);
                const double is = accuracy(*fresh, i, tasks_[i].holdout, tasks_[i].holdout_class);
                accuracy_before += was / static_cast<double>(tasks_.size());
                accuracy_after += is / static_cast<double>(tasks_.size());
                if (is < was - options_.tolerance) {
                    failure = ::retort::detail::concat("task ", i, " would be forgotten: held-out accuracy ",
                                                       was, " before, ", is, " after");
                }
            }
        } catch (const NonFiniteError& error) {
            failure = error.what();
        }
        if (!failure.empty()) {
            refuse(report, names, failure);
            cycle_.labels.clear();
            cycle_.teachers.clear();
            if (cycle_.exhausted()) return finish(report, Outcome::refused);
            return enter(Phase::lesson);
        }
        const Offer& first = offer_of(cycle_.teachers.front());
        report.task = tasks_.size();
        for (const std::int64_t each : cycle_.teachers) {
            report.teachers.push_back(offer_of(each).teacher);
            report.teacher_tasks.push_back(offer_of(each).task);
        }
        const transport::Traffic traffic = messenger_.transport().traffic() - before;
        commit(fresh, first.classes, data, labels.argmax(1), split, names);
        cycle_.entries.emplace_back(key(names, "learned"),
                                    LedgerEntry{.kind = Kind::learned,
                                                .cycle = cycle_.number,
                                                .peer = names,
                                                .task = static_cast<std::int64_t>(report.task),
                                                .rows = data.size(0),
                                                .frames = traffic.frames_sent + traffic.frames_received,
                                                .bytes = traffic.bytes_sent + traffic.bytes_received,
                                                .before = accuracy_before,
                                                .after = accuracy_after});
        cycle_.data = at::Tensor();
        finish(report, Outcome::learned);
    }

    // --- the ledger ---

    std::string key(const std::string& peer, std::string_view what) const {
        return ::retort::detail::concat(cycle_.number, '/', peer, '/', what);
    }
    void note(const std::string& peer, Kind kind, std::string reason) {
        cycle_.entries.emplace_back(
            key(peer, LedgerEntry::kinds[static_cast<std::size_t>(kind)]),
            LedgerEntry{.kind = kind, .cycle = cycle_.number, .peer = peer, .reason = std::move(reason)});
    }
    void refuse(CycleReport& report, const std::string& peer, const std::string& reason) {
        report.refused.emplace_back(peer, reason);
        note(peer, Kind::refused, reason);
    }
    /// Ends the cycle: its entries are counted in the file that says it is over.
    void finish(CycleReport& report, Outcome outcome) {
        report.outcome = outcome;
        last_learned_ = outcome == Outcome::learned;
        for (const auto& [entry_key, entry] : cycle_.entries) {
            if (!ledger_.add(entry_key, entry) || entry.peer.empty()) continue;
            if (entry.kind == Kind::learned || entry.kind == Kind::refused)
                roster_.taught(entry.peer, entry.kind == Kind::learned);
        }
        EducationCycle over;
        over.number = cycle_.number;
        over.data = cycle_.data;
        cycle_ = std::move(over);
        save();
        save_cycle();
    }
    void enter(Phase phase) {
        cycle_.phase = phase;
        save_cycle();
    }

    // --- answering ---

    void serve() {
        subscriptions_.push_back(messenger_.serve(subject("hello"), [this](const Message& message) {
            const std::lock_guard lock(mutex_);
            if (message.sender != options_.name && greetings_.size() < options_.peers)
                greetings_.push_back(message);
            Message answer{.kind = "HELLO"};
            describe(answer);
            return answer;
        }));
        subscriptions_.push_back(messenger_.serve(
            subject("query"), [this](const Message& message) { return answer_query(message); }));
        subscriptions_.push_back(
            messenger_.serve(subject("lesson." + options_.name),
                             [this](const Message& message) { return answer_lesson(message); }));
    }
    static Message decline(std::string reason) {
        return {.kind = "DECLINE", .fields = {{"task", "-1"}, {"reason", std::move(reason)}}};
    }
    /// Why rows cannot be looked at; empty if they can. \pre the mutex is locked
    std::string objection(const Message& message, const at::Tensor& rows) const {
        if (message.field("input") != options_.input) return "inputs of another shape or normalization";
        if (tasks_.empty()) return "no task is known here";
        if (!rows.is_floating_point() || rows.dim() < 2 || rows.size(0) < 1 || rows.size(0) > 65536)
            return "rows of no kind that is known here";
        if (message.field("space") == "features") {
            if (message.field("trunk") != trunk_hash()) return "features of another trunk";
            const std::int64_t width =
                evidence(*network_, 0, tasks_.front().reference.narrow(0, 0, 1)).features.size(1);
            if (rows.dim() != 2 || rows.size(1) != width) return "features of another width";
        } else if (rows.sizes().slice(1) != tasks_.front().reference.sizes().slice(1)) {
            return "inputs of another shape";
        }
        if (rows.scalar_type() != tasks_.front().reference.scalar_type()) return "rows of another type";
        if (!at::isfinite(rows).all().template item<bool>()) return "rows that are not finite";
        return {};
    }
    Message answer_query(const Message& message) const {
        if (message.sender == options_.name) return decline("it is me");
        const std::lock_guard lock(mutex_);
        const at::Tensor& probe = message.tensor("probe");
        if (const std::string why = objection(message, probe); !why.empty()) return decline(why);
        const Space space = message.field("space") == "features" ? Space::features : Space::input;
        const Observation seen = assess_locked(probe, space);
        Message answer{.kind = seen.known ? "OFFER" : "DECLINE", .model = hash_};
        answer.fields["task"] = std::to_string(seen.task);
        answer.fields["classes"] = nlohmann::json(seen.classes).dump();
        answer.fields["covers"] = nlohmann::json(covers_of(seen.task)).dump();
        answer.fields["outside"] = number(seen.verdict.outside);
        answer.fields["strangeness"] = number(seen.verdict.strangeness);
        answer.tensors.insert("logits", seen.logits.contiguous());
        return answer;
    }
    Message answer_lesson(const Message& message) {
        const std::lock_guard lock(mutex_);
        const at::Tensor& rows = message.tensor("rows");
        const auto refused = [&](const std::string& why) {
            throw TransportError(TransportError::Reason::refused, why);
        };
        if (const std::string why = objection(message, rows); !why.empty()) refused(why);
        if (message.model != hash_) refused("the network that made the offer has learned since");
        const std::int64_t task = integer(message, "task");
        if (task < 0 || task >= static_cast<std::int64_t>(tasks_.size())) refused("no such task");
        const auto number_of = static_cast<std::size_t>(task);
        const Evidence seen = message.field("space") == "features" ? of_features(number_of, rows)
                                                                   : evidence(*network_, number_of, rows);
        Message answer{.kind = "LABELS", .model = hash_};
        answer.tensors.insert("logits", seen.logits.contiguous());
        answer.tensors.insert("known", tasks_[number_of]
                                           .assessment.score(seen)
                                           .le(tasks_[number_of].calibration.threshold())
                                           .contiguous());
        // Counted before it is sent: once, whatever becomes of the answer.
        const bool first =
            taught_.add(message.sender + '/' + message.id.text(), {.kind = Kind::taught,
                                                                   .cycle = integer(message, "cycle"),
                                                                   .peer = message.sender,
                                                                   .task = task,
                                                                   .rows = rows.size(0)});
        if (first && !options_.directory.empty()) {
            ::retort::detail::StateItems items;
            Archive archive(items);
            taught_.checkpoint(archive);
            ::retort::detail::write_state(options_.directory / "taught.state", items);
        }
        return answer;
    }

    // --- texts ---

    static std::string number(double value) {
        char text[32];
        const auto end = std::to_chars(text, text + sizeof text, value).ptr;
        return {text, end};
    }
    static std::int64_t integer(const Message& message, const std::string& name) {
        const std::string& text = message.field(name);
        std::int64_t value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error != std::errc() || end != text.data() + text.size())
            unusable(message, name, "a whole number");
        return value;
    }
    static double share(const Message& message, const std::string& name) {
        const std::string& text = message.field(name);
        double value = -1;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error != std::errc() || end != text.data() + text.size() || !(value >= 0 && value <= 1))
            unusable(message, name, "a share in [0, 1]");
        return value;
    }
    static std::vector<std::string> read_classes(const Message& message) {
        const nlohmann::json list =
            nlohmann::json::parse(message.field("classes"), nullptr, /*allow_exceptions=*/false);
        if (!list.is_array() || list.empty() || list.size() > 100'000)
            unusable(message, "classes", "a list of names");
        std::vector<std::string> result;
        for (const auto& each : list) {
            if (!each.is_string()) unusable(message, "classes", "a list of names");
            result.push_back(each.template get<std::string>());
        }
        return result;
    }
    static std::vector<std::int64_t> read_covers(const Message& message, std::int64_t classes) {
        const nlohmann::json list =
            nlohmann::json::parse(message.field("covers"), nullptr, /*allow_exceptions=*/false);
        if (!list.is_array() || list.size() > static_cast<std::size_t>(classes))
            unusable(message, "covers", "a list of positions of classes");
        std::vector<std::int64_t> result;
        for (const auto& each : list) {
            if (!each.is_number_integer()) unusable(message, "covers", "a list of positions of classes");
            result.push_back(each.template get<std::int64_t>());
        }
        return result;
    }
    /// Which classes of a task there are samples of. \pre the mutex is locked
    std::vector<std::int64_t> covers_of(std::size_t task) const {
        const Task& own = tasks_.at(task);
        std::vector<std::int64_t> result;
        for (std::int64_t c = 0; c < static_cast<std::int64_t>(own.classes.size()); ++c) {
            if (own.reference_class.eq(c).any().template item<bool>()) result.push_back(c);
        }
        return result;
    }
    [[noreturn]] static void unusable(const Message& message, const std::string& name, const char* expected) {
        throw TransportError(
            TransportError::Reason::unusable,
            ::retort::detail::concat(::retort::detail::excerpt(message.kind), ": expected ", name, " to be ",
                                     expected, ", found ", ::retort::detail::excerpt(message.field(name))));
    }

    // --- files ---

    void save() {
        if (options_.directory.empty()) return;
        ::retort::detail::StateItems items;
        Archive archive(items);
        checkpoint(archive);
        std::filesystem::create_directories(options_.directory);
        ::retort::detail::write_state(options_.directory / "node.state", items);
    }
    void save_cycle() {
        if (options_.directory.empty()) return;
        ::retort::detail::StateItems items;
        Archive archive(items);
        cycle_.checkpoint(archive);
        std::filesystem::create_directories(options_.directory);
        ::retort::detail::write_state(options_.directory / "cycle.state", items);
    }
    void read() {
        const auto load = [&](const char* file, auto&& into) {
            const std::filesystem::path path = options_.directory / file;
            if (!std::filesystem::exists(path)) return;
            const ::retort::detail::StateItems items = ::retort::detail::read_state(path);
            Archive archive(items, true, path.string());
            into(archive);
        };
        load("node.state", [&](Archive& archive) { checkpoint(archive); });
        load("taught.state", [&](Archive& archive) { taught_.checkpoint(archive); });
        const std::int64_t over = cycle_.number;
        load("cycle.state", [&](Archive& archive) {
            EducationCycle stored;
            stored.checkpoint(archive);
            // One that the node's file says is over was only not yet removed.
            if (stored.number > over || stored.phase == Phase::idle) {
                cycle_ = std::move(stored);
            } else if (!last_learned_) {
                cycle_.data = stored.data;
            }
        });
    }
    /// Everything but the cycle.
    void checkpoint(Archive& archive) {
        archive.expect("name", options_.name);
        archive.expect("community", options_.community);
        archive("cycle", cycle_.number);
        archive("learned", last_learned_);
        auto count = static_cast<std::int64_t>(tasks_.size());
        archive("tasks", count);
        if (archive.loading()) {
            tasks_.clear();
            for (std::int64_t i = 0; i < count; ++i)
                tasks_.push_back(
                    {.assessment = assessment_, .calibration = Calibration(options_.calibration)});
        }
        for (std::size_t i = 0; i < tasks_.size(); ++i) {
            archive.in("task" + std::to_string(i), [&] {
                Task& each = tasks_[i];
                archive("classes", each.classes);
                archive("from", each.from);
                archive("reference", each.reference);
                archive("reference_class", each.reference_class);
                archive("holdout", each.holdout);
                archive("holdout_class", each.holdout_class);
                ::retort::detail::archive_policy(archive, "assessment", each.assessment);
                ::retort::detail::archive_policy(archive, "calibration", each.calibration);
            });
        }
        if (archive.loading() && count > 0) {
            const at::NoGradGuard no_grad;
            const EvalMode eval(*network_);
            const std::int64_t width =
                network_->forward(tasks_.front().reference.narrow(0, 0, 1)).features.size(1);
            for (const Task& each : tasks_)
                network_->add_head(width, static_cast<std::int64_t>(each.classes.size()));
        }
        archive.in("network", [&] { ::retort::detail::archive_module(archive, *network_); });
        if (archive.loading()) hash_ = hash_of(*network_);
        ::retort::detail::archive_policy(archive, "retention", retention_);
        archive.in("roster", [&] { roster_.checkpoint(archive); });
        archive.in("ledger", [&] { ledger_.checkpoint(archive); });
    }

    MakeTrunk make_trunk_;
    Assessment assessment_;
    Choice choice_;
    RetentionPolicy retention_;
    Optimizer optimizer_;
    NodeOptions options_;
    mutable std::mutex mutex_;  // of what handlers use: network, tasks, hash, taught, greetings
    std::shared_ptr<Net> network_;
    std::string hash_;
    std::vector<Task> tasks_;
    Ledger taught_;
    std::vector<Message> greetings_{};
    Roster roster_;
    Ledger ledger_;
    EducationCycle cycle_;
    std::size_t last_offers_ = 0;
    bool last_learned_ = false;
    transport::Messenger<T> messenger_;
    std::vector<transport::Subscription> subscriptions_;
};

}  // namespace retort::community
