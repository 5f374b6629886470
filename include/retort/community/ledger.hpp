// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a node learned, from whom, and what it did not.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/core/error.hpp>

namespace retort::community {

/// An entry of a ledger.
struct LedgerEntry {
    enum class Kind {
        learned,  ///< the node learned a task
        refused,  ///< labels that could not be trusted, or that would have made it forget
        silent,   ///< a teacher that could not be reached
        unknown,  ///< a query that nobody could answer
        taught,   ///< the node gave a lesson
    };
    Kind kind = Kind::unknown;
    std::int64_t cycle = 0;  ///< of the student
    std::string peer{};      ///< the teacher, or of `taught` the student
    std::int64_t task = -1;  ///< of this node
    std::int64_t rows = 0;
    std::string reason{};
    std::int64_t frames = 0;  ///< messages and bytes that this node sent and received for it
    std::int64_t bytes = 0;
    double before = 0;  ///< mean held-out accuracy of the earlier tasks before learning
    double after = 0;   ///< and after

    static constexpr std::array<std::string_view, 5> kinds{"learned", "refused", "silent", "unknown",
                                                           "taught"};
    std::string_view kind_name() const { return kinds[static_cast<std::size_t>(kind)]; }
};

/// The entries of a node, of which only the latest are kept, and how many of each kind there were. Each has a key, and what is
/// counted is counted once: an entry with the key of one that is kept changes nothing.
class Ledger {
  public:
    explicit Ledger(std::size_t most = 1000) : most_(std::max<std::size_t>(most, 1)) {}

    /// \param key what is counted: a lesson of a cycle by a teacher, say
    /// \returns false if it was counted before
    bool add(const std::string& key, const LedgerEntry& entry) {
        for (const auto& each : entries_) {
            if (each.first == key) return false;
        }
        entries_.emplace_back(key, entry);
        if (entries_.size() > most_) entries_.pop_front();
        ++counts_[static_cast<std::size_t>(entry.kind)];
        return true;
    }
    std::int64_t count(LedgerEntry::Kind kind) const { return counts_[static_cast<std::size_t>(kind)]; }
    const std::deque<std::pair<std::string, LedgerEntry>>& entries() const { return entries_; }

    /// A table with a header.
    std::string csv() const {
        std::ostringstream out;
        out << "kind,cycle,peer,task,rows,frames,bytes,before,after,reason\n";
        for (const auto& [key, each] : entries_) {
            std::string reason = each.reason;
            for (std::size_t at = 0; (at = reason.find('"', at)) != std::string::npos; at += 2)
                reason.insert(at, "\"");
            out << each.kind_name() << ',' << each.cycle << ',' << each.peer << ',' << each.task << ','
                << each.rows << ',' << each.frames << ',' << each.bytes << ',' << each.before << ','
                << each.after << ",\"" << reason << "\"\n";
        }
        return std::move(out).str();
    }

    void checkpoint(Archive& archive) {
        std::vector<std::string> texts;
        std::vector<std::int64_t> numbers(counts_.begin(), counts_.end());
        std::vector<double> reals;
        for (const auto& [key, each] : entries_) {
            texts.insert(texts.end(), {key, each.peer, each.reason});
            numbers.insert(numbers.end(), {static_cast<std::int64_t>(each.kind), each.cycle, each.task,
                                           each.rows, each.frames, each.bytes});
            reals.insert(reals.end(), {each.before, each.after});
        }
        archive("texts", texts);
        archive("numbers", numbers);
        archive("reals", reals);
        if (!archive.loading()) return;
        const std::size_t count = texts.size() / 3;
        if (texts.size() != 3 * count || numbers.size() != counts_.size() + 6 * count ||
            reals.size() != 2 * count)
            throw CheckpointError(archive.where() +
                                  ": ledger: expected three texts, six numbers and two accuracies for "
                                  "each entry");
        std::copy_n(numbers.begin(), counts_.size(), counts_.begin());
        entries_.clear();
        for (std::size_t i = 0; i < count; ++i) {
            const std::int64_t* n = numbers.data() + counts_.size() + 6 * i;
            if (n[0] < 0 || n[0] >= static_cast<std::int64_t>(counts_.size()))
                throw CheckpointError(archive.where() + ": ledger: an entry of no kind");
            entries_.emplace_back(texts[3 * i], LedgerEntry{static_cast<LedgerEntry::Kind>(n[0]), n[1],
                                                            texts[3 * i + 1], n[2], n[3], texts[3 * i + 2],
                                                            n[4], n[5], reals[2 * i], reals[2 * i + 1]});
        }
    }

  private:
    std::size_t most_;
    std::deque<std::pair<std::string, LedgerEntry>> entries_;
    std::array<std::int64_t, LedgerEntry::kinds.size()> counts_{};
};

}  // namespace retort::community
