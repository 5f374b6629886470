// SPDX-License-Identifier: BSL-1.0
/// \file
/// Mistakes with learners, edges, gates and graphs.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/cohort.hpp>
#include <retort/knowledge/adaptor/for_teacher.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/weighted.hpp>
#include <retort/optim.hpp>

using namespace retort;
using retort_test::ConvNet;
using retort_test::ConvOutputs;
using retort_test::images;
using retort_test::PairBatch;
using retort_test::Perceptron;
using retort_test::vectors;

namespace {

#if defined(RETORT_CASE_edge_to_absent_learner)
// expect: retort: an edge starts or ends at a learner that does not exist
namespace edge_to_absent_learner {
[[maybe_unused]] void run() {
    Perceptron a, b;
    Cohort cohort{Learner{a, Sgd{}}, Learner{b, Sgd{}}};
    TransferGraph graph{label<0>(), edge<2, 0>(SoftTarget{})};
    cohort.along(graph).step(vectors(1)[0]);
}
}  // namespace edge_to_absent_learner
#elif !defined(RETORT_CASE)
namespace edge_to_absent_learner {
[[maybe_unused]] void run() {
    Perceptron a, b;
    Cohort cohort{Learner{a, Sgd{}}, Learner{b, Sgd{}}};
    TransferGraph graph{label<0>(), edge<1, 0>(SoftTarget{})};
    cohort.along(graph).step(vectors(1)[0]);
}
}  // namespace edge_to_absent_learner
#endif

#if defined(RETORT_CASE_along_an_edge)
// expect: retort: learners learn along a graph: expected a retort::TransferGraph
namespace along_an_edge {
[[maybe_unused]] void run() {
    Perceptron a;
    Cohort cohort{Learner{a, Sgd{}}};
    cohort.along(label<0>()).step(vectors(1)[0]);
}
}  // namespace along_an_edge
#elif !defined(RETORT_CASE)
namespace along_an_edge {
[[maybe_unused]] void run() {
    Perceptron a;
    Cohort cohort{Learner{a, Sgd{}}};
    cohort.along(TransferGraph{label<0>()}).step(vectors(1)[0]);
}
}  // namespace along_an_edge
#endif

#if defined(RETORT_CASE_gate_needs_losses_per_sample)
// expect: retort: the gate is per-sample, but the term has no losses per sample
namespace gate_needs_losses_per_sample {
[[maybe_unused]] void run() {
    [[maybe_unused]] const auto each =
        edge<1, 0>(Hint{tap<&ConvOutputs::late>, tap<&ConvOutputs::late>, Conv1x1{}}, gate::Correct{});
}
}  // namespace gate_needs_losses_per_sample
#elif !defined(RETORT_CASE)
namespace gate_needs_losses_per_sample {
[[maybe_unused]] void run() {
    [[maybe_unused]] const auto each =
        edge<1, 0>(Hint{tap<&ConvOutputs::late>, tap<&ConvOutputs::late>, Conv1x1{}}, gate::Through{});
}
}  // namespace gate_needs_losses_per_sample
#endif

#if defined(RETORT_CASE_label_with_term_that_needs_teacher)
// expect: retort: a term that needs a teacher is on an edge from the labels
namespace label_with_term_that_needs_teacher {
[[maybe_unused]] void run() { [[maybe_unused]] const auto each = label<0>(SoftTarget{}); }
}  // namespace label_with_term_that_needs_teacher
#elif !defined(RETORT_CASE)
namespace label_with_term_that_needs_teacher {
[[maybe_unused]] void run() { [[maybe_unused]] const auto each = label<0>(CrossEntropy{}); }
}  // namespace label_with_term_that_needs_teacher
#endif

#if defined(RETORT_CASE_edge_with_term_that_needs_no_teacher)
// expect: retort: a term that needs no teacher is on an edge between learners
namespace edge_with_term_that_needs_no_teacher {
[[maybe_unused]] void run() { [[maybe_unused]] const auto each = edge<1, 0>(CrossEntropy{}); }
}  // namespace edge_with_term_that_needs_no_teacher
#elif !defined(RETORT_CASE)
namespace edge_with_term_that_needs_no_teacher {
[[maybe_unused]] void run() { [[maybe_unused]] const auto each = edge<1, 0>(SoftTarget{}); }
}  // namespace edge_with_term_that_needs_no_teacher
#endif

#if defined(RETORT_CASE_gate_without_weight)
// expect: retort: not a gate: expected a static constexpr bool per_sample
namespace gate_without_weight {
struct Half {
    static constexpr bool per_sample = false;
    double share(std::int64_t, const Progress&) const { return 0.5; }
};
[[maybe_unused]] void run() { [[maybe_unused]] const auto each = label<0>(CrossEntropy{}, Half{}); }
}  // namespace gate_without_weight
#elif !defined(RETORT_CASE)
namespace gate_without_weight {
struct Half {
    static constexpr bool per_sample = false;
    double weight(std::int64_t, const Progress&) const { return 0.5; }
};
[[maybe_unused]] void run() { [[maybe_unused]] const auto each = label<0>(CrossEntropy{}, Half{}); }
}  // namespace gate_without_weight
#endif

#if defined(RETORT_CASE_graph_of_terms)
// expect: retort: a TransferGraph consists of edges
namespace graph_of_terms {
[[maybe_unused]] void run() { [[maybe_unused]] TransferGraph graph{CrossEntropy{}}; }
}  // namespace graph_of_terms
#elif !defined(RETORT_CASE)
namespace graph_of_terms {
[[maybe_unused]] void run() { [[maybe_unused]] TransferGraph graph{label<0>(CrossEntropy{})}; }
}  // namespace graph_of_terms
#endif

#if defined(RETORT_CASE_label_without_targets)
// expect: retort: the term of an edge needs targets, but the batches have none
namespace label_without_targets {
[[maybe_unused]] void run() {
    Perceptron a;
    Cohort cohort{Learner{a, Sgd{}}};
    TransferGraph graph{label<0>()};
    cohort.along(graph).step(torch::rand({2, 4}));
}
}  // namespace label_without_targets
#elif !defined(RETORT_CASE)
namespace label_without_targets {
[[maybe_unused]] void run() {
    Perceptron a;
    Cohort cohort{Learner{a, Sgd{}}};
    TransferGraph graph{label<0>()};
    cohort.along(graph).step(vectors(1)[0]);
}
}  // namespace label_without_targets
#endif

#if defined(RETORT_CASE_run_time_edges_between_different_outputs)
// expect: retort: an edge whose positions are known at run time needs learners whose forward returns one
namespace run_time_edges_between_different_outputs {
struct FlatImpl : torch::nn::Module {
    at::Tensor forward(const at::Tensor& x) { return x.flatten(1); }
};
TORCH_MODULE(Flat);
[[maybe_unused]] void run() {
    ConvNet a;
    Flat b;
    Cohort cohort{Learner{a, Sgd{}}, Learner{b, Sgd{}}};
    RuntimeGraph<ConvOutputs, PairBatch> graph;
    graph.label(0);
    cohort.along(graph).step(images(1)[0]);
}
}  // namespace run_time_edges_between_different_outputs
#elif !defined(RETORT_CASE)
namespace run_time_edges_between_different_outputs {
struct FlatImpl : torch::nn::Module {
    at::Tensor forward(const at::Tensor& x) { return x.flatten(1); }
};
TORCH_MODULE(Flat);
[[maybe_unused]] void run() {
    ConvNet a;
    ConvNet b;
    Cohort cohort{Learner{a, Sgd{}}, Learner{b, Sgd{}}};
    RuntimeGraph<ConvOutputs, PairBatch> graph;
    graph.label(0);
    cohort.along(graph).step(images(1)[0]);
}
}  // namespace run_time_edges_between_different_outputs
#endif

#if defined(RETORT_CASE_run_time_graph_of_compile_time_edges)
// expect: retort: a RuntimeGraph has edges between positions that are known at run time
namespace run_time_graph_of_compile_time_edges {
[[maybe_unused]] void run() {
    RuntimeGraph<at::Tensor, PairBatch> graph;
    graph.add(label<0>());
}
}  // namespace run_time_graph_of_compile_time_edges
#elif !defined(RETORT_CASE)
namespace run_time_graph_of_compile_time_edges {
[[maybe_unused]] void run() {
    RuntimeGraph<at::Tensor, PairBatch> graph;
    graph.add(label(0));
}
}  // namespace run_time_graph_of_compile_time_edges
#endif

#if defined(RETORT_CASE_learner_forward_takes_other_input)
// expect: retort: the forward of a learner does not take the input of the batch
namespace learner_forward_takes_other_input {
struct ReaderImpl : torch::nn::Module {
    at::Tensor forward(const std::string&) { return {}; }
};
TORCH_MODULE(Reader);
[[maybe_unused]] void run() {
    Reader a;
    Cohort cohort{Learner{a, Sgd{}}};
    TransferGraph graph{label<0>()};
    cohort.along(graph).step(vectors(1)[0]);
}
}  // namespace learner_forward_takes_other_input
#elif !defined(RETORT_CASE)
namespace learner_forward_takes_other_input {
struct ReaderImpl : torch::nn::Module {
    at::Tensor forward(const std::string&) { return {}; }
};
TORCH_MODULE(Reader);
[[maybe_unused]] void run() {
    Perceptron a;
    Cohort cohort{Learner{a, Sgd{}}};
    TransferGraph graph{label<0>()};
    cohort.along(graph).step(vectors(1)[0]);
}
}  // namespace learner_forward_takes_other_input
#endif

#if defined(RETORT_CASE_learner_outputs_of_unknown_kind)
// expect: retort: the outputs of a learner's forward contain a type whose tensors retort does not
namespace learner_outputs_of_unknown_kind {
class Outputs {
  public:
    explicit Outputs(at::Tensor all) : all_(std::move(all)) {}
    friend at::Tensor logits(const Outputs& outputs) { return outputs.all_; }

