// SPDX-License-Identifier: BSL-1.0
/// \file
/// Whole runs: history, sources of batches, hooks and their order, stops, errors, non-finite losses.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <range/v3/view/filter.hpp>
#include <range/v3/view/generate_n.hpp>
#include <range/v3/view/transform.hpp>

#include <retort/callback.hpp>
#include <retort/data/loader.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace fit_test {

using namespace retort_test;
using retort::CrossEntropy;
using retort::FitContext;
using retort::Frozen;
using retort::Knowledge;
using retort::NoTeacher;
using retort::Schedule;
using retort::Sgd;
using retort::SoftTarget;
using retort::Trainer;

namespace {
auto plain(const Perceptron& student) {
    return Trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                   Sgd{.learning_rate = 0.1, .momentum = 0.9}};
}
/// Records the order of hooks; stops the run, or throws, at one of them.
struct Diary {
    std::vector<std::string> entries{};
    std::string stop_at{}, throw_at{};
    bool note(const std::string& hook, const FitContext& context) {
        entries.push_back(hook + " " + std::to_string(context.progress.epoch) + "." +
                          std::to_string(context.progress.step));
        if (entries.back() == throw_at) throw std::runtime_error("diary");
        return entries.back() != stop_at;
    }
    bool on_fit_begin(FitContext& context) { return note("fit_begin", context); }
    bool on_epoch_begin(FitContext& context) { return note("epoch_begin", context); }
    bool on_gradients(FitContext& context) { return note("gradients", context); }
    bool on_step_end(FitContext& context) { return note("step_end", context); }
    bool on_report(FitContext& context) { return note("report", context); }
    bool on_epoch_end(FitContext& context) { return note("epoch_end", context); }
    bool on_fit_end(FitContext& context) { return note("fit_end", context); }
};
/// Throws from the step on that is given, as a term that decomposes matrices does where they are not finite.
struct Refusing {
    static constexpr bool needs_teacher = false, needs_target = false;
    std::int64_t from = 0, until = 1000;
    std::shared_ptr<std::int64_t> calls = std::make_shared<std::int64_t>(0);
    static std::string name() { return "refusing"; }
    torch::Tensor operator()(const auto&, const auto&, const auto&) const {
        const std::int64_t call = (*calls)++;
        if (call >= from && call < until) throw retort::NonFiniteError("refusing: found NaN");
        return torch::zeros({});
    }
};
/// The loss of one term is NaN from a given step on.
struct Spoiled {
    static constexpr bool needs_teacher = false, needs_target = false;
    std::int64_t from = 0, until = 1000;
    std::shared_ptr<std::int64_t> calls = std::make_shared<std::int64_t>(0);
    torch::Tensor operator()(const auto& student, const auto&, const auto&) const {
        const auto call = (*calls)++;
        const auto value = retort::logits(student).sum() * 0.01;
        return call >= from && call < until ? value * std::nan("") : value;
    }
    std::string name() const { return "spoiled"; }
};
/// Of finite value, and with a gradient of NaN in one call: the root of 0.
struct Rooted {
    static constexpr bool needs_teacher = false, needs_target = false;
    std::int64_t at = 0;
    std::shared_ptr<std::int64_t> calls = std::make_shared<std::int64_t>(0);
    torch::Tensor operator()(const auto& student, const auto&, const auto&) const {
        const auto sum = retort::logits(student).sum();
        return (*calls)++ == at ? (sum * 0).sqrt() * 0 + sum * 0 : sum * 0;
    }
    std::string name() const { return "rooted"; }
};
double learning_rate(torch::optim::Optimizer& optimizer) {
    return optimizer.param_groups().front().options().get_lr();
}
struct Badly {
    static constexpr bool needs_teacher = false, needs_target = false;
    std::string called;
    torch::Tensor operator()(const auto& student, const auto&, const auto&) const {
        return retort::logits(student).sum();
    }
    std::string name() const { return called; }
};
}  // namespace

