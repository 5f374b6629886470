// SPDX-License-Identifier: BSL-1.0
/// \file
/// Devices, threads, progress and errors.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/core.hpp>

namespace device_test {

using namespace retort_test;
using retort::device;

TEST_CASE("devices by name") {
    CHECK(device("cpu") == at::Device(at::kCPU));
    const auto found = device("auto");
    CHECK(found.type() == (at::hasCUDA() ? at::kCUDA : at::kCPU));
}

TEST_CASE("an invalid device is an error") {
    for (const std::string name : {"", "gpu", "CPU", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "cuda:1x",
                                   "cuda:1234", "cuda 0", "cuda: 0", "auto "}) {
        const auto words = words_of<retort::ConfigError>([&] { device(name); });
        CHECK(words == "device: expected cpu, cuda, cuda:N or auto, found \"" + name + "\"");
    }
}

TEST_CASE("a missing CUDA device is an error") {
    if (at::hasCUDA()) {
        CHECK(device("cuda") == at::Device(at::kCUDA, 0));
        CHECK(device("cuda:0") == at::Device(at::kCUDA, 0));
        CHECK(holds(words_of<retort::ConfigError>([] { device("cuda:99"); }), "\"cuda:99\" requested",
                    "there are only"));
    } else {
        for (const std::string name : {"cuda", "cuda:0", "cuda:99"}) {
            CHECK(words_of<retort::ConfigError>([&] { device(name); }) ==
                  "device: \"" + name + "\" requested, but LibTorch finds no CUDA device");
        }
    }
}

TEST_CASE("the requested number of threads") {
    const int before = at::get_num_threads();
    retort::set_threads(1);
    CHECK(at::get_num_threads() == 1);
    retort::set_threads();
    CHECK(at::get_num_threads() >= 1);
    CHECK(holds(words_of<retort::ConfigError>([] { retort::set_threads(-1); }),
                "expected 0 (all cores) or more", "found -1"));
    at::set_num_threads(before);
}

TEST_CASE("time in epochs") {
    using retort::elapsed_epochs;
    using retort::Every;
    STATIC_REQUIRE(elapsed_epochs({.epoch = 3, .step = 5, .steps_per_epoch = 10}, Every::epoch) == 3.0);
    STATIC_REQUIRE(elapsed_epochs({.epoch = 3, .step = 5, .steps_per_epoch = 10}, Every::step) == 3.5);
    STATIC_REQUIRE(elapsed_epochs({.epoch = 3, .step = 5}, Every::epoch) == 3.0);
    CHECK_THROWS_AS(elapsed_epochs({.epoch = 3, .step = 5}, Every::step), retort::ConfigError);
    STATIC_REQUIRE(retort::Progress{.epoch = 1} == retort::Progress{.epoch = 1});
    STATIC_REQUIRE_FALSE(retort::Progress{.epoch = 1} == retort::Progress{.step = 1});
}

TEST_CASE("every error is a retort::Error and keeps its message") {
    const auto check = [](const auto& error) {
        const retort::Error& base = error;
        CHECK(std::string(base.what()) == "words");
        const std::runtime_error& standard = error;
        CHECK(std::string(standard.what()) == "words");
    };
    check(retort::ConfigError("words"));
    check(retort::ShapeError("words"));
    check(retort::DataError("words"));
    check(retort::OutputError("words"));
    check(retort::CheckpointError("words"));
    check(retort::NonFiniteError("words"));
}

}  // namespace device_test