  private:
    at::Tensor all_;
};
struct OddImpl : torch::nn::Module {
    Outputs forward(const at::Tensor& x) { return Outputs(x); }
};
TORCH_MODULE(Odd);
[[maybe_unused]] void run() {
    Odd a, b;
    Cohort cohort{Learner{a, Sgd{}}, Learner{b, Sgd{}}};
    TransferGraph graph{label<0>(), edge<1, 0>(SoftTarget{})};
    cohort.along(graph).step(vectors(1)[0]);
}
}  // namespace learner_outputs_of_unknown_kind
#elif !defined(RETORT_CASE)
namespace learner_outputs_of_unknown_kind {
class Outputs {
  public:
    explicit Outputs(at::Tensor all) : all_(std::move(all)) {}
    friend at::Tensor logits(const Outputs& outputs) { return outputs.all_; }
    friend Outputs detached(const Outputs& outputs) { return Outputs(outputs.all_.detach()); }

  private:
    at::Tensor all_;
};
struct OddImpl : torch::nn::Module {
    Outputs forward(const at::Tensor& x) { return Outputs(x); }
};
TORCH_MODULE(Odd);
[[maybe_unused]] void run() {
    Odd a, b;
    Cohort cohort{Learner{a, Sgd{}}, Learner{b, Sgd{}}};
    TransferGraph graph{label<0>(), edge<1, 0>(SoftTarget{})};
    cohort.along(graph).step(vectors(1)[0]);
}
}  // namespace learner_outputs_of_unknown_kind
#endif

#if defined(RETORT_CASE_learner_optimizer_is_none)
// expect: retort: not an optimizer
namespace learner_optimizer_is_none {
[[maybe_unused]] void run() {
    Perceptron a;
    Learner learner{a, 0.1};
}
}  // namespace learner_optimizer_is_none
#elif !defined(RETORT_CASE)
namespace learner_optimizer_is_none {
[[maybe_unused]] void run() {
    Perceptron a;
    Learner learner{a, Sgd{.learning_rate = 0.1}};
}
}  // namespace learner_optimizer_is_none
#endif

#if defined(RETORT_CASE_augmented_peers_of_one)
// expect: retort: learning from each other needs at least two learners
namespace augmented_peers_of_one {
[[maybe_unused]] void run() { [[maybe_unused]] const auto graph = augmented_peers<1>(); }
}  // namespace augmented_peers_of_one
#elif !defined(RETORT_CASE)
namespace augmented_peers_of_one {
[[maybe_unused]] void run() { [[maybe_unused]] const auto graph = augmented_peers<2>(); }
}  // namespace augmented_peers_of_one
#endif

#if defined(RETORT_CASE_block_that_students_do_not_have)
// expect: retort: a tap of OfStudent does not read a tensor from a student's outputs
namespace block_that_students_do_not_have {
struct Other {
    at::Tensor late;
};
[[maybe_unused]] void run() {
    auto net = stem_ensemble(torch::nn::Flatten(), std::vector{ConvNet(2), ConvNet(2)});
    Cohort cohort{Learner{net, Sgd{}}};
    auto graph = compressed_students<2>(Taps{tap<&Other::late>});
    cohort.along(graph).step(images(1)[0]);
}
}  // namespace block_that_students_do_not_have
#elif !defined(RETORT_CASE)
namespace block_that_students_do_not_have {
[[maybe_unused]] void run() {
    auto net = stem_ensemble(torch::nn::Flatten(), std::vector{ConvNet(2), ConvNet(2)});
    Cohort cohort{Learner{net, Sgd{}}};
    auto graph = compressed_students<2>(Taps{tap<&ConvOutputs::late>});
    cohort.along(graph).step(images(1)[0]);
}
}  // namespace block_that_students_do_not_have
#endif

#if defined(RETORT_CASE_edge_with_term_for_teacher)
// expect: retort: a ForTeacher term is on an edge, whose source is a constant
namespace edge_with_term_for_teacher {
[[maybe_unused]] void run() { [[maybe_unused]] const auto each = edge<1, 0>(ForTeacher{CrossEntropy{}}); }
}  // namespace edge_with_term_for_teacher
#elif !defined(RETORT_CASE)
namespace edge_with_term_for_teacher {
[[maybe_unused]] void run() { [[maybe_unused]] const auto each = label<1>(CrossEntropy{}); }
}  // namespace edge_with_term_for_teacher
#endif

#if defined(RETORT_CASE_edge_with_weighted_term)
// expect: retort: the term of an edge must declare what it needs.*the weight of an edge is a separate argument
namespace edge_with_weighted_term {
[[maybe_unused]] void run() { [[maybe_unused]] const auto each = label<0>(0.5 * CrossEntropy{}); }
}  // namespace edge_with_weighted_term
#elif !defined(RETORT_CASE)
namespace edge_with_weighted_term {
[[maybe_unused]] void run() {
    [[maybe_unused]] const auto each = label<0>(CrossEntropy{}, gate::Through{}, 0.5);
}
}  // namespace edge_with_weighted_term
#endif

namespace gate_with_learnable_parts {
struct Plain {
    static constexpr bool per_sample = false;
    static double weight(std::int64_t, const Progress&) { return 1.0; }
};
struct Learning : Plain {
    std::shared_ptr<torch::nn::Module> module() const { return nullptr; }
};
struct Recalling : Plain {
    void checkpoint(Archive&) {}
};
struct Careless : Plain {
    Recalling gate;
};
}  // namespace gate_with_learnable_parts
#if defined(RETORT_CASE_gate_with_learnable_parts)
// expect: retort: a gate with learnable parts [(]a member module[)]: nothing would train them
namespace gate_with_learnable_parts {
[[maybe_unused]] void run() { [[maybe_unused]] const auto each = label<0>(CrossEntropy{}, Learning{}); }
}  // namespace gate_with_learnable_parts
#elif !defined(RETORT_CASE)
namespace gate_with_learnable_parts {
[[maybe_unused]] void run() { [[maybe_unused]] const auto each = label<0>(CrossEntropy{}, Plain{}); }
}  // namespace gate_with_learnable_parts
#endif

namespace state_within_gate_on_edge {
struct Plain {
    static constexpr bool per_sample = false;
    static double weight(std::int64_t, const Progress&) { return 1.0; }
};
struct Learning : Plain {
    std::shared_ptr<torch::nn::Module> module() const { return nullptr; }
};
struct Recalling : Plain {
    void checkpoint(Archive&) {}
};
struct Careless : Plain {
    Recalling gate;
};
}  // namespace state_within_gate_on_edge
#if defined(RETORT_CASE_state_within_gate_on_edge)
// expect: retort: a policy holds another one with state, but has no member void checkpoint[(]retort::Archive&[)]
namespace state_within_gate_on_edge {
[[maybe_unused]] void run() {
    Perceptron net;
    Cohort cohort{Learner{net, Sgd{}}};
    TransferGraph graph{label<0>(CrossEntropy{}, Careless{})};
    cohort.along(graph).save("state");
}
}  // namespace state_within_gate_on_edge
#elif !defined(RETORT_CASE)
namespace state_within_gate_on_edge {
[[maybe_unused]] void run() {
    Perceptron net;
    Cohort cohort{Learner{net, Sgd{}}};
    TransferGraph graph{label<0>(CrossEntropy{}, Recalling{})};
    cohort.along(graph).save("state");
}
}  // namespace state_within_gate_on_edge
#endif

namespace learnable_parts_within_custom_term_on_edge {
template <class Term>
struct Careless {
    static constexpr bool needs_teacher = true, needs_target = false;
    Term term;
    at::Tensor operator()(const auto& student, const auto& teacher, const auto& batch) const {
        return -term(student, teacher, batch);
    }
};
template <class Term>
Careless(Term) -> Careless<Term>;
[[maybe_unused]] const auto hint = [] {
    return Hint{tap<&ConvOutputs::early>, tap<&ConvOutputs::late>, Conv1x1{}};
};
}  // namespace learnable_parts_within_custom_term_on_edge
#if defined(RETORT_CASE_learnable_parts_within_custom_term_on_edge)
// expect: retort: the term in the member .term. has learnable parts, but the term that wraps it
namespace learnable_parts_within_custom_term_on_edge {
[[maybe_unused]] void run() { [[maybe_unused]] const auto each = edge<1, 0>(Careless{hint()}); }
}  // namespace learnable_parts_within_custom_term_on_edge
#elif !defined(RETORT_CASE)
namespace learnable_parts_within_custom_term_on_edge {
[[maybe_unused]] void run() { [[maybe_unused]] const auto each = edge<1, 0>(Careless{SoftTarget{}}); }
}  // namespace learnable_parts_within_custom_term_on_edge
#endif

}  // namespace