TEST_CASE("a history has one row per epoch, with all measurements") {
    torch::manual_seed(1);
    Perceptron student, teacher;
    Trainer trainer{
        student, Frozen{teacher}, Knowledge{CrossEntropy{}, SoftTarget{}},
        Schedule{1.0, retort::Phases{retort::Phase{1, 0.0}, retort::Phase{0, 0.5}}},
        retort::WithLearningRate{Sgd{.learning_rate = 0.1}, retort::Step{.factor = 0.5, .epochs = 1}}};
    const auto batches = vectors(3);
    const auto& history = trainer.fit(batches, {.epochs = 3, .report_every = 2});
    CHECK(&history == &trainer.history());
    CHECK(history.columns() == std::vector<std::string>{"epoch", "learning_rate", "loss", "cross_entropy",
                                                        "weight_cross_entropy", "soft_target",
                                                        "weight_soft_target", "accuracy", "samples",
                                                        "seconds", "samples_per_second"});
    REQUIRE(history.size() == 3);
    for (std::size_t epoch = 0; epoch < 3; ++epoch) {
        CHECK(history.at(epoch, "epoch") == static_cast<double>(epoch));
        CHECK(history.at(epoch, "learning_rate") == Approx(0.1 * std::pow(0.5, epoch)));
        CHECK(history.at(epoch, "samples") == 18);
        CHECK(history.at(epoch, "weight_cross_entropy") == 1.0);
        CHECK(history.at(epoch, "weight_soft_target") == (epoch == 0 ? 0.0 : 0.5));
        CHECK(std::isnan(history.at(epoch, "soft_target")) == (epoch == 0));
        CHECK(history.at(epoch, "seconds") > 0);
    }
    CHECK(history.at(0, "loss") == Approx(history.at(0, "cross_entropy")));
    CHECK(history.at(2, "loss") ==
          Approx(history.at(2, "cross_entropy") + 0.5 * history.at(2, "soft_target")));
    CHECK(trainer.progress().epoch == 3);
    CHECK(trainer.progress().steps_per_epoch == 3);
}

TEST_CASE("means are over samples, whatever the sizes of the batches and the reports") {
    for (const std::int64_t every : {1, 2, 50}) {
        torch::manual_seed(1);
        Perceptron student;
        auto trainer = Trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                               Sgd{.learning_rate = 0.0}};
        auto batches = vectors(2, 6);
        batches.push_back(vectors(1, 2, 9)[0]);
        batches.push_back(vectors(1, 1, 8)[0]);
        const auto x = torch::cat({batches[0].first, batches[1].first, batches[2].first, batches[3].first});
        const auto y =
            torch::cat({batches[0].second, batches[1].second, batches[2].second, batches[3].second});
        const auto logits = student->forward(x).detach();
        const auto& history = trainer.fit(batches, {.epochs = 1, .report_every = every});
        CHECK(history.last("loss") ==
              Approx(torch::nn::functional::cross_entropy(logits, y).item<double>()).epsilon(1e-6));
        CHECK(history.last("accuracy") ==
              Approx(logits.argmax(1).eq(y).to(torch::kDouble).mean().item<double>()));
        CHECK(history.last("samples") == 15);
    }
}

TEST_CASE("a second fit continues where the first ended") {
    torch::manual_seed(1);
    Perceptron once, twice;
    copy_state(*once, *twice);
    const auto batches = vectors(3);
    auto one = plain(once), two = plain(twice);
    one.fit(batches, {.epochs = 4});
    two.fit(batches, {.epochs = 1});
    two.fit(batches, {.epochs = 4});
    CHECK(same(state(*once), state(*twice)));
    CHECK(two.history().size() == 4);
    CHECK(two.history().last("epoch") == 3);
    CHECK(words_of<retort::ConfigError>([&] { two.fit(batches, {.epochs = 4}); }) ==
          "fit: expected more epochs than the 4 that are already done, found 4; FitOptions::epochs counts "
          "all epochs of the "
          "training");
    CHECK(two.history().size() == 4);
}

