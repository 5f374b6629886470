// SPDX-License-Identifier: BSL-1.0
/// \file
/// Transfer graphs that are built at run time: from files, by a search.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/cohort/edge.hpp>
#include <retort/cohort/graph_description.hpp>
#include <retort/cohort/transfer_graph.hpp>
#include <retort/core/error.hpp>
#include <retort/data/batch.hpp>

namespace retort {

namespace detail {

/// A type-erased edge. Has the members of `Edge`, so that a step handles both alike.
template <class Outputs, class B>
class AnyEdge {
  public:
    template <class Source, class Term, class G, class S>
    AnyEdge(Edge<Source, std::size_t, Term, G, S> edge, std::string term)
        : term_(term.empty() ? detail::term_name(edge.term()) : std::move(term)),
          edge_(std::make_shared<Model<Edge<Source, std::size_t, Term, G, S>>>(std::move(edge))) {}

    static constexpr bool from_labels = false;  // it may be: see `labeled`
    bool labeled() const { return edge_->labeled(); }
    std::size_t source() const { return edge_->source(); }
    std::size_t receiver() const { return edge_->receiver(); }
    double weight(std::int64_t iteration, const Progress& progress) const {
        return edge_->weight(iteration, progress);
    }
    at::Tensor loss(const Outputs& to, const Outputs* from, const B& batch, const Progress& progress) const {
        return edge_->loss(to, from, batch, progress);
    }
    bool prepared() const { return edge_->prepared(); }
    void prepare(const Outputs& to, const Outputs* from, const B& batch) { edge_->prepare(to, from, batch); }
    std::shared_ptr<torch::nn::Module> module() const { return edge_->module(); }
    void checkpoint(Archive& archive) { edge_->checkpoint(archive); }
    std::string name() const {
        return labeled() ? concat(term_, "_to_", receiver())
                         : concat(term_, '_', source(), "_to_", receiver());
    }
    EdgeDescription description() const {
        EdgeDescription result = edge_->description();
        result.term = term_;
        return result;
    }

  private:
    struct Interface {
        virtual ~Interface() = default;
        virtual bool labeled() const = 0;
        virtual std::size_t source() const = 0;
        virtual std::size_t receiver() const = 0;
        virtual double weight(std::int64_t, const Progress&) const = 0;
        virtual at::Tensor loss(const Outputs&, const Outputs*, const B&, const Progress&) const = 0;
        virtual bool prepared() const = 0;
        virtual void prepare(const Outputs&, const Outputs*, const B&) = 0;
        virtual std::shared_ptr<torch::nn::Module> module() const = 0;
        virtual void checkpoint(Archive&) = 0;
        virtual EdgeDescription description() const = 0;
    };
    template <class E>
    struct Model final : Interface {
        explicit Model(E value) : edge(std::move(value)) {}
        bool labeled() const override { return E::from_labels; }
        std::size_t source() const override {
            if constexpr (E::from_labels) {
                return 0;
            } else {
                return edge.source();
            }
        }
        std::size_t receiver() const override { return edge.receiver(); }
        double weight(std::int64_t iteration, const Progress& progress) const override {
            return edge.weight(iteration, progress);
        }
        at::Tensor loss(const Outputs& to, const Outputs* from, const B& batch,
                        const Progress& progress) const override {
            if constexpr (E::from_labels) {
                return edge.loss(to, NoOutputs{}, batch, progress);
            } else {
                return edge.loss(to, *from, batch, progress);
            }
        }
        bool prepared() const override { return edge.prepared(); }
        void prepare(const Outputs& to, const Outputs* from, const B& batch) override {
            if constexpr (E::from_labels) {
                edge.prepare(to, NoOutputs{}, batch);
            } else {
                edge.prepare(to, *from, batch);
            }
        }
        std::shared_ptr<torch::nn::Module> module() const override { return edge.module(); }
        void checkpoint(Archive& archive) override { edge.checkpoint(archive); }
        EdgeDescription description() const override { return edge.description(); }
        E edge;
    };
    std::string term_;
    std::shared_ptr<Interface> edge_;  // shared by copies, as the learnable parts of terms are
};

}  // namespace detail

/// A transfer graph that is built at run time. The learners must return one type; their number and
/// architectures may be known only at run time (a base class with a virtual `forward`, in a
/// `std::vector<retort::Learner<std::shared_ptr<Base>>>`).
///
///     retort::RuntimeGraph graph;
///     graph.label(0);
///     graph.edge(1, 0, retort::SoftTarget{}, retort::gate::Correct{});
/// \tparam Outputs what the learners' `forward` returns
/// \tparam B the batches
template <class Outputs = at::Tensor, class B = data::Batch>
class RuntimeGraph {
  public:
    /// Adds an edge created by `retort::label(to, ...)` or `retort::edge(from, to, ...)`.
    /// \param term another name for its term, in histories, files and pictures
    template <class E>
        requires detail::IsEdge<E>::value
    RuntimeGraph& add(E edge, std::string term = {}) {
        static_assert(std::same_as<decltype(edge.receiver()), std::size_t>,
                      "retort: a RuntimeGraph has edges between positions that are known at run time: "
                      "retort::edge(from, to, term)");
        edges_.emplace_back(std::move(edge), std::move(term));
        return *this;
    }
    /// Adds an edge from the labels: see `retort::label`.
    template <class... Arguments>
    RuntimeGraph& label(std::size_t to, Arguments&&... arguments) {
        return add(retort::label(to, std::forward<Arguments>(arguments)...));
    }
    /// Adds an edge between learners: see `retort::edge`.
    template <class... Arguments>
    RuntimeGraph& edge(std::size_t from, std::size_t to, Arguments&&... arguments) {
        return add(retort::edge(from, to, std::forward<Arguments>(arguments)...));
    }

    std::size_t size() const { return edges_.size(); }
    /// Calls `function(position, edge)` for every edge, in order.
    template <class F>
    void each(F&& function) {
        for (std::size_t i = 0; i < edges_.size(); ++i) function(i, edges_[i]);
    }
    template <class F>
    void each(F&& function) const {
        for (std::size_t i = 0; i < edges_.size(); ++i) function(i, edges_[i]);
    }
    /// A description of the graph, for files and pictures.
    GraphDescription description() const {
        GraphDescription result;
        for (const auto& edge : edges_) result.edges.push_back(edge.description());
        return result;
    }

  private:
    std::vector<detail::AnyEdge<Outputs, B>> edges_;
};

}  // namespace retort
