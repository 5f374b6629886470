// SPDX-License-Identifier: BSL-1.0
/// \file
/// What was measured, epoch by epoch.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/core/error.hpp>

namespace retort {

/// What was measured, epoch by epoch: named columns, one row per epoch. A value that was not measured reads as NaN;
/// `measured` tells it from a measurement that is NaN.
class History {
  public:
    /// The names of the columns, in order of appearance.
    const std::vector<std::string>& columns() const { return columns_; }
    /// The number of rows.
    std::size_t size() const { return rows_.size(); }
    bool empty() const { return rows_.empty(); }
    bool has(std::string_view column) const { return find(column) < columns_.size(); }

    /// The value in a row; NaN if none was measured.
    /// \throws ConfigError if there is no such column or row
    double at(std::size_t row, std::string_view column) const {
        const std::size_t position = known(column);
        if (row >= rows_.size()) {
            throw ConfigError(
                detail::concat("history: expected a row below ", rows_.size(), ", found ", row));
        }
        return cell(row, position).value_or(std::numeric_limits<double>::quiet_NaN());
    }
    /// Whether the last row has a value, which may be NaN.
    /// \throws ConfigError if there is no such column
    bool measured(std::string_view column) const {
        const std::size_t position = known(column);
        return !rows_.empty() && cell(rows_.size() - 1, position).has_value();
    }
    /// The value in the last row.
    double last(std::string_view column) const { return at(rows_.empty() ? 0 : rows_.size() - 1, column); }
    /// The row with the largest value of a column (the smallest if `smallest`); the first among equals.
    /// \throws ConfigError if there is no such column, or it has no value in any row
    std::size_t best(std::string_view column, bool smallest = false) const {
        std::size_t result = rows_.size();
        for (std::size_t row = 0; row < rows_.size(); ++row) {
            const double value = at(row, column);
            if (std::isnan(value)) continue;
            if (result == rows_.size() ||
                (smallest ? value < at(result, column) : value > at(result, column)))
                result = row;
        }
        if (result == rows_.size())
            throw ConfigError(detail::concat("history: no row has a value for \"", column, "\""));
        return result;
    }

    /// Adds a column, unless it exists.
    void declare(std::string_view column) {
        if (!has(column)) columns_.emplace_back(column);
    }
    /// Starts a new row.
    void begin_row() { rows_.emplace_back(); }
    /// Removes the last row, if any.
    void drop_row() {
        if (!rows_.empty()) rows_.pop_back();
    }
    /// Sets a value in the last row.
    /// \throws ConfigError if there is no row
    void set(std::string_view column, double value) {
        if (rows_.empty()) {
            throw ConfigError(detail::concat("history: expected a row for a value of \"", column,
                                             "\", found none: the first epoch starts the first row"));
        }
        declare(column);
        rows_.back().resize(columns_.size());
        rows_.back()[find(column)] = value;
    }

    /// The history as CSV (quoted as in RFC 4180, lines end in a newline), with a header; what was not measured is
    /// empty, and a NaN `nan`. Numbers round-trip exactly.
    std::string csv() const {
        std::ostringstream stream;
        for (std::size_t i = 0; i < columns_.size(); ++i) stream << (i > 0 ? "," : "") << quoted(columns_[i]);
        stream << '\n';
        for (std::size_t row = 0; row < rows_.size(); ++row) {
            for (std::size_t i = 0; i < columns_.size(); ++i) {
                if (i > 0) stream << ',';
                if (const Cell value = cell(row, i))
                    stream << (std::isnan(*value) ? std::string("nan") : shortest(*value));
            }
            stream << '\n';
        }
        return std::move(stream).str();
    }