TEST_CASE("manual steps give the same as fit") {
    torch::manual_seed(1);
    Perceptron a, b;
    copy_state(*a, *b);
    auto by_fit = plain(a), by_hand = plain(b);
    const auto batches = vectors(3);
    by_fit.fit(batches, {.epochs = 2});
    for (int epoch = 0; epoch < 2; ++epoch) {
        for (const auto& batch : batches) by_hand.step(batch);
    }
    CHECK(same(state(*a), state(*b)));
}

TEST_CASE("invalid options are refused before anything happens") {
    Perceptron student;
    auto trainer = plain(student);
    Diary diary;
    CHECK(words_of<retort::ConfigError>([&] { trainer.fit(vectors(1), {.epochs = 0}, diary); }) ==
          "fit: expected at least 1 epoch, found 0");
    CHECK(words_of<retort::ConfigError>([&] { trainer.fit(vectors(1), {.report_every = 0}, diary); }) ==
          "fit: expected a report every 1 or more steps, found 0");
    CHECK(diary.entries.empty());
    CHECK(trainer.history().empty());
}

TEST_CASE("terms with the name of a column are refused") {
    Perceptron student;
    for (const std::string name : {"loss", "epoch", "samples", "accuracy", "seconds"}) {
        Trainer trainer{student, NoTeacher{}, Knowledge{Badly{name}}, Schedule{1.0}, Sgd{}};
        CHECK(words_of<retort::ConfigError>([&] { trainer.fit(vectors(1), {}); }) ==
              "history: expected columns of different names, found \"" + name +
                  "\" twice; give the term another name");
    }
    Trainer trainer{student, NoTeacher{}, Knowledge{Badly{"a"}, Badly{"weight_a"}}, Schedule{1.0, 1.0},
                    Sgd{}};
    CHECK(holds(words_of<retort::ConfigError>([&] { trainer.fit(vectors(1), {}); }), "\"weight_a\" twice"));
}

TEST_CASE("hooks run in order, and so do callbacks") {
    Perceptron student;
    auto trainer = plain(student);
    Diary diary;
    trainer.fit(vectors(3), {.epochs = 1, .report_every = 2}, diary);
    CHECK(diary.entries == std::vector<std::string>{"fit_begin 0.0", "epoch_begin 0.0", "gradients 0.0",
                                                    "step_end 0.1", "gradients 0.1", "step_end 0.2",
                                                    "report 0.2", "gradients 0.2", "step_end 0.3",
                                                    "epoch_end 0.3", "fit_end 1.0"});
    std::string order;
    trainer.fit(vectors(1), {.epochs = 2}, retort::on_epoch_end([&](FitContext&) { order += "a"; }),
                retort::on_epoch_end([&](FitContext& context) {
                    order += "b";
                    context.history.set("mine", 5);
                    return false;  // the others are still called
                }),
                retort::on_epoch_end(
                    [&](FitContext& context) { order += context.history.last("mine") == 5 ? "c" : "?"; }));
    CHECK(order == "abc");
}

TEST_CASE("false stops the run at every hook") {
    const auto run = [](const std::string& stop_at, std::size_t batches = 3) {
        Perceptron student;
        auto trainer = plain(student);
        Diary diary{.stop_at = stop_at};
        trainer.fit(vectors(static_cast<std::int64_t>(batches)), {.epochs = 3, .report_every = 2}, diary);
        CHECK(diary.entries.back().starts_with("fit_end "));
        return std::tuple(diary.entries, trainer.history().size(), trainer.progress());
    };
    {
        const auto [entries, rows, progress] = run("fit_begin 0.0");
        CHECK(entries == std::vector<std::string>{"fit_begin 0.0", "fit_end 0.0"});
        CHECK(rows == 0);
    }
    {
        const auto [entries, rows, progress] = run("epoch_begin 1.0");
        CHECK(std::count(entries.begin(), entries.end(), "gradients 1.0") == 0);
        CHECK(rows == 1);  // there is no row of an epoch without a step
        CHECK(progress.epoch == 1);
        CHECK(progress.steps_per_epoch == 3);
    }
    {
        const auto [entries, rows, progress] = run("gradients 0.1");
        CHECK(std::count(entries.begin(), entries.end(), "step_end 0.2") == 1);  // the step is done
        CHECK(std::count(entries.begin(), entries.end(), "gradients 0.2") == 0);
        CHECK(rows == 1);
    }
    {
        const auto [entries, rows, progress] = run("step_end 0.1");
        CHECK(std::count(entries.begin(), entries.end(), "gradients 0.1") == 0);
        CHECK(std::count(entries.begin(), entries.end(), "epoch_end 0.1") == 0);  // it has not ended
        CHECK(rows == 1);
        CHECK(progress == retort::Progress{0, 3, 1, 3});
    }
    {
        const auto [entries, rows, progress] = run("report 0.2");
        CHECK(std::count(entries.begin(), entries.end(), "gradients 0.2") == 0);
    }
    {
        const auto [entries, rows, progress] = run("epoch_end 1.3");
        CHECK(rows == 2);
        CHECK(progress.epoch == 2);
    }
}

