// SPDX-License-Identifier: BSL-1.0
/// \file
/// Which types satisfy the concepts of knowledge, schedules, teachers, optimizers, callbacks and sources.
/// Building this file is the test.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <range/v3/view/generate_n.hpp>
#include <range/v3/view/transform.hpp>

#include <retort/callback.hpp>
#include <retort/knowledge/adaptor/tempered.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/connector/linear_map.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/knowledge.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/metrics.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/tap.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace {
using at::Tensor;
using retort::NoOutputs;
using retort::Progress;
using retort_test::ConvNet;
using retort_test::ConvOutputs;
using retort_test::PairBatch;
using retort_test::Perceptron;
using retort_test::PerceptronImpl;

template <class T, class U>
constexpr bool is = std::is_same_v<T, U>;

// --- knowledge terms
// -----------------------------------------------------------------------------------------------

using retort::ComputesLoss;
using retort::KnowledgeTerm;
using retort::SaysWhatItNeeds;

struct Minimal {
    static constexpr bool needs_teacher = false, needs_target = false;
    Tensor operator()(const auto&, const auto&, const auto&) const { return {}; }
};
struct WithProgress {
    static constexpr bool needs_teacher = false, needs_target = false;
    Tensor operator()(const auto&, const auto&, const auto&, const Progress&) const { return {}; }
};
struct OneFlag {
    static constexpr bool needs_teacher = false;
    Tensor operator()(const auto&, const auto&, const auto&) const { return {}; }
};
struct NotConst {
    static constexpr bool needs_teacher = false, needs_target = false;
    Tensor operator()(const auto&, const auto&, const auto&) { return {}; }
};
struct GivesDouble {
    static constexpr bool needs_teacher = false, needs_target = false;
    double operator()(const auto&, const auto&, const auto&) const { return 0; }
};
struct GivesNothing {
    static constexpr bool needs_teacher = false, needs_target = false;
    void operator()(const auto&, const auto&, const auto&) const {}
};
struct TwoArguments {
    static constexpr bool needs_teacher = false, needs_target = false;
    Tensor operator()(const auto&, const auto&) const { return {}; }
};
struct OnlyTensors {
    static constexpr bool needs_teacher = true, needs_target = false;
    Tensor operator()(const Tensor&, const Tensor&, const auto&) const { return {}; }
};
struct OddFlags {
    static constexpr const char* needs_teacher[2] = {};
    static constexpr std::string_view needs_target = "";
};

static_assert(SaysWhatItNeeds<Minimal> && SaysWhatItNeeds<retort::CrossEntropy> &&
              SaysWhatItNeeds<retort::SoftTarget>);
static_assert(!SaysWhatItNeeds<OneFlag> && !SaysWhatItNeeds<OddFlags> && !SaysWhatItNeeds<int> &&
              !SaysWhatItNeeds<NoOutputs>);
static_assert(KnowledgeTerm<Minimal, Tensor, NoOutputs, Tensor> &&
              KnowledgeTerm<WithProgress, Tensor, NoOutputs, Tensor>);
static_assert(KnowledgeTerm<retort::CrossEntropy, Tensor, NoOutputs, PairBatch>);
static_assert(KnowledgeTerm<retort::SoftTarget, ConvOutputs, Tensor, Tensor>);
static_assert(KnowledgeTerm<OnlyTensors, Tensor, Tensor, Tensor> &&
              !KnowledgeTerm<OnlyTensors, ConvOutputs, Tensor, Tensor>);
static_assert(!KnowledgeTerm<OnlyTensors, Tensor, NoOutputs, Tensor>);
static_assert(!KnowledgeTerm<OneFlag, Tensor, Tensor, Tensor> &&
              ComputesLoss<OneFlag, Tensor, Tensor, Tensor>);
static_assert(!KnowledgeTerm<NotConst, Tensor, Tensor, Tensor> &&
              !KnowledgeTerm<GivesDouble, Tensor, Tensor, Tensor>);
static_assert(!KnowledgeTerm<GivesNothing, Tensor, Tensor, Tensor> &&
              !KnowledgeTerm<TwoArguments, Tensor, Tensor, Tensor>);
static_assert(!KnowledgeTerm<int, Tensor, Tensor, Tensor>);

using Hinted = retort::Hint<std::remove_const_t<decltype(retort::tap<&ConvOutputs::early>)>,
                            std::remove_const_t<decltype(retort::tap<&ConvOutputs::late>)>, retort::Conv1x1>;
