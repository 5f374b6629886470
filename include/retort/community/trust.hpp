// SPDX-License-Identifier: BSL-1.0
/// \file
/// What a node checks before it learns from another.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/randperm.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <retort/community/offer.hpp>
#include <retort/core/error.hpp>
#include <retort/data/detail/random.hpp>
#include <retort/detail/check.hpp>

namespace retort::community {

/// Options of the checks. The defaults are of this library.
struct TrustOptions {
    std::int64_t duplicates =
        8;  ///< how many rows of a lesson come twice, at places that the teacher cannot know
    std::int64_t canaries =
        16;  ///< how many own labeled samples of the class space come along, if there are any
    double canary_accuracy = 0.5;  ///< of those that the teacher takes for known, how many it must get right
    double largest_logit = 1e4;    ///< by absolute value
    double tolerance =
        1e-3;  ///< of labels of equal rows, relative to the largest logit: batches differ in rounding
    /// How many of the probe's rows teachers of one class space must agree on with most of the others, where at least three offer;
    /// 0: not checked.
    double agreement = 0.5;

    void check() const {
        using namespace ::retort::detail;
        check_range("TrustOptions", "a number of duplicates", duplicates, at_least(0));
        check_range("TrustOptions", "a number of canaries", canaries, at_least(0));
        check_range("TrustOptions", "a canary_accuracy", canary_accuracy, in_closed(0, 1));
        check_range("TrustOptions", "a largest_logit", largest_logit, above(0));
        check_range("TrustOptions", "a tolerance", tolerance, at_least(0));
        check_range("TrustOptions", "an agreement", agreement, in_closed(0, 1));
    }
};

/// The rows that are sent to a teacher: the new samples, some of them twice, those of the probe, and own samples whose label is
/// known (canaries), in an order that only the student knows.
struct Lesson {
    at::Tensor rows{};  ///< [rows, ...], as sent
    at::Tensor
        place{};  ///< where the samples, duplicates, probe and canaries, in this order, are in `rows` (int64)
    std::int64_t samples = 0;
    std::int64_t duplicates = 0;
    std::int64_t probe = 0;
    at::Tensor canaries{};  ///< the class of each canary in the class space of the teacher, int64

