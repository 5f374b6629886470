// SPDX-License-Identifier: BSL-1.0
/// \file
/// Files of a megabyte that ask a reader for much more: read in a process whose memory is limited.
#include <retort_test.hpp>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <new>

#include <retort/io/detail/safetensors_file.hpp>
#include <retort/io/detail/torch_file.hpp>

namespace hostile_test {

using namespace retort_test;

namespace {

constexpr std::size_t megabyte = std::size_t{1} << 20;

std::string repeated(std::string_view piece, std::size_t bytes = megabyte) {
    std::string result;
    result.reserve(bytes + piece.size());
    while (result.size() < bytes) result += piece;
    return result;
}

/// A file of torch.save from before version 1.6 around this pickle, with no storages.
std::string legacy(const std::string& pickle) {
    std::string result("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);
    result.append("\x80\x02M\xe9\x03.", 6).append("\x80\x02}.", 4);
    return result.append(pickle).append("\x80\x02].", 4);
}

std::string number(std::uint32_t value) { return {reinterpret_cast<const char*>(&value), sizeof value}; }

std::string safetensors(const std::string& header) {
    const std::uint64_t size = header.size();
    return std::string(reinterpret_cast<const char*>(&size), 8) + header;
}

/// How `read` ends in a process that may take `most` bytes more: "" if it returns, "refused", "out of memory", or else.
template <class Read>
std::string with_memory(std::size_t most, Read&& read) {
    const pid_t child = ::fork();
    if (child == 0) {
        std::size_t pages = 0;
        std::ifstream("/proc/self/statm") >> pages;
        const rlim_t limit = pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) + most;
        const rlimit both{limit, limit};
        ::setrlimit(RLIMIT_AS, &both);
        try {
            read();
        } catch (const retort::DataError&) {
            ::_exit(1);
        } catch (const std::bad_alloc&) {
            ::_exit(2);
        }
        ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (!WIFEXITED(status)) return "killed";
    return std::array{"", "refused", "out of memory"}.at(static_cast<std::size_t>(WEXITSTATUS(status)));
}

}  // namespace

TEST_CASE("the description of weights takes a bounded multiple of its bytes") {
#if defined(__SANITIZE_ADDRESS__)
    WARN("the address sanitizer takes memory of its own: nothing is limited here");
#else
    std::vector<std::pair<std::string, std::string>> files;
    const auto add = [&](const char* name, const std::string& pickle) {
        files.emplace_back(name, legacy(pickle));
    };
    add("dictionaries", "\x80\x02" + repeated("}") + ".");
    add("lists", "\x80\x02" + repeated("]") + ".");
    add("empty tuples", "\x80\x02" + repeated(")") + ".");
    add("nested tuples", "\x80\x02N" + repeated("\x85") + ".");
    add("marks", "\x80\x02" + repeated("(") + ".");
    add("memo", "\x80\x04N" + repeated("\x94") + ".");
    add("sparse memo", "\x80\x02N" + repeated("r\1\2\3\4") + ".");
    add("a long name", "\x80\x02X" + number(megabyte / 2) + repeated("x", megabyte / 2) + "q" + '\0' + "}(" +
                           repeated(std::string_view("h\0N", 3), megabyte / 2) + "u.");
    // One object of a class with a long name, under many names.
    std::string objects =
        "\x80\x02"
        "c" +
        repeated("m", 200) + "\n" + repeated("n", 200) + "\n)Rq" + '\0' + "0}(";
    for (std::uint32_t i = 0; i < megabyte / 10; ++i)
        objects.append("U\4").append(number(i)).append("h").append(1, '\0');
    add("objects", objects + "u.");
    // Many of them, and one large dictionary in which something is looked up for each.
    std::string modules =
        "\x80\x02"
        "cm\nn\n)R}(";
    for (std::uint32_t i = 0; i < megabyte / 20; ++i) modules.append("U\4").append(number(i)).append("N");
    modules.append("ubq").append(1, '\0').append("0}(");
    for (std::uint32_t i = 0; i < megabyte / 20; ++i)
        modules.append("U\4").append(number(i)).append("h").append(1, '\0');
    add("modules", modules + "u.");
    for (const auto& [name, bytes] : files) {
        INFO(name);
        CHECK(with_memory(96 * megabyte, [&] { retort::detail::read_torch_legacy(bytes, ""); }) == "refused");
    }
    for (const auto& [name, header] : std::vector<std::pair<std::string, std::string>>{
             {"nesting", repeated("[")},
             {"nested objects", repeated("{\"\":")},
             {"metadata", "{\"__metadata__\":{" + repeated("\"\":\"\",") + "}}"},
             {"one name", "{" + repeated("\"a\":{},") + "}"},
             {"dimensions", "{\"a\":{\"shape\":[" + repeated("1,") + "1]}}"}}) {
        INFO(name);
        CHECK(with_memory(96 * megabyte, [&, text = header] {
                  retort::detail::parse_safetensors(safetensors(text));
              }) == "refused");
    }
#endif
}

TEST_CASE("what a pickle repeats is one value, and what is changed is not") {
    // {"a": None, "b": None, "c": ()}, and an attribute set on the empty tuple, which has none.
    const std::string pickle = "\x80\x02}(U\1aNU\1bNU\1c)Nbu.";
    retort::detail::ByteReader reader(pickle);
    const retort::detail::Pickle read(reader);
    const auto& root = read.root();
    REQUIRE(root.items.size() == 6);
    CHECK(root.items[1] == root.items[3]);
    CHECK(read.described(read[root.items[5]]) == "a tuple");
    CHECK_FALSE(read[root.items[5]].state);
}

TEST_CASE("a dictionary is searched by its first keys only") {
    const auto dictionary = [](int before) {
        std::string pickle("\x80\x02}(", 4);
        for (int i = 0; i < before; ++i) pickle.append("U\1").append(1, static_cast<char>(i)).append("N");
        return pickle.append("U\4conjK\1u.");
    };
    for (const auto& [before, found] : {std::pair{0, true}, {63, true}, {64, false}}) {
        const std::string bytes = dictionary(before);
        retort::detail::ByteReader reader(bytes);
        const retort::detail::Pickle read(reader);
        CHECK((read.find(read.root(), "conj") != nullptr) == found);
    }
}

}  // namespace hostile_test