TEST_CASE("a stopped run requests no further batch, and records no wrong length of an epoch") {
    Perceptron student;
    auto trainer = plain(student);
    int made = 0;
    const auto endless = [&](std::int64_t) {
        return ranges::views::generate_n(
            [&] {
                ++made;
                return vectors(1)[0];
            },
            1000);
    };
    trainer.fit(endless, {.epochs = 2},
                retort::on_step_end([](FitContext& context) { return context.progress.step < 2; }));
    CHECK(made == 2);
    CHECK(trainer.history().size() == 1);
    CHECK(trainer.progress().steps_per_epoch != 2);
}

TEST_CASE("an error in between leaves no partial row, and a trainer that still works") {
    for (const std::string where :
         {"epoch_begin 1.0", "gradients 1.1", "step_end 1.1", "report 1.2", "epoch_end 1.3"}) {
        Perceptron student;
        auto trainer = plain(student);
        Diary diary{.throw_at = where};
        CHECK_THROWS_WITH(trainer.fit(vectors(3), {.epochs = 3, .report_every = 2}, diary), "diary");
        CHECK(diary.entries.back() == where);  // no fit_end
        CHECK(trainer.history().size() == 1);
        CHECK(trainer.progress().epoch == 1);
        CHECK(trainer.progress().step == 0);
        trainer.fit(vectors(3), {.epochs = 3});
        CHECK(trainer.history().size() == 3);
        CHECK(trainer.history().last("epoch") == 2);
    }
}

TEST_CASE("batches from a vector, a single-pass range, a callable, a loader") {
    torch::manual_seed(1);
    std::vector<std::vector<torch::Tensor>> results;
    Perceptron start;
    const auto train = [&](auto&& source, std::int64_t epochs) {
        Perceptron student;
        copy_state(*start, *student);
        auto trainer = plain(student);
        trainer.fit(source, {.epochs = epochs});
        CHECK(trainer.progress().steps_per_epoch == 3);
        results.push_back(state(*student));
    };
    const auto batches = vectors(3);
    train(batches, 1);
    std::size_t next = 0;
    train(ranges::views::generate_n([&] { return batches[next++]; }, 3), 1);
    train([&](std::int64_t) -> const std::vector<PairBatch>& { return batches; }, 1);
    train(
        [&](std::int64_t) {
            return batches | ranges::views::transform([](const PairBatch& b) {
                       return torch::data::Example<>{b.first, b.second};
                   });
        },
        1);
    for (const auto& result : results) CHECK(same(result, results[0]));

    const auto inputs = torch::randn({10, 4});
    retort::data::Loader loader{retort::data::in_memory(inputs, inputs.slice(1, 0, 3).argmax(1), 3),
                                {.batch_size = 4}};
    train(loader, 2);
}

TEST_CASE("a callable is called once for every epoch, with its number") {
    Perceptron student;
    auto trainer = plain(student);
    std::vector<std::int64_t> asked;
    trainer.fit(
        [&](std::int64_t epoch) {
            asked.push_back(epoch);
            return vectors(epoch + 1);
        },
        {.epochs = 3});
    CHECK(asked == std::vector<std::int64_t>{0, 1, 2});
    CHECK(trainer.history().at(2, "samples") == 18);
}

