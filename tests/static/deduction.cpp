// SPDX-License-Identifier: BSL-1.0
/// \file
/// Template arguments are deduced, as all documentation writes it: each public class template, with what it is made of.
/// Compilers differ in which of a constructor and a deduction guide they prefer, and in what they find ambiguous.
/// Building this file is the test.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <torch/optim/adam.h>

#include <retort/cohort.hpp>
#include <retort/knowledge.hpp>
#include <retort/network.hpp>
#include <retort/retort.hpp>

namespace deduction_test {
using namespace retort;
using at::Tensor;
using retort_test::ConvNet;
using retort_test::ConvNetImpl;
using retort_test::ConvOutputs;
using retort_test::Perceptron;
using retort_test::PerceptronImpl;

template <class T, class U>
constexpr bool is = std::is_same_v<T, U>;

// Declared only: what matters is the type of an expression with them.
template <class T>
T& some();
Perceptron& holder();
PerceptronImpl& object();
std::shared_ptr<PerceptronImpl>& pointer();
using Pointer = std::shared_ptr<PerceptronImpl>;

// --- teachers
static_assert(is<decltype(Frozen{holder()}), Frozen<Perceptron>>);
static_assert(is<decltype(Frozen{object()}), Frozen<PerceptronImpl>>);
static_assert(is<decltype(Frozen{pointer()}), Frozen<Pointer>>);
static_assert(is<decltype(Frozen{Perceptron()}), Frozen<Perceptron>>);
static_assert(is<decltype(Frozen{std::as_const(holder())}), Frozen<Perceptron>>);
static_assert(is<decltype(Auxiliary{holder()}), Auxiliary<Perceptron>>);
static_assert(is<decltype(Auxiliary{object()}), Auxiliary<PerceptronImpl>>);
static_assert(is<decltype(Auxiliary{pointer()}), Auxiliary<Pointer>>);
static_assert(
    is<decltype(PartiallyTrainable{holder(), {.parameters = "last.*"}}), PartiallyTrainable<Perceptron>>);
static_assert(
    is<decltype(PartiallyTrainable{object(), {.parameters = "last.*"}}), PartiallyTrainable<PerceptronImpl>>);
static_assert(is<decltype(MovingAverage{holder(), holder()}), MovingAverage<Perceptron, Perceptron>>);
static_assert(is<decltype(MovingAverage{object(), object()}), MovingAverage<PerceptronImpl, PerceptronImpl>>);
static_assert(is<decltype(MovingAverage{holder(), object(), {.decay = 0.9}}),
                 MovingAverage<Perceptron, PerceptronImpl>>);
static_assert(is<decltype(Snapshot{holder(), holder()}), Snapshot<Perceptron, Perceptron>>);
static_assert(is<decltype(Snapshot{pointer(), object()}), Snapshot<Pointer, PerceptronImpl>>);
static_assert(is<decltype(Ensemble{Frozen{holder()}, Frozen{object()}}),
                 Ensemble<Frozen<Perceptron>, Frozen<PerceptronImpl>>>);
static_assert(is<decltype(Ensemble{EnsembleOptions{.weights = {3, 1}}, Frozen{holder()}, Frozen{holder()}}),
                 Ensemble<Frozen<Perceptron>, Frozen<Perceptron>>>);
static_assert(is<decltype(Cached{Frozen{holder()}, {.directory = "store"}}), Cached<Frozen<Perceptron>>>);
using Early = std::remove_const_t<decltype(tap<&ConvOutputs::early>)>;
using Late = std::remove_const_t<decltype(tap<&ConvOutputs::late>)>;
inline constexpr Early early;
inline constexpr Late late;
static_assert(is<decltype(Cached{Frozen{some<ConvNet>()}, {.directory = "store"}, late}),
                 Cached<Frozen<ConvNet>, Late>>);

// --- schedules
static_assert(is<decltype(Schedule{1, 0.5, Cosine{}}), Schedule<Constant, Constant, Cosine>>);
static_assert(is<decltype(Phase{3, 0.5}), Phase<double>>);
static_assert(is<decltype(Phase{std::int64_t{3}, Linear{}}), Phase<Linear>>);
static_assert(is<decltype(Phases{Phase{3, 0.5}, Phase{2, Cosine{}}}), Phases<Constant, Cosine>>);
static_assert(is<decltype(Phases{Phase{3, 1}}), Phases<Constant>>);
static_assert(is<decltype(WarmUp{{.epochs = 2}}), WarmUp<Constant>>);
static_assert(is<decltype(WarmUp{0.5, {.epochs = 2}}), WarmUp<Constant>>);
static_assert(is<decltype(WarmUp{Cosine{}, {.epochs = 2}}), WarmUp<Cosine>>);
static_assert(is<decltype(WarmUp{Phases{Phase{3, 0.5}, Phase{0, Cosine{}}}, {.epochs = 2}}),
                 WarmUp<Phases<Constant, Cosine>>>);

// --- optimizers
static_assert(is<decltype(ParameterGroups{AdamW{}, {no_decay_on_vectors()}}), ParameterGroups<AdamW>>);
static_assert(is<decltype(WithLearningRate{Sgd{}, Cosine{}}), WithLearningRate<Sgd, Cosine>>);
static_assert(is<decltype(WithLearningRate{ParameterGroups{Sgd{}, {no_decay_on_vectors()}},
                                           WarmUp{Cosine{}, {.epochs = 5}}}),
                 WithLearningRate<ParameterGroups<Sgd>, WarmUp<Cosine>>>);
static_assert(is<decltype(RebuiltEachEpoch{Sgd{}}), RebuiltEachEpoch<Sgd>>);
static_assert(is<decltype(WithLearningRate{RebuiltEachEpoch{Lars{}}, Cosine{}}),
                 WithLearningRate<RebuiltEachEpoch<Lars>, Cosine>>);

// --- taps
static_assert(is<decltype(Taps{early, late}), Taps<Early, Late>>);
static_assert(is<decltype(FlatTap{late}), FlatTap<Late>>);
static_assert(is<decltype(GlobalAverage{late}), GlobalAverage<Late>>);
static_assert(is<decltype(PooledTap{late, 2}), PooledTap<Late>>);
static_assert(is<decltype(PooledTap{late, 2, 3}), PooledTap<Late>>);
static_assert(is<decltype(PooledTap{FlatTap{late}, 2}), PooledTap<FlatTap<Late>>>);

// --- terms made of others
static_assert(is<decltype(Knowledge{CrossEntropy{}}), Knowledge<CrossEntropy>>);
static_assert(is<decltype(Weighted{2, SoftTarget{}}), Weighted<Constant, SoftTarget>>);
static_assert(is<decltype(Weighted{Cosine{}, SoftTarget{}}), Weighted<Cosine, SoftTarget>>);
static_assert(is<decltype(Objective{Knowledge{CrossEntropy{}, SoftTarget{}}, Schedule{1, Cosine{}}}),
                 Objective<Knowledge<CrossEntropy, SoftTarget>, Schedule<Constant, Cosine>>>);
static_assert(is<decltype(Objective{Knowledge{0.5 * CrossEntropy{}}}),
                 Objective<Knowledge<CrossEntropy>, Schedule<Constant>>>);
static_assert(
    is<decltype(Sum{CrossEntropy{}, 0.5 * SoftTarget{}}), Sum<CrossEntropy, Weighted<Constant, SoftTarget>>>);
static_assert(is<decltype(Standardized{SoftTarget{}}), Standardized<SoftTarget>>);
static_assert(is<decltype(Standardized{SoftTarget{}, 1e-6}), Standardized<SoftTarget>>);
static_assert(is<decltype(Filtered{SoftTarget{}, CorrectTeacher{}}), Filtered<SoftTarget, CorrectTeacher>>);
static_assert(is<decltype(Filtered{SoftTarget{}, CorrectTeacher{}, Reduction::sum}),
                 Filtered<SoftTarget, CorrectTeacher>>);
static_assert(is<decltype(OnClasses{SoftTarget{}, Tensor()}), OnClasses<SoftTarget>>);
static_assert(is<decltype(OnPlainViews{SoftTarget{}}), OnPlainViews<SoftTarget>>);
static_assert(is<decltype(OnPlainViews{SoftTarget{}, 4}), OnPlainViews<SoftTarget>>);
static_assert(is<decltype(Tempered{SoftTarget{}, Linear{}}), Tempered<SoftTarget, Linear>>);
static_assert(is<decltype(ForTeacher{CrossEntropy{}}), ForTeacher<CrossEntropy>>);
static_assert(is<decltype(Within{CrossEntropy{}, early}), Within<CrossEntropy, Early>>);
static_assert(is<decltype(Within{SoftTarget{}, early, late}), Within<SoftTarget, Early, Late>>);
static_assert(is<decltype(Standardized{Filtered{SoftTarget{}, CorrectTeacher{}}}),
                 Standardized<Filtered<SoftTarget, CorrectTeacher>>>);

// --- terms on features
static_assert(is<decltype(Chain{Conv1x1{}, ResizeTo{}}), Chain<Conv1x1, ResizeTo>>);
static_assert(is<decltype(Hint{early, late}), Hint<Early, Late, Identity>>);
static_assert(is<decltype(Hint{early, late, Chain{Conv1x1{}, ResizeTo{}}}),
                 Hint<Early, Late, Chain<Conv1x1, ResizeTo>>>);
static_assert(is<decltype(AttentionTransfer{early, late}), AttentionTransfer<Early, Late>>);
static_assert(is<decltype(NeuronSelectivity{early, late}), NeuronSelectivity<Early, Late>>);
static_assert(is<decltype(VariationalInformation{early, late}), VariationalInformation<Early, Late>>);
static_assert(is<decltype(ActivationBoundary{early, late, FitNetRegressor{}}),
                 ActivationBoundary<Early, Late, FitNetRegressor>>);
static_assert(
    is<decltype(FeatureOverhaul{early, late, some<torch::nn::BatchNorm2d>()}), FeatureOverhaul<Early, Late>>);
static_assert(is<decltype(FactorReconstruction{late, some<Paraphraser>()}), FactorReconstruction<Late>>);
static_assert(is<decltype(FactorTransfer{early, late, some<Paraphraser>()}), FactorTransfer<Early, Late>>);
static_assert(is<decltype(ChannelCorrelation{early, late}), ChannelCorrelation<Early, Late>>);
static_assert(
    is<decltype(PearsonCorrelation{early, late, Conv1x1{}}), PearsonCorrelation<Early, Late, Conv1x1>>);
static_assert(is<decltype(ChannelWise{early, late, Conv1x1{}}), ChannelWise<Early, Late, Conv1x1>>);
static_assert(is<decltype(SimKd{early, late}), SimKd<Early, Late>>);
static_assert(
    is<decltype(Srrl{early, late, some<torch::nn::Linear>()}), Srrl<Early, Late, torch::nn::Linear>>);
static_assert(is<decltype(ClassAttentionTransfer{early, late}), ClassAttentionTransfer<Early, Late>>);
static_assert(is<decltype(LogSum{early, late}), LogSum<Early, Late>>);
static_assert(is<decltype(ReviewKd{Taps{early, late}, Taps{early, late}}),
                 ReviewKd<Taps<Early, Late>, Taps<Early, Late>>>);
static_assert(is<decltype(MaskedGenerative{early, late, Conv1x1{}, {.fraction = 0.5}}),
                 MaskedGenerative<Early, Late, Conv1x1>>);
static_assert(is<decltype(CompressedEmbedding{early, late}), CompressedEmbedding<Early, Late>>);

// --- terms on relations, on the flow, on heads
static_assert(is<decltype(SimilarityPreserving{early, late}), SimilarityPreserving<Early, Late>>);
static_assert(is<decltype(Relational{early, late, {.angle_weight = 0}}), Relational<Early, Late>>);
static_assert(is<decltype(HardDarkRank{early, late}), HardDarkRank<Early, Late>>);
static_assert(is<decltype(ProbabilisticTransfer{early, late}), ProbabilisticTransfer<Early, Late>>);
static_assert(is<decltype(ClassNeighbors{early}), ClassNeighbors<Early>>);
static_assert(is<decltype(CorrelationCongruence{early, late}), CorrelationCongruence<Early, Late>>);
static_assert(is<decltype(NeighborDifferences{early, late}), NeighborDifferences<Early, Late>>);
static_assert(is<decltype(ContrastiveRepresentation{early, late, BankNegatives{}}),
                 ContrastiveRepresentation<Early, Late, BankNegatives>>);
static_assert(is<decltype(SelfSupervision{early, late, Mlp{}}), SelfSupervision<Early, Late, Mlp>>);
static_assert(is<decltype(TransformedTarget{early, late}), TransformedTarget<Early, Late>>);
static_assert(is<decltype(InformationFlow{early, late}), InformationFlow<Early, Late>>);
static_assert(is<decltype(MatchedInformationFlow{Taps{early}, Taps{early, late}}),
                 MatchedInformationFlow<Taps<Early>, Taps<Early, Late>>>);
static_assert(is<decltype(SingularVectors{Taps{early, late}, Taps{early, late}}),
                 SingularVectors<Taps<Early, Late>, Taps<Early, Late>>>);
static_assert(is<decltype(SolutionProcedure{Taps{early, late}, Taps{early, late}}),
                 SolutionProcedure<Taps<Early, Late>, Taps<Early, Late>>>);
static_assert(is<decltype(UniversalSelfKd{late}), UniversalSelfKd<Late>>);
static_assert(
    is<decltype(AugmentedSoftTarget{Taps{early}, Taps{late}}), AugmentedSoftTarget<Taps<Early>, Taps<Late>>>);
static_assert(is<decltype(AugmentedCrossEntropy{Taps{early}}), AugmentedCrossEntropy<Taps<Early>>>);

// --- trainers
static_assert(is<decltype(Trainer{holder(), NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}}),
                 Trainer<Perceptron, NoTeacher, Knowledge<CrossEntropy>, Schedule<Constant>>>);
