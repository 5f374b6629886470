// SPDX-License-Identifier: BSL-1.0
/// \file
/// Mistakes with taps, teachers and schedules.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/core.hpp>
#include <retort/schedule.hpp>
#include <retort/tap.hpp>
#include <retort/teacher.hpp>

using namespace retort;
using retort_test::ConvNet;
using retort_test::ConvOutputs;
using retort_test::images;
using retort_test::PairBatch;
using retort_test::Perceptron;
using retort_test::PerceptronImpl;
using retort_test::vectors;

namespace {

namespace tap_index_past_array {
struct Outputs {
    at::Tensor body;
    std::array<at::Tensor, 3> stages;
};
}  // namespace tap_index_past_array
#if defined(RETORT_CASE_tap_index_past_array)
// expect: retort: the path of a tap leads past the end of an array, pair or tuple
namespace tap_index_past_array {
[[maybe_unused]] void run() { tap<&Outputs::stages, 3>(Outputs()); }
}  // namespace tap_index_past_array
#elif !defined(RETORT_CASE)
namespace tap_index_past_array {
[[maybe_unused]] void run() { tap<&Outputs::stages, 2>(Outputs()); }
}  // namespace tap_index_past_array
#endif

namespace tap_ends_at_list {
struct Outputs {
    std::vector<at::Tensor> list;
};
}  // namespace tap_ends_at_list
#if defined(RETORT_CASE_tap_ends_at_list)
// expect: retort: a tap must end at a tensor
namespace tap_ends_at_list {
[[maybe_unused]] void run() { tap<&Outputs::list>(Outputs()); }
}  // namespace tap_ends_at_list
#elif !defined(RETORT_CASE)
namespace tap_ends_at_list {
[[maybe_unused]] void run() { tap<&Outputs::list, 0>(Outputs{{at::Tensor()}}); }
}  // namespace tap_ends_at_list
#endif

namespace tap_path_into_number {
struct Outputs {
    std::vector<at::Tensor> list;
    int count = 0;
};
}  // namespace tap_path_into_number
#if defined(RETORT_CASE_tap_path_into_number)
// expect: retort: the path of a tap leads into a type that has no elements
namespace tap_path_into_number {
[[maybe_unused]] void run() { tap<&Outputs::count, 0>(Outputs()); }
}  // namespace tap_path_into_number
#elif !defined(RETORT_CASE)
namespace tap_path_into_number {
[[maybe_unused]] void run() { tap<&Outputs::list, 0>(Outputs{{at::Tensor()}, 1}); }
}  // namespace tap_path_into_number
#endif

namespace named_tap_with_path {
using Outputs = std::map<std::string, at::Tensor>;
}
#if defined(RETORT_CASE_named_tap_with_path)
// expect: retort: a tap of a named output has no path after the name
namespace named_tap_with_path {
[[maybe_unused]] void run() { tap<"layer3", 1>(Outputs()); }
}  // namespace named_tap_with_path
#elif !defined(RETORT_CASE)
namespace named_tap_with_path {
[[maybe_unused]] void run() { tap<"layer3">(Outputs{{"layer3", at::Tensor()}}); }
}  // namespace named_tap_with_path
#endif

#if defined(RETORT_CASE_frozen_temporary_module)
// expect: retort: a module object must outlive its teacher policy: pass a variable, a holder or a
namespace frozen_temporary_module {
[[maybe_unused]] void run() { const Frozen teacher{PerceptronImpl()}; }
}  // namespace frozen_temporary_module
#elif !defined(RETORT_CASE)
namespace frozen_temporary_module {
[[maybe_unused]] void run() {
    PerceptronImpl net;
    const Frozen teacher{net};
}
}  // namespace frozen_temporary_module
#endif

#if defined(RETORT_CASE_ensemble_of_bare_network)
// expect: retort: a member of an Ensemble is a bare network; wrap it in a teacher policy: retort::Frozen.network.
namespace ensemble_of_bare_network {
[[maybe_unused]] void run() {
    Perceptron net;
    const Ensemble teacher{net};
}
}  // namespace ensemble_of_bare_network
#elif !defined(RETORT_CASE)
namespace ensemble_of_bare_network {
[[maybe_unused]] void run() {
    Perceptron net;
    const Ensemble teacher{Frozen{net}};
}
}  // namespace ensemble_of_bare_network
#endif

namespace ensemble_member_without_logits {
struct Silent {
    std::vector<at::Tensor> operator()(const at::Tensor& x) const { return {x}; }
};
struct Speaking {
    at::Tensor operator()(const at::Tensor& x) const { return x; }
};
}  // namespace ensemble_member_without_logits
#if defined(RETORT_CASE_ensemble_member_without_logits)
// expect: retort: a member of an Ensemble has no logits
namespace ensemble_member_without_logits {
[[maybe_unused]] void run() {
    Ensemble teacher{Silent{}};
    teacher(torch::rand({1, 4}));
}
}  // namespace ensemble_member_without_logits
#elif !defined(RETORT_CASE)
namespace ensemble_member_without_logits {
[[maybe_unused]] void run() {
    Ensemble teacher{Speaking{}};
    teacher(torch::rand({1, 4}));
}
}  // namespace ensemble_member_without_logits
#endif

#if defined(RETORT_CASE_schedule_element_is_text)
// expect: retort: every element of a Schedule is a number or has a member double weight[(]const
namespace schedule_element_is_text {
[[maybe_unused]] void run() { const Schedule schedule{1.0, std::string("often")}; }
}  // namespace schedule_element_is_text
#elif !defined(RETORT_CASE)
namespace schedule_element_is_text {
[[maybe_unused]] void run() { const Schedule schedule{1.0, Linear{}}; }
}  // namespace schedule_element_is_text
#endif

#if defined(RETORT_CASE_later_phase_measures_the_run)
// expect: retort: only the first of the Phases may be a schedule that measures the run
namespace later_phase_measures_the_run {
[[maybe_unused]] void run() { const Phases phases{Phase{3, 1.0}, Phase{0, WarmUp{Plateau{}}}}; }
}  // namespace later_phase_measures_the_run
#elif !defined(RETORT_CASE)
namespace later_phase_measures_the_run {
[[maybe_unused]] void run() { const Phases phases{Phase{3, WarmUp{Plateau{}}}, Phase{0, 1.0}}; }
}  // namespace later_phase_measures_the_run
#endif

#if defined(RETORT_CASE_custom_later_phase_measures_the_run)
// expect: retort: only the first of the Phases may be a schedule that measures the run
namespace custom_later_phase_measures_the_run {
struct Measured {
    double weight(const Progress&) const { return 1.0; }
    template <class Context>
    void on_epoch_end(Context&) {}
};
[[maybe_unused]] void run() { const Phases phases{Phase{3, 1.0}, Phase{0, Measured{}}}; }
}  // namespace custom_later_phase_measures_the_run
#elif !defined(RETORT_CASE)
namespace custom_later_phase_measures_the_run {
struct Unmeasured {
    double weight(const Progress&) const { return 1.0; }
};
[[maybe_unused]] void run() { const Phases phases{Phase{3, 1.0}, Phase{0, Unmeasured{}}}; }
}  // namespace custom_later_phase_measures_the_run
#endif

}  // namespace