TEST_CASE("the size of a sized range is known in the first epoch; of another after it") {
    struct Spy {
        std::shared_ptr<std::vector<std::int64_t>> steps = std::make_shared<std::vector<std::int64_t>>();
        double weight(const retort::Progress& progress) const {
            steps->push_back(progress.steps_per_epoch);
            return 1.0;
        }
    };
    const auto seen = [](auto&& source) {
        Perceptron student;
        const Spy spy;
        Trainer trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{spy}, Sgd{}};
        trainer.fit(source, {.epochs = 2});
        return *spy.steps;
    };
    CHECK(seen(vectors(2)) == std::vector<std::int64_t>{2, 2, 2, 2});
    CHECK(seen([](std::int64_t) {
              return ranges::views::generate_n([] { return vectors(1)[0]; }, 2) |
                     ranges::views::filter([](const auto&) { return true; });
          }) == std::vector<std::int64_t>{0, 0, 2, 2});
}

TEST_CASE("an epoch without batches is an error, first or later") {
    Perceptron student;
    auto trainer = plain(student);
    CHECK(words_of<retort::DataError>([&] { trainer.fit(std::vector<PairBatch>(), {}); }) ==
          "fit: expected at least one batch in epoch 0, found none");
    CHECK(trainer.history().empty());
    std::size_t next = 0;
    const auto batches = vectors(2);
    const auto single_pass = ranges::views::generate_n([&] { return batches[next++ % 2]; }, 2);
    CHECK_NOTHROW(trainer.fit(vectors(2), {.epochs = 1}));
    CHECK(words_of<retort::DataError>([&] {
              trainer.fit([](std::int64_t epoch) { return vectors(epoch == 1 ? 2 : 0); }, {.epochs = 4});
          }) == "fit: expected at least one batch in epoch 2, found none");
    CHECK(trainer.history().size() == 2);
}

TEST_CASE("a batch without samples is an error with its position") {
    Perceptron student;
    auto trainer = plain(student);
    auto batches = vectors(2);
    batches.emplace_back(torch::zeros({0, 4}), torch::zeros({0}, torch::kLong));
    CHECK(words_of<retort::DataError>([&] { trainer.fit(batches, {}); }) ==
          "batch: expected at least one sample, found [0, 4] in epoch 0, step 2");
}

TEST_CASE("data without targets train terms that need none") {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{SoftTarget{}}, Schedule{1.0}, Sgd{}};
    retort::data::Loader loader{retort::data::in_memory(torch::randn({10, 4}), {}, 0), {.batch_size = 5}};
    const auto& history = trainer.fit(loader, {.epochs = 1});
    CHECK(std::isnan(history.last("accuracy")));
    CHECK(history.last("samples") == 10);
    trainer.fit(std::vector<torch::Tensor>{torch::randn({3, 4})}, {.epochs = 2});
    CHECK(history.last("samples") == 3);
}

TEST_CASE("the accuracy is computed if there are classes, and only if requested") {
    Perceptron student;
    auto trainer = plain(student);
    CHECK(std::isnan(trainer.fit(vectors(2), {.epochs = 1, .train_accuracy = false}).last("accuracy")));
    const std::vector<PairBatch> soft{{torch::randn({4, 4}), torch::rand({4, 3}).softmax(1)}};
    CHECK(std::isnan(trainer.fit(soft, {.epochs = 2}).last("accuracy")));
    CHECK_FALSE(std::isnan(trainer.fit(vectors(2), {.epochs = 3}).last("accuracy")));
}

