// SPDX-License-Identifier: BSL-1.0
/// \file
/// Studies: searches in a file, on which several processes work at once.
///
/// RETORT_WITH_SQLITE=1 (set by the CMake target where SQLite is found) is needed for it.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <retort/checkpoint/interruption.hpp>
#include <retort/checkpoint/lock_file.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/hash.hpp>
#include <retort/search/detail/sqlite.hpp>
#include <retort/search/space.hpp>
#include <retort/search/study_record.hpp>
#include <retort/search/successive_halving.hpp>

namespace retort::search {

/// What a study is about: equal for all who work on it.
struct StudyOptions {
    Space space{};
    /// Which trials go on; `std::nullopt`: all do, which is random search.
    std::optional<SuccessiveHalving> pruning = SuccessiveHalving{};
    std::uint64_t seed = 0;  ///< points and seeds of the trials follow from it and their numbers
    /// What else must be equal, by name: data, epochs, learning rate, what the value means.
    std::map<std::string, std::string> settings{};
    /// Seconds to wait while another process writes, which takes it milliseconds. Not a part of the study.
    double patience = 60;
};

/// How long a search goes on.
struct RunOptions {
    std::int64_t trials = 100;  ///< until the study has so many, whoever began them
    /// Whether to stay until all trials have ended, those of other processes too, to take up what they leave when they
    /// die.
    bool wait = true;
    std::int64_t failures = 3;  ///< after so many exceptions in a row in this process the last one comes out
    /// A trial has failed when it was left so often without a new report in between.
    std::int64_t attempts = 10;
    /// Called after each trial that this process has ended, but for one whose exception comes out.
    std::function<void(const TrialRecord&)> on_end{};
};

class Study;

/// A trial at work: what to try, and who wants to know how it goes. Lives no longer than its study. One that is
/// destroyed before it has ended is left for others to take up.
class Trial {
  public:
    Trial(Trial&& other) noexcept { *this = std::move(other); }
    Trial& operator=(Trial&& other) noexcept {
        std::swap(study_, other.study_);
        std::swap(record_, other.record_);
        std::swap(point_, other.point_);
        std::swap(step_, other.step_);
        std::swap(lost_, other.lost_);
        return *this;
    }
    ~Trial();

    std::int64_t number() const { return record_.number; }
    /// For all that is random in it; from 1 to 2^32.
    std::uint64_t seed() const { return static_cast<std::uint64_t>(record_.seed); }
    const Point& point() const { return point_; }
    /// What was chosen for a variable.
    /// \throws ConfigError if there is no such variable
    const std::string& operator[](const std::string& variable) const;
    /// How often it was begun: above 1 where a process died with it, and it is taken up again.
    std::int64_t attempt() const { return record_.attempt; }
    /// The value of its last report, also of one that an earlier attempt made.
    std::optional<double> last() const {
        return record_.reports.empty() ? std::nullopt : std::optional(record_.reports.back().second);
    }
    const TrialRecord& record() const { return record_; }

    /// Tells the value after a step (an epoch), and learns whether to go on.
    ///
    /// Report and decision are one transaction. A step that was reported in an earlier attempt counts once: what is
    /// recorded stands, whatever `value` is now.
    /// \param step at least 1, above the one before
    /// \param value a loss: small is good. Infinity, and what is no number, is recorded as infinity
    /// \returns false if the trial is pruned: the objective should return, no matter what
    /// \throws ConfigError if the steps do not rise or the trial has ended; OutputError, DataError of the study
    [[nodiscard]] bool report(std::int64_t step, double value);
    /// Ends it with its value, which must be finite.
    void complete(double value);
    /// Ends it without one.
    void fail(const std::string& reason);
    bool ended() const { return record_.state != TrialState::running; }

  private:
    friend class Study;
    Trial(Study& study, TrialRecord record, Point point)
        : study_(&study), record_(std::move(record)), point_(std::move(point)) {}

