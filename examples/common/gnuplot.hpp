// SPDX-License-Identifier: BSL-1.0
/// \file
/// Plots, if gnuplot is installed.
#pragma once

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include <retort/core/error.hpp>

namespace examples {

/// Lets gnuplot draw `folder/name.svg` from the script `folder/name.gp`, which gets both paths in its variables
/// `folder` and `picture`.
/// \returns whether gnuplot is installed
/// \throws retort::OutputError if it failed
inline bool draw(const std::filesystem::path& folder, const std::string& name) {
    const auto quoted = [](const std::filesystem::path& path) {
        std::string result = "'";
        for (const char c : path.string()) result += c == '\'' ? std::string("''") : std::string(1, c);
        return result + "'";
    };
    const std::filesystem::path target = folder / (name + ".svg");
    const std::filesystem::path unfinished = target.string() + ".part";
    const std::string script = (folder / (name + ".gp")).string();
    const std::string settings = "folder=" + quoted(folder) + "; picture=" + quoted(unfinished);
    std::vector<std::string> words{"gnuplot", "-e", settings, script};
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pid_t process = 0;
    const int error = ::posix_spawnp(&process, "gnuplot", nullptr, nullptr, arguments.data(), environ);
    if (error == ENOENT) return false;
    int status = 0;
    if (error != 0 || ::waitpid(process, &status, 0) != process || !WIFEXITED(status) ||
        WEXITSTATUS(status) != 0) {
        std::error_code ignored;
        std::filesystem::remove(unfinished, ignored);
        throw retort::OutputError(target.string() + ": gnuplot failed to draw it (see its output above)");
    }
    std::filesystem::rename(unfinished, target);
    return true;
}

}  // namespace examples
