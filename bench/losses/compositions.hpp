// SPDX-License-Identifier: BSL-1.0
/// \file
/// The losses written straight from the papers, with LibTorch's operators and autograd: without checks or handling of
/// special inputs, and without anything known to be slow.
#pragma once

#include <torch/torch.h>

#include <cmath>
#include <cstdint>
#include <vector>

namespace hand_written {

namespace F = torch::nn::functional;
using torch::Tensor;

// --- logits [batch, classes]

/// T^2 KL(t || s), mean over the samples.
inline Tensor soft_target(const Tensor& student, const Tensor& teacher, double temperature) {
    const Tensor log_student = torch::log_softmax(student / temperature, 1);
    const Tensor log_teacher = torch::log_softmax(teacher / temperature, 1);
    return (log_teacher.exp() * (log_teacher - log_student)).sum() *
           (temperature * temperature / static_cast<double>(student.size(0)));
}

/// The same with LibTorch's own divergence.
inline Tensor soft_target_kl_div(const Tensor& student, const Tensor& teacher, double temperature) {
    return F::kl_div(torch::log_softmax(student / temperature, 1), torch::softmax(teacher / temperature, 1),
                     F::KLDivFuncOptions().reduction(torch::kBatchMean)) *
           (temperature * temperature);
}

inline Tensor reverse_soft_target(const Tensor& student, const Tensor& teacher, double temperature) {
    const Tensor log_student = torch::log_softmax(student / temperature, 1);
    const Tensor log_teacher = torch::log_softmax(teacher / temperature, 1);
    return (log_student.exp() * (log_student - log_teacher)).sum() *
           (temperature * temperature / static_cast<double>(student.size(0)));
}

inline Tensor symmetric_soft_target(const Tensor& student, const Tensor& teacher, double temperature) {
    const Tensor log_student = torch::log_softmax(student / temperature, 1);
    const Tensor log_teacher = torch::log_softmax(teacher / temperature, 1);
    return ((log_teacher.exp() - log_student.exp()) * (log_teacher - log_student)).sum() *
           (0.5 * temperature * temperature / static_cast<double>(student.size(0)));
}

/// Rows of log-probabilities: half KL(t || m) + half KL(s || m), m their mean; summed.
inline Tensor jensen_shannon_rows(const Tensor& log_student, const Tensor& log_teacher) {
    const Tensor student = log_student.exp();
    const Tensor teacher = log_teacher.exp();
    const Tensor log_mixture = ((student + teacher) * 0.5).log();
    return 0.5 * (teacher * (log_teacher - log_mixture) + student * (log_student - log_mixture)).sum();
}

inline Tensor jensen_shannon_soft_target(const Tensor& student, const Tensor& teacher, double temperature) {
    return jensen_shannon_rows(torch::log_softmax(student / temperature, 1),
                               torch::log_softmax(teacher / temperature, 1)) *
           (temperature * temperature / static_cast<double>(student.size(0)));
}

inline Tensor one_hot(const Tensor& like, const Tensor& target) {
    return torch::zeros_like(like).scatter_(1, target.unsqueeze(1), 1.0);
}

inline Tensor decoupled_kd(const Tensor& student, const Tensor& teacher, const Tensor& target, double alpha,
                           double beta, double temperature) {
    const Tensor own = one_hot(student, target);
    const Tensor p_student = torch::softmax(student / temperature, 1);
    const Tensor p_teacher = torch::softmax(teacher / temperature, 1);
    const auto binary = [&](const Tensor& p) {
        const Tensor of_target = (p * own).sum(1, true);
        return torch::cat({of_target, 1 - of_target}, 1);
    };
    const double scale = temperature * temperature / static_cast<double>(student.size(0));
    const Tensor of_target =
        F::kl_div(binary(p_student).log(), binary(p_teacher), F::KLDivFuncOptions().reduction(torch::kSum));
    const Tensor hidden = own * 1000.0;
    const Tensor of_others = F::kl_div(torch::log_softmax(student / temperature - hidden, 1),
                                       torch::softmax(teacher / temperature - hidden, 1),
                                       F::KLDivFuncOptions().reduction(torch::kSum));
    return of_target * (alpha * scale) + of_others * (beta * scale);
}

inline Tensor normalized_kd(const Tensor& student, const Tensor& teacher, const Tensor& target, double gamma,
                            double temperature) {
    const Tensor column = target.unsqueeze(1);
    const Tensor own = torch::softmax(teacher, 1).gather(1, column);
    const Tensor of_target = -(own * torch::log_softmax(student, 1).gather(1, column)).mean();
    const Tensor others = torch::ones_like(student, torch::kBool).scatter_(1, column, 0);
    const auto without_target = [&](const Tensor& logits) {
        return logits.masked_select(others).view({logits.size(0), -1}) / temperature;
    };
    const Tensor of_others =
        -(torch::softmax(without_target(teacher), 1) * torch::log_softmax(without_target(student), 1))
             .sum(1)
             .mean();
    return of_target + of_others * (gamma * temperature * temperature);
}

inline Tensor weighted_soft_labels(const Tensor& student, const Tensor& teacher, const Tensor& target,
                                   double temperature) {
    const Tensor soft =
        -(torch::softmax(teacher / temperature, 1) * torch::log_softmax(student / temperature, 1)).sum(1);
    const auto each = F::CrossEntropyFuncOptions().reduction(torch::kNone);
    const Tensor weight = 1 - torch::exp(-F::cross_entropy(student.detach(), target, each) /
                                         (F::cross_entropy(teacher, target, each) + 1e-7));
    return (weight * soft).mean() * (temperature * temperature);
}

inline Tensor pearson_distance(const Tensor& one, const Tensor& other, std::int64_t dimension) {
    return 1 - F::cosine_similarity(one - one.mean(dimension, true), other - other.mean(dimension, true),
                                    F::CosineSimilarityFuncOptions().dim(dimension))
                   .mean();
}

inline Tensor dist_kd(const Tensor& student, const Tensor& teacher) {
    const Tensor s = torch::softmax(student, 1);
    const Tensor t = torch::softmax(teacher, 1);
    return pearson_distance(s, t, 1) + pearson_distance(s, t, 0);
}

inline Tensor standardized(const Tensor& logits) {
    return (logits - logits.mean(1, true)) / (logits.std(1, true, true) + 1e-7);
}

inline Tensor class_relation(const Tensor& student, const Tensor& teacher, double temperature) {
    const Tensor s = torch::softmax(student / temperature, 1);
    const Tensor t = torch::softmax(teacher / temperature, 1);
    return (torch::mm(t.t(), t) - torch::mm(s.t(), s)).pow(2).sum() / static_cast<double>(s.size(1));
}

inline Tensor sample_relation(const Tensor& student, const Tensor& teacher, double temperature) {
    const Tensor s = torch::softmax(student / temperature, 1);
    const Tensor t = torch::softmax(teacher / temperature, 1);
    return (torch::mm(t, t.t()) - torch::mm(s, s.t())).pow(2).sum() / static_cast<double>(s.size(0));
}

/// Of logits [2 batch, classes], the weak view first; masks at the medians, as the paper describes it.
inline Tensor multi_level_kd(const Tensor& student, const Tensor& teacher) {
    const std::int64_t batch = student.size(0) / 2;
    const Tensor student_weak = student.narrow(0, 0, batch), student_strong = student.narrow(0, batch, batch);
    const Tensor teacher_weak = teacher.narrow(0, 0, batch), teacher_strong = teacher.narrow(0, batch, batch);
    const Tensor sure = torch::softmax(teacher_weak, 1);
    const auto up_to_median = [](const Tensor& values) {
        return values.le(torch::quantile(values, 0.5)).to(torch::kFloat);
    };
    const Tensor samples = up_to_median(std::get<0>(sure.max(1)));
    const Tensor classes = up_to_median(sure.sum(0));
    const auto count = static_cast<double>(batch);
    const auto width = static_cast<double>(student.size(1));
    Tensor result = torch::zeros({});
    for (const double temperature : {4.0, 3.0, 5.0, 2.0, 6.0}) {
        for (const bool weak : {true, false}) {
            const Tensor& s = weak ? student_weak : student_strong;
            const Tensor& t = weak ? teacher_weak : teacher_strong;
            const Tensor log_s = torch::log_softmax(s / temperature, 1);
            const Tensor p_s = torch::softmax(s / temperature, 1);
            const Tensor p_t = torch::softmax(t / temperature, 1);
            Tensor soft = F::kl_div(log_s, p_t, F::KLDivFuncOptions().reduction(torch::kNone)).sum(1) *
                          (temperature * temperature / count);
            Tensor of_class = (torch::mm(p_t.t(), p_t) - torch::mm(p_s.t(), p_s)).pow(2).sum(1) / width;
            Tensor of_batch = (torch::mm(p_t, p_t.t()) - torch::mm(p_s, p_s.t())).pow(2).sum(1) / count;
            if (weak) {
                soft = soft * samples;
                of_class = of_class * classes;
                of_batch = of_batch * samples;
            }
            result = result + soft.sum() + of_class.sum() + of_batch.sum();
        }
    }
    return result;
}

inline Tensor teacher_free_regularization(const Tensor& logits, const Tensor& target) {
    const auto classes = static_cast<double>(logits.size(1));
    const Tensor teacher =
        torch::full_like(logits, 0.01 / (classes - 1)).scatter_(1, target.unsqueeze(1), 0.99);
    // F::kl_div warns about this reduction on every call.
    return torch::kl_div(torch::log_softmax(logits, 1), torch::softmax(teacher / 20.0, 1),
                         at::Reduction::Mean);
}

inline Tensor cosine_logits(const Tensor& student, const Tensor& teacher) {
    return (1 - F::cosine_similarity(student, teacher, F::CosineSimilarityFuncOptions().dim(1))).mean();
}

inline Tensor universal_self_kd(const Tensor& student, const Tensor& weak, const Tensor& target) {
    const Tensor column = target.unsqueeze(1);
    const Tensor log_s = torch::log_softmax(student, 1);
    const Tensor own = log_s.gather(1, column);
    const Tensor p_own = own.detach().exp();
    const Tensor of_target = -((p_own.pow(2) + 1 - p_own.pow(2).mean()) * own).mean();
    const Tensor of_weak = F::cross_entropy(weak, target, F::CrossEntropyFuncOptions().label_smoothing(0.1));
    const Tensor p = log_s.detach().exp();
    const Tensor q = torch::softmax(weak.detach(), 1);
    const Tensor standing = q / (1 - q.gather(1, column) + 1e-6) + p / (1 - p.gather(1, column) + 1e-6);
    const Tensor rank = standing.argsort(std::int64_t{1}, /*descending=*/true).argsort(std::int64_t{1}) + 1;
    const Tensor others = torch::ones_like(student, torch::kBool).scatter_(1, column, 0);
    const auto without_target = [&](const Tensor& values) {
        return values.masked_select(others).view({values.size(0), -1});
    };
    const Tensor zipf = without_target(rank.to(torch::kFloat)).reciprocal();
    const Tensor of_others =
        -(zipf / zipf.sum(1, true) * torch::log_softmax(without_target(student), 1)).sum(1).mean();
    return of_target + 0.1 * of_others + 0.005 * of_weak;
}

// --- features [batch, channels, height, width]

inline Tensor attention(const Tensor& feature) {
    return F::normalize(feature.pow(2).mean(1).flatten(1), F::NormalizeFuncOptions().dim(1));
}
inline Tensor attention_code(const Tensor& student, const Tensor& teacher) {
    return (attention(student) - attention(teacher)).pow(2).mean();
}
inline Tensor attention_paper(const Tensor& student, const Tensor& teacher) {
    return (attention(student) - attention(teacher)).norm(2, 1).mean();
}

inline Tensor channel_maps(const Tensor& feature) {
    return F::normalize(feature.flatten(2), F::NormalizeFuncOptions().dim(2));
}
/// Products of all pairs of channels by matrix products.
inline Tensor neuron_selectivity(const Tensor& student, const Tensor& teacher) {
    const Tensor s = channel_maps(student);
    const Tensor t = channel_maps(teacher);
    const auto kernel = [](const Tensor& one, const Tensor& other) {
        return torch::bmm(one, other.transpose(1, 2)).pow(2).mean();
    };
    return kernel(t, t) + kernel(s, s) - 2 * kernel(s, t);
}
/// As released: all products of all pairs at once, [batch, channels, channels, positions].
inline Tensor neuron_selectivity_released(const Tensor& student, const Tensor& teacher) {
    const Tensor s = channel_maps(student);
    const Tensor t = channel_maps(teacher);
    const auto kernel = [](const Tensor& one, const Tensor& other) {
        return (one.unsqueeze(1) * other.unsqueeze(2)).sum(-1).pow(2).mean();
    };
    const Tensor fixed = [&] {
        const torch::NoGradGuard no_gradient;
        return kernel(t, t);
    }();
    return fixed + kernel(s, s) - 2 * kernel(s, t);
}

inline Tensor variational_information(const Tensor& mean, const Tensor& teacher, const Tensor& log_scale) {
    const Tensor variance = (torch::log1p(torch::exp(log_scale)) + 1e-5).view({1, -1, 1, 1});
    return 0.5 * ((mean - teacher).pow(2) / variance + variance.log()).mean();
}

inline Tensor activation_boundary(const Tensor& student, const Tensor& teacher, double margin) {
    const Tensor quiet =
        (student + margin).pow(2) * ((student > -margin).logical_and(teacher <= 0)).to(torch::kFloat);
    const Tensor firing =
        (student - margin).pow(2) * ((student <= margin).logical_and(teacher > 0)).to(torch::kFloat);
    return (quiet + firing).sum() / static_cast<double>(student.size(0));
}

inline Tensor feature_overhaul(const Tensor& student, const Tensor& teacher, const Tensor& margins) {
    const Tensor goal = torch::max(teacher, margins.view({1, -1, 1, 1}));
    const Tensor counts = (student > goal).logical_or(goal > 0).to(torch::kFloat);
    return (F::mse_loss(student, goal, F::MSELossFuncOptions().reduction(torch::kNone)) * counts).sum() /
           static_cast<double>(student.size(0));
}

inline Tensor factor(const Tensor& factors) {
    return F::normalize(factors.flatten(1), F::NormalizeFuncOptions().dim(1));
}
inline Tensor factor_transfer(const Tensor& student, const Tensor& teacher) {
    return (factor(student) - factor(teacher)).abs().mean();
}

inline Tensor hierarchical_context(const Tensor& student, const Tensor& teacher) {
    Tensor result = F::mse_loss(student, teacher);
    double weight = 1;
    double total = 1;
    for (const std::int64_t level : {4, 2, 1}) {
        if (level >= student.size(2)) continue;
        weight /= 2;
        total += weight;
        result = result + F::mse_loss(torch::adaptive_avg_pool2d(student, {level, level}),
                                      torch::adaptive_avg_pool2d(teacher, {level, level})) *
                              weight;
    }
    return result / total;
}

inline Tensor srrl(const Tensor& student, const Tensor& teacher, const Tensor& student_logits,
                   const Tensor& teacher_logits) {
    return F::mse_loss(student.mean({2, 3}), teacher.mean({2, 3})) +
           5 * F::mse_loss(student_logits, teacher_logits);
}

inline Tensor class_attention_transfer(const Tensor& student, const Tensor& teacher) {
    const auto maps = [](const Tensor& feature) {
        return F::normalize(torch::adaptive_avg_pool2d(feature, {2, 2}).flatten(2),
                            F::NormalizeFuncOptions().dim(2));
    };
    return F::mse_loss(maps(student), maps(teacher));
}

inline Tensor channel_correlation(const Tensor& student, const Tensor& teacher) {
    const auto correlation = [](const Tensor& feature) {
        const Tensor rows = feature.flatten(2);
        return F::normalize(torch::bmm(rows, rows.transpose(1, 2)), F::NormalizeFuncOptions().dim(2));
    };
    return (correlation(student) - correlation(teacher)).pow(2).sum(2).mean();
}

inline Tensor channel_wise(const Tensor& student, const Tensor& teacher, double temperature) {
    const Tensor log_s = torch::log_softmax(student.flatten(2) / temperature, 2);
    const Tensor log_t = torch::log_softmax(teacher.flatten(2) / temperature, 2);
    return (log_t.exp() * (log_t - log_s)).sum() *
           (temperature * temperature / static_cast<double>(student.size(0) * student.size(1)));
}

inline Tensor pearson_correlation(const Tensor& student, const Tensor& teacher) {
    const auto normed = [](const Tensor& feature) {
        const Tensor rows = feature.transpose(0, 1).flatten(1);
        return (rows - rows.mean(1, true)) / (rows.std(1, true, true) + 1e-6);
    };
    return 0.5 * F::mse_loss(normed(student), normed(teacher));
}

inline Tensor masked_hint(const Tensor& student, const Tensor& teacher) {
    const Tensor mask =
        (torch::rand({student.size(0), 1, student.size(2), student.size(3)}) >= 0.65).to(torch::kFloat);
    return F::mse_loss(student * mask, teacher, F::MSELossFuncOptions().reduction(torch::kSum)) /
           static_cast<double>(student.size(0));
}

inline Tensor log_sum(const Tensor& student, const Tensor& teacher) {
    return 2 * (student - teacher).abs().pow(4).sum().log();
}

inline Tensor embedding_distance(const Tensor& student, const Tensor& embedding) {
    return (1 - F::cosine_similarity(student, embedding, F::CosineSimilarityFuncOptions().dim(1))).mean();
}

// --- relations between the samples

inline Tensor similarity_preserving(const Tensor& student, const Tensor& teacher) {
    const auto similarities = [](const Tensor& feature) {
        const Tensor rows = feature.flatten(1);
        return F::normalize(torch::mm(rows, rows.t()), F::NormalizeFuncOptions().dim(1));
    };
    const Tensor difference = similarities(teacher) - similarities(student);
    return (difference * difference).sum() / static_cast<double>(difference.numel());
}

inline Tensor pair_distances(const Tensor& rows) {
    const Tensor squares = rows.pow(2).sum(1);
    Tensor result =
        (squares.unsqueeze(1) + squares.unsqueeze(0) - 2 * torch::mm(rows, rows.t())).clamp_min(1e-12).sqrt();
    return result * (1 - torch::eye(rows.size(0)));
}
inline Tensor relational_distance(const Tensor& student, const Tensor& teacher) {
    const auto relative = [](const Tensor& rows) {
        const Tensor distances = pair_distances(rows);
        return distances / distances.masked_select(distances > 0).mean();
    };
    const Tensor goal = [&] {
        const torch::NoGradGuard no_gradient;
        return relative(teacher);
    }();
    return F::smooth_l1_loss(relative(student), goal);
}
/// [batch, batch, size] of differences, [batch, batch, batch] of angles.
inline Tensor relational_angle(const Tensor& student, const Tensor& teacher) {
    const auto angles = [](const Tensor& rows) {
        const Tensor directions =
            F::normalize(rows.unsqueeze(0) - rows.unsqueeze(1), F::NormalizeFuncOptions().dim(2));
        return torch::bmm(directions, directions.transpose(1, 2)).view(-1);
    };
    const Tensor goal = [&] {
        const torch::NoGradGuard no_gradient;
        return angles(teacher);
    }();
    return F::smooth_l1_loss(angles(student), goal);
}
inline Tensor relational(const Tensor& student, const Tensor& teacher) {
    return 25 * relational_distance(student, teacher) + 50 * relational_angle(student, teacher);
}

inline Tensor hard_dark_rank(const Tensor& student, const Tensor& teacher) {
    const Tensor goal = -3 * pair_distances(teacher).pow(3);
    const Tensor own = -3 * pair_distances(student).pow(3);
    const Tensor order = goal.argsort(std::int64_t{1}, /*descending=*/true).narrow(1, 1, 4);
    const Tensor ordered = own.gather(1, order);
    Tensor log_likelihood = torch::zeros({student.size(0)});
    for (std::int64_t k = 0; k < 4; ++k) {
        log_likelihood = log_likelihood + ordered.select(1, k) - ordered.narrow(1, k, 4 - k).logsumexp(1);
    }
    return -log_likelihood.mean();
}

inline Tensor cosine_kernel(const Tensor& rows, double epsilon) {
    const Tensor unit = rows / (rows.norm(2, 1, true) + epsilon);
    return (torch::mm(unit, unit.t()) + 1) / 2;
}
inline Tensor probabilistic_transfer(const Tensor& student, const Tensor& teacher) {
    const auto probabilities = [](const Tensor& rows) {
        const Tensor kernel = cosine_kernel(rows, 1e-7);
        return kernel / kernel.sum(1, true);
    };
    const Tensor p = probabilities(teacher);
    return (p * torch::log((p + 1e-7) / (probabilities(student) + 1e-7))).mean();
}

/// Jeffreys' divergence with the cosine and the Student-t kernel.
inline Tensor information_flow(const Tensor& student, const Tensor& teacher) {
    const auto divergence = [](const Tensor& kernel_s, const Tensor& kernel_t) {
        const Tensor q = kernel_s / kernel_s.sum(1, true);
        const Tensor p = kernel_t / kernel_t.sum(1, true);
        return ((p - q) * (p.log() - q.log())).mean();
    };
    const auto student_t = [](const Tensor& rows) {
        const Tensor squares = rows.pow(2).sum(1);
        const Tensor distances =
            (squares.unsqueeze(1) + squares.unsqueeze(0) - 2 * torch::mm(rows, rows.t())).clamp_min(0);
        return 1 / (1 + (distances * (1 - torch::eye(rows.size(0))) + 1e-6).sqrt());
    };
    return divergence(cosine_kernel(student, 1e-6), cosine_kernel(teacher, 1e-6)) +
           divergence(student_t(student), student_t(teacher));
}

inline Tensor correlation_congruence(const Tensor& student, const Tensor& teacher) {
    const auto kernel = [](const Tensor& rows) {
        const Tensor products = torch::mm(rows, rows.t());
        Tensor result = torch::full_like(products, std::exp(-0.8));
        result = result + std::exp(-0.8) * 0.8 * products;
        return result + std::exp(-0.8) * 0.32 * products.pow(2);
    };
    return (kernel(student) - kernel(teacher)).norm() /
           static_cast<double>(student.size(0) * student.size(0));
}

inline Tensor neighbor_differences(const Tensor& student, const Tensor& teacher) {
    const Tensor delta = (student - teacher).abs();
    const std::int64_t rows = delta.size(0) - 1;
    return (delta.narrow(0, 0, rows) * delta.narrow(0, 1, rows)).sum(1).mean();
}

/// The vectors of a batch against gathered rows of a bank, [batch, 1 + negatives, size].
inline Tensor noise_contrast(const Tensor& vectors, const Tensor& bank, const Tensor& indices,
                             double normalizer) {
    const std::int64_t batch = vectors.size(0);
    const std::int64_t count = indices.size(1);
    const auto noise = static_cast<double>(count - 1) / static_cast<double>(bank.size(0));
    const Tensor rows = bank.index_select(0, indices.view(-1)).view({batch, count, -1});
    const Tensor x = torch::exp(torch::bmm(rows, vectors.unsqueeze(2)).squeeze(2) / 0.07) / normalizer;
    const Tensor positive = x.select(1, 0);
    const Tensor negatives = x.narrow(1, 1, count - 1);
    const Tensor of_positive = torch::log(positive / (positive + noise + 1e-7));
    const Tensor of_negatives = torch::log(noise / (negatives + noise + 1e-7));
    return -(of_positive.sum() + of_negatives.sum()) / static_cast<double>(batch);
}

inline Tensor batch_contrast(const Tensor& student, const Tensor& teacher) {
    const Tensor logits = torch::mm(student, teacher.t()) / 0.07;
    const Tensor own = torch::arange(student.size(0));
    return F::cross_entropy(logits, own) + F::cross_entropy(logits.t(), own);
}

inline Tensor queue_contrast(const Tensor& vectors, const Tensor& positives, const Tensor& queue) {
    const Tensor logits =
        torch::cat({(vectors * positives).sum(1, true), torch::mm(vectors, queue.t())}, 1) / 0.07;
    return F::cross_entropy(logits, torch::zeros({vectors.size(0)}, torch::kLong));
}

/// Which of the views the teacher classifies correctly, and of the others the fraction that comes closest, are
/// counted by selection.
inline Tensor kept(const Tensor& scores, const Tensor& right, double share) {
    const Tensor rank = (scores.argsort(std::int64_t{1}, /*descending=*/true) == right.unsqueeze(1))
                            .to(torch::kFloat)
                            .argmax(1);
    const Tensor order = rank.argsort(std::int64_t{0});
    const std::int64_t correct = (rank == 0).sum().item<std::int64_t>();
    const std::int64_t wrong = scores.size(0) - correct;
    return order.narrow(0, 0, correct + static_cast<std::int64_t>(static_cast<double>(wrong) * share));
}
inline Tensor self_supervision(const Tensor& student, const Tensor& teacher, std::int64_t views) {
    const auto cosines = [&](const Tensor& representation) {
        const Tensor unit = F::normalize(representation, F::NormalizeFuncOptions().dim(1));
        const Tensor grouped = unit.view({-1, views, unit.size(1)});
        return torch::mm(grouped.narrow(1, 1, views - 1).reshape({-1, unit.size(1)}),
                         grouped.select(1, 0).t());
    };
    const Tensor own = cosines(student);
    const Tensor goal = cosines(teacher);
    const Tensor right = torch::arange(own.size(1)).repeat_interleave(views - 1);
    const Tensor rows = kept(goal, right, 0.75);
    return F::kl_div(torch::log_softmax(own.index_select(0, rows) / 0.5, 1),
                     torch::softmax(goal.index_select(0, rows) / 0.5, 1),
                     F::KLDivFuncOptions().reduction(torch::kBatchMean)) *
           0.25;
}
inline Tensor transformed_target(const Tensor& student, const Tensor& teacher, const Tensor& target) {
    const std::int64_t views = student.size(0) / target.size(0);
    const Tensor rows = kept(teacher, target.repeat_interleave(views), 1.0);
    return soft_target(student.index_select(0, rows), teacher.index_select(0, rows), 4.0);
}

// --- flow between layers

inline Tensor solution_procedure(const std::vector<Tensor>& student, const std::vector<Tensor>& teacher) {
    const auto matrix = [](const Tensor& first, const Tensor& second) {
        const Tensor pooled = first.size(2) > second.size(2)
                                  ? torch::adaptive_avg_pool2d(first, {second.size(2), second.size(3)})
                                  : first;
        return torch::bmm(pooled.flatten(2), second.flatten(2).transpose(1, 2)) /
               static_cast<double>(second.size(2) * second.size(3));
    };
    Tensor result = torch::zeros({});
    for (std::size_t i = 0; i + 1 < student.size(); ++i) {
        result =
            result + (matrix(student[i], student[i + 1]) - matrix(teacher[i], teacher[i + 1])).pow(2).mean();
    }
    return result;
}

inline Tensor singular_vectors(const std::vector<Tensor>& student, const std::vector<Tensor>& teacher) {
    const auto decomposed = [](const Tensor& maps, std::int64_t count) {
        const auto [u, s, vh] = torch::linalg_svd(maps.flatten(2).transpose(1, 2), false);
        return std::pair(F::normalize(s.narrow(1, 0, count), F::NormalizeFuncOptions().dim(1)),
                         vh.transpose(1, 2).narrow(2, 0, count));
    };
    Tensor result = torch::zeros({});
    Tensor own_before, goal_before;
    for (std::size_t layer = 0; layer < student.size(); ++layer) {
        auto [values, goal] = decomposed(teacher[layer], 1);
        goal = goal * torch::where(goal.gather(1, goal.abs().argmax(1, true)) < 0, -1.0f, 1.0f);
        const Tensor vectors = decomposed(student[layer], 4).second;
        const Tensor cosines = torch::bmm(vectors.detach().transpose(1, 2), goal);
        const Tensor best = cosines.abs().argmax(1, true);
        Tensor own = vectors.gather(2, best.expand({-1, vectors.size(1), 1})) *
                     cosines.gather(1, best).sign() * values.unsqueeze(1);
        goal = goal * values.unsqueeze(1);
        if (layer > 0) {
            const auto kernel = [](const Tensor& deeper, const Tensor& other) {
                return torch::exp(-(deeper.unsqueeze(2) - other.unsqueeze(1)).pow(2) / 8);
            };
            result = result + (kernel(own, own_before) - kernel(goal, goal_before)).pow(2).sum() /
                                  static_cast<double>(own.size(0));
        }
        own_before = own;
        goal_before = goal;
    }
    return result;
}

// --- language models: logits [tokens, words]

inline Tensor token_forward(const Tensor& student, const Tensor& teacher) {
    const Tensor log_student = torch::log_softmax(student, 1);
    const Tensor log_teacher = torch::log_softmax(teacher, 1);
    return (log_teacher.exp() * (log_teacher - log_student)).sum() / static_cast<double>(student.size(0));
}
inline Tensor token_reverse(const Tensor& student, const Tensor& teacher) {
    const Tensor log_student = torch::log_softmax(student, 1);
    const Tensor log_teacher = torch::log_softmax(teacher, 1);
    return (log_student.exp() * (log_student - log_teacher)).sum() / static_cast<double>(student.size(0));
}
inline Tensor token_jensen_shannon(const Tensor& student, const Tensor& teacher) {
    return jensen_shannon_rows(torch::log_softmax(student, 1), torch::log_softmax(teacher, 1)) /
           static_cast<double>(student.size(0));
}
/// The teacher's k words and the rest as one event.
inline Tensor token_sparse(const Tensor& student, const Tensor& indices, const Tensor& log_probabilities,
                           const Tensor& log_rest) {
    const Tensor chosen = torch::log_softmax(student, 1).gather(1, indices);
    const Tensor rest = torch::log1p(-chosen.exp().sum(1, true).clamp_max(1 - 1e-6));
    const Tensor own = torch::cat({chosen, rest}, 1);
    const Tensor goal = torch::cat({log_probabilities, log_rest.unsqueeze(1)}, 1);
    return (goal.exp() * (goal - own)).sum() / static_cast<double>(student.size(0));
}

}  // namespace hand_written
