// SPDX-License-Identifier: BSL-1.0
/// \file
/// Search spaces.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/detail/hash.hpp>

namespace retort::search {

/// A point of a space: the index of the choice for each variable.
using Point = std::vector<std::size_t>;

/// A variable of a space, with its choices.
struct Variable {
    std::string name;
    std::vector<std::string> choices;
};

/// A search space: variables with finitely many choices, which are strings.
///
///     retort::search::Space space;
///     space.choice("optimizer", {"sgd", "adam"}).choice("learning rate", {"0.1", "0.01", "0.001"});
///     space.size();    // "6"
class Space {
  public:
    /// Adds a variable.
    /// \throws ConfigError if its name is taken, it has no choices or a repeated one, or a string is empty or has a line break
    Space& choice(std::string name, std::vector<std::string> choices) {
        check_word(name);
        if (find(name) < variables_.size()) fail("names that differ", name);
        if (choices.empty()) fail("at least one choice for each variable", name);
        for (std::size_t i = 0; i < choices.size(); ++i) {
            check_word(choices[i]);
            if (std::find(choices.begin(), choices.begin() + static_cast<std::ptrdiff_t>(i), choices[i]) !=
                choices.begin() + static_cast<std::ptrdiff_t>(i)) {
                fail("each choice once", choices[i]);
            }
        }
        variables_.push_back({std::move(name), std::move(choices)});
        return *this;
    }
    /// Excludes the points for which `holds(point)` is false: they are never drawn. `size()` counts them.
    /// \param words a description of the constraint, for messages and to identify the space
    Space& only_if(std::string words, std::function<bool(const Point&)> holds) {
        check_word(words);
        constraints_.push_back({std::move(words), std::move(holds)});
        return *this;
    }

    const std::vector<Variable>& variables() const { return variables_; }
    /// The descriptions of the constraints.
    std::vector<std::string> constraints() const {
        std::vector<std::string> result;
        for (const Constraint& each : constraints_) result.push_back(each.words);
        return result;
    }

    /// The number of points, the product of the numbers of choices, in decimal digits; exact where a `long double` is.
    std::string size() const {
        const long double size = std::accumulate(
            variables_.begin(), variables_.end(), 1.0L, [](long double product, const Variable& variable) {
                return product * static_cast<long double>(variable.choices.size());
            });
        std::string result(static_cast<std::size_t>(std::snprintf(nullptr, 0, "%.0Lf", size)), '\0');
        std::snprintf(result.data(), result.size() + 1, "%.0Lf", size);
        return result;
    }

    /// A point's choice for a variable.
    /// \throws ConfigError if there is no such variable, or the point is not in this space
    const std::string& word(const Point& point, const std::string& variable) const {
        check(point);
        const std::size_t i = find(variable);
        if (i == variables_.size()) fail("the name of a variable", variable);
        return variables_[i].choices[point[i]];
    }
    /// A point's choices, in the order of the variables.
    /// \throws ConfigError if the point is not in this space
    std::vector<std::string> words(const Point& point) const {
        check(point);
        std::vector<std::string> result;
        for (std::size_t i = 0; i < point.size(); ++i) result.push_back(variables_[i].choices[point[i]]);
        return result;
    }
    /// The point of these choices.
    /// \throws DataError if there is none
    Point point(const std::vector<std::string>& words) const {
        if (words.size() != variables_.size()) {
            throw DataError(detail::concat("search space: expected a choice for each of ", variables_.size(),
                                           " variables, found ", words.size()));
        }
        Point result;
        for (std::size_t i = 0; i < words.size(); ++i) {
            const auto& choices = variables_[i].choices;
            const auto found = std::find(choices.begin(), choices.end(), words[i]);
            if (found == choices.end()) {
                throw DataError(detail::concat("search space: expected one of the ", choices.size(),
                                               " choices for ", variables_[i].name, ", found \"", words[i],
                                               '"'));
            }
            result.push_back(static_cast<std::size_t>(found - choices.begin()));
        }
        return result;
    }

    /// Draws a point: each variable independently and uniformly, repeated while a constraint does not hold. A pure
    /// function of seed and number.
    /// \throws ConfigError if the constraints hold for none of 10,000 points
    Point draw(std::uint64_t seed, std::uint64_t number) const {
        for (std::uint64_t turn = 0; turn < 10'000; ++turn) {
            Point result;
            for (std::uint64_t i = 0; i < variables_.size(); ++i) {
                const std::uint64_t key[] = {seed, number, turn, i};
                detail::Hash hash;
                hash.add(key, sizeof key);
                result.push_back(static_cast<std::size_t>(hash.value() % variables_[i].choices.size()));
            }
            if (std::all_of(constraints_.begin(), constraints_.end(),
                            [&](const Constraint& each) { return each.holds(result); }))
                return result;
        }
        throw ConfigError(detail::concat(
            "search space: expected points that meet these constraints, found none among 10000: ",
            list(constraints())));
    }

  private:
    struct Constraint {
        std::string words;
        std::function<bool(const Point&)> holds;
    };

    [[noreturn]] static void fail(const char* expected, const std::string& found) {
        throw ConfigError(detail::concat("search space: expected ", expected, ", found \"", found, '"'));
    }
    static void check_word(const std::string& word) {
        if (word.empty() || word.find_first_of("\n\r") != std::string::npos)
            fail("a word without line breaks, and not empty", word);
    }
    void check(const Point& point) const {
        bool good = point.size() == variables_.size();
        for (std::size_t i = 0; good && i < point.size(); ++i) good = point[i] < variables_[i].choices.size();
        if (!good)
            throw ConfigError(detail::concat("search space: expected one of the choices for each of ",
                                             variables_.size(), " variables, found another point"));
    }
    std::size_t find(const std::string& name) const {
        std::size_t i = 0;
        while (i < variables_.size() && variables_[i].name != name) ++i;
        return i;
    }
    static std::string list(const std::vector<std::string>& words) {
        std::string result;
        for (const std::string& word : words) result.append(result.empty() ? "" : "; ").append(word);
        return result;
    }

    std::vector<Variable> variables_;
    std::vector<Constraint> constraints_;
};

}  // namespace retort::search