TEST_CASE("a non-finite loss stops the run with the term, the epoch and the step") {
    Perceptron student;
    Trainer trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}, Spoiled{.from = 5}}, Schedule{1.0, 1.0},
                    Sgd{}};
    CHECK(words_of<retort::NonFiniteError>([&] {
              trainer.fit(vectors(4), {.epochs = 2, .report_every = 1});
          }) == "spoiled is nan in epoch 1, step 1 (both counted from 0); the parameters may be corrupted");
    CHECK(trainer.history().size() == 1);
    Perceptron other;
    Trainer late{other, NoTeacher{}, Knowledge{Spoiled{.from = 2}}, Schedule{1.0}, Sgd{.learning_rate = 0.0}};
    CHECK(holds(
        words_of<retort::NonFiniteError>([&] { late.fit(vectors(4), {.epochs = 1, .report_every = 50}); }),
        "spoiled is nan in epoch 0, step 2"));
}

TEST_CASE("a term that refuses what is not finite stops the run with the epoch and the step") {
    Perceptron student;
    Trainer trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}, Refusing{.from = 5}}, Schedule{1.0, 1.0},
                    Sgd{}};
    CHECK(words_of<retort::NonFiniteError>([&] { trainer.fit(vectors(4), {.epochs = 2}); }) ==
          "refusing: found NaN in epoch 1, step 1 (both counted from 0); the parameters may be corrupted");
    // Another term was the first to be spoiled, and had not been reported yet.
    Perceptron other;
    Trainer late{other, NoTeacher{}, Knowledge{Spoiled{.from = 1}, Refusing{.from = 3}}, Schedule{1.0, 1.0},
                 Sgd{.learning_rate = 0.0}};
    CHECK(holds(words_of<retort::NonFiniteError>([&] { late.fit(vectors(4), {.epochs = 1}); }),
                "spoiled is nan in epoch 0, step 1"));
}

TEST_CASE("an error for infinite data names the affected term") {
    Perceptron student;
    auto trainer = plain(student);
    auto batches = vectors(3);
    batches[1].first[0][0] = std::nan("");
    CHECK(holds(words_of<retort::NonFiniteError>([&] { trainer.fit(batches, {.report_every = 1}); }),
                "cross_entropy is nan in epoch 0, step 1"));
}

TEST_CASE("a skipped step leaves parameters, statistics and optimizer unchanged") {
    torch::manual_seed(1);
    ConvNet spoiled, clean;
    copy_state(*spoiled, *clean);
    auto batches = images(4);
    const auto good = std::vector<PairBatch>{batches[0], batches[1], batches[3]};
    batches[2].first[0][0][0][0] = std::nan("");
    const auto trainer_of = [](const ConvNet& net) {
        return Trainer{net, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                       Sgd{.learning_rate = 0.1, .momentum = 0.9}};
    };
    auto one = trainer_of(spoiled), two = trainer_of(clean);
    const auto& history = one.fit(batches, {.epochs = 2, .non_finite = retort::NonFinite::skip});
    two.fit(good, {.epochs = 2});
    CHECK(same(state(*spoiled), state(*clean)));
    CHECK(history.last("skipped_steps") == 1);
    CHECK(history.last("samples") == 18);
    CHECK(history.last("loss") == two.history().last("loss"));
    CHECK(one.progress().steps_per_epoch == 4);
}

TEST_CASE("a step that a term refuses, as its input is not finite, is left out") {
    ConvNet refused, clean;
    copy_state(*refused, *clean);
    const auto batches = images(4);
    Trainer one{refused, NoTeacher{}, Knowledge{CrossEntropy{}, Refusing{.from = 2, .until = 3}},
                Schedule{1.0, 1.0}, Sgd{.learning_rate = 0.1}};
    Trainer two{clean, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{.learning_rate = 0.1}};
    one.fit(batches, {.epochs = 1, .non_finite = retort::NonFinite::skip});
    two.fit(std::vector<PairBatch>{batches[0], batches[1], batches[3]}, {.epochs = 1});
    CHECK(same(state(*refused), state(*clean)));
    CHECK(one.history().last("skipped_steps") == 1);
}

