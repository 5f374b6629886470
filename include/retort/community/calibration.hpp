// SPDX-License-Identifier: BSL-1.0
/// \file
/// From scores to a verdict: what a node's own data score, and whether others are like them.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>

namespace retort::community {

/// The q-quantile of scores by linear interpolation between order statistics (NumPy's default).
/// \param scores at least one, in any order
inline double quantile(std::vector<double> scores, double q) {
    if (scores.empty() || !(q >= 0 && q <= 1)) {
        throw ConfigError(::retort::detail::concat(
            "quantile: expected at least one score and q in [0, 1], found ", scores.size(), " and ", q));
    }
    std::sort(scores.begin(), scores.end());
    const double place = q * static_cast<double>(scores.size() - 1);
    const auto below = static_cast<std::size_t>(place);
    const std::size_t above = std::min(below + 1, scores.size() - 1);
    const double share = place - static_cast<double>(below);
    return share == 0 ? scores[below] : scores[below] + share * (scores[above] - scores[below]);
}

/// What a self-assessment says of a batch.
struct Verdict {
    double outside = 1;  ///< the share of the samples whose score is above the threshold
    /// The mean over the samples of the share of own scores below theirs, ties 1/2: about 1/2 for own data, 1 for data that
    /// are stranger than all own. Comparable between assessments of any kind.
    double strangeness = 1;
    bool known = false;
};

/// Options of `Calibration`.
struct CalibrationOptions {
    double quantile = 0.95;  ///< the share of own samples below the threshold; in (0, 1)
    /// How many standard deviations of a binomial count `Verdict::outside` may exceed its expectation by, 1 - quantile. The
    /// defaults are of this library.
    double deviations = 3;
    std::int64_t most = 1024;  ///< how many own scores are kept; of more, as many quantiles

    void check() const {
        using namespace ::retort::detail;
        check_range("Calibration", "a quantile", quantile, in_open(0, 1));
        check_range("Calibration", "a number of deviations", deviations, at_least(0));
        check_range("Calibration", "a number of scores", most, at_least(2));
    }
};

/// The scores of a node's own samples, best of ones that the assessment was not fitted to; a threshold for single samples
/// (a quantile of them); and the verdict on batches: known if not more samples lie above the threshold than own data would
/// have by chance.
class Calibration {
  public:
    Calibration() = default;
    explicit Calibration(const CalibrationOptions& options) : options_(options) { options_.check(); }

    /// \param own the scores of own samples, [samples]; larger is stranger
    /// \throws DataError if there is none, or one is NaN
    void fit(const at::Tensor& own) {
        std::vector<double> scores = values(own, "own samples");
        std::sort(scores.begin(), scores.end());
        threshold_ = quantile(scores, options_.quantile);
        if (const auto most = static_cast<std::size_t>(options_.most); scores.size() > most) {
            std::vector<double> fewer;
            for (std::size_t i = 0; i < most; ++i)
                fewer.push_back(scores[i * (scores.size() - 1) / (most - 1)]);
            scores = std::move(fewer);
        }
        own_ = std::move(scores);
    }
    bool fitted() const { return !own_.empty(); }
    /// Above it, a single sample is taken as unknown.
    double threshold() const { return threshold_; }

    /// \param scores of the samples of a batch, [samples]
    /// \throws ConfigError before `fit`; DataError if there is no score, or one is NaN
    Verdict judge(const at::Tensor& scores) const {
        if (!fitted())
            throw ConfigError(
                "Calibration: expected scores of own samples (fit) before a verdict, found none");
        Verdict verdict{.outside = 0, .strangeness = 0};
        const std::vector<double> all = values(scores, "a batch");
        for (const double each : all) {
            if (each > threshold_) verdict.outside += 1;
            const auto [low, high] = std::equal_range(own_.begin(), own_.end(), each);
            verdict.strangeness += static_cast<double>((low - own_.begin()) + (high - own_.begin())) / 2;
        }
        const auto count = static_cast<double>(all.size());
        verdict.outside /= count;
        verdict.strangeness /= count * static_cast<double>(own_.size());
        const double expected = 1 - options_.quantile;
        verdict.known = verdict.outside <=
                        expected + options_.deviations * std::sqrt(expected * options_.quantile / count);
        return verdict;
    }

    void checkpoint(Archive& archive) {
        archive("threshold", threshold_);
        archive("own", own_);
    }

  private:
    static std::vector<double> values(const at::Tensor& scores, const char* of) {
        const at::NoGradGuard no_grad;
        if (!scores.defined() || scores.dim() != 1 || scores.numel() == 0) {
            throw DataError(::retort::detail::concat("Calibration: expected scores of ", of,
                                                     " of shape [samples], at least one, found ",
                                                     scores.defined() ? ::retort::detail::shape_text(scores)
                                                                      : std::string("an undefined tensor")));
        }
        const at::Tensor all = scores.to(at::kCPU, at::kDouble).contiguous();
        const auto* data = all.data_ptr<double>();
        for (std::int64_t i = 0; i < all.numel(); ++i) {
            if (std::isnan(data[i]))
                throw DataError(::retort::detail::concat("Calibration: expected scores of ", of,
                                                         ", found NaN for sample ", i));
        }
        return {data, data + all.numel()};
    }

    CalibrationOptions options_;
    double threshold_ = 0;
    std::vector<double> own_;  // ascending
};

}  // namespace retort::community
