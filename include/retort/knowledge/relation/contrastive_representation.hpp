// SPDX-License-Identifier: BSL-1.0
/// \file
/// Contrastive representation distillation (CRD): the representations of a sample in both networks attract each other,
/// those of different samples repel.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <concepts>
#include <cstdint>
#include <memory>
#include <utility>

#include <retort/core/error.hpp>
#include <retort/core/reduction.hpp>
#include <retort/knowledge/detail/feature.hpp>
#include <retort/knowledge/detail/reduce.hpp>
#include <retort/knowledge/relation/contrast_bank.hpp>
#include <retort/knowledge/relation/contrast_queue.hpp>
#include <retort/knowledge/relation/embedding_pair.hpp>

namespace retort {

/// Options of `ContrastiveRepresentation`.
struct ContrastiveRepresentationOptions {
    std::int64_t size = 128;    ///< of the embeddings; at least 1
    double temperature = 0.07;  ///< above 0
    Reduction reduction =
        Reduction::batchmean;  ///< elements are samples; `batchmean` and `mean` are the same

    /// \throws ConfigError
    void check() const {
        detail::check_range("ContrastiveRepresentation", "a temperature", temperature, detail::above(0));
        detail::check_range("ContrastiveRepresentation", "a size", size, detail::at_least(1));
    }
};

/// Negatives drawn from memory banks with one row per sample of the data set, as in the released code: 2 * samples *
/// size numbers. The batch must provide the indices of its samples.
struct BankNegatives {
    static constexpr bool needs_ids = true;

    std::int64_t samples = 0;        ///< of the data set; required
    std::int64_t negatives = 16384;  ///< for each sample
    double momentum = 0.5;           ///< weight of the old row; from 0 to 1
    at::Tensor weights = {};         ///< [samples]: how often each is drawn; undefined: equally often

    ContrastBank build(const ContrastiveRepresentationOptions& options) const {
        return ContrastBank(ContrastBankOptions{.samples = samples,
                                                .size = options.size,
                                                .negatives = negatives,
                                                .temperature = options.temperature,
                                                .momentum = momentum,
                                                .weights = weights});
    }
};

/// Negatives from a queue of recent samples: 2 * length * size numbers, whatever the data set.
struct QueueNegatives {
    static constexpr bool needs_ids = false;

    std::int64_t length = 16384;  ///< no batch may be larger

    ContrastQueue build(const ContrastiveRepresentationOptions& options) const {
        return ContrastQueue(
            ContrastQueueOptions{.length = length, .size = options.size, .temperature = options.temperature});
    }
};

/// Contrast within the batch: has only a temperature.
class ContrastBatchImpl : public torch::nn::Module {
  public:
    explicit ContrastBatchImpl(double temperature)
        : torch::nn::Module("ContrastBatch"), temperature_(temperature) {}
    at::Tensor forward(const at::Tensor& student, const at::Tensor& teacher) const {
        return functional::batch_contrast(student, teacher,
                                          {.temperature = temperature_, .reduction = Reduction::none});
    }

  private:
    double temperature_;
};
/// Holder of `ContrastBatchImpl`.
class ContrastBatch : public torch::nn::ModuleHolder<ContrastBatchImpl> {
  public:
    using torch::nn::ModuleHolder<ContrastBatchImpl>::ModuleHolder;
    using Impl = ContrastBatchImpl;
};

/// The other samples of the batch as negatives: no memory.
struct InBatchNegatives {
    static constexpr bool needs_ids = false;

    ContrastBatch build(const ContrastiveRepresentationOptions& options) const {
        return ContrastBatch(options.temperature);
    }
};

/// The indices of a batch's samples in the data set: its member `index`.
struct BatchIndex {
    template <class B>
        requires requires(const B& batch) {
            { batch.index } -> std::convertible_to<at::Tensor>;
        }
    at::Tensor operator()(const B& batch) const {
        return batch.index;
    }
};

namespace detail {

/// The embeddings of a contrastive term, and what it contrasts them with.
template <class Memory>
class ContrastModule : public torch::nn::Module {
  public:
    ContrastModule(EmbeddingPair pair, Memory what)
        : torch::nn::Module("Contrast"),
          embeddings(register_module("embeddings", std::move(pair))),
          memory(register_module("memory", std::move(what))) {}
    EmbeddingPair embeddings;
    Memory memory;
};

template <class Negatives>
struct ContrastParts {
    Negatives negatives;
    ContrastiveRepresentationOptions options;