static_assert(is<decltype(Trainer{object(), Frozen{holder()},
                                  Knowledge{0.5 * CrossEntropy{}, Cosine{} * SoftTarget{}}, Sgd{}}),
                 Trainer<PerceptronImpl, Frozen<Perceptron>, Knowledge<CrossEntropy, SoftTarget>,
                         Schedule<Constant, Cosine>>>);
static_assert(is<decltype(Trainer{holder(), NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{},
                                  TrainerOptions{}}),
                 Trainer<Perceptron, NoTeacher, Knowledge<CrossEntropy>, Schedule<Constant>>>);
static_assert(
    is<decltype(Trainer{holder(), NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}, Bfloat16{}}),
       Trainer<Perceptron, NoTeacher, Knowledge<CrossEntropy>, Schedule<Constant>, Bfloat16>>);
static_assert(is<decltype(Trainer{holder(), NoTeacher{}, Knowledge{1 * CrossEntropy{}}, Sgd{}, Float16{}}),
                 Trainer<Perceptron, NoTeacher, Knowledge<CrossEntropy>, Schedule<Constant>, Float16>>);
static_assert(is<decltype(Trainer{holder(), NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                                  some<torch::optim::Adam>()}),
                 Trainer<Perceptron, NoTeacher, Knowledge<CrossEntropy>, Schedule<Constant>>>);