static_assert(SaysWhatItNeeds<Hinted> && Hinted::needs_teacher && !Hinted::needs_target);
static_assert(std::is_copy_constructible_v<Hinted> && !std::is_default_constructible_v<Hinted>);

using retort::Knowledge;
static_assert(
    is<decltype(Knowledge{Minimal{}, retort::CrossEntropy{}}), Knowledge<Minimal, retort::CrossEntropy>>);
static_assert(Knowledge<Minimal, Minimal, Minimal>::size == 3);
static_assert(std::is_default_constructible_v<Knowledge<Minimal, retort::SoftTarget>>);
static_assert(!std::is_default_constructible_v<Knowledge<Hinted>>);
static_assert(!std::is_convertible_v<Minimal, Knowledge<Minimal>>);

using retort::operator*;
using retort::Weighted;
static_assert(is<decltype(0.5 * retort::CrossEntropy{}), Weighted<retort::Constant, retort::CrossEntropy>>);
static_assert(is<decltype(2 * Minimal{}), Weighted<retort::Constant, Minimal>>);
static_assert(is<decltype(retort::Cosine{} * Minimal{}), Weighted<retort::Cosine, Minimal>>);
static_assert(is<decltype(Weighted{0.5, Minimal{}}), Weighted<retort::Constant, Minimal>>);
static_assert(!SaysWhatItNeeds<Weighted<retort::Constant, Minimal>>);
template <class Left, class Right>
concept Multiplies = requires(Left left, Right right) { left* right; };
static_assert(!Multiplies<Minimal, double> && !Multiplies<Minimal, Minimal> &&
              !Multiplies<double, Weighted<retort::Constant, Minimal>> &&
              !Multiplies<std::string, retort::CrossEntropy>);
using WithWeights = decltype(Knowledge{0.5 * Minimal{}, retort::Cosine{} * retort::CrossEntropy{}});
static_assert(retort::WeightedKnowledge<WithWeights> && !retort::WeightedKnowledge<Knowledge<Minimal>> &&
              !retort::WeightedKnowledge<Minimal>);
static_assert(WithWeights::size == 2 && !WithWeights::trains_teacher);

template <retort::SaysWhatItNeeds Term>
struct Adaptor : retort::TermAdaptor<Term> {
    double option = 1;
    Tensor operator()(const auto& student, const auto& teacher, const auto& batch,
                      const Progress& progress) const {
        return this->call(student, teacher, batch, progress);
    }
};
template <class Term>
Adaptor(Term) -> Adaptor<Term>;
template <class Term>
Adaptor(Term, double) -> Adaptor<Term>;
static_assert(is<decltype(Adaptor{retort::SoftTarget{}, 2.0}), Adaptor<retort::SoftTarget>>);
static_assert(std::is_aggregate_v<Adaptor<retort::SoftTarget>>);
static_assert(KnowledgeTerm<Adaptor<retort::SoftTarget>, ConvOutputs, Tensor, Tensor>);
// Its members follow from its term.
static_assert(Adaptor<retort::SoftTarget>::needs_teacher && !Adaptor<retort::SoftTarget>::needs_target &&
              !Adaptor<Minimal>::needs_teacher && Adaptor<retort::CrossEntropy>::needs_target);
static_assert(retort::PerSampleTerm<Adaptor<retort::SoftTarget>> && !retort::PerSampleTerm<Adaptor<Minimal>>);
static_assert(retort::detail::HasModule<Adaptor<Hinted>> &&
              retort::detail::HasPrepared<Adaptor<Adaptor<Hinted>>> &&
              !retort::detail::HasModule<Adaptor<Minimal>> && !retort::detail::HasPrepared<Adaptor<Minimal>>);
static_assert(retort::Checkpointed<Adaptor<Minimal>>);

template <class Term, class S>
concept CanBeTempered = requires { typename retort::Tempered<Term, S>; };
static_assert(CanBeTempered<retort::SoftTarget, retort::Constant> &&
              !CanBeTempered<Minimal, retort::Constant>);
static_assert(!CanBeTempered<retort::CrossEntropy, retort::Constant> &&
              !CanBeTempered<retort::SoftTarget, double>);

// --- connectors
// ----------------------------------------------------------------------------------------------------

