// SPDX-License-Identifier: BSL-1.0
/// \file
/// Retrieval: whether the nearest neighbors of a feature are of the same class.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/_unique2.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/searchsorted.h>
#include <ATen/ops/sort.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/metrics/distance.hpp>
#include <retort/metrics/features.hpp>

namespace retort::metrics {

/// How the precisions of one ranking are averaged. p(r) is the precision among the first r samples of the ranking,
/// and R the number of samples of the query's class in the gallery.
enum class AveragePrecision {
    /// The mean of p(r) over the R ranks r of the samples of the query's class.
    exact,
    /// The mean over the recalls 0, 0.1, ..., 1 of the largest p(r) among the ranks of at least that recall
    /// (TREC; Manning, Raghavan, Schuetze, "Introduction to Information Retrieval", 2008, section 8.4).
    eleven_point,
    /// What the released evaluation code of information flow modeling and of probabilistic knowledge transfer
    /// computes (Passalis, Tzelepi, Tefas, CVPR 2020). Its p'(r) is the largest p from rank r to rank b for r <= b,
    /// and p(r) itself after rank b, where b is the number of queries in the query's batch (128; fewer in the last),
    /// although the size of the gallery was meant. The mean over the recalls 0, 0.1, ..., 1 of p' at the rank whose
    /// recall is closest, the first of equals. For comparison with published numbers. `RetrievalScores::precision` is
    /// then the mean of p', too.
    eleven_point_released,
};

/// Options of `Retrieval`.
struct RetrievalOptions {
    Distance distance = Distance::cosine;
    AveragePrecision average = AveragePrecision::exact;
    std::vector<std::int64_t> at{1};    ///< ranks at which to report precision, from 1 to the gallery's size
    std::int64_t released_batch = 128;  ///< b of `eleven_point_released`; at least 1
    std::int64_t most_distances =
        1 << 23;  ///< held in memory at once, though at least one query's; at least 1
};

/// The scores of a `Retrieval`.
struct RetrievalScores {
    double mean_average_precision = 0;  ///< over the queries, from 0 to 1
    std::vector<double> precision{};  ///< for each rank of `RetrievalOptions::at`, the mean over the queries
};

/// Ranks a gallery of features for each query, and scores the ranking by the classes.
///
///     const auto gallery = retort::features(student, retort::tap<&Outputs::body>, train_batches);
///     const auto queries = retort::features(student, retort::tap<&Outputs::body>, test_batches);
///     const metrics::Retrieval retrieval{gallery, {.distance = metrics::Distance::cosine, .at = {1, 100}}};
///     const double map = retrieval.scores(queries).mean_average_precision;
///
/// All samples of the gallery are ranked for every query, some queries at a time. Among equal computed distances the
/// earlier sample of the gallery comes first. (The matrix product behind the distances may round differently for
/// another number of queries at a time.)
class Retrieval {
  public:
    /// \throws ShapeError, DataError if the gallery does not hold features; ConfigError if an option is out of range
    explicit Retrieval(const Features& gallery, RetrievalOptions options = {})
        : options_(std::move(options)), gallery_(detail::matrix("Retrieval", "gallery", gallery)) {
        using ::retort::detail::concat;
        for (const std::int64_t rank : options_.at) {
            if (rank < 1 || rank > gallery_.size()) {
                throw ConfigError(concat("Retrieval: expected ranks from 1 to the size of the gallery, ",
                                         gallery_.size(), ", found ", rank));
            }
        }
        if (options_.released_batch < 1 || options_.most_distances < 1) {
            throw ConfigError(
                concat("Retrieval: expected a batch and a number of distances of at least 1, found ",
                       options_.released_batch, " and ", options_.most_distances));
        }
        const c10::NoGradGuard no_grad;
        places_ = detail::Places(gallery_.values, options_.distance);
        at::Tensor inverse;
        std::tie(classes_, inverse, members_) =
            at::_unique2(gallery_.target, /*sorted=*/true, /*return_inverse=*/false, /*return_counts=*/true);
    }

