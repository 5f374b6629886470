// SPDX-License-Identifier: BSL-1.0
/// \file
/// Pictures, where gnuplot is installed.
#pragma once

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/detail/atomic_file.hpp>

namespace examples {

/// Lets gnuplot draw `folder/name.svg` from the script `folder/name.gp`, which finds the names of both in its
/// variables `folder` and `picture`.
/// \returns whether there is a gnuplot
/// \throws retort::OutputError if it failed
inline bool draw(const std::filesystem::path& folder, const std::string& name) {
    const auto quoted = [](const std::filesystem::path& path) {
        std::string result = "'";
        for (const char c : path.string()) result += c == '\'' ? std::string("''") : std::string(1, c);
        return result + "'";
    };
    bool found = true;
    const std::filesystem::path target = folder / (name + ".svg");
    const auto run = [&](const std::filesystem::path& picture) {
        const std::string script = (folder / (name + ".gp")).string();
        const std::string settings = "folder=" + quoted(folder) + "; picture=" + quoted(picture);
        std::vector<std::string> words{"gnuplot", "-e", settings, script};
        std::vector<char*> arguments;
        for (std::string& word : words) arguments.push_back(word.data());
        arguments.push_back(nullptr);
        pid_t process = 0;
        const int error = ::posix_spawnp(&process, "gnuplot", nullptr, nullptr, arguments.data(), environ);
        if (error == ENOENT) {
            found = false;
            throw retort::OutputError("gnuplot is not installed");
        }
        int status = 0;
        if (error != 0 || ::waitpid(process, &status, 0) != process || !WIFEXITED(status) ||
            WEXITSTATUS(status) != 0) {
            throw retort::OutputError(target.string() + ": gnuplot failed to draw it (its words are above)");
        }
    };
    try {
        retort::detail::write_beside(target, run);
    } catch (const retort::OutputError&) {
        if (found) throw;
    }
    return found;
}

}  // namespace examples