TEST_CASE("a gradient that is not finite is found in its step, though the loss is finite") {
    const auto batches = vectors(4);
    const auto good = std::vector<PairBatch>{batches[0], batches[2], batches[3]};
    const auto trainer_of = [](const Perceptron& net, std::int64_t rooted_at) {
        return Trainer{net, NoTeacher{}, Knowledge{CrossEntropy{}, Rooted{rooted_at}}, Schedule{1.0, 1.0},
                       Sgd{.learning_rate = 0.1, .momentum = 0.9}};
    };
    torch::manual_seed(1);
    Perceptron spoiled, clean;
    copy_state(*spoiled, *clean);
    auto skipping = trainer_of(spoiled, 1), undisturbed = trainer_of(clean, -1);
    const auto& history = skipping.fit(batches, {.epochs = 1, .non_finite = retort::NonFinite::skip});
    undisturbed.fit(good, {.epochs = 1});
    CHECK(same(state(*spoiled), state(*clean)));
    CHECK(history.last("skipped_steps") == 1);
    CHECK(history.last("samples") == 18);
    CHECK(history.last("loss") == undisturbed.history().last("loss"));

    Perceptron stopped;
    auto stopping = trainer_of(stopped, 1);
    CHECK(
        holds(words_of<retort::NonFiniteError>([&] { stopping.fit(batches, {.epochs = 1}); }),
              "a gradient is NaN or infinite in epoch 0, step 1 (both counted from 0), where the loss is "));
    Perceptron unsaved;
    auto saving = trainer_of(unsaved, 1);
    const TemporaryDirectory folder;
    const auto file = folder / "state";
    CHECK_THROWS_AS(saving.fit(batches, {.epochs = 1}, retort::on_settled([&](FitContext& context) {
                                   if (context.progress.step == 2) saving.save(file);
                               })),
                    retort::NonFiniteError);
    CHECK_FALSE(std::filesystem::exists(file));
}

TEST_CASE("an epoch can have a given number of steps, which schedules by the step see from the first") {
    const auto batches = vectors(4);
    const auto unsized = [&] { return batches | ranges::views::filter([](const auto&) { return true; }); };
    Perceptron student;
    std::vector<double> rates;
    const auto trainer_of = [&] {
        return Trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                       retort::WithLearningRate{Sgd{.learning_rate = 0.1}, retort::WarmUp{{.epochs = 1}}}};
    };
    auto unknown = trainer_of();
    const auto before = state(*student);
    CHECK(holds(words_of<retort::ConfigError>([&] { unknown.fit(unsized(), {.epochs = 1}); }),
                "schedule: expected a known number of steps per epoch", "FitOptions::steps_per_epoch"));
    CHECK(same(before, state(*student)));
    auto known = trainer_of();
    known.fit(unsized(), {.epochs = 2, .steps_per_epoch = 4},
              retort::on_step_end([&](FitContext&) { rates.push_back(learning_rate(*known.optimizer())); }));
    CHECK(rates == std::vector<double>{0, 0.025, 0.05, 0.1 * 0.75, 0.1, 0.1, 0.1, 0.1});

    auto cut = plain(student);
    const auto& history = cut.fit(batches, {.epochs = 2, .steps_per_epoch = 3});
    CHECK(history.last("samples") == 18);
    CHECK(cut.progress().steps_per_epoch == 3);
    auto short_of = plain(student);
    CHECK(holds(
        words_of<retort::DataError>([&] { short_of.fit(batches, {.epochs = 1, .steps_per_epoch = 5}); }),
        "fit: expected batches for the 5 steps of an epoch (FitOptions::steps_per_epoch), found 4 steps in "
        "epoch 0"));
    auto negative = plain(student);
    CHECK_THROWS_AS(negative.fit(batches, {.epochs = 1, .steps_per_epoch = -1}), retort::ConfigError);
}

TEST_CASE("an epoch with every step skipped") {
    Perceptron student;
    const auto before = state(*student);
    Trainer trainer{student, NoTeacher{}, Knowledge{Spoiled{}}, Schedule{1.0}, Sgd{}};
    const auto& history =
        trainer.fit(vectors(3), {.epochs = 1, .report_every = 1, .non_finite = retort::NonFinite::skip});
    CHECK(history.last("skipped_steps") == 3);
    CHECK(std::isnan(history.last("loss")));
    CHECK(same(before, state(*student)));
}

