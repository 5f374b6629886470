// SPDX-License-Identifier: BSL-1.0
/// \file
/// Untrusted bytes, and the files they come from.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <sys/stat.h>

#include <retort/detail/byte_reader.hpp>
#include <retort/detail/mapped_file.hpp>
#include <retort/detail/tensor.hpp>

namespace byte_reader_test {

using namespace retort_test;
using retort::detail::ByteReader;
using retort::detail::excerpt;
using retort::detail::MappedFile;

TEST_CASE("a reader returns what is there, and names the position of what is missing") {
    std::string bytes("\x01\x02\x03\x04line\nrest", 13);
    retort::detail::append_number(bytes, std::uint16_t{0x0605});
    ByteReader reader(bytes);
    CHECK(reader.number<std::uint16_t>("a number") == 0x0201);
    CHECK(reader.big_endian<std::uint16_t>("a number") == 0x0304);
    CHECK(reader.line("a word") == "line");
    CHECK(reader.position() == 9);
    CHECK(reader.take(4, "the rest") == "rest");
    CHECK(reader.number<std::int16_t>("a number") == 0x0605);
    CHECK(reader.left() == 0);
    CHECK(words_of<retort::DataError>([&] { reader.number<std::uint8_t>("a number"); }) ==
          "at offset 15: expected 1 bytes of a number, found 0 until the end");
    reader = ByteReader(bytes, 9);
    CHECK(words_of<retort::DataError>([&] { reader.line("a word"); }) ==
          "at offset 9: expected a line with a word, found no end of line");
    CHECK(words_of<retort::DataError>([&] { reader.take(~std::uint64_t{0}, "text"); }) ==
          "at offset 9: expected 18446744073709551615 bytes of text, found 6 until the end");
    CHECK(words_of<retort::DataError>([&] { ByteReader(bytes, 16); }) ==
          "at offset 15: expected data at offset 16, found the end");
}

TEST_CASE("messages quote at most one line of a file") {
    CHECK(excerpt("layer.weight") == "layer.weight");
    CHECK(excerpt(std::string_view("a\nb\0c\x7f", 6)) == "a?b?c?");
    CHECK(excerpt(std::string(1000, 'x')) == std::string(100, 'x') + "...");
    CHECK(excerpt("\xc3\xa4\xc3\xa4", 3) == "\xc3\xa4...");
    CHECK(excerpt("\x80\x80\x80", 2) == "...");
}

TEST_CASE("only regular files are read; nothing else blocks") {
    const TemporaryDirectory directory;
    const auto refusal = [](const std::filesystem::path& path) {
        return words_of<retort::DataError>([&] { MappedFile file(path); });
    };
    write_file(directory / "a", "bytes");
    write_file(directory / "none", "");
    CHECK(MappedFile(directory / "a").bytes() == "bytes");
    CHECK(MappedFile(directory / "none").bytes().empty());
    CHECK(holds(refusal(directory / "b"), "b: cannot read: No such file"));
    CHECK(holds(refusal(directory.path()), "expected a regular file, found a directory"));
    REQUIRE(::mkfifo((directory / "pipe").c_str(), 0600) == 0);
    CHECK(holds(refusal(directory / "pipe"), "expected a regular file, found a pipe, socket or device"));
    CHECK(holds(refusal("/dev/zero"), "expected a regular file, found a pipe, socket or device"));
}

TEST_CASE("the elements of a tensor in memory are its values") {
    const auto complex = torch::complex(torch::arange(3.0), torch::arange(3.0));
    const auto conjugate = complex.conj(), negative = torch::imag(conjugate);
    REQUIRE(conjugate.is_conj());
    REQUIRE(negative.is_neg());
    const auto memory = [](const torch::Tensor& tensor, std::size_t i) {
        return static_cast<const float*>(retort::detail::in_memory(tensor).data_ptr())[i];
    };
    CHECK(memory(complex, 3) == 1.0F);
    CHECK(memory(conjugate, 3) == -1.0F);
    CHECK(memory(negative, 2) == -2.0F);
    CHECK(memory(torch::arange(4.0F).reshape({2, 2}).t().requires_grad_(), 1) == 2.0F);
}

}  // namespace byte_reader_test