    using Module =
        ContrastModule<decltype(std::declval<const Negatives&>().build(ContrastiveRepresentationOptions{}))>;
    torch::nn::ModuleHolder<Module> build(const EmbeddingPairOptions& sizes) const {
        return torch::nn::ModuleHolder<Module>(
            std::make_shared<Module>(EmbeddingPair(sizes), negatives.build(options)));
    }
    static EmbeddingPairImpl& embeddings(Module& module) { return *module.embeddings; }
};

}  // namespace detail

/// Contrastive representation distillation: among the teacher's vectors, the student's vector of a sample is trained
/// to be closest to that of the same sample, and vice versa.
///
///     retort::ContrastiveRepresentation{retort::tap<&SmallOutputs::pooled>, retort::tap<&BigOutputs::pooled>,
///                                       retort::BankNegatives{.samples = 50000}}
///     retort::ContrastiveRepresentation{small, big, retort::QueueNegatives{.length = 4096}}
///     retort::ContrastiveRepresentation{small, big, retort::InBatchNegatives{}}
///
/// Formula: both features go through a linear map each and are divided by their length; then
/// `functional::noise_contrast` with memory banks in both directions (`BankNegatives`; the loss of the paper),
/// `functional::queue_contrast` in both directions (`QueueNegatives`) or `functional::batch_contrast`
/// (`InBatchNegatives`); mean over the samples. With banks: a positive may also be drawn as a negative; Z is the
/// first batch's mean of exp(v.m / T) times the number of samples, a constant afterwards; a sample's rows become
/// normalize(momentum * old + (1 - momentum) * new) after every loss computed with gradients enabled. A sample must
/// not occur twice in a batch.
/// Shapes: features [batch, ...]; the batch's sample indices [batch], int64.
/// Gradient: to the student's feature and both embeddings.
/// Learnable: both embeddings; state: banks or queues, random numbers. Built from the first batch, all in buffers
/// that checkpoints save. The term has its own random numbers, derived from the program's seed.
/// Source: Tian, Krishnan, Isola, "Contrastive Representation Distillation", ICLR 2020, and RepDistiller;
/// weight 0.8, 16384 negatives, size 128, temperature 0.07, momentum 0.5 are theirs.
/// \tparam Ids reads the indices of its samples from a batch; by default its member `index`
template <class StudentTap, class TeacherTap, class Negatives, class Ids = BatchIndex>
class ContrastiveRepresentation
    : public detail::EmbeddingTerm<StudentTap, TeacherTap, detail::ContrastParts<Negatives>> {
  public:
    explicit ContrastiveRepresentation(StudentTap student, TeacherTap teacher, Negatives negatives,
                                       ContrastiveRepresentationOptions options = {}, Ids ids = {})
        : ContrastiveRepresentation::EmbeddingTerm(
              "contrastive_representation", std::move(student), std::move(teacher),
              {.size = options.size, .normalize = true}, {std::move(negatives), options}),
          ids_(std::move(ids)) {
        check();
    }
    void check() const {
        this->parts().options.check();
        if constexpr (Negatives::needs_ids) {
            if (this->parts().negatives.samples < 1) {
                throw ConfigError(
                    detail::concat("BankNegatives: expected the number of samples of the data set, found ",
                                   this->parts().negatives.samples));
            }
        }
    }

    template <class Student, class Teacher, class B>
    at::Tensor operator()(const Student& student, const Teacher& teacher, const B& batch) const {
        return this->naming([&] {
            const auto [own, other] = this->embedded(student, teacher);
            at::Tensor values;
            if constexpr (Negatives::needs_ids) {
                static_assert(std::invocable<const Ids&, const B&>,
                              "retort: contrast with memory banks needs the indices of a batch's samples in "
                              "the data set: "
                              "the batch has no member `index`, and no other way to read them was given");
                values = this->learned().memory->forward(own, other, ids_(batch));
            } else {
                values = this->learned().memory->forward(own, other);
            }
            return detail::reduce(values, this->parts().options.reduction);
        });
    }

  private:
    Ids ids_;
};

}  // namespace retort