    Study* study_ = nullptr;
    TrialRecord record_{};
    Point point_{};
    std::int64_t step_ = 0;  // the last one that this attempt reported
    bool lost_ = false;      // the study could not be written or read, or somebody else has the trial
};

namespace detail {

using retort::detail::concat;
using retort::detail::SqliteDatabase;
using retort::detail::SqliteStatement;
using retort::detail::SqliteTransaction;

inline constexpr std::int64_t study_application = 0x7265746f;  // "reto"
inline constexpr std::int64_t study_version = 1;
inline constexpr std::array<std::string_view, 5> study_schema{
    "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE trials (number INTEGER PRIMARY KEY, "
    "state TEXT NOT NULL CHECK (state IN ('running', 'complete', 'pruned', 'failed')), "
    "words TEXT NOT NULL, seed INTEGER NOT NULL, value REAL, reason TEXT NOT NULL, "
    "attempt INTEGER NOT NULL, idle INTEGER NOT NULL, worker TEXT NOT NULL, "
    "CHECK ((state = 'complete') = (value IS NOT NULL))) STRICT",
    "CREATE TABLE reports (trial INTEGER NOT NULL REFERENCES trials, step INTEGER NOT NULL, "
    "value REAL NOT NULL, PRIMARY KEY (trial, step)) STRICT, WITHOUT ROWID",
    "CREATE TABLE decisions (sequence INTEGER PRIMARY KEY, trial INTEGER NOT NULL REFERENCES trials, "
    "rung INTEGER NOT NULL, value REAL NOT NULL, promoted INTEGER NOT NULL CHECK (promoted IN (0, 1)), "
    "UNIQUE (trial, rung)) STRICT",
    "CREATE INDEX decisions_of_rungs ON decisions (rung)"};

inline std::string joined(const std::vector<std::string>& words, std::string_view between = "\n") {
    std::string result;
    for (std::size_t i = 0; i < words.size(); ++i) result.append(i == 0 ? "" : between).append(words[i]);
    return result;
}
inline std::vector<std::string> lines(const std::string& words) {
    std::vector<std::string> result;
    for (std::size_t begin = 0; begin < words.size();) {
        const std::size_t end = std::min(words.find('\n', begin), words.size());
        result.push_back(words.substr(begin, end - begin));
        begin = end + 1;
    }
    return result;
}

/// All that must be equal, by name.
inline std::map<std::string, std::string> study_settings(const StudyOptions& options) {
    std::map<std::string, std::string> result;
    std::size_t number = 0;
    for (const Variable& variable : options.space.variables()) {
        std::string digits = std::to_string(number++);
        digits.insert(0, digits.size() < 4 ? 4 - digits.size() : 0, '0');  // so that they sort
        result["variable " + digits] = variable.name + ": " + joined(variable.choices, ", ");
    }
    result["constraints"] = joined(options.space.constraints(), "; ");
    result["seed"] = std::to_string(options.seed);
    result["pruning"] = "none";
    if (options.pruning) {
        options.pruning->check();
        result["pruning"] =
            concat("successive halving, minimum ", options.pruning->minimum, ", factor ",
                   options.pruning->factor, ", early stopping ", options.pruning->early_stopping);
    }
    for (const auto& [name, value] : options.settings) result["setting " + name] = value;
    return result;
}

/// \throws DataError if this is no study, or one of another version. \returns whether it has no content yet
inline bool new_study(const SqliteDatabase& database) {
    const std::int64_t application = database.number("PRAGMA application_id");
    const bool empty = database.number("SELECT count(*) FROM sqlite_master") == 0;
    if (empty && application == 0) return true;
    if (application != study_application) {
        throw DataError(
            concat(database.where(),
                   ": expected a study of retort, found a database of SQLite that is something else"));
    }
    if (const std::int64_t version = database.number("PRAGMA user_version"); version != study_version) {
        throw DataError(concat(database.where(), ": expected a study of version ", study_version,
                               ", found one of version ", version));
    }
    std::vector<std::string> expected(study_schema.begin(), study_schema.end());
    std::vector<std::string> found;
    database.prepare("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
        .each([&](const SqliteStatement& row) { found.push_back(row.text(0)); });
    std::sort(expected.begin(), expected.end());
    std::sort(found.begin(), found.end());
    if (found != expected)
        throw DataError(concat(database.where(), ": expected the tables of a study, found others"));
    return false;
}

inline std::map<std::string, std::string> read_settings(const SqliteDatabase& database) {
    std::map<std::string, std::string> result;
    database.prepare("SELECT name, value FROM settings").each([&](const SqliteStatement& row) {
        result[row.text(0)] = row.text(1);
    });
    return result;
}

inline constexpr std::string_view trial_columns =
    "SELECT number, state, words, seed, value, reason, attempt, worker FROM trials";
inline TrialRecord trial_of(const SqliteStatement& row) {
    TrialRecord trial;
    trial.number = row.integer(0);
    for (const auto state : {TrialState::complete, TrialState::pruned, TrialState::failed}) {
        if (state_name(state) == row.text(1)) trial.state = state;  // else running: a constraint says so
    }
    trial.words = lines(row.text(2));
    trial.seed = row.integer(3);
    if (!row.null(4)) trial.value = row.real(4);
    trial.reason = row.text(5);
    trial.attempt = row.integer(6);
    trial.worker = row.text(7);
    return trial;
}

/// Everything, as of one moment.
inline StudyRecord read_study(const SqliteDatabase& database) {
    StudyRecord result;
    const SqliteTransaction moment(database, SqliteTransaction::Kind::read);
    result.settings = read_settings(database);
    database.prepare(concat(trial_columns, " ORDER BY number")).each([&](const SqliteStatement& row) {
        result.trials.push_back(trial_of(row));
    });
    const auto check = [&](std::int64_t trial) {
        if (trial < 0 || trial >= static_cast<std::int64_t>(result.trials.size())) {
            throw DataError(concat(database.where(), ": expected trials from 0 to ", result.trials.size(),
                                   ", found something of trial ", trial));
        }
    };
    for (std::size_t i = 0; i < result.trials.size(); ++i) {
        if (result.trials[i].number != static_cast<std::int64_t>(i))
            throw DataError(
                concat(database.where(), ": expected trial ", i, ", found trial ", result.trials[i].number));
    }
    database.prepare("SELECT trial, step, value FROM reports ORDER BY trial, step")
        .each([&](const SqliteStatement& row) {
            check(row.integer(0));
            result.trials[static_cast<std::size_t>(row.integer(0))].reports.emplace_back(row.integer(1),
                                                                                         row.real(2));
        });
    database.prepare("SELECT trial, rung, value, promoted FROM decisions ORDER BY sequence")
        .each([&](const SqliteStatement& row) {
            check(row.integer(0));
            result.decisions.push_back({row.integer(0), row.integer(1), row.real(2), row.integer(3) != 0});
        });
    return result;
}

}  // namespace detail

/// An objective: takes a `Trial&`, reports as it goes, and returns the value of the trial, small being good.
template <class F>
concept TrialFunction = std::invocable<F&, Trial&> && requires(F& function, Trial& trial) {
    { function(trial) } -> std::convertible_to<double>;
};

/// A search in a file. Draws points of a space at random, lets an objective try them, prunes by successive halving.
///
///     retort::search::Space space;
///     space.choice("width", {"16", "32"}).choice("optimizer", {"sgd", "adam"});
///     retort::search::Study study{"widths.study", {.space = space, .settings = {{"epochs", "8"}}}};
///     study.run([&](retort::search::Trial& trial) {
///         double error = 1;
///         for (int epoch = 1; epoch <= 8; ++epoch) {
///             error = train_an_epoch(trial["width"], trial["optimizer"], trial.seed());
///             if (!trial.report(epoch, error)) break;
///         }
///         return error;
///     }, {.trials = 200});
///     const auto best = study.record().best(10);
///
/// Any number of processes may do the same with one file. Each may be killed at any time; the same program goes on with
/// the file.
///
/// - The file is a database of SQLite with a rollback journal, not a write-ahead log: the log needs memory that all
///   processes share, which network file systems do not give, and the writes of a search are few. Every change is a
///   transaction that is flushed to the disk.
/// - Whoever works on a trial holds a lock on a byte of the file `<study>.locks`, which the system takes back when the
///   process ends: a trial that is running and not locked was left, and is taken up by whoever looks for work next,
///   with the same number, point and seed. Do not remove that file while somebody works on the study. (Should it
///   happen: who has lost a trial to another can change nothing of it any more.)
/// - What a trial has reported counts once, however often it is taken up: an objective that has checkpoints
///   (`retort::Checkpoint` in a directory of `trial.number()`) goes on with them, one that has none begins anew and
///   repeats itself. Where they end a training after SIGINT or SIGTERM (`retort::interrupted()`), `run` leaves the
///   trial to be taken up, and returns.
/// - Points and seeds are functions of the study's seed and the trial's number. The outcomes of trials depend on the
///   order in which processes come to the rungs; `StudyRecord::decisions` holds it.
///
/// The options stand in the file; who comes with others is refused. One object is for one thread.
class Study {
  public:
    /// Opens a study, or makes it if there is none.
    /// \throws ConfigError if the study there has other options, with what differs; DataError if the file is something
    /// else; OutputError if it cannot be written, or is locked for longer than `patience`
    explicit Study(const std::filesystem::path& path, StudyOptions options)
        : options_(std::move(options)),
          database_(checked(path, options_), detail::SqliteDatabase::Mode::work, options_.patience) {
        const auto settings = detail::study_settings(options_);
        detail::SqliteTransaction transaction(database_);
        if (detail::new_study(database_)) {
            for (const std::string_view table : detail::study_schema) database_.run(table);
            auto insert = database_.prepare("INSERT INTO settings (name, value) VALUES (?, ?)");
            for (const auto& [name, value] : settings) insert.run(name, value);
            database_.run(detail::concat("PRAGMA application_id = ", detail::study_application));
            database_.run(detail::concat("PRAGMA user_version = ", detail::study_version));
        } else {
            compare(settings);
            // Finds out whether the file can be written, before any work is done for it.
            database_.run("UPDATE settings SET value = value");
        }
        transaction.commit();
        // Beside the file itself, whatever link led to it; the file is there by now.
        std::error_code error;
        const std::filesystem::path real = std::filesystem::canonical(path, error);
        if (error) throw OutputError(detail::concat(path.string(), ": cannot find it: ", error.message()));
        locks_.emplace(real.string() + ".locks");
    }
    Study(const Study&) = delete;
    Study& operator=(const Study&) = delete;

