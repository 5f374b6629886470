// SPDX-License-Identifier: BSL-1.0
/// \file
/// Processes work on one study; now and then one of them is killed, and another one started in its place. At the
/// end no trial may be lost or counted twice, the file must be valid, and each decision about a trial must be the one
/// that a replay of all decisions in order gives:
///
///     kill_study <processes> <kills> <trials> <seed> [<milliseconds between kills>]
///
/// Kills end with the trials. A worker is a separate process: `kill_study --work <study> <trials> <log>`.
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <retort/search.hpp>

namespace {

namespace fs = std::filesystem;
using namespace retort::search;
using Clock = std::chrono::steady_clock;

constexpr std::int64_t epochs = 20;

StudyOptions study_options() {
    Space space;
    space.choice("one", {"a", "b", "c"}).choice("two", {"x", "y"});
    return {.space = space, .seed = 7, .settings = {{"epochs", std::to_string(epochs)}}};
}

/// The value of a trial after an epoch: a pure function, so that reports of different trials differ.
double value_of(std::int64_t trial, std::int64_t seed, const std::vector<std::string>& words,
                std::int64_t epoch) {
    const double quality = static_cast<double>(seed % 1000) / 1000 + (words[0] == "a" ? 0.0 : 0.3) +
                           (words[1] == "x" ? 0.0 : 0.2);
    const double noise = std::sin(static_cast<double>(trial * 31 + epoch * 17));
    return quality + (1.0 + 0.3 * noise) / static_cast<double>(epoch);
}

/// \param log gets a line for each report that was started, and each that returned
int work(const char* path, std::int64_t trials, const char* log) {
    const int file = ::open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    const auto say = [&](const char* what, std::int64_t trial, std::int64_t epoch, bool answer) {
        char line[96];
        const int size =
            std::snprintf(line, sizeof line, "%s %lld %lld %d\n", what, static_cast<long long>(trial),
                          static_cast<long long>(epoch), answer ? 1 : 0);
        if (::write(file, line, static_cast<std::size_t>(size)) != size) std::abort();
    };
    Study study(path, study_options());
    study.run(
        [&](Trial& trial) {
            // Every third trial has checkpoints: it resumes after what it has reported.
            std::int64_t epoch =
                trial.number() % 3 == 0 ? static_cast<std::int64_t>(trial.record().reports.size()) : 0;
            while (++epoch <= epochs) {
                std::this_thread::sleep_for(std::chrono::milliseconds(1 + trial.seed() % 4));
                const bool good =
                    trial.report(epoch, value_of(trial.number(), static_cast<std::int64_t>(trial.seed()),
                                                 trial.record().words, epoch));
                say("reported", trial.number(), epoch, good);
                if (!good) return 0.0;
            }
            if (trial.number() % 23 == 22) throw retort::DataError("this one always fails");
            const double value = *trial.last();
            return value;
        },
        {.trials = trials, .failures = 1000, .attempts = 1000, .on_end = [&](const TrialRecord& trial) {
             say(trial.state == TrialState::failed ? "failed" : "ended", trial.number, 0, true);
         }});
    return 0;
}

pid_t start(const fs::path& study, std::int64_t trials, const fs::path& log) {
    const std::string count = std::to_string(trials);
    const pid_t child = ::fork();
    if (child != 0) return child;
    ::execl("/proc/self/exe", "kill_study", "--work", study.c_str(), count.c_str(), log.c_str(), nullptr);
    ::_exit(126);
}

// --- checks ------------------------------------------------------------------------------------------------------

int errors = 0;
template <class... Parts>
void expect(bool holds, const Parts&... parts) {
    if (holds) return;
    if (++errors <= 20) std::fprintf(stderr, "%s\n", retort::detail::concat(parts...).c_str());
}

/// The rule, implemented independently: sorts everything.
bool promoted(double value, std::vector<double> values) {
    std::sort(values.begin(), values.end());
    long index = static_cast<long>(values.size()) / 2 - 1;
    if (index == -1) index = 0;
    return value <= values[static_cast<std::size_t>(index)];
}

void check(const StudyRecord& record, std::int64_t trials) {
    expect(static_cast<std::int64_t>(record.trials.size()) == trials, "expected ", trials, " trials, found ",
           record.trials.size());
    // The replay: each decision from the earlier ones only.
    std::map<std::int64_t, std::vector<double>> rungs;
    std::map<std::int64_t, std::vector<Decision>> of_trial;
    for (std::size_t i = 0; i < record.decisions.size(); ++i) {
        const Decision& each = record.decisions[i];
        rungs[each.rung].push_back(each.value);
        expect(each.promoted == promoted(each.value, rungs[each.rung]), "decision ", i, " of trial ",
               each.trial, " at rung ", each.rung, " is another one in the replay");
        of_trial[each.trial].push_back(each);
    }
    const Space space = study_options().space;
    std::int64_t number = 0;
    for (const TrialRecord& trial : record.trials) {
        const auto where = [&] { return retort::detail::concat("trial ", trial.number, ": "); };
        expect(trial.number == number, where(), "stands at ", number);
        expect(trial.words == space.words(space.draw(7, static_cast<std::uint64_t>(number))), where(),
               "another point");
        expect(trial.state != TrialState::running, where(), "still running");
        for (std::size_t i = 0; i < trial.reports.size(); ++i) {
            const auto epoch = static_cast<std::int64_t>(i) + 1;
            expect(trial.reports[i].first == epoch, where(), "report ", i, " is of epoch ",
                   trial.reports[i].first);
            expect(trial.reports[i].second == value_of(trial.number, trial.seed, trial.words, epoch), where(),
                   "report ", i, " has another value");
        }
        const auto& decisions = of_trial[trial.number];
        std::size_t due = 0;
        for (std::int64_t rung = 0;
             (std::int64_t{1} << rung) <= static_cast<std::int64_t>(trial.reports.size()); ++rung)
            ++due;
        expect(decisions.size() == due, where(), "expected ", due, " decisions, found ", decisions.size());
        for (std::size_t i = 0; i < decisions.size(); ++i) {
            const std::size_t epoch = std::size_t{1} << i;
            expect(decisions[i].rung == static_cast<std::int64_t>(i), where(), "rung ", i, " is ",
                   decisions[i].rung);
            expect(epoch <= trial.reports.size() && decisions[i].value == trial.reports[epoch - 1].second,
                   where(), "decided on another value");
            const bool last = i + 1 == decisions.size();
            expect(decisions[i].promoted == !(last && trial.state == TrialState::pruned), where(),
                   "its last decision contradicts its state");
        }
        if (trial.state == TrialState::pruned) {
            expect(
                !trial.reports.empty() && trial.reports.size() == (std::size_t{1} << (decisions.size() - 1)),
                where(), "continued after the rung where it was pruned");
        } else {
            expect(trial.reports.size() == epochs, where(), "expected ", epochs, " reports, found ",
                   trial.reports.size());
            const bool fails = trial.number % 23 == 22;
            expect((trial.state == TrialState::failed) == fails, where(),
                   "failed unexpectedly, or did not fail");
            expect(
                fails ? trial.reason == "this one always fails" : trial.value == trial.reports.back().second,
                where(), "another value or reason");
        }
        ++number;
    }
}

/// Reports that returned before a process was killed must be in the study.
void check_log(const StudyRecord& record, const fs::path& path) {
    std::ifstream stream(path);
    std::string what;
    std::int64_t trial = 0, epoch = 0, answer = 0, ends = 0;
    std::set<std::int64_t> ended;
    while (stream >> what >> trial >> epoch >> answer) {
        const TrialRecord& found = record.trials.at(static_cast<std::size_t>(trial));
        if (what == "reported") {
            const auto reports = static_cast<std::int64_t>(found.reports.size());
            expect(epoch <= reports, "trial ", trial, ": lost the report of epoch ", epoch);
            expect((answer == 0) == (found.state == TrialState::pruned && epoch == reports), "trial ", trial,
                   ": another answer in epoch ", epoch);
        } else {
            ++ends;
            expect(ended.insert(trial).second, "trial ", trial, " ended twice");
        }
    }
    expect(ends > 0, "the log is empty");
}

bool sound(const fs::path& path) {
    sqlite3* database = nullptr;
    sqlite3_stmt* statement = nullptr;
    std::string word = "cannot be opened";
    if (sqlite3_open_v2(path.c_str(), &database, SQLITE_OPEN_READWRITE, nullptr) == SQLITE_OK &&
        sqlite3_prepare_v2(database, "PRAGMA integrity_check", -1, &statement, nullptr) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW) {
        word = reinterpret_cast<const char*>(sqlite3_column_text(statement, 0));
    }
    sqlite3_finalize(statement);
    sqlite3_close(database);
    expect(word == "ok", "integrity_check: ", word);
    return word == "ok";
}

int kill_workers(std::size_t processes, int kills, std::int64_t trials, std::uint64_t seed,
                 double milliseconds) {
    std::string pattern = (fs::temp_directory_path() / "retort-kill-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make a directory");
    const fs::path directory = pattern;
    const fs::path study = directory / "a.study", log = directory / "log";
    const fs::path journal = study.string() + "-journal";
    std::mt19937_64 random(seed);
    std::exponential_distribution<double> pause(1.0 / milliseconds);
    std::vector<pid_t> workers;
    for (std::size_t i = 0; i < processes; ++i) workers.push_back(start(study, trials, log));
    int killed = 0, while_writing = 0;
    std::vector<Decision> before;
    const auto began = Clock::now();
    while (!workers.empty()) {
        const bool more = killed < kills;
        const auto until =
            Clock::now() + std::chrono::duration<double, std::milli>(more ? pause(random) : 20);
        while (Clock::now() < until) {
            int status = 0;
            const pid_t done = ::waitpid(-1, &status, WNOHANG);
            if (done > 0) {
                expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a worker ended with status ", status);
                std::erase(workers, done);
                if (workers.empty()) break;
            }
            std::this_thread::sleep_for(std::chrono::microseconds(200));
        }
        if (workers.empty() || !more) continue;
        const std::size_t victim = random() % workers.size();
        // Half of the kills wait for a moment in which a process writes.
        if (random() % 2 == 0) {
            for (int i = 0; i < 20000 && !fs::exists(journal); ++i)
                std::this_thread::sleep_for(std::chrono::microseconds(10));
        }
        int status = 0;
        ::kill(workers[victim], SIGKILL);
        ::waitpid(workers[victim], &status, 0);
        if (WIFSIGNALED(status)) {
            ++killed;
            while_writing += fs::exists(journal) ? 1 : 0;
        }
        workers[victim] = start(study, trials, log);
        // A reader sees everything seen before, and more.
        try {
            const std::vector<Decision> now = read_study(study).decisions;
            expect(now.size() >= before.size() && std::equal(before.begin(), before.end(), now.begin()),
                   "decisions have changed");
            before = now;
        } catch (const retort::DataError& error) {
            expect(before.empty(), error.what());  // no process had created it yet
        }
    }
    sound(study);
    const StudyRecord record = read_study(study);
    check(record, trials);
    check_log(record, log);
    std::int64_t taken_up = 0;
    for (const TrialRecord& trial : record.trials) taken_up += trial.attempt - 1;
    std::printf(
        "%zu processes, killed %d times (%d times while a journal existed); %zu trials: %zu complete, "
        "%zu "
        "pruned, %zu failed; %lld times one was resumed; %zu decisions; %d errors (%.1f s)\n",
        processes, killed, while_writing, record.trials.size(), record.count(TrialState::complete),
        record.count(TrialState::pruned), record.count(TrialState::failed), static_cast<long long>(taken_up),
        record.decisions.size(), errors, std::chrono::duration<double>(Clock::now() - began).count());
    if (errors == 0) fs::remove_all(directory);
    return errors == 0 && (killed > 0 || kills == 0) ? 0 : 1;
}

}  // namespace

int main(int count, char** arguments) {
    try {
        if (count == 5 && std::string(arguments[1]) == "--work")
            return work(arguments[2], std::stoll(arguments[3]), arguments[4]);
        if (count == 5 || count == 6) {
            return kill_workers(std::stoull(arguments[1]), std::stoi(arguments[2]), std::stoll(arguments[3]),
                                std::stoull(arguments[4]), count == 6 ? std::stod(arguments[5]) : 40);
        }
    } catch (const std::exception& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 1;
    }
    std::fprintf(stderr,
                 "usage: kill_study <processes> <kills> <trials> <seed> [<milliseconds between kills>]\n");
    return 2;
}
