// SPDX-License-Identifier: BSL-1.0
/// \file
/// Atomically written files.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cerrno>
#include <csignal>

#include <retort/detail/atomic_file.hpp>

namespace atomic_file_test {

using namespace retort_test;
using retort::detail::check_writable;
using retort::detail::write_atomically;
using retort::detail::write_beside;

namespace {
/// Runs `function` in a process that may write files of at most `bytes`; returns its result.
template <class Function>
int with_file_limit(rlim_t bytes, Function&& function) {
    const pid_t child = ::fork();
    if (child == 0) {
        std::signal(SIGXFSZ, SIG_IGN);
        const rlimit limit{bytes, bytes};
        ::setrlimit(RLIMIT_FSIZE, &limit);
        int result = 99;
        try {
            result = function();
        } catch (...) {
        }
        ::_exit(result);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
}  // namespace

TEST_CASE("a file is written and replaced atomically") {
    const TemporaryDirectory directory;
    write_atomically(directory / "a.csv", "one");
    CHECK(read_file(directory / "a.csv") == "one");
    write_atomically(directory / "a.csv", std::string(100000, 'x'));
    CHECK(read_file(directory / "a.csv") == std::string(100000, 'x'));
    write_atomically(directory / "a.csv", "");
    CHECK(read_file(directory / "a.csv").empty());
    CHECK(directory.names() == std::vector<std::string>{"a.csv"});
}

TEST_CASE("a missing directory, or a file in its place, is an error before and while writing") {
    const TemporaryDirectory directory;
    write_file(directory / "file", "old");
    for (const auto& path :
         {directory / "missing/a.csv", directory / "file/a.csv", directory / std::string(300, 'n')}) {
        const auto before = words_of<retort::OutputError>([&] { check_writable(path); });
        const auto during = words_of<retort::OutputError>([&] { write_atomically(path, "x"); });
        CHECK(holds(before, path.string() + ": cannot create: "));
        CHECK(before == during);
    }
    CHECK(directory.names() == std::vector<std::string>{"file"});
}

TEST_CASE("an unwritable directory is an error") {
    if (::geteuid() == 0) return;  // root may write everywhere
    const TemporaryDirectory directory;
    std::filesystem::permissions(directory.path(),
                                 std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
    CHECK(
        holds(words_of<retort::OutputError>([&] { check_writable(directory / "a"); }), "Permission denied"));
    CHECK_THROWS_AS(write_atomically(directory / "a", "x"), retort::OutputError);
    std::filesystem::permissions(directory.path(), std::filesystem::perms::owner_all);
    CHECK(directory.names().empty());
}

TEST_CASE("a directory in place of the file is an error, and stays") {
    const TemporaryDirectory directory;
    std::filesystem::create_directory(directory / "a.csv");
    CHECK(words_of<retort::OutputError>([&] { check_writable(directory / "a.csv"); }) ==
          (directory / "a.csv").string() + ": expected a file or nothing there, found a directory");
    CHECK(holds(words_of<retort::OutputError>([&] { write_atomically(directory / "a.csv", "x"); }),
                "cannot rename the finished file"));
    CHECK(directory.names() == std::vector<std::string>{"a.csv"});
    CHECK(std::filesystem::is_directory(directory / "a.csv"));
}

TEST_CASE("a full disk leaves the old file and no part of the new one") {
    const TemporaryDirectory directory;
    write_file(directory / "a.csv", "old");
    const int result = with_file_limit(1000, [&] {
        const auto words = words_of<retort::OutputError>(
            [&] { write_atomically(directory / "a.csv", std::string(5000, 'x')); });
        return holds(words, (directory / "a.csv").string() + ": cannot write: ") ? 0 : 1;
    });
    CHECK(result == 0);
    CHECK(read_file(directory / "a.csv") == "old");
    CHECK(directory.names() == std::vector<std::string>{"a.csv"});
}

TEST_CASE("a full device is an error") {
    if (!std::filesystem::exists("/dev/full")) return;
    const int device = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
    REQUIRE(device >= 0);
    CHECK(retort::detail::write_all(device, "x") == ENOSPC);
    ::close(device);
}

TEST_CASE("exceptions of a writer propagate, and its file is removed") {
    const TemporaryDirectory directory;
    CHECK_THROWS_AS(write_beside(directory / "a",
                                 [](const std::filesystem::path& path) {
                                     write_file(path, "half");
                                     throw std::logic_error("enough");
                                 }),
                    std::logic_error);
    CHECK(directory.names().empty());
    CHECK(holds(words_of<retort::OutputError>([&] { write_beside(directory / "a", [](const auto&) {}); }),
                "cannot open the file that was written", "No such file"));
}

TEST_CASE("checking leaves nothing behind") {
    const TemporaryDirectory directory;
    check_writable(directory / "a");
    CHECK(directory.names().empty());
    write_file(directory / "a", "old");
    check_writable(directory / "a");
    CHECK(read_file(directory / "a") == "old");
}

TEST_CASE(
    "what a killed process left beside a file goes with the next check, what a living one writes stays") {
    const TemporaryDirectory directory;
    const auto part = [&](const std::string& name, pid_t process) {
        return directory / (name + ".part" + std::to_string(process));
    };
    const pid_t child = ::fork();
    if (child == 0) {
        try {
            write_beside(directory / "a.csv", [](const std::filesystem::path& path) {
                write_file(path, "half a li");
                ::raise(SIGKILL);
            });
        } catch (...) {
        }
        ::_exit(1);
    }
    ::waitpid(child, nullptr, 0);
    REQUIRE(read_file(part("a.csv", child)) == "half a li");
    write_file(part("a.csv", ::getppid()), "of a living process");
    write_file(part("b.csv", child), "of another file");
    write_file(directory / "a.csv.part", "no number");
    write_file(directory / "a.csv.part12x", "no number");
    check_writable(directory / "a.csv");
    std::vector<std::string> expected{"a.csv.part", "a.csv.part12x", part("a.csv", ::getppid()).filename(),
                                      part("b.csv", child).filename()};
    std::sort(expected.begin(), expected.end());
    CHECK(directory.names() == expected);
}

TEST_CASE("a link in the place of the temporary file is not followed") {
    const TemporaryDirectory directory;
    write_file(directory / "precious", "as it was");
    const auto part = directory / ("a.csv.part" + std::to_string(::getpid()));
    for (const bool check : {true, false}) {
        std::filesystem::create_symlink(directory / "precious", part);
        if (check) {
            check_writable(directory / "a.csv");
        } else {
            write_atomically(directory / "a.csv", "new");
        }
        CHECK(read_file(directory / "precious") == "as it was");
    }
    CHECK(directory.names() == std::vector<std::string>{"a.csv", "precious"});
    CHECK(read_file(directory / "a.csv") == "new");
}

}  // namespace atomic_file_test