TEST_CASE("the student is in training mode during a run; parts in evaluation mode stay so") {
    ConvNet student;
    student->norm->eval();
    Trainer trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    const auto mean = student->norm->running_mean.clone();
    trainer.fit(images(2), {});
    CHECK((student->is_training() && !student->norm->is_training()));
    CHECK(same(student->norm->running_mean, mean));
    student->eval();
    trainer.fit(images(2), {.epochs = 2});
    CHECK(student->norm->is_training());
}

TEST_CASE("hooks see the context: parameters, running means, the trainer") {
    Perceptron student;
    auto trainer = plain(student);
    std::vector<double> losses;
    std::size_t parameters = 99;
    bool is_trainer = false, is_student = false;
    trainer.fit(vectors(4), {.epochs = 1, .report_every = 2},
                retort::on_fit_begin([&](FitContext& context) { parameters = context.parameters.size(); }),
                retort::on_report([&](FitContext& context) {
                    losses.push_back(context.running.loss);
                    CHECK(context.running.samples == context.progress.step * 6);
                    CHECK((context.running.accuracy >= 0 && context.running.accuracy <= 1));
                    CHECK(context.running.seconds > 0);
                }),
                retort::on_gradients([&](auto& context) {
                    parameters = context.parameters.size();
                    is_trainer = &context.trainer == &trainer;
                    is_student = &context.student == student.get();
                }));
    CHECK(losses.size() == 2);
    CHECK(parameters == 4);
    CHECK((is_trainer && is_student));
}

TEST_CASE("a hook can save, but neither call fit nor resume from a checkpoint after on_restore") {
    const TemporaryDirectory directory;
    const auto batches = vectors(3);
    Perceptron student;
    auto trainer = plain(student);
    trainer.save(directory / "begin");
    std::vector<std::string> words;
    const auto note = [&](auto&& function) { words.push_back(words_of<retort::ConfigError>(function)); };
    trainer.fit(
        batches, {.epochs = 2, .report_every = 1},
        retort::on_restore([&](FitContext&) { note([&] { trainer.fit(batches, {.epochs = 5}); }); }),
        retort::on_epoch_begin([&](FitContext&) { note([&] { trainer.resume(directory / "begin"); }); }),
        retort::on_step_end([&](FitContext&) {
            note([&] { trainer.fit(batches, {.epochs = 5}); });
            note([&] { trainer.resume(directory / "begin"); });
        }),
        retort::on_settled([&](FitContext&) { trainer.save(directory / "settled"); }),
        retort::on_fit_end([&](FitContext&) { note([&] { trainer.fit(batches, {.epochs = 5}); }); }));
    CHECK(words.size() == 1 + 2 + 2 * 6 + 1);
    for (const std::string& each : words) {
        CHECK(holds(each, "expected no fit of this run to be under way, found one"));
    }
    CHECK(trainer.history().size() == 2);
    CHECK(directory.names() == std::vector<std::string>{"begin", "settled"});

    // Afterwards, also after an error, both work again; and within on_restore a run can resume.
    CHECK_THROWS_WITH(trainer.fit(batches, {.epochs = 3},
                                  retort::on_step_end([](FitContext&) { throw std::runtime_error("stop"); })),
                      "stop");
    trainer.resume(directory / "settled");
    trainer.fit(batches, {.epochs = 3});
    Perceptron other;
    auto second = plain(other);
    second.fit(batches, {.epochs = 3},
               retort::on_restore([&](FitContext&) { second.resume(directory / "settled"); }));
    CHECK(same(state(*student), state(*other)));
    CHECK(second.history().size() == 3);
}

TEST_CASE("the history of a temporary trainer outlives it") {
    Perceptron student;
    const retort::History& history = plain(student).fit(vectors(2), {.epochs = 2});
    CHECK(history.size() == 2);
}

}  // namespace fit_test