    /// \throws ShapeError, DataError if these are not features of the gallery's width, or a query's class does not
    /// occur in the gallery
    RetrievalScores scores(const Features& queries) const {
        const c10::NoGradGuard no_grad;
        const Features asked = detail::queries_for("Retrieval", gallery_, queries);
        const at::Tensor members = relevant_counts(asked.target);
        const auto* relevant = members.data_ptr<std::int64_t>();
        const std::int64_t count = asked.size();
        const std::int64_t size = gallery_.size();
        const std::int64_t step = std::max<std::int64_t>(1, options_.most_distances / size);
        double sum = 0;
        std::vector<double> sums(options_.at.size(), 0.0);
        std::vector<double> precision(static_cast<std::size_t>(size));
        std::vector<std::int64_t> ranks;
        for (std::int64_t start = 0; start < count; start += step) {
            const std::int64_t rows = std::min(step, count - start);
            const at::Tensor order = std::get<1>(
                at::sort(places_.order(asked.values.narrow(0, start, rows)), /*stable=*/true, 1, false));
            const at::Tensor found = at::index_select(gallery_.target, 0, order.flatten())
                                         .view({rows, size})
                                         .eq(asked.target.narrow(0, start, rows).unsqueeze(1))
                                         .to(at::kCPU)
                                         .contiguous();
            const bool* hit = found.data_ptr<bool>();
            for (std::int64_t row = 0; row < rows; ++row, hit += size) {
                const std::int64_t query = start + row;
                ranks.clear();
                for (std::int64_t place = 0; place < size; ++place) {
                    if (hit[place]) ranks.push_back(place);
                    precision[static_cast<std::size_t>(place)] =
                        static_cast<double>(ranks.size()) / static_cast<double>(place + 1);
                }
                if (options_.average == AveragePrecision::eleven_point_released) {
                    const std::int64_t first = query / options_.released_batch * options_.released_batch;
                    raise(precision, std::min(options_.released_batch, count - first));
                }
                sum += average(precision, ranks, relevant[query]);
                for (std::size_t i = 0; i < sums.size(); ++i) {
                    sums[i] += precision[static_cast<std::size_t>(options_.at[i] - 1)];
                }
            }
        }
        RetrievalScores result{sum / static_cast<double>(count), std::move(sums)};
        for (double& each : result.precision) each /= static_cast<double>(count);
        return result;
    }

  private:
    /// For each query, how many samples of the gallery are of its class.
    at::Tensor relevant_counts(const at::Tensor& target) const {
        const at::Tensor place = at::searchsorted(classes_, target).clamp_max_(classes_.size(0) - 1);
        const at::Tensor missing = at::index_select(classes_, 0, place).ne(target);
        if (missing.any().item<bool>()) {
            const auto query = missing.to(at::kByte).argmax().item<std::int64_t>();
            throw DataError(::retort::detail::concat(
                "Retrieval: expected queries whose classes occur in the gallery, found class ",
                target.select(0, query).item<std::int64_t>(), " in query ", query));
        }
        return at::index_select(members_, 0, place).to(at::kCPU).contiguous();
    }
    /// Replaces each of the first `count` precisions by the largest from it to the last of them.
    static void raise(std::vector<double>& precision, std::int64_t count) {
        const auto end = std::min(static_cast<std::size_t>(count), precision.size());
        for (std::size_t i = end - 1; i-- > 0;) precision[i] = std::max(precision[i], precision[i + 1]);
    }
    /// The average precision, from the precisions by rank and the ranks (from 0) of the query's class.
    double average(const std::vector<double>& precision, const std::vector<std::int64_t>& ranks,
                   std::int64_t relevant) const {
        const auto at_hit = [&](std::int64_t hit) {
            return precision[static_cast<std::size_t>(ranks[static_cast<std::size_t>(hit)])];
        };
        double sum = 0;
        if (options_.average == AveragePrecision::exact) {
            for (std::int64_t hit = 0; hit < relevant; ++hit) sum += at_hit(hit);
            return sum / static_cast<double>(relevant);
        }
        const auto recall = [&](std::int64_t hits) {
            return static_cast<double>(hits) / static_cast<double>(relevant);
        };
        if (options_.average == AveragePrecision::eleven_point) {
            // From the last hit to the first: the precision is largest at a hit.
            double largest = 0;
            std::int64_t level = 10;
            for (std::int64_t hits = relevant; hits >= 1; --hits) {
                largest = std::max(largest, at_hit(hits - 1));
                for (; level >= 0 && 10 * (hits - 1) < level * relevant; --level) sum += largest;
            }
            return (level == 0 ? sum + largest : sum) / 11;  // recall 0 is reached by the first hit, too
        }
        for (const double level : levels) {
            // The ranks before the first hit have recall 0; the first of them is rank 1.
            std::int64_t best = ranks.front() == 0 ? 1 : 0;
            const auto near = static_cast<std::int64_t>(level * static_cast<double>(relevant));
            for (std::int64_t hits = std::max(best, near - 1); hits <= std::min(relevant, near + 2); ++hits) {
                if (std::abs(recall(hits) - level) < std::abs(recall(best) - level)) best = hits;
            }
            sum += best == 0 ? precision.front() : at_hit(best - 1);
        }
        return sum / 11;
    }

    // As multiples of a tenth in floating point, which decides between ranks that are equally close.
    static constexpr std::array<double, 11> levels{0 * 0.1, 1 * 0.1, 2 * 0.1, 3 * 0.1, 4 * 0.1, 5 * 0.1,
                                                   6 * 0.1, 7 * 0.1, 8 * 0.1, 9 * 0.1, 10 * 0.1};
    RetrievalOptions options_;
    Features gallery_;
    detail::Places places_;
    at::Tensor classes_, members_;
};

}  // namespace retort::metrics
