// SPDX-License-Identifier: BSL-1.0
/// \file
/// Studies: searches stored in a file, on which several processes work at the same time.
///
/// Needs RETORT_WITH_SQLITE=1 (set by the CMake target where SQLite is found).
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
#include <retort/search/detail/study_database.hpp>
#include <retort/search/space.hpp>
#include <retort/search/study_record.hpp>
#include <retort/search/successive_halving.hpp>

namespace retort::search {

/// The definition of a study: the same for all processes that work on it.
struct StudyOptions {
    Space space{};
    /// Which trials are pruned; `std::nullopt`: none, which is random search.
    std::optional<SuccessiveHalving> pruning = SuccessiveHalving{};
    std::uint64_t seed = 0;  ///< points and seeds of the trials are functions of it and their numbers
    /// Other settings that must be the same, by name: data, epochs, learning rate, meaning of the value.
    std::map<std::string, std::string> settings{};
    /// Seconds to wait while another process writes, which takes milliseconds. Not a part of the study.
    double patience = 60;
};

/// How long a search runs.
struct RunOptions {
    std::int64_t trials = 100;  ///< total number in the study, including those of other processes
    /// Whether to wait until all trials have ended, including those of other processes, in order to resume those of
    /// processes that die.
    bool wait = true;
    std::int64_t failures =
        3;  ///< after this many consecutive exceptions in this process the last one is rethrown
    /// A trial fails after it was abandoned this many times without a new report in between.
    std::int64_t attempts = 10;
    /// Called after each trial that this process has ended, except one whose exception is rethrown.
    std::function<void(const TrialRecord&)> on_end{};
};

class Study;

/// A running trial: what to try, and where to report. Must not outlive its study. One that is destroyed before it has
/// ended can be resumed by another process.
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
    /// Seed of its random numbers; from 1 to 2^32.
    std::uint64_t seed() const { return static_cast<std::uint64_t>(record_.seed); }
    const Point& point() const { return point_; }
    /// The choice for a variable.
    /// \throws ConfigError if there is no such variable
    const std::string& operator[](const std::string& variable) const;
    /// How many times it was started: above 1 if it was resumed after a process died.
    std::int64_t attempt() const { return record_.attempt; }
    /// The value of its last report, including reports of earlier attempts.
    std::optional<double> last() const {
        return record_.reports.empty() ? std::nullopt : std::optional(record_.reports.back().second);
    }
    const TrialRecord& record() const { return record_; }

    /// Reports the value after a step (an epoch).
    ///
    /// Report and decision are one transaction. A step that was reported in an earlier attempt counts once: the
    /// recorded value stays.
    /// \param step at least 1, above the previous one
    /// \param value a loss, to be minimized. Infinity and NaN are recorded as infinity
    /// \returns false if the trial is pruned: the objective should return, with any value
    /// \throws ConfigError if the steps do not increase or the trial has ended; OutputError, DataError of the study
    [[nodiscard]] bool report(std::int64_t step, double value);
    /// Ends it with its value, which must be finite.
    void complete(double value);
    /// Ends it without a value.
    void fail(const std::string& reason);
    bool ended() const { return record_.state != TrialState::running; }

  private:
    friend class Study;
    Trial(Study& study, TrialRecord record, Point point)
        : study_(&study), record_(std::move(record)), point_(std::move(point)) {}

    Study* study_ = nullptr;
    TrialRecord record_{};
    Point point_{};
    std::int64_t step_ = 0;  // last step that this attempt reported
    bool lost_ = false;      // the study could not be written or read, or another process has the trial
};

