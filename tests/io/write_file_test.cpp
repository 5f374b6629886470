// SPDX-License-Identifier: BSL-1.0
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <filesystem>
#include <string>

#include <retort/io/write_file.hpp>

namespace write_file_test {

using namespace retort_test;

TEST_CASE("write_file replaces a file atomically, or leaves it unchanged") {
    const TemporaryDirectory directory;
    retort::check_writable(directory / "a.csv");
    CHECK(directory.names().empty());
    retort::write_file(directory / "a.csv", std::string(10000, 'x'));
    retort::write_file(directory / "a.csv", "two");
    CHECK(read_file(directory / "a.csv") == "two");
    CHECK(directory.names() == std::vector<std::string>{"a.csv"});
    const std::filesystem::path missing = directory / "missing/a.csv";
    CHECK(holds(words_of<retort::OutputError>([&] { retort::check_writable(missing); }), missing.string()));
    CHECK(holds(words_of<retort::OutputError>([&] { retort::write_file(missing, "x"); }), missing.string()));
}

}  // namespace write_file_test