    const StudyOptions& options() const { return options_; }
    const Space& space() const { return options_.space; }
    /// Everything, as of now.
    StudyRecord record() const { return detail::read_study(database_); }

    /// The next trial to work on: one that was left, else a new one; nothing if there are `trials` already.
    /// \throws OutputError, DataError
    std::optional<Trial> next(const RunOptions& options = {}) {
        detail::SqliteTransaction transaction(database_);
        std::vector<std::pair<TrialRecord, std::int64_t>> running;
        database_
            .prepare(
                "SELECT number, state, words, seed, value, reason, attempt, worker, idle FROM trials "
                "WHERE state = 'running' ORDER BY number")
            .each([&](const detail::SqliteStatement& row) {
                running.emplace_back(detail::trial_of(row), row.integer(8));
            });
        for (auto& each : running) {
            TrialRecord& trial = each.first;  // some compilers capture no structured binding
            const std::int64_t idle = each.second;
            if (!locks_->take(trial.number)) continue;  // somebody is at it
            Unlock unlock{*locks_, trial.number};
            trial.worker = worker_;
            if (idle >= options.attempts) {
                trial.reason = detail::concat("left ", idle, " times without a new report in between");
                database_.prepare("UPDATE trials SET state = 'failed', reason = ? WHERE number = ?")
                    .run(trial.reason, trial.number);
                continue;
            }
            ++trial.attempt;
            database_.prepare("UPDATE trials SET attempt = ?, idle = idle + 1, worker = ? WHERE number = ?")
                .run(trial.attempt, worker_, trial.number);
            database_.prepare("SELECT step, value FROM reports WHERE trial = ? ORDER BY step")
                .each(
                    [&](const detail::SqliteStatement& row) {
                        trial.reports.emplace_back(row.integer(0), row.real(1));
                    },
                    trial.number);
            Point point = options_.space.point(trial.words);
            transaction.commit();
            unlock.keep();
            return Trial(*this, std::move(trial), std::move(point));
        }
        TrialRecord trial;
        trial.number = database_.number("SELECT count(*) FROM trials");
        if (trial.number >= options.trials) {
            transaction.commit();  // some may have failed above
            return std::nullopt;
        }
        const auto number = static_cast<std::uint64_t>(trial.number);
        Point point = options_.space.draw(options_.seed, number);
        trial.words = options_.space.words(point);
        const std::uint64_t key[] = {options_.seed, number};
        retort::detail::Hash hash;
        hash.add(key, sizeof key);
        trial.seed = static_cast<std::int64_t>(hash.value() >> 32) + 1;
        trial.worker = worker_;
        if (!locks_->take(trial.number)) {
            throw OutputError(detail::concat(database_.where(), ": expected nobody to work on trial ",
                                             trial.number,
                                             ", which does not exist yet, found its lock taken"));
        }
        Unlock unlock{*locks_, trial.number};
        database_
            .prepare(
                "INSERT INTO trials (number, state, words, seed, reason, attempt, idle, worker) "
                "VALUES (?, 'running', ?, ?, '', 1, 1, ?)")
            .run(trial.number, detail::joined(trial.words), trial.seed, worker_);
        transaction.commit();
        unlock.keep();
        return Trial(*this, std::move(trial), std::move(point));
    }

