// SPDX-License-Identifier: BSL-1.0
/// \file
/// Which types satisfy the concepts of core. Building this file is the test.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/core.hpp>
#include <retort/tap.hpp>

namespace {
using at::Tensor;
using retort::Batch;
using retort::Forwards;
using retort::HasLogits;
using retort::LabeledBatch;
using retort::Network;
using retort::OutputsOf;
using retort::tap;
using retort::TapOf;
using retort_test::ConvNet;
using retort_test::ConvNetImpl;
using retort_test::ConvOutputs;
using retort_test::Perceptron;
using retort_test::PerceptronImpl;

template <class T, class U>
constexpr bool is = std::is_same_v<T, U>;

// --- batches
// -------------------------------------------------------------------------------------------------------

struct Own {
    Tensor images, labels;
    friend Tensor input(const Own& b) { return b.images; }
    friend Tensor target(const Own& b) { return b.labels; }
};
struct OwnInputOnly {
    Tensor images;
    friend const Tensor& input(const OwnInputOnly& b) { return b.images; }
};
struct OwnTargetOnly {
    Tensor labels;
    friend const Tensor& target(const OwnTargetOnly& b) { return b.labels; }
};
struct Members {
    Tensor input, target;
};
struct DataMember {
    Tensor data;
};
struct WrongMembers {
    int input;
    std::string target;
};
struct WrongTarget {
    Tensor input;
    std::vector<Tensor> target;
};
struct OwnOfWrongType {
    friend int input(const OwnOfWrongType&) { return 1; }
};
class PrivateMembers {
    Tensor input;
};

static_assert(Batch<Tensor> && !LabeledBatch<Tensor>);
static_assert(Batch<const Tensor>);
static_assert(LabeledBatch<std::pair<Tensor, Tensor>>);
static_assert(LabeledBatch<std::tuple<Tensor, Tensor>>);
static_assert(LabeledBatch<std::tuple<Tensor, Tensor, Tensor>>);
static_assert(LabeledBatch<std::tuple<Tensor, Tensor, int>>);
static_assert(LabeledBatch<std::array<Tensor, 2>>);
static_assert(LabeledBatch<std::array<Tensor, 5>>);
static_assert(Batch<std::array<Tensor, 1>> && !LabeledBatch<std::array<Tensor, 1>>);
static_assert(!Batch<std::array<Tensor, 0>>);
static_assert(Batch<std::tuple<Tensor>> && !LabeledBatch<std::tuple<Tensor>>);
static_assert(Batch<std::pair<Tensor, int>> && !LabeledBatch<std::pair<Tensor, int>>);
static_assert(!Batch<std::pair<int, Tensor>>);
static_assert(!Batch<std::tuple<>>);
static_assert(!Batch<std::tuple<int, Tensor>>);
static_assert(LabeledBatch<torch::data::Example<>>);
static_assert(Batch<torch::data::TensorExample> && !LabeledBatch<torch::data::TensorExample>);
static_assert(!Batch<torch::data::Example<int, Tensor>>);
static_assert(!LabeledBatch<torch::data::Example<Tensor, int>>);
static_assert(!Batch<std::vector<torch::data::Example<>>>);
static_assert(LabeledBatch<Own>);
static_assert(LabeledBatch<const Own>);
static_assert(Batch<OwnInputOnly> && !LabeledBatch<OwnInputOnly>);
static_assert(!Batch<OwnTargetOnly> && !LabeledBatch<OwnTargetOnly>);
static_assert(LabeledBatch<Members>);
static_assert(Batch<DataMember> && !LabeledBatch<DataMember>);
static_assert(!Batch<WrongMembers>);
static_assert(Batch<WrongTarget> && !LabeledBatch<WrongTarget>);
static_assert(!Batch<OwnOfWrongType>);
static_assert(!Batch<PrivateMembers>);
static_assert(!Batch<int> && !Batch<std::string> && !Batch<void*> && !Batch<std::nullptr_t>);
static_assert(!Batch<std::vector<Tensor>>);
static_assert(!Batch<std::vector<float>>);
static_assert(!Batch<std::optional<Tensor>>);
static_assert(!Batch<std::shared_ptr<Tensor>>);
static_assert(!Batch<std::map<std::string, Tensor>>);

// References to members of a batch, values of functions.
static_assert(is<decltype(retort::input(std::declval<const Members&>())), const Tensor&>);
static_assert(is<decltype(retort::target(std::declval<const Members&>())), const Tensor&>);
static_assert(is<decltype(retort::input(std::declval<const Own&>())), Tensor>);
static_assert(is<decltype(retort::input(std::declval<const OwnInputOnly&>())), const Tensor&>);
static_assert(is<decltype(retort::input(std::declval<const std::pair<Tensor, Tensor>&>())), const Tensor&>);
static_assert(is<decltype(retort::to_device(std::declval<Members>(), at::kCPU)), Members>);
static_assert(is<decltype(retort::to_device(std::declval<const Own&>(), at::kCPU)), Own>);

// --- logits
// --------------------------------------------------------------------------------------------------------

struct LogitsMember {
    Tensor logits;
};
struct ConstLogitsMember {
    const Tensor logits;
};
struct LogitsOfWrongType {
    std::vector<Tensor> logits;
};
struct OwnLogits {
    Tensor scores;
    friend const Tensor& logits(const OwnLogits& o) { return o.scores; }
};
struct Derived : LogitsMember {};
struct LogitsFunctionMember {
    Tensor logits() const { return {}; }
};
struct NoLogits {
    Tensor scores;
};

static_assert(HasLogits<Tensor> && HasLogits<LogitsMember> && HasLogits<ConstLogitsMember> &&
              HasLogits<OwnLogits>);
static_assert(HasLogits<Derived> && HasLogits<ConvOutputs>);
static_assert(!HasLogits<NoLogits> && !HasLogits<LogitsOfWrongType> && !HasLogits<LogitsFunctionMember>);
static_assert(!HasLogits<int> && !HasLogits<std::vector<Tensor>> && !HasLogits<std::pair<Tensor, Tensor>>);
static_assert(!HasLogits<retort::NoOutputs>);
static_assert(!HasLogits<std::map<std::string, Tensor>>);

// --- networks
// ------------------------------------------------------------------------------------------------------

struct Overloaded : torch::nn::Module {
    Tensor forward(const Tensor& x) { return x; }
    LogitsMember forward(const std::vector<Tensor>& x) { return {x[0]}; }
};
struct Templated : torch::nn::Module {
    template <class X>
    std::pair<X, int> forward(X x) {
        return {x, 1};
    }
};
struct TwoInputs : torch::nn::Module {
    Tensor forward(const Tensor& x, const Tensor&) { return x; }
};
struct DefaultedInput : torch::nn::Module {
    Tensor forward(const Tensor& x, bool = true) { return x; }
};
class PrivateForward : public torch::nn::Module {
    Tensor forward(const Tensor& x) { return x; }
};
struct NoForward : torch::nn::Module {};
struct NotAModule {
    Tensor forward(const Tensor& x) { return x; }
};

static_assert(Network<Perceptron> && Network<PerceptronImpl> && Network<std::shared_ptr<PerceptronImpl>>);
static_assert(Network<torch::nn::Linear> && Network<torch::nn::Sequential> && Network<torch::nn::LinearImpl>);
static_assert(Network<std::shared_ptr<torch::nn::Module>> && Network<NoForward>);
static_assert(!Network<NotAModule> && !Network<std::shared_ptr<NotAModule>> && !Network<int> &&
              !Network<Tensor>);
static_assert(!Network<PerceptronImpl*> && !Network<std::unique_ptr<PerceptronImpl>> &&
              !Network<PerceptronImpl&>);
static_assert(!Network<void> && !Network<std::string> && !Network<std::vector<Perceptron>>);

static_assert(Forwards<Perceptron, Tensor> && Forwards<PerceptronImpl, Tensor>);
static_assert(Forwards<std::shared_ptr<PerceptronImpl>, Tensor>);
static_assert(!Forwards<Perceptron, std::string> && !Forwards<Perceptron, std::vector<Tensor>>);
static_assert(!Forwards<Perceptron, std::pair<Tensor, Tensor>>);
static_assert(Forwards<Overloaded, Tensor> && Forwards<Overloaded, std::vector<Tensor>> &&
              !Forwards<Overloaded, std::string>);
static_assert(Forwards<Templated, Tensor> && Forwards<Templated, int>);
static_assert(Forwards<DefaultedInput, Tensor>);
static_assert(!Forwards<TwoInputs, Tensor> && !Forwards<PrivateForward, Tensor> &&
              !Forwards<NoForward, Tensor>);
static_assert(!Forwards<NotAModule, Tensor> && !Forwards<int, Tensor>);
static_assert(!Forwards<std::shared_ptr<torch::nn::Module>, Tensor>);

static_assert(is<OutputsOf<Perceptron, Tensor>, Tensor>);
static_assert(is<OutputsOf<ConvNet, Tensor>, ConvOutputs>);
static_assert(is<OutputsOf<Overloaded, std::vector<Tensor>>, LogitsMember>);
static_assert(is<OutputsOf<Templated, int>, std::pair<int, int>>);

using retort::NetworkRef;
static_assert(std::is_convertible_v<Perceptron, NetworkRef<Perceptron>>);
static_assert(std::is_convertible_v<PerceptronImpl&, NetworkRef<PerceptronImpl>>);
static_assert(!std::is_constructible_v<NetworkRef<PerceptronImpl>, PerceptronImpl&&>);
static_assert(!std::is_constructible_v<NetworkRef<PerceptronImpl>, const PerceptronImpl&>);
static_assert(std::is_copy_constructible_v<NetworkRef<Perceptron>> &&
              std::is_copy_constructible_v<NetworkRef<PerceptronImpl>>);
static_assert(!std::is_default_constructible_v<NetworkRef<Perceptron>>);
static_assert(!std::is_copy_constructible_v<retort::EvalMode>);

// --- taps
// ----------------------------------------------------------------------------------------------------------

struct Outputs {
    Tensor body;
    std::array<Tensor, 3> stages;
    std::vector<Tensor> list;
    std::tuple<Tensor, std::vector<Tensor>> nested;
};
struct Other {
    Tensor body;
};
struct More : Outputs {};
using Names = std::map<std::string, Tensor>;
template <class T, class O>
constexpr bool reads = TapOf<std::remove_cvref_t<T>, O>;

static_assert(reads<decltype(tap<&Outputs::body>), Outputs> && reads<decltype(tap<&Outputs::body>), More>);
static_assert(reads<decltype(tap<&Outputs::stages, 2>), Outputs> &&
              reads<decltype(tap<&Outputs::list, 9>), Outputs>);
static_assert(reads<decltype(tap<&Outputs::nested, 1, 0>), Outputs>);
static_assert(!reads<decltype(tap<&Outputs::body>), Other> && !reads<decltype(tap<&More::body>), Other>);
static_assert(!reads<decltype(tap<&Outputs::body>), Tensor> && !reads<decltype(tap<&Outputs::body>), int>);
static_assert(!reads<decltype(tap<&Outputs::body>), retort::NoOutputs>);
static_assert(reads<decltype(tap<"x">), Names> && reads<decltype(tap<"x">), const Names>);
static_assert(reads<decltype(tap<"x">), std::unordered_map<std::string, Tensor>>);
static_assert(!reads<decltype(tap<"x">), Outputs> && !reads<decltype(tap<"x">), std::map<std::string, int>>);
static_assert(!reads<decltype(tap<"x">), std::map<int, Tensor>> && !reads<decltype(tap<"x">), Tensor>);
static_assert(!reads<decltype(tap<"x">), std::vector<Tensor>>);
static_assert(!is<decltype(tap<"x">), decltype(tap<"y">)>);
static_assert(is<decltype(tap<"x">), decltype(tap<"x">)>);
static_assert(std::is_empty_v<std::remove_const_t<decltype(tap<&Outputs::body>)>>);

constexpr auto lambda = [](const Outputs& o) { return o.body; };
constexpr auto generic = [](const auto& o) -> decltype(o.body) { return o.body; };
constexpr auto number = [](const Outputs&) { return "no tensor"; };
static_assert(reads<decltype(lambda), Outputs> && !reads<decltype(lambda), Other>);
static_assert(reads<decltype(generic), Outputs> && reads<decltype(generic), Other> &&
              !reads<decltype(generic), Names>);
static_assert(!reads<decltype(number), Outputs>);
static_assert(!reads<int, Outputs>);

// --- names
// ---------------------------------------------------------------------------------------------------------

static_assert(retort::detail::type_name<Outputs>() == "Outputs");
static_assert(retort::detail::type_name<std::vector<Outputs>>() == "vector");
static_assert(retort::detail::member_name<&Outputs::body>() == "body");

// --- errors and progress
// -------------------------------------------------------------------------------------------

template <class E>
constexpr bool is_error = std::is_base_of_v<retort::Error, E> && !std::is_default_constructible_v<E> &&
                          std::is_nothrow_copy_constructible_v<E>;
static_assert(is_error<retort::ConfigError> && is_error<retort::ShapeError> && is_error<retort::DataError>);
static_assert(is_error<retort::OutputError> && is_error<retort::CheckpointError> &&
              is_error<retort::NonFiniteError>);
static_assert(std::is_base_of_v<std::runtime_error, retort::Error>);
static_assert(std::is_aggregate_v<retort::Progress> && std::is_trivially_copyable_v<retort::Progress>);

}  // namespace
