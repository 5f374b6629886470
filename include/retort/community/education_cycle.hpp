// SPDX-License-Identifier: BSL-1.0
/// \file
/// Where a node stands on its way from data that it does not know to a new task.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/community/ledger.hpp>
#include <retort/community/offer.hpp>
#include <retort/core/error.hpp>

namespace retort::community {

/// The state of an education cycle, complete enough to resume it in any phase:
///
/// | phase | what happens | ends when |
/// |---|---|---|
/// | `idle` | data are observed | there are enough that nobody at home knows |
/// | `asking` | a probe goes to all; offers come | all of the roster answered, or the rounds are over |
/// | `lesson` | the samples go to a chosen teacher, labels come back and are checked | labels can be trusted, or no teacher is left |
/// | `learning` | a copy learns; it replaces the weights if earlier tasks suffer little | it does, or the labels are refused |
///
/// Every phase ends by counts: rounds, attempts, teachers, chunks, epochs.
struct EducationCycle {
    enum class Phase { idle, asking, lesson, learning };

    Phase phase = Phase::idle;
    std::int64_t number = 0;  ///< of the cycle, from 1
    at::Tensor data{};        ///< [samples, ...], which no own task knows
    std::vector<Offer> offers{};
    std::vector<std::int64_t> order{};     ///< of the teachers, positions in `offers`
    std::int64_t position = 0;             ///< in `order`: the teacher whose turn it is
    std::int64_t failures = 0;             ///< how often that one could not be reached
    std::vector<at::Tensor> chunks{};      ///< its labels so far, and
    std::vector<at::Tensor> known{};       ///< which rows it knows
    std::vector<at::Tensor> labels{};      ///< labels of the data that can be trusted, by teacher
    std::vector<std::int64_t> teachers{};  ///< whose they are: positions in `offers`
    std::vector<std::pair<std::string, LedgerEntry>> entries{};  ///< for the ledger, when the cycle ends

    static constexpr std::array<std::string_view, 4> phases{"idle", "asking", "lesson", "learning"};
    std::string_view phase_name() const { return phases[static_cast<std::size_t>(phase)]; }

    const Offer& offer() const {
        return offers.at(static_cast<std::size_t>(order.at(static_cast<std::size_t>(position))));
    }
    /// On to the next teacher.
    void next() {
        ++position;
        failures = 0;
        chunks.clear();
        known.clear();
    }
    bool exhausted() const { return position >= static_cast<std::int64_t>(order.size()); }

    void checkpoint(Archive& archive) {
        auto in_phase = static_cast<std::int64_t>(phase);
        archive("phase", in_phase);
        archive("number", number);
        archive("data", data);
        archive("order", order);
        archive("position", position);
        archive("failures", failures);
        archive("chunks", chunks);
        archive("known", known);
        archive("labels", labels);
        archive("teachers", teachers);
        archive.in("offers", [&] { archive_offers(archive); });
        archive.in("entries", [&] { archive_entries(archive); });
        if (!archive.loading()) return;
        if (in_phase < 0 || in_phase >= static_cast<std::int64_t>(phases.size()))
            throw CheckpointError(archive.where() + ": an education cycle in no phase");
        phase = static_cast<Phase>(in_phase);
        for (const std::int64_t each : order) check_offer(archive, each);
        for (const std::int64_t each : teachers) check_offer(archive, each);
    }

  private:
    void check_offer(const Archive& archive, std::int64_t position_of) const {
        if (position_of < 0 || position_of >= static_cast<std::int64_t>(offers.size()))
            throw CheckpointError(archive.where() + ": an education cycle with a teacher that made no offer");
    }
    void archive_offers(Archive& archive) {
        std::int64_t count = static_cast<std::int64_t>(offers.size());
        archive.now("count", count);
        if (archive.loading()) offers.assign(static_cast<std::size_t>(std::max<std::int64_t>(count, 0)), {});
        for (std::size_t i = 0; i < offers.size(); ++i) {
            archive.in(std::to_string(i), [&] {
                Offer& each = offers[i];
                archive("teacher", each.teacher);
                archive("task", each.task);
                archive("classes", each.classes);
                archive("covers", each.covers);
                archive("model", each.model);
                archive("outside", each.verdict.outside);
                archive("strangeness", each.verdict.strangeness);
                archive("is_known", each.verdict.known);
                archive("reason", each.reason);
                archive("logits", each.logits);
            });
        }
    }
    void archive_entries(Archive& archive) {
        Ledger pages(entries.size());
        for (const auto& [key, entry] : entries) pages.add(key, entry);
        pages.checkpoint(archive);
        if (archive.loading()) entries.assign(pages.entries().begin(), pages.entries().end());
    }
};

}  // namespace retort::community