using retort::Connector;
struct Halve {
    static bool sized() { return true; }
    static auto build(at::IntArrayRef, at::IntArrayRef) { return torch::nn::AvgPool2d(2); }
    static const char* name() { return "Halve"; }
};
struct Nameless {
    static bool sized() { return true; }
    static auto build(at::IntArrayRef, at::IntArrayRef) { return torch::nn::AvgPool2d(2); }
};
struct BuildsNothing {
    static bool sized() { return true; }
    static int build(at::IntArrayRef, at::IntArrayRef) { return 1; }
    static const char* name() { return ""; }
};
static_assert(Connector<retort::Identity> && Connector<retort::LinearMap> && Connector<retort::Convolution>);
static_assert(Connector<retort::Conv1x1> && Connector<Halve>);
static_assert(!Connector<Nameless> && !Connector<BuildsNothing> && !Connector<int> &&
              !Connector<torch::nn::Linear>);

// --- schedules
// -----------------------------------------------------------------------------------------------------

using retort::Constant;
using retort::Schedule;
using retort::WeightSchedule;
struct GivesFloat {
    float weight(const Progress&) const { return 1; }
};
struct WeightNotConst {
    double weight(const Progress&) { return 1; }
};
struct WeightOfEpoch {
    double weight(std::int64_t) const { return 1; }
};
struct WeightText {
    std::string weight(const Progress&) const { return ""; }
};
struct StaticWeight {
    static double weight(const Progress&) { return 1; }
};
static_assert(WeightSchedule<Constant> && WeightSchedule<retort::Linear> && WeightSchedule<retort::Cosine>);
static_assert(WeightSchedule<retort::Exponential> && WeightSchedule<retort::Step> &&
              WeightSchedule<retort::MultiStep>);
static_assert(WeightSchedule<retort::CriticalPeriod> && WeightSchedule<retort::WarmUp<>>);
static_assert(WeightSchedule<retort::WarmUp<retort::Cosine>> &&
              WeightSchedule<retort::Phases<Constant, retort::Linear>>);
static_assert(WeightSchedule<GivesFloat> && WeightSchedule<StaticWeight>);
static_assert(!WeightSchedule<WeightNotConst> && !WeightSchedule<WeightOfEpoch> &&
              !WeightSchedule<WeightText>);
static_assert(!WeightSchedule<double> && !WeightSchedule<int> && !WeightSchedule<Progress> &&
              !WeightSchedule<Tensor>);
static_assert(!WeightSchedule<Schedule<Constant>>);
static_assert(std::is_aggregate_v<Constant> && std::is_aggregate_v<retort::Linear> &&
              std::is_aggregate_v<retort::Cosine>);
static_assert(std::is_aggregate_v<retort::WarmUpOptions> && std::is_aggregate_v<retort::MultiStep>);

static_assert(is<decltype(Schedule{1, 2.0, 3.0F, retort::Linear{}}),
                 Schedule<Constant, Constant, Constant, retort::Linear>>);
static_assert(Schedule<Constant, Constant>::size == 2);
static_assert(is<decltype(retort::Phase{30, 1.0}), retort::Phase<double>>);
static_assert(is<decltype(retort::Phases{retort::Phase{30, 1}, retort::Phase{0, retort::Cosine{}}}),
                 retort::Phases<Constant, retort::Cosine>>);
static_assert(is<decltype(retort::WarmUp{}), retort::WarmUp<Constant>>);
static_assert(is<decltype(retort::WarmUp{{.epochs = 3}}), retort::WarmUp<Constant>>);
static_assert(is<decltype(retort::WarmUp{0.5, {.epochs = 3}}), retort::WarmUp<Constant>>);
static_assert(is<decltype(retort::WarmUp{retort::Cosine{}, {.epochs = 3}}), retort::WarmUp<retort::Cosine>>);
static_assert(is<decltype(retort::WarmUp{retort::Cosine{}}), retort::WarmUp<retort::Cosine>>);

// --- teachers
// ------------------------------------------------------------------------------------------------------

using retort::Ensemble;
using retort::Frozen;
using retort::NoTeacher;
using retort::Teacher;
using retort::TeacherOutputsOf;
struct Oracle {
    Tensor operator()(const Tensor& x) const { return x; }
};
struct NotConstOracle {
    ConvOutputs operator()(const Tensor&) { return {}; }
};
static_assert(Teacher<NoTeacher, Tensor> && Teacher<Frozen<Perceptron>, Tensor> &&
              Teacher<Frozen<PerceptronImpl>, Tensor>);