namespace detail {

/// Everything that must be the same, by name.
inline std::map<std::string, std::string> study_settings(const StudyOptions& options) {
    std::map<std::string, std::string> result;
    std::size_t number = 0;
    for (const Variable& variable : options.space.variables()) {
        std::string digits = std::to_string(number++);
        digits.insert(0, digits.size() < 4 ? 4 - digits.size() : 0, '0');  // sorted by number
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

}  // namespace detail

/// An objective: takes a `Trial&`, reports, and returns the value of the trial, to be minimized.
template <class F>
concept TrialFunction = std::invocable<F&, Trial&> && requires(F& function, Trial& trial) {
    { function(trial) } -> std::convertible_to<double>;
};

/// A search stored in a file. Draws random points of a space, runs an objective on them, prunes by successive halving.
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
/// Any number of processes may work on one file. Each may be killed at any time; rerun the same program to resume.
///
/// - The file is an SQLite database with a rollback journal, not a write-ahead log: the log needs shared memory,
/// which network file systems do not have, and a search writes little. Every change is a transaction that is flushed
/// to disk.
/// - A process that works on a trial holds a lock on a byte of the file `<study>.locks`, which the system releases
/// when the process ends: a running trial without a lock was abandoned, and the next process that looks for work
/// resumes it, with the same number, point and seed. Do not remove that file while the study is in use. (If that
/// happens, a process that has lost its trial to another can no longer change it.)
/// - Reports of a trial count once, however often it is resumed: an objective with checkpoints (`retort::Checkpoint`
/// in a directory of `trial.number()`) resumes from them, one without starts over and repeats its reports. Where
/// training ended early by SIGINT or SIGTERM (`retort::interrupted()`), `run` returns, and the trial can be resumed.
/// - Points and seeds are functions of the study's seed and the trial's number. The outcomes of trials depend on the
/// order in which they reach the rungs, which `StudyRecord::decisions` has.
///
/// The options are stored in the file; different ones are refused. An object is for one thread.
class Study {
  public:
    /// Opens a study, or creates it.
    /// \throws ConfigError if the study in the file has other options, with the difference; DataError if the file is
    /// not a study; OutputError if it cannot be written, or is locked for longer than `patience`
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
            // Fails now rather than after the first trial if the file cannot be written.
            database_.run("UPDATE settings SET value = value");
        }
        transaction.commit();
        // Next to the file itself, not to a link to it; the file exists by now.
        std::error_code error;
        const std::filesystem::path real = std::filesystem::canonical(path, error);
        if (error) throw OutputError(detail::concat(path.string(), ": cannot find it: ", error.message()));
        locks_.emplace(real.string() + ".locks");
    }
    Study(const Study&) = delete;
    Study& operator=(const Study&) = delete;

    const StudyOptions& options() const { return options_; }
    const Space& space() const { return options_.space; }
    /// A snapshot of the study.
    StudyRecord record() const { return detail::read_study(database_); }

    /// The next trial to work on: an abandoned one, otherwise a new one; nothing if there are `trials` already.
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
            TrialRecord& trial = each.first;  // some compilers cannot capture structured bindings
            const std::int64_t idle = each.second;
            if (!locks_->take(trial.number)) continue;  // in progress
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
            transaction.commit();  // trials may have failed above
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
            throw OutputError(detail::concat(database_.where(), ": expected no lock on trial ", trial.number,
                                             ", which does not exist yet, found one"));
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

    /// Works on the study until it has `trials` trials, and all have ended.
    ///
    /// An exception of the objective ends its trial as failed; after `failures` in a row it is rethrown, since then the
    /// choices are not the cause.
    /// \throws what the objective throws; OutputError, DataError of the study, after which the trial can be resumed
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
                // After a signal `fit` returns early: the value would be that of an incomplete training.
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
            } catch (const Error&) {  // it is released with the process
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
                                             "; a study with other settings needs another file"));
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

    /// Runs `change` as one transaction, if the trial is still this process's.
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
                                   " to be this process's, found that another process has resumed it "
                                   "(was the lock file removed?)"));
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
        // Steps of this attempt increase; those of an earlier one may be repeated.
        if (step <= trial.step_ || (step <= last && !known)) {
            throw ConfigError(detail::concat("trial ", trial.number(), ": expected a step above ",
                                             step <= trial.step_ ? trial.step_ : last, ", found ", step));
        }
        if (known &&
            !trial.ended()) {  // its decisions were made, and promoted it, or it would not be running
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
                // All rungs after one that is capped at the largest number are there, too.
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

/// Reads a study without changing it: for tables, plots and monitoring.
/// \throws DataError if there is none, or the file is not a study; OutputError if a process died while writing and
/// its transaction cannot be rolled back, as folder or file cannot be written
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