// --- callbacks
using Batches = std::vector<retort_test::PairBatch>;
static_assert(is<decltype(Validation{some<Batches>()}), Validation<Batches&, metrics::Accuracy>>);
static_assert(is<decltype(Validation{Batches{}}), Validation<Batches, metrics::Accuracy>>);
static_assert(is<decltype(Validation{some<Batches>(), metrics::Accuracy{}, metrics::TopK{2}}),
                 Validation<Batches&, metrics::Accuracy, metrics::TopK>>);
static_assert(
    is<decltype(TakeSnapshot{Snapshot{holder(), object()}}), TakeSnapshot<Perceptron, PerceptronImpl>>);
static_assert(is<decltype(TakeSnapshot{Snapshot{holder(), object()}, {.every = 2}}),
                 TakeSnapshot<Perceptron, PerceptronImpl>>);

// --- data
static_assert(is<decltype(data::Loader{some<data::Dataset>(), {.batch_size = 2}}), data::Loader<>>);
static_assert(is<decltype(data::Loader{
                     some<data::Dataset>(), {}, data::TwoViews{data::HorizontalFlip{}, data::Cutout{}}}),
                 data::Loader<data::TwoViews<data::HorizontalFlip, data::Cutout>>>);
static_assert(is<decltype(data::OneView{data::HorizontalFlip{}}), data::OneView<data::HorizontalFlip>>);
static_assert(
    is<decltype(data::RotatedViews{data::HorizontalFlip{}}), data::RotatedViews<data::HorizontalFlip>>);