static_assert(Teacher<Oracle, Tensor> && Teacher<NotConstOracle, Tensor> &&
              Teacher<Ensemble<Oracle, NotConstOracle>, Tensor>);
static_assert(!Teacher<Perceptron, Tensor> && !Teacher<std::shared_ptr<PerceptronImpl>, Tensor> &&
              !Teacher<PerceptronImpl, Tensor>);
static_assert(!Teacher<torch::nn::Sequential, Tensor> && !Teacher<int, Tensor> &&
              !Teacher<Oracle, std::string>);
static_assert(!Teacher<Frozen<Perceptron>, std::string> &&
              !Teacher<Frozen<Perceptron>, std::pair<Tensor, Tensor>>);
static_assert(is<TeacherOutputsOf<NoTeacher, Tensor>, NoOutputs> &&
              is<TeacherOutputsOf<Frozen<ConvNet>, Tensor>, ConvOutputs>);
static_assert(is<TeacherOutputsOf<Ensemble<Oracle, NotConstOracle>, Tensor>,
                 retort::EnsembleOutputs<Tensor, ConvOutputs>>);
static_assert(retort::HasLogits<retort::EnsembleOutputs<Tensor, ConvOutputs>>);
static_assert(is<decltype(Frozen{std::declval<Perceptron&>()}), Frozen<Perceptron>>);
static_assert(is<decltype(Frozen{std::declval<PerceptronImpl&>()}), Frozen<PerceptronImpl>>);
static_assert(is<decltype(Ensemble{Oracle{}, Oracle{}}), Ensemble<Oracle, Oracle>>);
static_assert(is<decltype(Ensemble{retort::EnsembleOptions{}, Oracle{}}), Ensemble<Oracle>>);

// --- optimizers
// ----------------------------------------------------------------------------------------------------

using retort::OptimizerPolicy;
using retort::OptimizerRecipe;
struct NoRecipe {
    int build(std::vector<Tensor>) const { return 1; }
};
template <class T>
constexpr bool is_optimizer = std::is_convertible_v<T, OptimizerPolicy>;
static_assert(OptimizerRecipe<retort::Sgd> && OptimizerRecipe<retort::FromTorch<torch::optim::Adam>>);
static_assert(OptimizerRecipe<retort::WithLearningRate<retort::Sgd, retort::Cosine>>);
static_assert(!OptimizerRecipe<NoRecipe> && !OptimizerRecipe<torch::optim::SGD> && !OptimizerRecipe<int>);
static_assert(is_optimizer<retort::Sgd> && is_optimizer<retort::FromTorch<torch::optim::AdamW>>);
static_assert(is_optimizer<torch::optim::SGD&> && is_optimizer<torch::optim::Optimizer&> &&
              is_optimizer<retort::MultiTensorSgd&>);
static_assert(is_optimizer<std::shared_ptr<torch::optim::Optimizer>> &&
              is_optimizer<std::shared_ptr<torch::optim::Adam>>);
static_assert(!is_optimizer<torch::optim::SGD> && !is_optimizer<const torch::optim::SGD&> &&
              !is_optimizer<NoRecipe>);
static_assert(!is_optimizer<torch::optim::SGD*> && !is_optimizer<torch::optim::SGDOptions> &&
              !is_optimizer<double>);
static_assert(!is_optimizer<Perceptron>);
template <class O>
concept FromTorchTakes = requires { typename retort::FromTorch<O>; };
static_assert(FromTorchTakes<torch::optim::Adagrad> && !FromTorchTakes<retort::Sgd> && !FromTorchTakes<int>);
static_assert(!std::is_constructible_v<retort::FromTorch<torch::optim::Adam>, std::string>);

// --- callbacks
// -----------------------------------------------------------------------------------------------------

