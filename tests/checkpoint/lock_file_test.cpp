// SPDX-License-Identifier: BSL-1.0
/// \file
/// Locks between objects and between processes.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <retort/checkpoint/lock_file.hpp>

namespace lock_file_test {

using namespace retort_test;
using retort::detail::LockFile;

TEST_CASE("a byte is locked by one object at a time") {
    const TemporaryDirectory directory;
    LockFile one(directory / "locks"), other(directory / "locks");
    CHECK(one.take(3));
    CHECK_FALSE(one.take(3));
    CHECK_FALSE(other.take(3));
    CHECK(other.take(4));
    one.release(3);
    CHECK(other.take(3));
    const LockFile moved = std::move(other);
    CHECK_FALSE(one.take(4));
}

TEST_CASE("a file is locked by one object at a time, which removes it") {
    const TemporaryDirectory directory;
    const auto path = directory / "lock";
    {
        const auto one = LockFile::exclusive(path);
        REQUIRE(one);
        CHECK_FALSE(LockFile::exclusive(path));
        one->remove();
        CHECK(directory.names().empty());
    }
    // One that opened the file before its removal does not get the lock of the removed file.
    LockFile late(path);
    std::filesystem::remove(path);
    CHECK(late.take(0));
    CHECK(LockFile::exclusive(path));
}

TEST_CASE("the lock of a killed process is free") {
    const TemporaryDirectory directory;
    const auto path = directory / "lock";
    int ready[2];
    REQUIRE(::pipe(ready) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
        const auto lock = LockFile::exclusive(path);
        const char byte = lock ? 'y' : 'n';
        if (::write(ready[1], &byte, 1) == 1) ::pause();
        ::_exit(1);
    }
    char byte = 0;
    REQUIRE(::read(ready[0], &byte, 1) == 1);
    CHECK(byte == 'y');
    CHECK_FALSE(LockFile::exclusive(path));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    CHECK(LockFile::exclusive(path));
    ::close(ready[0]);
    ::close(ready[1]);
}

TEST_CASE("a file that cannot be locked is an error, unlike one that is already locked") {
    const TemporaryDirectory directory;
    CHECK(holds(words_of<retort::OutputError>([&] { LockFile(directory / "no" / "lock"); }),
                "cannot open or create: No such file"));
    CHECK(holds(words_of<retort::OutputError>([&] { LockFile::exclusive(directory.path()); }),
                "cannot open or create: Is a directory"));
}

}  // namespace lock_file_test
