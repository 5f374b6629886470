// SPDX-License-Identifier: BSL-1.0
/// \file
/// The database of a study: its tables, and how it is read.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/search/detail/sqlite.hpp>
#include <retort/search/study_record.hpp>

namespace retort::search::detail {

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

/// \returns whether it is empty. \throws DataError if it is not a study, or one of another version
inline bool new_study(const SqliteDatabase& database) {
    const std::int64_t application = database.number("PRAGMA application_id");
    const bool empty = database.number("SELECT count(*) FROM sqlite_master") == 0;
    if (empty && application == 0) return true;
    if (application != study_application) {
        throw DataError(
            concat(database.where(), ": expected a study of retort, found another database of SQLite"));
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
        if (state_name(state) == row.text(1))
            trial.state = state;  // else running, by a constraint of the table
    }
    trial.words = lines(row.text(2));
    trial.seed = row.integer(3);
    if (!row.null(4)) trial.value = row.real(4);
    trial.reason = row.text(5);
    trial.attempt = row.integer(6);
    trial.worker = row.text(7);
    return trial;
}

/// A snapshot of everything.
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
                                   ", found data of trial ", trial));
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

}  // namespace retort::search::detail