    /// The labels of the samples, in their order, from those of the rows.
    at::Tensor labels_of(const at::Tensor& labels) const {
        return labels.index_select(0, place.narrow(0, 0, samples));
    }
};

/// \param probe the first rows of `samples` that the query carried
/// \param canary own samples, at most `options.canaries` of them are used; may be undefined
/// \param canary_class their classes in the class space of the teacher
inline Lesson make_lesson(const at::Tensor& samples, std::int64_t probe, const at::Tensor& canary,
                          const at::Tensor& canary_class, const TrustOptions& options, std::uint64_t seed) {
    const at::NoGradGuard no_grad;
    Lesson lesson;
    lesson.samples = samples.size(0);
    lesson.duplicates = std::min(options.duplicates, lesson.samples);
    lesson.probe = std::min(probe, lesson.samples);
    at::Generator generator = data::detail::make_generator({seed}, data::detail::Stream::order);
    const at::TensorOptions numbers(at::kLong);
    const at::Tensor twice = at::randperm(lesson.samples, generator, numbers).narrow(0, 0, lesson.duplicates);
    std::vector<at::Tensor> parts{samples, samples.index_select(0, twice),
                                  samples.narrow(0, 0, lesson.probe)};
    // The duplicates' originals, so that the check knows which rows are equal.
    at::Tensor canaries = at::empty({0}, numbers);
    if (canary.defined() && canary.size(0) > 0 && options.canaries > 0) {
        const std::int64_t count = std::min(options.canaries, canary.size(0));
        const at::Tensor chosen = at::randperm(canary.size(0), generator, numbers).narrow(0, 0, count);
        parts.push_back(canary.index_select(0, chosen));
        canaries = canary_class.index_select(0, chosen);
    }
    lesson.canaries = canaries;
    const at::Tensor all = at::cat(parts);
    const at::Tensor order = at::randperm(all.size(0), generator, numbers);
    lesson.rows = all.index_select(0, order);
    const at::Tensor inverse = at::empty_like(order);
    inverse.scatter_(0, order, at::arange(order.size(0), numbers));
    // [samples | duplicates | probe | canaries | originals of the duplicates]
    lesson.place = at::cat({inverse, inverse.index_select(0, twice)});
    return lesson;
}

namespace detail {

/// Whether rows are equal up to a tolerance relative to the largest value.
inline std::int64_t different_rows(const at::Tensor& a, const at::Tensor& b, double tolerance) {
    if (a.size(0) == 0) return 0;
    const at::Tensor scale = at::cat({a, b}).abs().max().clamp_min(1e-6);
    return (a - b).abs().amax(1).gt(scale * tolerance).sum().item<std::int64_t>();
}

}  // namespace detail

/// Whether labels can be learned from.
/// \param labels the teacher's logits of the rows of the lesson
/// \param known which of the rows the teacher takes for known, [rows], bool
/// \returns why not; empty if they can
inline std::string distrust(const Lesson& lesson, const Offer& offer, const std::string& model,
                            const at::Tensor& labels, const at::Tensor& known, const TrustOptions& options) {
    using ::retort::detail::concat;
    using ::retort::detail::shape_text;
    const at::NoGradGuard no_grad;
    const auto classes = static_cast<std::int64_t>(offer.classes.size());
    const std::int64_t rows = lesson.rows.size(0);
    if (model != offer.model)
        return concat("labels of model ", ::retort::detail::excerpt(model), ", offered were those of ",
                      offer.model);
    if (!labels.defined() || labels.dim() != 2 || labels.size(0) != rows || labels.size(1) != classes)
        return concat("labels of shape ", labels.defined() ? shape_text(labels) : std::string("none"),
                      ", expected [", rows, ", ", classes, "]");
    if (!labels.is_floating_point()) return concat("labels of type ", at::toString(labels.scalar_type()));
    if (!known.defined() || known.dim() != 1 || known.size(0) != rows || known.scalar_type() != at::kBool)
        return "no word on which rows it knows";
    if (!at::isfinite(labels).all().item<bool>()) return "labels that are not finite";
    if (const double largest = labels.abs().max().item<double>(); largest > options.largest_logit)
        return concat("a logit of ", largest, ", expected at most ", options.largest_logit);
    const auto part = [&](std::int64_t begin, std::int64_t count) {
        return labels.index_select(0, lesson.place.narrow(0, begin, count)).to(at::kDouble);
    };
    const std::int64_t after_samples = lesson.samples;
    const std::int64_t after_duplicates = after_samples + lesson.duplicates;
    const std::int64_t after_probe = after_duplicates + lesson.probe;
    const std::int64_t after_canaries = after_probe + lesson.canaries.size(0);
    if (const std::int64_t off =
            detail::different_rows(part(after_samples, lesson.duplicates),
                                   part(after_canaries, lesson.duplicates), options.tolerance);
        off > 0) {
        return concat("different labels for equal rows (", off, " of ", lesson.duplicates, ")");
    }
    const at::Tensor promised = offer.logits.to(at::kDouble);
    if (promised.size(0) < lesson.probe) return "an offer that says nothing of the probe";
    if (const std::int64_t off = detail::different_rows(
            part(after_duplicates, lesson.probe), promised.narrow(0, 0, lesson.probe), options.tolerance);
        off > 0) {
        return concat("labels other than the offer's (", off, " of ", lesson.probe, " rows of the probe)");
    }
    if (const std::int64_t count = lesson.canaries.size(0); count > 0) {
        const at::Tensor places = lesson.place.narrow(0, after_probe, count);
        const at::Tensor sure = known.index_select(0, places);
        const auto asked = sure.sum().item<std::int64_t>();
        const auto right = part(after_probe, count)
                               .argmax(1)
                               .eq(lesson.canaries)
                               .logical_and(sure)
                               .sum()
                               .item<std::int64_t>();
        if (static_cast<double>(right) < options.canary_accuracy * static_cast<double>(asked))
            return concat("wrong labels for known samples (", asked - right, " of ", asked, ")");
    }
    return {};
}

/// Of offers with one class space, those whose words on the probe most of the others contradict.
/// \returns for each offer why it cannot be trusted; empty if it can
inline std::vector<std::string> contradicted(const std::vector<Offer>& offers, const TrustOptions& options) {
    const at::NoGradGuard no_grad;
    std::vector<std::string> result(offers.size());
    if (options.agreement == 0) return result;
    const auto votes = [&](const Offer& a, const Offer& b) {
        return a.verdict.known && b.verdict.known && a.classes == b.classes && a.logits.defined() &&
               b.logits.defined() && a.logits.sizes() == b.logits.sizes() && a.logits.size(0) > 0;
    };
    for (std::size_t i = 0; i < offers.size(); ++i) {
        int others = 0;
        int against = 0;
        for (std::size_t j = 0; j < offers.size(); ++j) {
            if (i == j || !votes(offers[i], offers[j])) continue;
            ++others;
            const double equal = offers[i]
                                     .logits.argmax(1)
                                     .eq(offers[j].logits.argmax(1))
                                     .to(at::kDouble)
                                     .mean()
                                     .item<double>();
            against += equal < options.agreement ? 1 : 0;
        }
        if (others >= 2 && 2 * against > others)
            result[i] =
                ::retort::detail::concat("contradicted by ", against, " of ", others, " other teachers");
    }
    return result;
}

}  // namespace retort::community
