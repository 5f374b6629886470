// SPDX-License-Identifier: BSL-1.0
/// \file
/// The cohort: learners that teach each other along a transfer graph.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <concepts>
#include <cstddef>
#include <memory>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include <retort/cohort/cohort_options.hpp>
#include <retort/cohort/cohort_run.hpp>
#include <retort/cohort/learner.hpp>
#include <retort/cohort/learners.hpp>
#include <retort/cohort/transfer_graph.hpp>
#include <retort/core/device.hpp>
#include <retort/core/error.hpp>
#include <retort/core/network.hpp>
#include <retort/trainer/precision.hpp>

namespace retort {

/// Learners that teach each other along a transfer graph.
///
///     retort::Cohort cohort{retort::Learner{net_a, sgd}, retort::Learner{net_b, sgd}, retort::Learner{net_c, sgd}};
///     retort::TransferGraph graph{retort::label<0>(), retort::label<1>(), retort::label<2>(),
///                                 retort::edge<1, 0>(retort::SoftTarget{}, retort::gate::Correct{})};
///     auto run = cohort.along(graph);
///     run.fit(train_batches, {.epochs = 200}, retort::Validation{validation_batches});
///
/// The learners may be of different types. If their number is known only at run time, or the graph is a `RuntimeGraph`,
/// their outputs must be of one type: `retort::Cohort{std::vector{...}}`.
///
/// All forward passes run in one precision (`Cohort{Bfloat16{}, Learner{...}, ...}`): the outputs, also as peers see
/// them, are converted to float32, and all losses compute in it. With `Float16` all learners share one loss scale, and
/// if one learner's gradients overflow, all skip the step, so that their step counts stay equal.
/// \tparam Learners `std::tuple<Learner<N>...>` or `std::vector<Learner<N>>`
template <class Learners, Precision PrecisionPolicy = Float32>
class Cohort {
  public:
    /// \throws ConfigError if there are no learners, two of them share parameters, the device does not exist,
    /// or they are on different ones
    explicit Cohort(Learners learners, CohortOptions options = {})
        requires detail::LearnerPack<Learners>
        : Cohort(std::move(learners), PrecisionPolicy{}, std::move(options)) {}
    /// \param precision `Float32`, `Bfloat16` or `Float16`: see trainer/precision.hpp
    /// \throws ConfigError as above, or if the device does not support the precision
    explicit Cohort(Learners learners, PrecisionPolicy precision, CohortOptions options = {})
        requires detail::LearnerPack<Learners>
        : learners_(std::move(learners)), options_(std::move(options)), precision_(std::move(precision)) {
        if (size() == 0) throw ConfigError("Cohort: expected at least one learner, found none");
        std::unordered_map<const void*, std::size_t> owner;
        detail::each_of(learners_, [&](std::size_t i, const auto& learner) {
            for (const auto& parameter : learner.module().named_parameters()) {
                const auto found = owner.try_emplace(parameter.value().unsafeGetTensorImpl(), i).first;
                if (found->second != i) {
                    throw ConfigError(
                        detail::concat("Cohort: expected learners that share no parameters, found \"",
                                       parameter.key(), "\" in learners ", found->second, " and ", i,
                                       " (a copied module shares its parameters; clone() makes new ones)"));
                }
            }
            // Non-owning: the learner keeps its network alive.
            module_->register_module(
                detail::concat("learner", i),
                std::shared_ptr<torch::nn::Module>(std::shared_ptr<void>(), &learner.module()));
        });
        if (!options_.device.empty()) module_->to(retort::device(options_.device));
        detail::each_of(learners_, [&](std::size_t i, const auto& learner) {
            if (detail::device_of(learner.module()) != device()) {
                throw ConfigError(detail::concat(
                    "Cohort: expected all learners on one device, found learner 0 on ", device(),
                    " and learner ", i, " on ", detail::device_of(learner.module())));
            }
        });
        detail::check_precision<PrecisionPolicy>(device(), "the learners");
    }
    /// The same from a list of learners: `Cohort{Learner{...}, Learner{...}}`.
    template <class... N>
        requires(sizeof...(N) > 0 && std::same_as<Learners, std::tuple<Learner<N>...>>)
    explicit Cohort(Learner<N>... learners) : Cohort(Learners(std::move(learners)...)) {}
    template <class... N>
        requires(sizeof...(N) > 0 && std::same_as<Learners, std::tuple<Learner<N>...>>)
    explicit Cohort(CohortOptions options, Learner<N>... learners)
        : Cohort(Learners(std::move(learners)...), std::move(options)) {}
    template <class... N>
        requires(sizeof...(N) > 0 && std::same_as<Learners, std::tuple<Learner<N>...>>)
    explicit Cohort(PrecisionPolicy precision, Learner<N>... learners)
        : Cohort(Learners(std::move(learners)...), std::move(precision)) {}
    template <class... N>
        requires(sizeof...(N) > 0 && std::same_as<Learners, std::tuple<Learner<N>...>>)
    explicit Cohort(PrecisionPolicy precision, CohortOptions options, Learner<N>... learners)
        : Cohort(Learners(std::move(learners)...), std::move(precision), std::move(options)) {}