    /// Works on the study until it has so many trials, and all have ended.
    ///
    /// An exception of the objective ends its trial as failed; after `failures` in a row it comes out, since it will
    /// not be for what was chosen.
    /// \throws what the objective throws; OutputError, DataError of the study, which leave the trial to be taken up
    template <TrialFunction F>
    StudyRecord run(F&& objective, const RunOptions& options = {}) {
        std::int64_t failures = 0;
        while (true) {
            std::optional<Trial> trial = next(options);
            if (!trial) {
                if (!options.wait ||
                    database_.number("SELECT count(*) FROM trials WHERE state = 'running'") == 0)
                    return record();
                std::this_thread::sleep_for(std::chrono::milliseconds(200));
                continue;
            }
            try {
                const double value = objective(*trial);
                // After a signal `fit` returns early: the value would be that of half a training.
                if (!trial->ended() && interrupted()) return record();
                if (trial->ended() || std::isfinite(value)) {
                    if (!trial->ended()) trial->complete(value);
                    failures = 0;
                } else {
                    trial->fail(detail::concat("expected a finite value, found ", value));
                }
            } catch (const std::exception& error) {
                if (trial->lost_) throw;
                if (!trial->ended()) trial->fail(error.what());
                if (++failures >= options.failures) throw;
            }
            if (options.on_end) options.on_end(trial->record());
        }
    }

