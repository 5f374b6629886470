// SPDX-License-Identifier: BSL-1.0
/// \file
/// Mistakes with loaders, transforms and pipelines.
#include <retort_test.hpp>

#include <memory>
#include <string>
#include <vector>

#include <range/v3/view/move.hpp>

#include <retort/data.hpp>

namespace {

const retort::data::Dataset samples{};

struct Shift {
    double by = 0.5;
    at::Tensor operator()(const at::Tensor& images, at::Generator&) const { return images + by; }
};
struct DescribedShift : Shift {
    std::string description() const { return "Shift by " + std::to_string(by); }
};

}  // namespace

#if defined(RETORT_CASE_transform_without_description)
// expect: retort: a transform or view policy with parameters needs a member `std::string description.. const
namespace transform_without_description {
[[maybe_unused]] std::string run() { return retort::data::Loader{samples, {}, Shift{}}.description(); }
}  // namespace transform_without_description
#elif !defined(RETORT_CASE)
namespace transform_without_description {
[[maybe_unused]] std::string run() {
    return retort::data::Loader{samples, {}, DescribedShift{}}.description();
}
}  // namespace transform_without_description
#endif

#if defined(RETORT_CASE_map_function_changes_itself)
// expect: retort: the function must be callable with an element of the range, while const
namespace map_function_changes_itself {
[[maybe_unused]] auto run() {
    return retort::data::Loader{samples}.epoch(0) |
           retort::data::map([n = 0](retort::data::Batch batch) mutable {
               ++n;
               return batch;
           });
}
}  // namespace map_function_changes_itself
#elif !defined(RETORT_CASE)
namespace map_function_changes_itself {
[[maybe_unused]] auto run() {
    return retort::data::Loader{samples}.epoch(0) |
           retort::data::map([](retort::data::Batch batch, std::int64_t) { return batch; });
}
}  // namespace map_function_changes_itself
#endif

#if defined(RETORT_CASE_stage_of_views_on_other_batches)
// expect: retort: the function must be callable with an element of the range, while const
namespace stage_of_views_on_other_batches {
[[maybe_unused]] auto run() { return std::vector<at::Tensor>{} | retort::data::rotated_views(); }
}  // namespace stage_of_views_on_other_batches
#elif !defined(RETORT_CASE)
namespace stage_of_views_on_other_batches {
[[maybe_unused]] auto run() { return std::vector<retort::data::Batch>{} | retort::data::rotated_views(); }
}  // namespace stage_of_views_on_other_batches
#endif

#if defined(RETORT_CASE_prefetch_of_what_can_only_be_moved)
// expect: retort: elements are copied out of the range; if they can only be moved, pass the range through ranges::views::move
namespace prefetch_of_what_can_only_be_moved {
[[maybe_unused]] auto run(std::vector<std::unique_ptr<int>>& values) {
    return values | retort::data::prefetch(2);
}
}  // namespace prefetch_of_what_can_only_be_moved
#elif !defined(RETORT_CASE)
namespace prefetch_of_what_can_only_be_moved {
[[maybe_unused]] auto run(std::vector<std::unique_ptr<int>>& values) {
    return values | ranges::views::move | retort::data::prefetch(2);
}
}  // namespace prefetch_of_what_can_only_be_moved
#endif
