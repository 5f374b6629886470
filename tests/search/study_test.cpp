// SPDX-License-Identifier: BSL-1.0
/// \file
/// Studies: decisions, abandoned trials, several processes, and invalid files.
/// Killed processes are in tests/kill/study.cpp.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include <csignal>
#include <limits>
#include <random>
#include <thread>

#include <retort/search.hpp>

namespace study_test {

using namespace retort_test;
using namespace retort::search;
using retort::ConfigError;
using retort::DataError;
using retort::OutputError;

namespace {

Space small_space() {
    Space space;
    return space.choice("a", {"1", "2", "3"}).choice("b", {"x", "y"});
}
StudyOptions small_study() { return {.space = small_space(), .seed = 3, .settings = {{"epochs", "8"}}}; }

/// Direct access by SQLite.
void sql(const std::filesystem::path& path, const std::string& text) {
    sqlite3* database = nullptr;
    REQUIRE(sqlite3_open(path.c_str(), &database) == SQLITE_OK);
    const int code = sqlite3_exec(database, text.c_str(), nullptr, nullptr, nullptr);
    sqlite3_close(database);
    REQUIRE(code == SQLITE_OK);
}
std::string opening(const std::filesystem::path& path, const StudyOptions& options = small_study()) {
    try {
        const Study study(path, options);
    } catch (const retort::Error& error) {
        return error.what();
    }
    return {};
}

}  // namespace

TEST_CASE("a search finds the best, and records everything") {
    const TemporaryDirectory folder;
    Study study(folder / "a.study", small_study());
    std::vector<std::int64_t> ended;
    const StudyRecord record = study.run(
        [](Trial& trial) {
            double value = 0;
            for (int epoch = 1; epoch <= 8; ++epoch) {
                value = std::stod(trial["a"]) + (trial["b"] == "x" ? 0.5 : 0.0) + 1.0 / epoch +
                        1e-4 * static_cast<double>(trial.number());
                if (!trial.report(epoch, value)) break;
            }
            return value;
        },
        {.trials = 40, .on_end = [&](const TrialRecord& trial) { ended.push_back(trial.number); }});
    CHECK(record.trials.size() == 40);
    CHECK(ended.size() == 40);
    CHECK(record.count(TrialState::running) == 0);
    CHECK(record.count(TrialState::pruned) > 20);
    const TrialRecord best = record.best(1).at(0);
    CHECK(best.words == std::vector<std::string>{"1", "y"});
    CHECK(best.value == best.reports.at(7).second);
    CHECK(best.reports.size() == 8);
    for (const TrialRecord& trial : record.trials) {
        CHECK(trial.words ==
              small_space().words(small_space().draw(3, static_cast<std::uint64_t>(trial.number))));
        CHECK(trial.value.has_value() == (trial.state == TrialState::complete));
        CHECK(trial.seed >= 1);
        CHECK(trial.attempt == 1);
        CHECK(trial.worker.ends_with(":" + std::to_string(::getpid())));
        if (trial.state == TrialState::complete) CHECK(*best.value <= *trial.value);
    }
    CHECK(record.settings.at("setting epochs") == "8");
    CHECK(record.settings.at("variable 0000") == "a: 1, 2, 3");

    // The same again changes nothing; more trials continue; readers see the same.
    Study again(folder / "a.study", small_study());
    const auto never = [](Trial&) -> double { throw std::logic_error("no trial is left"); };
    CHECK((again.run(never, {.trials = 40}).decisions == record.decisions));
    CHECK((read_study(folder / "a.study").decisions == record.decisions));
    CHECK(again.run([](Trial&) { return 1.0; }, {.trials = 41}).trials.size() == 41);
}

TEST_CASE("decisions are those of a replay, whatever the steps and the order in which trials report") {
    std::mt19937_64 random(11);
    for (int run = 0; run < 4; ++run) {
        const TemporaryDirectory folder;
        StudyOptions options = small_study();
        options.pruning = SuccessiveHalving{.minimum = 1 + static_cast<std::int64_t>(random() % 2),
                                            .factor = 2 + static_cast<std::int64_t>(random() % 2),
                                            .early_stopping = static_cast<std::int64_t>(random() % 2)};
        Study study(folder / "a.study", options);
        std::vector<Trial> working;
        std::vector<std::int64_t> steps, rungs;
        std::vector<std::vector<double>> values(64);
        std::vector<Decision> expected;
        int begun = 0;
        while (begun < 20 || !working.empty()) {
            if (begun < 20 && (working.empty() || random() % 3 == 0)) {
                working.push_back(std::move(*study.next({.trials = 20})));
                steps.push_back(0);
                rungs.push_back(0);
                ++begun;
            }
            const std::size_t i = random() % working.size();
            steps[i] += 1 + static_cast<std::int64_t>(random() % 4 == 0 ? random() % 12 : 0);
            double value = static_cast<double>(random() % 10);
            if (random() % 15 == 0) value = std::nan("");
            // The expected result, without the library.
            bool go_on = true;
            const double loss = std::isnan(value) ? std::numeric_limits<double>::infinity() : value;
            while (go_on &&
                   static_cast<double>(steps[i]) >=
                       static_cast<double>(options.pruning->minimum) *
                           std::pow(static_cast<double>(options.pruning->factor),
                                    static_cast<double>(options.pruning->early_stopping + rungs[i]))) {
                auto& list = values[static_cast<std::size_t>(rungs[i])];
                list.push_back(loss);
                std::sort(list.begin(), list.end());
                long index = static_cast<long>(list.size()) / options.pruning->factor - 1;
                if (index == -1) index = 0;
                go_on = !std::isnan(value) && loss <= list[static_cast<std::size_t>(index)];
                expected.push_back({working[i].number(), rungs[i], loss, go_on});
                ++rungs[i];
            }
            REQUIRE(working[i].report(steps[i], value) == go_on);
            if (go_on && steps[i] > 20) working[i].complete(loss == 0 ? 0 : 1);
            if (working[i].ended()) {
                working.erase(working.begin() + static_cast<std::ptrdiff_t>(i));
                steps.erase(steps.begin() + static_cast<std::ptrdiff_t>(i));
                rungs.erase(rungs.begin() + static_cast<std::ptrdiff_t>(i));
            }
        }
        CHECK((study.record().decisions == expected));
    }
}

TEST_CASE("an abandoned trial is resumed with its reports, which count once") {
    const TemporaryDirectory folder;
    Study one(folder / "a.study", small_study()), other(folder / "a.study", small_study());
    std::vector<std::string> words;
    std::uint64_t seed = 0;
    {
        auto trial = one.next({.trials = 2});
        words = trial->record().words;
        seed = trial->seed();
        CHECK(trial->report(1, 0.5));
        CHECK(trial->report(2, 0.25));
        // It is in progress: the other process gets another trial.
        auto second = other.next({.trials = 2});
        CHECK(second->number() == 1);
        CHECK_FALSE(other.next({.trials = 2}));
        second->complete(9);
    }
    auto again = other.next({.trials = 2});
    REQUIRE(again);
    CHECK(again->number() == 0);
    CHECK(again->attempt() == 2);
    CHECK(again->record().words == words);
    CHECK(again->seed() == seed);
    CHECK(again->last() == 0.25);
    CHECK(again->report(1, 77));  // recorded values stay
    CHECK(again->report(2, 77));
    CHECK(again->report(3, 0.125));
    again->complete(0.125);
    const StudyRecord record = one.record();
    CHECK(record.trials.size() == 2);
    CHECK(record.trials[0].reports ==
          std::vector<std::pair<std::int64_t, double>>{{1, 0.5}, {2, 0.25}, {3, 0.125}});
    CHECK((record.decisions == std::vector<Decision>{{0, 0, 0.5, true}, {0, 1, 0.25, true}}));
}

TEST_CASE("a trial abandoned repeatedly fails in the end; a report resets the count") {
    const TemporaryDirectory folder;
    Study study(folder / "a.study", small_study());
    const RunOptions options{.trials = 1, .attempts = 3};
    CHECK(study.next(options)->attempt() == 1);
    CHECK(study.next(options)->attempt() == 2);
    {
        auto trial = study.next(options);
        CHECK(trial->attempt() == 3);
        CHECK(trial->report(1, 1));
    }
    CHECK(study.next(options)->attempt() == 4);
    CHECK(study.next(options)->attempt() == 5);
    CHECK(study.next(options)->attempt() == 6);
    CHECK_FALSE(study.next(options));
    const TrialRecord trial = study.record().trials.at(0);
    CHECK(trial.state == TrialState::failed);
    CHECK(holds(trial.reason, "left 3 times", "without a new report"));
}

TEST_CASE("a process that has lost a trial can no longer change it") {
    const TemporaryDirectory folder;
    Study one(folder / "a.study", small_study());
    auto trial = one.next();
    std::filesystem::remove(folder / "a.study.locks");  // which users must not do
    Study other(folder / "a.study", small_study());
    auto taken = other.next();
    CHECK(taken->number() == trial->number());
    const auto error = words_of<OutputError>([&] { static_cast<void>(trial->report(1, 0.5)); });
    CHECK(holds(error, "expected trial 0 to be this process's", "another process has resumed it"));
    CHECK(words_of<OutputError>([&] { trial->complete(1); }) == error);
    CHECK(taken->report(1, 2.5));
    taken->complete(2);
    CHECK(other.record().trials.at(0).reports == std::vector<std::pair<std::int64_t, double>>{{1, 2.5}});
}

TEST_CASE("failed trials are recorded; many in a row are rethrown") {
    const TemporaryDirectory folder;
    Study study(folder / "a.study", small_study());
    study.run(
        [](Trial& trial) {
            if (trial.number() % 2 == 0) throw std::runtime_error("even\nand more words");
            return trial.number() == 3 ? std::nan("") : 1.0;
        },
        {.trials = 6});
    const StudyRecord record = study.record();
    for (const std::size_t i : {0U, 2U, 4U}) {
        CHECK(record.trials[i].state == TrialState::failed);
        CHECK(record.trials[i].reason == "even");
    }
    CHECK(record.trials[3].reason == "expected a finite value, found nan");
    CHECK(record.count(TrialState::complete) == 2);
    CHECK_THROWS_WITH(study.run([](Trial&) -> double { throw std::runtime_error("no data"); },
                                {.trials = 20, .failures = 4}),
                      "no data");
    CHECK(study.record().trials.size() == 10);
}

TEST_CASE("a trial whose training a signal has ended can be resumed") {
    const TemporaryDirectory folder;
    Study study(folder / "a.study", small_study());
    const StudyRecord left = study.run(
        [](Trial&) {
            const retort::detail::StopSignals as_a_checkpoint_has_it;
            std::raise(SIGTERM);
            return 0.5;
        },
        {.trials = 3});
    REQUIRE(left.trials.size() == 1);
    CHECK(left.trials[0].state == TrialState::running);
    retort::clear_interruption();
    const StudyRecord done = study.run([](Trial&) { return 1.0; }, {.trials = 1});
    REQUIRE(done.trials.size() == 1);
    CHECK(done.trials[0].state == TrialState::complete);
    CHECK(done.trials[0].value == 1.0);
}

TEST_CASE("the largest step ends at the last rung") {
    const TemporaryDirectory folder;
    StudyOptions options = small_study();
    options.pruning = retort::search::SuccessiveHalving{.minimum = 1, .factor = 1'000'000};
    Study study(folder / "a.study", options);
    const StudyRecord record = study.run(
        [](Trial& trial) {
            CHECK(trial.report(std::numeric_limits<std::int64_t>::max(), 1.0));
            return 1.0;
        },
        {.trials = 1});
    CHECK(record.decisions.size() == 5);  // 1, 10^6, 10^12, 10^18, and all beyond
}

TEST_CASE("without pruning all trials complete") {
    const TemporaryDirectory folder;
    StudyOptions options = small_study();
    options.pruning.reset();
    Study study(folder / "a.study", options);
    const StudyRecord record = study.run(
        [](Trial& trial) {
            for (int epoch = 1; epoch <= 4; ++epoch)
                CHECK(trial.report(epoch, static_cast<double>(trial.number())));
            return *trial.last();
        },
        {.trials = 5});
    CHECK(record.count(TrialState::complete) == 5);
    CHECK(record.decisions.empty());
    CHECK(record.settings.at("pruning") == "none");
}

TEST_CASE("misuse of a trial is an error") {
    const TemporaryDirectory folder;
    Study study(folder / "a.study", small_study());
    auto trial = study.next();
    const auto error = [&](auto&& what) { return words_of<ConfigError>(what); };
    CHECK(
        holds(error([&] { static_cast<void>(trial->report(0, 1)); }), "expected a step above 0", "found 0"));
    CHECK(trial->report(3, 1));
    CHECK(
        holds(error([&] { static_cast<void>(trial->report(3, 1)); }), "expected a step above 3", "found 3"));
    CHECK(holds(error([&] { (*trial)["c"]; }), "expected the name of a variable", "\"c\""));
    CHECK(holds(error([&] { trial->complete(std::nan("")); }), "expected a finite value", "nan"));
    trial->fail("enough");
    CHECK(
        holds(error([&] { static_cast<void>(trial->report(4, 1)); }), "expected it to be running", "failed"));
    CHECK(holds(opening(""), "expected a file", "empty path"));
    StudyOptions wrong = small_study();
    wrong.pruning = SuccessiveHalving{.factor = 1};
    CHECK(holds(opening(folder / "b.study", wrong), "factor of at least 2", "found 1, 1 and 0"));
    CHECK_FALSE(std::filesystem::exists(folder / "b.study"));
}

TEST_CASE("a study with other settings is refused with the difference") {
    const TemporaryDirectory folder;
    const auto path = folder / "a.study";
    CHECK(opening(path).empty());
    const std::string before = read_file(path);
    const auto differs = [&](auto&& change) {
        StudyOptions options = small_study();
        change(options);
        return opening(path, options);
    };
    CHECK(holds(differs([](StudyOptions& o) { o.seed = 4; }), "whose seed is \"4\"", "where it is \"3\""));
    CHECK(holds(differs([](StudyOptions& o) { o.pruning->factor = 3; }),
                "whose pruning is \"successive halving, minimum 1, factor 3", "factor 2"));
    CHECK(
        holds(differs([](StudyOptions& o) { o.pruning.reset(); }), "whose pruning is \"none\"", "factor 2"));
    CHECK(holds(differs([](StudyOptions& o) { o.settings["epochs"] = "16"; }),
                "whose setting epochs is \"16\"", "where it is \"8\""));
    CHECK(holds(differs([](StudyOptions& o) { o.settings["data"] = "d"; }), "whose setting data is \"d\"",
                "found one where it is missing"));
    CHECK(holds(differs([](StudyOptions& o) { o.settings.clear(); }), "whose setting epochs is missing",
                "where it is \"8\""));
    CHECK(holds(differs([](StudyOptions& o) { o.space.choice("c", {"1"}); }),
                "whose variable 0002 is \"c: 1\"", "missing"));
    CHECK(holds(
        differs([](StudyOptions& o) { o.space = Space().choice("a", {"1", "2"}).choice("b", {"x", "y"}); }),
        "whose variable 0000 is \"a: 1, 2\"", "where it is \"a: 1, 2, 3\""));
    CHECK(holds(differs([](StudyOptions& o) { o.space.only_if("c", [](const Point&) { return true; }); }),
                "whose constraints is \"c\"", "needs another file"));
    CHECK(read_file(path) == before);
}

TEST_CASE("files that are not studies, or damaged, are refused and unchanged") {
    const TemporaryDirectory folder;
    const auto refused = [&](const std::filesystem::path& path, const std::string& expected,
                             const std::string& found) {
        const std::string before = read_file(path);
        CHECK(holds(opening(path), expected, found));
        CHECK(holds(words_of<DataError>([&] { read_study(path); }), path.string(), found));
        CHECK(read_file(path) == before);
    };
    write_file(folder / "text", "retort graph 1\nlearner 0 resnet32\n" + std::string(2000, 'x'));
    refused(folder / "text", "expected a valid SQLite database", "file is not a database");
    sql(folder / "other", "CREATE TABLE trials (a)");
    refused(folder / "other", "expected a study of retort", "another database of SQLite");
    sql(folder / "named", "PRAGMA application_id = 1234");
    refused(folder / "named", "expected a study of retort", "another database of SQLite");

    const auto study = [&](const std::string& name) {
        Study made(folder / name, small_study());
        made.run([](Trial& trial) { return trial.report(1, 2) ? 1.0 : 0.0; }, {.trials = 15});
        return folder / name;
    };
    auto path = study("version");
    sql(path, "PRAGMA user_version = 2");
    refused(path, "expected a study of version 1", "version 2");
    path = study("table");
    sql(path, "ALTER TABLE trials ADD COLUMN more INTEGER");
    refused(path, "expected the tables of a study", "found others");
    path = study("damaged");
    std::string bytes = read_file(path);
    for (std::size_t i = 100; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7 + 3);
    write_file(path, bytes);
    refused(path, "expected a valid SQLite database", "malformed");
    path = study("foreign");
    sql(path, "UPDATE trials SET words = 'z', state = 'running', value = NULL WHERE number = 0");
    CHECK(holds(words_of<DataError>([&] { Study(path, small_study()).next(); }), "for each of 2 variables",
                "found 1"));
    path = study("gap");
    sql(path, "DELETE FROM trials WHERE number = 1");
    CHECK(holds(words_of<DataError>([&] { read_study(path); }), "expected trial 1", "found trial 2"));

    CHECK(holds(words_of<DataError>([&] { read_study(folder / "none"); }), "expected a study",
                "found no file"));
    write_file(folder / "empty", "");
    CHECK(holds(words_of<DataError>([&] { read_study(folder / "empty"); }), "expected a study",
                "an empty database"));
    CHECK(opening(folder / "empty").empty());  // a process that dies while creating one leaves this
    CHECK(holds(opening(folder / "no" / "folder"), "cannot read or write", "unable to open"));
    CHECK(holds(opening(folder.path()), "cannot read or write", "unable to open"));
    REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
    CHECK(holds(opening(folder / "pipe"), "expected a regular file, found a pipe"));
    CHECK(holds(words_of<DataError>([&] { read_study(folder / "pipe"); }), "expected a regular file"));
}

TEST_CASE("a study created by many at once is created once") {
    for (int run = 0; run < 5; ++run) {
        const TemporaryDirectory folder;
        std::vector<std::string> errors(6);
        std::vector<std::thread> threads;
        for (std::string& error : errors) threads.emplace_back([&] { error = opening(folder / "a.study"); });
        for (std::thread& thread : threads) thread.join();
        for (const std::string& error : errors) CHECK(error.empty());
        CHECK(read_study(folder / "a.study").settings.size() == 6);
    }
}

TEST_CASE("a link to a study is the study") {
    const TemporaryDirectory folder;
    Study study(folder / "a.study", small_study());
    const auto trial = study.next({.trials = 1});
    std::filesystem::create_symlink(folder / "a.study", folder / "link");
    Study other(folder / "link", small_study());
    CHECK_FALSE(other.next({.trials = 1}));  // would resume it if it had separate locks
    CHECK_FALSE(std::filesystem::exists(folder / "link.locks"));
}

TEST_CASE("a study that another process locks for too long is an error") {
    const TemporaryDirectory folder;
    StudyOptions options = small_study();
    options.patience = 0.05;
    Study study(folder / "a.study", options);
    auto trial = study.next();
    sqlite3* holder = nullptr;
    REQUIRE(sqlite3_open((folder / "a.study").c_str(), &holder) == SQLITE_OK);
    REQUIRE(sqlite3_exec(holder, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr) == SQLITE_OK);
    CHECK(holds(words_of<OutputError>([&] { static_cast<void>(trial->report(1, 1)); }),
                "timed out: the database is locked by another process", "database is locked"));
    CHECK(holds(opening(folder / "a.study", options), "timed out: the database is locked by another process",
                "a.study"));
    sqlite3_close(holder);
    CHECK(trial->report(1, 1));  // nothing has happened, so nothing is lost
    CHECK(study.record().trials.at(0).reports.size() == 1);
}

TEST_CASE("in an unwritable folder a study can be read, but not worked on") {
    const TemporaryDirectory folder;
    {
        Study study(folder / "a.study", small_study());
        study.run([](Trial& trial) { return trial.report(1, 2) ? 1.0 : 0.0; }, {.trials = 3});
    }
    const bool root = ::geteuid() == 0;
    std::filesystem::permissions(folder / "a.study", std::filesystem::perms(0444));
    std::filesystem::permissions(folder.path(), std::filesystem::perms(0555));
    if (root) REQUIRE(::seteuid(65534) == 0);  // root root may write everywhere
    const std::string present = opening(folder / "a.study"), absent = opening(folder / "b.study");
    std::size_t trials = 0;
    std::string error;
    try {
        trials = read_study(folder / "a.study").trials.size();
    } catch (const std::exception& reason) {
        error = reason.what();
    }
    if (root) REQUIRE(::seteuid(0) == 0);
    std::filesystem::permissions(folder.path(), std::filesystem::perms(0755));
    CHECK(holds(present, "a.study: cannot read or write", "readonly"));
    CHECK(holds(absent, "b.study: cannot read or write", "unable to open"));
    CHECK(error == "");
    CHECK(trials == 3);
}

TEST_CASE("a full disk stops the search with an error, and leaves a study that resumes when there is space") {
    const TemporaryDirectory folder;
    const std::filesystem::path disk = folder / "disk";
    std::filesystem::create_directory(disk);
    if (::geteuid() != 0 || ::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=160k") != 0) {
        WARN("nothing tried: making a small disk needs root");
        return;
    }
    struct Unmount {
        std::filesystem::path path;
        ~Unmount() { ::umount2(path.c_str(), MNT_DETACH); }
    } unmount{disk};
    const auto objective = [](Trial& trial) {
        for (int epoch = 1; epoch <= 64; ++epoch) {
            if (!trial.report(epoch, static_cast<double>((trial.number() * 37) % 11) + 1.0 / epoch)) break;
        }
        return *trial.last();
    };
    std::string error;
    {
        Study study(disk / "a.study", small_study());
        write_file(disk / "ballast", std::string(70000, 'x'));
        error = words_of<OutputError>([&] { study.run(objective, {.trials = 500}); });
    }
    CHECK(holds(error, "cannot read or write", "full"));
    const StudyRecord then = read_study(disk / "a.study");
    CHECK(then.trials.size() > 3);
    CHECK(then.trials.size() < 500);
    CHECK(then.count(TrialState::failed) == 0);  // the trial is not the cause
    std::filesystem::remove(disk / "ballast");
    Study study(disk / "a.study", small_study());
    const auto target = static_cast<std::int64_t>(then.trials.size()) + 5;
    const StudyRecord now = study.run(objective, {.trials = target});
    CHECK(now.count(TrialState::running) == 0);
    CHECK(static_cast<std::int64_t>(now.trials.size()) == target);
    REQUIRE(now.decisions.size() >= then.decisions.size());
    CHECK(std::equal(then.decisions.begin(), then.decisions.end(), now.decisions.begin()));
}

}  // namespace study_test
