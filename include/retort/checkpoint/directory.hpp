// SPDX-License-Identifier: BSL-1.0
/// \file
/// The directory of a run's checkpoints.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <compare>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <retort/checkpoint/lock_file.hpp>
#include <retort/core/error.hpp>
#include <retort/core/progress.hpp>

namespace retort::detail {

/// A checkpoint in a directory: `checkpoint-<epoch>-<step>.retort`.
struct CheckpointName {
    std::int64_t epoch = 0;
    std::int64_t step = 0;
    friend auto operator<=>(const CheckpointName&, const CheckpointName&) = default;

    std::string text() const {
        char buffer[96];
        std::snprintf(buffer, sizeof buffer, "checkpoint-%06lld-%08lld.retort", static_cast<long long>(epoch),
                      static_cast<long long>(step));
        return buffer;
    }
    /// Parses a name; false if it is not that of a checkpoint.
    static bool read(std::string_view name, CheckpointName& result) {
        constexpr std::string_view begin = "checkpoint-";
        if (!name.starts_with(begin)) return false;
        const char* const end = name.data() + name.size();
        const auto epoch = std::from_chars(name.data() + begin.size(), end, result.epoch);
        if (epoch.ec != std::errc() || epoch.ptr == end || *epoch.ptr != '-') return false;
        const auto step = std::from_chars(epoch.ptr + 1, end, result.step);
        return step.ec == std::errc() && result.text() == name;
    }
};

/// The checkpoints in a directory, oldest first; none if there is no such directory.
/// \throws OutputError if it cannot be read
inline std::vector<CheckpointName> checkpoints_in(const std::filesystem::path& directory) {
    std::vector<CheckpointName> result;
    std::error_code error;
    if (!std::filesystem::exists(directory, error)) return result;
    std::filesystem::directory_iterator entries(directory, error);
    for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
        CheckpointName name;
        if (CheckpointName::read(entries->path().filename().string(), name)) result.push_back(name);
    }
    if (error)
        throw OutputError(concat(directory.string(), ": cannot read this directory: ", error.message()));
    std::sort(result.begin(), result.end());
    return result;
}

/// The newest checkpoint in a directory.
/// \throws CheckpointError if there is none
inline std::filesystem::path newest_checkpoint(const std::filesystem::path& directory) {
    const std::vector<CheckpointName> names = checkpoints_in(directory);
    if (names.empty()) throw CheckpointError(concat(directory.string(), ": no checkpoint in this directory"));
    return directory / names.back().text();
}

/// A directory that only this process writes to, created if missing. While in use it contains a file `.lock`.
/// Files that a process left half-written are removed: they are not checkpoints.
class CheckpointDirectory {
  public:
    /// \throws OutputError if it cannot be created or written, another run uses it, or its file system has no locks
    explicit CheckpointDirectory(std::filesystem::path path) : path_(std::move(path)) {
        std::error_code error;
        std::filesystem::create_directories(path_, error);
        if (!std::filesystem::is_directory(path_)) {
            const std::error_code none = std::make_error_code(std::errc::not_a_directory);
            throw OutputError(
                concat(path_.string(), ": cannot create this directory: ", (error ? error : none).message()));
        }
        if (::access(path_.c_str(), W_OK | X_OK) != 0) {
            throw OutputError(
                concat(path_.string(), ": cannot write to this directory: ", std::strerror(errno)));
        }
        lock_ = LockFile::exclusive(path_ / ".lock");
        if (!lock_) {
            throw OutputError(
                concat(path_.string(), ": expected a directory that no other run uses, found one in use"));
        }
        for (std::filesystem::directory_iterator entries(path_, error), end; !error && entries != end;
             entries.increment(error)) {
            const std::string name = entries->path().filename().string();
            const std::size_t part = name.rfind(".part");
            CheckpointName whole;
            if (part == std::string::npos || !CheckpointName::read(name.substr(0, part), whole)) continue;
            std::error_code ignored;
            std::filesystem::remove(entries->path(), ignored);
        }
    }
    CheckpointDirectory(const CheckpointDirectory&) = delete;
    CheckpointDirectory& operator=(const CheckpointDirectory&) = delete;
    ~CheckpointDirectory() {
        if (lock_) lock_->remove();
    }

    const std::filesystem::path& path() const { return path_; }
    /// Removes all but the newest `keep`.
    void prune(std::size_t keep) const {
        const std::vector<CheckpointName> names = checkpoints_in(path_);
        for (std::size_t i = 0; i + keep < names.size(); ++i) {
            std::error_code ignored;  // a leftover file does no harm
            std::filesystem::remove(path_ / names[i].text(), ignored);
        }
    }

  private:
    std::filesystem::path path_;
    std::optional<LockFile> lock_;
};

}  // namespace retort::detail