using retort::Callback;
using retort::FitContext;
struct OneHook {
    void on_step_end(FitContext&) {}
};
struct GenericHook {
    bool on_epoch_end(auto&) { return true; }
};
struct OverloadedHook {
    void on_report(FitContext&) {}
    void on_report(int) {}
};
struct FinalHook final {
    void on_fit_end(FitContext&) {}
};
struct WrongHook {
    void on_gradients(int, int) {}
};
struct DataHook {
    int on_epoch_begin = 0;
};
struct Misspelt {
    void on_epoch_ended(FitContext&) {}
};
struct InheritedHook : OneHook {};
static_assert(Callback<OneHook> && Callback<OneHook&> && Callback<const OneHook&> && Callback<GenericHook>);
static_assert(Callback<OverloadedHook> && Callback<FinalHook> && Callback<InheritedHook>);
// Named like a hook: treated as a callback, so that the error is reported.
static_assert(Callback<WrongHook> && Callback<DataHook>);
static_assert(!Callback<Misspelt> && !Callback<int> && !Callback<void (*)(FitContext&)> && !Callback<Tensor>);
static_assert(!Callback<NoOutputs> && !Callback<Perceptron>);
static_assert(Callback<retort::EarlyStopping> && Callback<retort::BestModel> && Callback<retort::CsvHistory>);
static_assert(Callback<retort::ProgressBar> && Callback<retort::GradientClipping>);
static_assert(Callback<retort::Validation<std::vector<PairBatch>, retort::metrics::Accuracy>>);
static_assert(Callback<decltype(retort::on_step_end([](FitContext&) {}))>);
static_assert(retort::detail::hook::on_step_end::named<OneHook>() &&
              !retort::detail::hook::on_report::named<OneHook>());
static_assert(!std::is_copy_constructible_v<retort::ProgressBar>);

// --- sources
// -------------------------------------------------------------------------------------------------------

using retort::BatchSource;
using Vector = std::vector<PairBatch>;
struct ByEpoch {
    Vector operator()(std::int64_t) const { return {}; }
};
struct ByNothing {
    Vector operator()() const { return {}; }
};
struct GivesBatch {
    PairBatch operator()(std::int64_t) const { return {}; }
};
using Generated = decltype(ranges::views::generate_n(std::declval<PairBatch (*)()>(), 3));
static_assert(BatchSource<Vector> && BatchSource<const Vector> && BatchSource<std::vector<Tensor>>);
static_assert(BatchSource<std::array<PairBatch, 3>> && BatchSource<Generated> &&
              !BatchSource<std::map<Tensor*, Tensor>>);
static_assert(BatchSource<std::vector<torch::data::Example<>>>);
static_assert(BatchSource<ByEpoch> && BatchSource<const ByEpoch>);
static_assert(BatchSource<Vector (*)(std::int64_t)> && BatchSource<const Vector& (*)(std::int64_t)>);
static_assert(!BatchSource<ByNothing> && !BatchSource<GivesBatch> && !BatchSource<int> &&
              !BatchSource<PairBatch>);
static_assert(!BatchSource<std::vector<int>> &&
              !BatchSource<std::vector<std::vector<torch::data::Example<>>>>);
static_assert(!BatchSource<std::string> && !BatchSource<Tensor> && !BatchSource<Vector*>);

// --- trainers
// ------------------------------------------------------------------------------------------------------

using retort::Trainer;
using Distiller = Trainer<Perceptron, Frozen<Perceptron>, Knowledge<retort::CrossEntropy, retort::SoftTarget>,
                          Schedule<Constant, Constant>>;
static_assert(is<Distiller, decltype(Trainer{std::declval<Perceptron&>(), Frozen{std::declval<Perceptron&>()},
                                             Knowledge{retort::CrossEntropy{}, retort::SoftTarget{}},
                                             Schedule{0.1, 0.9}, retort::Sgd{}})>);
static_assert(std::is_move_constructible_v<Distiller> && !std::is_default_constructible_v<Distiller>);
static_assert(is<decltype(std::declval<Distiller&>().step(std::declval<const PairBatch&>())),
                 retort::StepResult<Tensor>>);
static_assert(
    is<decltype(std::declval<Distiller&>().losses(std::declval<const PairBatch&>())), retort::Losses>);
static_assert(is<decltype(std::declval<Distiller&>().fit(std::declval<Vector&>(), retort::FitOptions{})),
                 const retort::History&>);
static_assert(retort::TrainingRun<Distiller> && retort::TrainsOn<Distiller, PairBatch>);
static_assert(!retort::TrainingRun<Perceptron> && !retort::TrainsOn<Distiller, int>);
static_assert(std::is_aggregate_v<retort::FitOptions> && std::is_aggregate_v<retort::TrainerOptions>);

}  // namespace
