// SPDX-License-Identifier: BSL-1.0
/// \file
/// Files of checkpoints that are valid but for what they hold.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <sys/stat.h>

#include <retort/checkpoint/archive.hpp>
#include <retort/checkpoint/file.hpp>

namespace file_test {

using namespace retort_test;
using retort::CheckpointError;
using retort::detail::decode_state;
using retort::detail::encode_state;

namespace {
/// The bytes with another checksum, so that what they say is looked at.
std::string sealed(std::string bytes) {
    bytes.resize(bytes.size() - 8);
    retort::detail::Hash hash;
    hash.add(bytes);
    retort::detail::append_number(bytes, hash.value());
    return bytes;
}
}  // namespace

TEST_CASE("a truth value in a checkpoint is 0 or 1") {
    std::string bytes = encode_state({{"flags", torch::ones({3}, torch::kBool)}});
    CHECK(same(decode_state(bytes, "a").at(0).tensor, torch::ones({3}, torch::kBool)));
    bytes[bytes.size() - 9] = 2;
    CHECK(holds(words_of<CheckpointError>([&] { decode_state(sealed(bytes), "a"); }), "a: damaged: at offset",
                "expected truth values of 0 and 1 named flags, found one of 2"));
}

TEST_CASE("files of a huge length that hold nothing are refused before they are read") {
    const TemporaryDirectory folder;
    const auto path = folder / "huge.retort";
    const std::string whole = encode_state({{"a", torch::ones({3})}});
    for (const std::size_t kept : {std::size_t{0}, std::size_t{8}, whole.size()}) {
        write_file(path, whole.substr(0, kept));
        std::error_code error;
        std::filesystem::resize_file(path, std::uintmax_t{1} << 36, error);
        if (error) return;  // not on this file system
        INFO(kept);
        CHECK(holds(words_of<CheckpointError>([&] { retort::detail::read_state(path); }), path.string()));
    }
}

TEST_CASE("a folder, a pipe or a device in a checkpoint's place is called that") {
    const TemporaryDirectory folder;
    const auto words = [](const std::filesystem::path& path) {
        return words_of<CheckpointError>([&] { retort::detail::read_state(path); });
    };
    std::filesystem::create_directory(folder / "checkpoint-000001-00000000.retort");
    CHECK(holds(words(folder / "checkpoint-000001-00000000.retort"), "checkpoint-000001-00000000.retort",
                "expected a regular file, found a directory"));
    REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
    CHECK(holds(words(folder / "pipe"), "found a pipe, socket or device"));
    CHECK(holds(words("/dev/zero"), "found a pipe, socket or device"));
    CHECK(holds(words_of<retort::OutputError>(
                    [&] { retort::detail::write_state(folder / "checkpoint-000001-00000000.retort", {}); }),
                "checkpoint-000001-00000000.retort", "cannot rename the finished file: Is a directory"));
}

}  // namespace file_test