static_assert(is<decltype(data::Compose{data::HorizontalFlip{}, data::Cutout{}}),
                 data::Compose<data::HorizontalFlip, data::Cutout>>);

// --- several learners
static_assert(is<decltype(Learner{holder(), Sgd{}}), Learner<Perceptron>>);
static_assert(is<decltype(Learner{object(), Sgd{}}), Learner<PerceptronImpl>>);
static_assert(is<decltype(Learner{pointer()}), Learner<Pointer>>);
static_assert(is<decltype(Learner{holder(), some<torch::optim::Adam>()}), Learner<Perceptron>>);
using First = Learner<Perceptron>;
using Second = Learner<PerceptronImpl>;
static_assert(is<decltype(Cohort{some<First>(), some<Second>()}), Cohort<std::tuple<First, Second>>>);
static_assert(
    is<decltype(Cohort{CohortOptions{}, some<First>(), some<Second>()}), Cohort<std::tuple<First, Second>>>);
static_assert(is<decltype(Cohort{Bfloat16{}, some<First>(), some<Second>()}),
                 Cohort<std::tuple<First, Second>, Bfloat16>>);
static_assert(
    is<decltype(Cohort{Bfloat16{}, CohortOptions{}, some<First>()}), Cohort<std::tuple<First>, Bfloat16>>);
static_assert(is<decltype(Cohort{std::vector<First>{}}), Cohort<std::vector<First>>>);
static_assert(is<decltype(Cohort{std::vector<First>{}, CohortOptions{}}), Cohort<std::vector<First>>>);
static_assert(is<decltype(Cohort{std::vector<First>{}, Float16{}}), Cohort<std::vector<First>, Float16>>);
static_assert(is<decltype(Cohort{std::vector<First>{}, Float16{}, CohortOptions{}}),
                 Cohort<std::vector<First>, Float16>>);
using Taught = decltype(edge<1, 0>(SoftTarget{}));
static_assert(is<decltype(TransferGraph{label<0>(), edge<1, 0>(SoftTarget{})}),
                 TransferGraph<decltype(label<0>()), Taught>>);
static_assert(is<decltype(OfStudent<1, Late>{late}), OfStudent<1, Late>>);
static_assert(is<decltype(StemEnsemble{some<Perceptron>(), std::vector<Perceptron>{}}),
                 StemEnsemble<Perceptron, Perceptron>>);
}  // namespace deduction_test
