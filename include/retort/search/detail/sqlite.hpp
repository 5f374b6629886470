// SPDX-License-Identifier: BSL-1.0
/// \file
/// RAII for SQLite: databases, prepared statements and transactions, with errors as exceptions.
#pragma once

#if !defined(RETORT_WITH_SQLITE) || !RETORT_WITH_SQLITE
#error "retort: studies need SQLite (RETORT_WITH_SQLITE=1, set by the CMake target where SQLite is found)"
#endif

#include <sqlite3.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <retort/core/error.hpp>

namespace retort::detail {

/// A prepared statement. The only way to run SQL, so that values are never part of its text.
class SqliteStatement {
  public:
    /// \param where the name of the database in errors
    SqliteStatement(sqlite3* database, std::string_view sql, std::string where)
        : database_(database), where_(std::move(where)) {
        sqlite3_stmt* statement = nullptr;
        const int code =
            sqlite3_prepare_v2(database, sql.data(), static_cast<int>(sql.size()), &statement, nullptr);
        statement_.reset(statement);
        if (code != SQLITE_OK) fail(database, code, where_);
    }

    /// Runs it with these values for its question marks, and calls `row(statement)` for each row of the result.
    template <class Row, class... Values>
    void each(Row&& row, const Values&... values) {
        const Reset reset{statement_.get()};
        int position = 0;
        (bind(++position, values), ...);
        while (true) {
            const int code = sqlite3_step(statement_.get());
            if (code == SQLITE_DONE) return;
            if (code != SQLITE_ROW) fail(database_, code, where_);
            row(*this);
        }
    }
    /// Runs it for its effect. \returns the number of rows changed
    template <class... Values>
    int run(const Values&... values) {
        each([](const SqliteStatement&) {}, values...);
        return sqlite3_changes(database_);
    }

    // Of the current row; columns count from 0.
    bool null(int column) const { return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL; }
    std::int64_t integer(int column) const { return sqlite3_column_int64(statement_.get(), column); }
    double real(int column) const { return sqlite3_column_double(statement_.get(), column); }
    std::string text(int column) const {
        const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
        const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column));
        return bytes == nullptr ? std::string() : std::string(bytes, size);
    }

    /// Throws an SQLite error as an exception.
    [[noreturn]] static void fail(sqlite3* database, int code, const std::string& where) {
        // The connection's message, before any other call replaces it.
        const std::string reason = database == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(database);
        switch (code & 0xff) {
            case SQLITE_BUSY:
            case SQLITE_LOCKED:
                throw OutputError(detail::concat(where,
                                                 ": timed out: the database is locked by another "
                                                 "process (is one suspended?): ",
                                                 reason));
            case SQLITE_NOTADB:
            case SQLITE_CORRUPT:
                throw DataError(detail::concat(where, ": expected a valid SQLite database, found: ", reason));
            case SQLITE_CANTOPEN:
            case SQLITE_FULL:
            case SQLITE_IOERR:
            case SQLITE_PERM:
            case SQLITE_READONLY:
                throw OutputError(detail::concat(where, ": cannot read or write: ", reason));
            default:
                throw DataError(detail::concat(where, ": SQLite error: ", reason));
        }
    }

  private:
    struct Finalize {
        void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
    };
    // Releases the statement's hold on the database, also on errors.
    struct Reset {
        sqlite3_stmt* statement;
        explicit Reset(sqlite3_stmt* which) : statement(which) {}
        Reset(const Reset&) = delete;
        Reset& operator=(const Reset&) = delete;
        ~Reset() {
            sqlite3_reset(statement);
            sqlite3_clear_bindings(statement);
        }
    };

    void bind(int position, std::int64_t value) {
        check(sqlite3_bind_int64(statement_.get(), position, value));
    }
    void bind(int position, double value) { check(sqlite3_bind_double(statement_.get(), position, value)); }
    void bind(int position, const std::string& value) {
        check(sqlite3_bind_text64(statement_.get(), position, value.data(), value.size(), SQLITE_TRANSIENT,
                                  SQLITE_UTF8));
    }
    void check(int code) const {
        if (code != SQLITE_OK) fail(database_, code, where_);
    }

    sqlite3* database_;
    std::string where_;
    std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

/// A connection to a database. One thread at a time.
class SqliteDatabase {
  public:
    /// `read`: the file must exist. It is opened for writing if possible: an unfinished transaction of a process that
    /// died must be rolled back before anything can be read. `work`: creates the file if missing.
    enum class Mode { read, work };

    /// \param patience seconds that every access waits while another process holds the lock
    /// \throws OutputError if it cannot be opened
    SqliteDatabase(const std::filesystem::path& path, Mode mode, double patience) : where_(path.string()) {
        std::error_code error;  // a missing file is created, or reported by SQLite
        const auto type = std::filesystem::status(path, error).type();
        using Type = std::filesystem::file_type;
        if (type == Type::fifo || type == Type::character || type == Type::block || type == Type::socket)
            throw DataError(concat(where_, ": expected a regular file, found a pipe, socket or device"));
        sqlite3* database = nullptr;
        const int flags =
            mode == Mode::read ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
        const int code = sqlite3_open_v2(path.c_str(), &database, flags, nullptr);
        database_.reset(database);
        if (code != SQLITE_OK) SqliteStatement::fail(database, code, where_);
        sqlite3_busy_timeout(database, static_cast<int>(patience * 1000));
    }
    SqliteStatement prepare(std::string_view sql) const { return {database_.get(), sql, where_}; }
    void run(std::string_view sql) const { prepare(sql).run(); }
    /// The number returned by a pragma or a count.
    std::int64_t number(std::string_view sql) const {
        std::int64_t result = 0;
        prepare(sql).each([&](const SqliteStatement& row) { result = row.integer(0); });
        return result;
    }
    const std::string& where() const { return where_; }
    bool in_transaction() const { return sqlite3_get_autocommit(database_.get()) == 0; }

  private:
    struct Close {
        void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
    };
    std::string where_;
    std::unique_ptr<sqlite3, Close> database_;
};

/// Everything between construction and `commit()` is atomic.
class SqliteTransaction {
  public:
    enum class Kind { read, write };

    /// A transaction that will write takes the write lock at its start: two that both start as readers and then write
    /// would deadlock.
    explicit SqliteTransaction(const SqliteDatabase& database, Kind kind = Kind::write)
        : database_(database) {
        database.run(kind == Kind::write ? "BEGIN IMMEDIATE" : "BEGIN");
    }
    SqliteTransaction(const SqliteTransaction&) = delete;
    SqliteTransaction& operator=(const SqliteTransaction&) = delete;
    ~SqliteTransaction() {
        if (!database_.in_transaction()) return;  // committed, or rolled back by SQLite (disk full)
        try {
            database_.run("ROLLBACK");
        } catch (const Error&) {  // the connection is lost; the next one rolls back
        }
    }
    void commit() { database_.run("COMMIT"); }

  private:
    const SqliteDatabase& database_;
};

}  // namespace retort::detail