    /// The history as JSON lines: one object per row, such as `{"epoch":0,"loss":0.25}`. What was not measured is
    /// omitted; NaN and infinities, which JSON lacks, are the strings "NaN", "Infinity" and "-Infinity". Numbers
    /// round-trip exactly.
    std::string json_lines() const {
        std::string result;
        for (const std::vector<Cell>& row : rows_) {
            const char* separator = "";
            result.append("{");
            for (std::size_t i = 0; i < row.size(); ++i) {
                if (!row[i]) continue;
                const double value = *row[i];
                result.append(separator).append(json_text(columns_[i])).append(":");
                if (std::isnan(value)) {
                    result.append("\"NaN\"");
                } else if (std::isinf(value)) {
                    result.append(value > 0 ? "\"Infinity\"" : "\"-Infinity\"");
                } else {
                    result.append(shortest(value));
                }
                separator = ",";
            }
            result.append("}\n");
        }
        return result;
    }

    /// Stores or restores the whole history.
    void checkpoint(Archive& archive) {
        std::vector<std::string> columns = columns_;
        std::vector<double> values;
        std::vector<std::int64_t> measured;  // 0 or 1
        std::vector<std::int64_t>
            lengths;  // of the rows: a row is as long as the number of columns when it was written
        for (const std::vector<Cell>& row : rows_) {
            lengths.push_back(static_cast<std::int64_t>(row.size()));
            for (const Cell& value : row) {
                values.push_back(value.value_or(0));
                measured.push_back(value ? 1 : 0);
            }
        }
        archive("columns", columns);
        archive("lengths", lengths);
        archive("values", values);
        archive("measured", measured);
        if (!archive.loading()) return;
        if (measured.size() != values.size()) {
            throw CheckpointError(detail::concat(archive.where(), ": history: expected as many marks as the ",
                                                 values.size(), " values, found ", measured.size()));
        }
        std::vector<std::vector<Cell>> rows;
        std::size_t done = 0;
        for (const std::int64_t length : lengths) {
            const auto size = static_cast<std::size_t>(length);
            if (length < 0 || size > columns.size() || size > values.size() - done) {
                throw CheckpointError(
                    detail::concat(archive.where(), ": history: a row of ", length, " values"));
            }
            std::vector<Cell>& row = rows.emplace_back(size);
            for (std::size_t i = 0; i < size; ++i, ++done) {
                if (measured[done] != 0) row[i] = values[done];
            }
        }
        columns_ = std::move(columns);
        rows_ = std::move(rows);
    }

  private:
    using Cell = std::optional<double>;

    Cell cell(std::size_t row, std::size_t column) const {
        return column < rows_[row].size() ? rows_[row][column] : std::nullopt;
    }
    std::size_t find(std::string_view column) const {
        return static_cast<std::size_t>(std::find(columns_.begin(), columns_.end(), column) -
                                        columns_.begin());
    }
    std::size_t known(std::string_view column) const {
        const std::size_t position = find(column);
        if (position == columns_.size()) {
            std::string names;
            for (const std::string& each : columns_) names += (names.empty() ? "" : ", ") + each;
            throw ConfigError(
                detail::concat("history: expected one of the columns ", names, "; found \"", column, "\""));
        }
        return position;
    }
    /// The shortest decimal text that round-trips.
    static std::string shortest(double value) {
        char buffer[32];
        return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr};
    }
    static std::string quoted(const std::string& name) {
        if (name.find_first_of(",\"\n\r") == std::string::npos) return name;
        std::string result = "\"";
        for (const char c : name) result += c == '"' ? std::string("\"\"") : std::string(1, c);
        return result + '"';
    }
    static std::string json_text(const std::string& name) {
        std::string result = "\"";
        for (const char c : name) {
            if (c == '"' || c == '\\') {
                result.append(1, '\\').append(1, c);
            } else if (static_cast<unsigned char>(c) < 0x20) {
                constexpr const char* digits = "0123456789abcdef";
                result.append("\\u00").append(1, digits[c >> 4]).append(1, digits[c & 15]);
            } else {
                result.append(1, c);
            }
        }
        return result.append("\"");
    }

    std::vector<std::string> columns_;
    std::vector<std::vector<Cell>> rows_;
};

}  // namespace retort