  private:
    friend class Trial;
    struct Unlock {
        retort::detail::LockFile& locks;
        std::int64_t byte;
        bool released = false;
        Unlock(retort::detail::LockFile& file, std::int64_t which) : locks(file), byte(which) {}
        Unlock(const Unlock&) = delete;
        Unlock& operator=(const Unlock&) = delete;
        void keep() { released = true; }
        ~Unlock() {
            if (released) return;
            try {
                locks.release(byte);
            } catch (const Error&) {  // it dies with the process
            }
        }
    };

    static const std::filesystem::path& checked(const std::filesystem::path& path,
                                                const StudyOptions& options) {
        if (path.empty()) throw ConfigError("Study: expected a file, found an empty path");
        if (!(options.patience >= 0 && options.patience <= 1e6)) {
            throw ConfigError(
                detail::concat("Study: expected patience from 0 to 1e6 seconds, found ", options.patience));
        }
        detail::study_settings(options);
        return path;
    }
    void compare(const std::map<std::string, std::string>& expected) const {
        const auto found = detail::read_settings(database_);
        const auto differ = [&](const std::string& name, const std::string& here, const std::string& there) {
            throw ConfigError(detail::concat(database_.where(), ": expected a study whose ", name, " is ",
                                             here, ", found one where it is ", there,
                                             "; what has other settings needs a file of its own"));
        };
        for (const auto& [name, value] : expected) {
            const auto other = found.find(name);
            if (other == found.end()) differ(name, '"' + value + '"', "missing");
            if (other->second != value) differ(name, '"' + value + '"', '"' + other->second + '"');
        }
        for (const auto& [name, value] : found) {
            if (!expected.contains(name)) differ(name, "missing", '"' + value + '"');
        }
    }

