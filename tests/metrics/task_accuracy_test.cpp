// SPDX-License-Identifier: BSL-1.0
#include <golden.hpp>
#include <retort_test.hpp>

#include <retort/metrics/task_accuracy.hpp>

namespace task_accuracy_test {

namespace golden = retort_test::golden;
using Reference = retort::metrics::TaskAccuracy::Reference;
using retort::metrics::TaskAccuracy;

std::vector<double> row(const torch::Tensor& matrix, std::int64_t i) {
    const torch::Tensor values = matrix[i].contiguous();
    return {values.data_ptr<double>(), values.data_ptr<double>() + values.numel()};
}

/// The case's matrix, task by task.
TaskAccuracy read(const golden::Case& each) {
    const torch::Tensor accuracy = each.input("accuracy");
    TaskAccuracy result(static_cast<std::size_t>(accuracy.size(1)));
    if (each.has_input("baseline")) {
        const torch::Tensor baseline = each.input("baseline").contiguous();
        result.baseline({baseline.data_ptr<double>(), baseline.data_ptr<double>() + baseline.numel()});
    }
    for (std::int64_t t = 0; t < accuracy.size(0); ++t)
        result.record(row(accuracy, t), {static_cast<std::size_t>(t)});
    return result;
}

TEST_CASE("task accuracy: by hand") {
    TaskAccuracy tasks(3);
    CHECK(std::isnan(tasks.forgetting()));
    tasks.baseline({0.1, 0.1, 0.1});
    tasks.record({0.9, 0.2, 0.1}, {0});
    CHECK(std::isnan(tasks.forgetting()));
    tasks.record({0.95, 0.9, 0.3}, {1});
    tasks.record({0.8, 0.9, 0.7}, {2});
    CHECK(tasks.average() == Approx(0.8));
    CHECK(tasks.forgetting(0) == Approx(0.15));
    CHECK(tasks.forgetting(0, Reference::first) == Approx(0.1));
    CHECK(std::isnan(tasks.forgetting(2)));
    CHECK(tasks.forgetting() == Approx(0.075));
    CHECK(tasks.backward_transfer() == Approx(-0.05));
    CHECK(tasks.forward_transfer() == Approx((0.1 + 0.2) / 2));
}

TEST_CASE("task accuracy: an accuracy before the task was learned is no reference") {
    TaskAccuracy tasks(2);
    tasks.record({0.5, 0.9}, {0});
    tasks.record({0.5, 0.6}, {1});
    tasks.record({0.5, 0.6});
    CHECK(tasks.forgetting(1) == 0);
}

TEST_CASE("task accuracy: FACIL") {
    for (const golden::Case& each : golden::cases("cl_metrics__facil")) {
        INFO(each.name());
        const TaskAccuracy tasks = read(each);
        if (each.name() == "holes") {  // NaN spreads there, and is left out here
            CHECK(std::isfinite(tasks.forgetting()));
            continue;
        }
        CHECK(tasks.average() == Approx(each.value().item<double>()).epsilon(1e-12));
        const double expected = each.component("mean_forgetting_last").item<double>();
        if (tasks.tasks() > 1) CHECK(tasks.forgetting() == Approx(expected).epsilon(1e-12).margin(1e-15));
    }
}

TEST_CASE("task accuracy: Gradient Episodic Memory") {
    for (const golden::Case& each : golden::cases("cl_metrics__gem")) {
        if (each.name() == "holes" || each.name() == "several_rows_per_task") continue;
        INFO(each.name());
        const TaskAccuracy tasks = read(each);
        CHECK(tasks.average() == Approx(each.value().item<double>()).epsilon(1e-12));
        if (tasks.tasks() < 2) continue;
        CHECK(tasks.backward_transfer() ==
              Approx(each.component("backward_over_earlier").item<double>()).epsilon(1e-12).margin(1e-15));
        if (each.name() == "future_absent") continue;
        CHECK(tasks.forward_transfer() ==
              Approx(each.component("forward_over_later").item<double>()).epsilon(1e-12).margin(1e-15));
    }
}

TEST_CASE("task accuracy: Avalanche") {
    for (const golden::Case& each : golden::cases("cl_metrics__avalanche")) {
        INFO(each.name());
        const TaskAccuracy tasks = read(each);
        if (tasks.tasks() < 2) continue;
        CHECK(tasks.forgetting(Reference::first) ==
              Approx(each.value().item<double>()).epsilon(1e-12).margin(1e-15));
        const double forward = each.components("stream_forward_transfer").back().item<double>();
        // There, a task that was not evaluated right before it was learned keeps its value of earlier.
        if (each.name() != "future_absent" && each.name() != "holes")
            CHECK(tasks.forward_transfer() == Approx(forward).epsilon(1e-12).margin(1e-15));
    }
}

TEST_CASE("task accuracy: what was not evaluated is left out") {
    const double none = std::nan("");
    TaskAccuracy tasks(3);
    tasks.record({0.9, none, none}, {0});
    tasks.record({none, 0.8, none}, {1});
    tasks.record({0.7, none, 0.9}, {2});
    CHECK(tasks.average() == Approx(0.8));
    CHECK(tasks.forgetting() == Approx(0.2));
    CHECK(std::isnan(tasks.forward_transfer()));
}

TEST_CASE("task accuracy: state, errors") {
    TaskAccuracy tasks(2);
    tasks.record({0.9, 0.1}, {0});
    retort::detail::StateItems items;
    retort::Archive saved(items);
    tasks.checkpoint(saved);
    TaskAccuracy other(2);
    retort::Archive loaded(items, true, "here");
    other.checkpoint(loaded);
    other.record({0.5, 0.8}, {1});
    CHECK(other.forgetting() == Approx(0.4));
    CHECK_THROWS_WITH(tasks.record({1}), "task accuracy: expected 2 accuracies, one for each task, found 1");
    CHECK_THROWS_WITH(tasks.record({1, 1}, {0}),
                      "task accuracy: expected a task below 2 that was not learned yet, found 0");
}

}  // namespace task_accuracy_test