    /// The training of these learners along a graph: a `CohortRun`, which has `step`, `fit`, `save` and `resume`. Each
    /// call creates a new one.
    /// \param graph a `TransferGraph` or a `RuntimeGraph`; the run keeps a copy
    /// \throws ConfigError if an edge starts or ends at a learner that does not exist
    template <class Graph>
    auto along(Graph graph) const {
        static_assert(detail::GraphOfEdges<Graph>,
                      "retort: learners learn along a graph: expected a retort::TransferGraph or a "
                      "retort::RuntimeGraph");
        return CohortRun<Learners, Graph, PrecisionPolicy>(learners_, module_, options_.frozen, precision_,
                                                           std::move(graph));
    }

    /// Evaluates a learner: see `retort::evaluate`.
    /// \throws ConfigError if there is no such learner
    template <class Source, class... Metrics>
    auto evaluate(std::size_t learner, Source&& source, const Metrics&... metrics) const {
        return detail::evaluate_learner(learners_, learner, source, metrics...);
    }

    std::size_t size() const { return detail::count_of(learners_); }
    /// A `std::tuple` or `std::vector` of `Learner`.
    const Learners& learners() const { return learners_; }
    /// All learners' modules as children `learner0`, `learner1`, ... of one. Valid as long as the cohort.
    torch::nn::Module& module() const { return *module_; }
    /// The device of the learners.
    at::Device device() const { return detail::device_of(*module_); }
    /// The names of the learners: see `Learner::named`.
    std::vector<std::string> names() const {
        std::vector<std::string> result;
        detail::each_of(learners_, [&](std::size_t, const auto& each) { result.push_back(each.name()); });
        return result;
    }

  private:
    Learners learners_;
    CohortOptions options_;
    PrecisionPolicy precision_;
    std::shared_ptr<torch::nn::Module> module_ = std::make_shared<torch::nn::Module>("Cohort");
};

template <class... N>
Cohort(Learner<N>...) -> Cohort<std::tuple<Learner<N>...>>;
template <class... N>
Cohort(CohortOptions, Learner<N>...) -> Cohort<std::tuple<Learner<N>...>>;
template <class N>
Cohort(std::vector<Learner<N>>) -> Cohort<std::vector<Learner<N>>>;
template <class N>
Cohort(std::vector<Learner<N>>, CohortOptions) -> Cohort<std::vector<Learner<N>>>;
template <Precision P, class... N>
Cohort(P, Learner<N>...) -> Cohort<std::tuple<Learner<N>...>, P>;
template <Precision P, class... N>
Cohort(P, CohortOptions, Learner<N>...) -> Cohort<std::tuple<Learner<N>...>, P>;
template <class N, Precision P>
Cohort(std::vector<Learner<N>>, P) -> Cohort<std::vector<Learner<N>>, P>;
template <class N, Precision P>
Cohort(std::vector<Learner<N>>, P, CohortOptions) -> Cohort<std::vector<Learner<N>>, P>;

}  // namespace retort