    /// Runs `change` as one transaction on a trial that is still this process's.
    template <class F>
    auto change(Trial& trial, F&& change) {
        if (trial.ended()) {
            throw ConfigError(detail::concat("trial ", trial.number(),
                                             ": expected it to be running, found it ",
                                             state_name(trial.record_.state)));
        }
        const auto attempt = [&] {
            detail::SqliteTransaction transaction(database_);
            std::int64_t mine = 0;
            database_
                .prepare("SELECT count(*) FROM trials WHERE number = ? AND attempt = ? AND state = 'running'")
                .each([&](const detail::SqliteStatement& row) { mine = row.integer(0); }, trial.number(),
                      trial.attempt());
            if (mine != 1) {
                throw OutputError(
                    detail::concat(database_.where(), ": expected trial ", trial.number(),
                                   " to be this process's, found that another one has taken it up (was "
                                   "the file of locks removed?)"));
            }
            auto result = change();
            transaction.commit();
            return result;
        };
        try {
            return attempt();
        } catch (...) {
            trial.lost_ = true;
            throw;
        }
    }
    bool report(Trial& trial, std::int64_t step, double value) {
        auto& reports = trial.record_.reports;
        const std::int64_t last = reports.empty() ? 0 : reports.back().first;
        const bool known =
            std::any_of(reports.begin(), reports.end(), [&](const auto& each) { return each.first == step; });
        // Steps of this attempt rise; those of an earlier one may come again.
        if (step <= trial.step_ || (step <= last && !known)) {
            throw ConfigError(detail::concat("trial ", trial.number(), ": expected a step above ",
                                             step <= trial.step_ ? trial.step_ : last, ", found ", step));
        }
        if (known && !trial.ended()) {  // its decisions were made, and were good, or it would not run
            trial.step_ = step;
            return true;
        }
        if (!std::isfinite(value)) value = std::numeric_limits<double>::infinity();
        const bool promoted = change(trial, [&] {
            database_.prepare("INSERT INTO reports (trial, step, value) VALUES (?, ?, ?)")
                .run(trial.number(), step, value);
            database_.prepare("UPDATE trials SET idle = 0 WHERE number = ?").run(trial.number());
            if (!options_.pruning) return true;
            std::int64_t rung = 0;
            database_.prepare("SELECT count(*) FROM decisions WHERE trial = ?")
                .each([&](const detail::SqliteStatement& row) { rung = row.integer(0); }, trial.number());
            for (; options_.pruning->step(rung) <= step; ++rung) {
                std::vector<double> values{value};
                database_.prepare("SELECT value FROM decisions WHERE rung = ?")
                    .each([&](const detail::SqliteStatement& row) { values.push_back(row.real(0)); }, rung);
                const bool good = options_.pruning->promoted(value, std::move(values));
                database_.prepare("INSERT INTO decisions (trial, rung, value, promoted) VALUES (?, ?, ?, ?)")
                    .run(trial.number(), rung, value, std::int64_t{good ? 1 : 0});
                if (!good) {
                    database_.prepare("UPDATE trials SET state = 'pruned' WHERE number = ?")
                        .run(trial.number());
                    return false;
                }
                // All rungs behind one that would stand beyond the largest number stand there, too.
                if (options_.pruning->step(rung) == std::numeric_limits<std::int64_t>::max()) break;
            }
            return true;
        });
        trial.step_ = step;
        reports.emplace_back(step, value);
        if (!promoted) end(trial, TrialState::pruned);
        return promoted;
    }
    void finish(Trial& trial, TrialState state, std::optional<double> value, const std::string& reason) {
        change(trial, [&] {
            if (value) {
                database_.prepare("UPDATE trials SET state = 'complete', value = ? WHERE number = ?")
                    .run(*value, trial.number());
            } else {
                database_.prepare("UPDATE trials SET state = 'failed', reason = ? WHERE number = ?")
                    .run(reason, trial.number());
            }
            return true;
        });
        trial.record_.value = value;
        trial.record_.reason = reason;
        end(trial, state);
    }
    void end(Trial& trial, TrialState state) {
        trial.record_.state = state;
        locks_->release(trial.number());
    }
    static std::string this_worker() {
        std::array<char, 256> host{};
        if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
        return detail::concat(host.data(), ':', ::getpid());
    }

    StudyOptions options_;
    detail::SqliteDatabase database_;
    std::optional<retort::detail::LockFile> locks_;
    std::string worker_ = this_worker();
};

inline Trial::~Trial() {
    if (study_ == nullptr || ended()) return;
    Study::Unlock restore(*study_->locks_, number());
}
inline const std::string& Trial::operator[](const std::string& variable) const {
    return study_->options_.space.word(point_, variable);
}
inline bool Trial::report(std::int64_t step, double value) { return study_->report(*this, step, value); }
inline void Trial::complete(double value) {
    if (!std::isfinite(value)) {
        throw ConfigError(detail::concat("trial ", number(), ": expected a finite value, found ", value));
    }
    study_->finish(*this, TrialState::complete, value, {});
}
inline void Trial::fail(const std::string& reason) {
    study_->finish(*this, TrialState::failed, std::nullopt, reason.substr(0, reason.find('\n')));
}

/// Reads a study and adds nothing to it: for tables, plots and those who watch.
/// \throws DataError if there is none, or the file is something else; OutputError if a process died while it wrote and
/// the remains cannot be cleared away, since folder or file cannot be written
inline StudyRecord read_study(const std::filesystem::path& path) {
    std::error_code error;
    if (!std::filesystem::exists(path, error))
        throw DataError(detail::concat(path.string(), ": expected a study, found no file"));
    const detail::SqliteDatabase database(path, detail::SqliteDatabase::Mode::read, 60);
    if (detail::new_study(database))
        throw DataError(detail::concat(path.string(), ": expected a study, found an empty database"));
    return detail::read_study(database);
}

}  // namespace retort::search
