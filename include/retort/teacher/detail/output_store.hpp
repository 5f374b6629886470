// SPDX-License-Identifier: BSL-1.0
/// \file
/// Rows of tensors on disk, keyed by a hash of their inputs.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/detail/atomic_file.hpp>
#include <retort/detail/byte_reader.hpp>
#include <retort/detail/hash.hpp>
#include <retort/detail/mapped_file.hpp>
#include <retort/detail/write_all.hpp>

namespace retort::detail {

/// A directory of files, one per process that has added to it. A file is
///
///     "retort outputs 1\n"  length of the description (u64)  description  its hash (u64)
///
/// followed by records of one size: key (two u64), content, hash of both (u64); numbers are little-endian. No process
/// changes a file that another one writes, and each record is appended by a single system call, so that all of them
/// can add at the same time, and a killed one leaves at most a partial record at the end, which is skipped. What
/// other processes add meanwhile is seen the next time this one opens the store.
///
/// A file is flushed to disk when its process closes the store. If the whole system fails before, records of that
/// process may be missing, which is harmless, or be zeros, which their checksums detect (see `find`). Flushing every
/// batch would make training wait for the disk, for outputs that the teacher can recompute.
class OutputStore {
  public:
    using Key = std::array<std::uint64_t, 2>;

    /// \param description what the records depend on and what is in them: line by line, `name: value`
    /// \param size of the content of a record, in bytes
    /// \throws DataError if a file in it has another description, or is damaged; OutputError if it cannot be created
    OutputStore(std::filesystem::path directory, std::string description, std::size_t size)
        : directory_(std::move(directory)), description_(std::move(description)), size_(size) {
        std::error_code error;
        std::filesystem::create_directories(directory_, error);
        if (error) {
            throw OutputError(
                concat(directory_.string(), ": cannot create this directory: ", error.message()));
        }
        std::vector<std::filesystem::path> paths;
        for (std::filesystem::directory_iterator entry(directory_, error), end; !error && entry != end;
             entry.increment(error)) {
            if (entry->path().extension() == extension) paths.push_back(entry->path());
        }
        if (error) {
            throw OutputError(concat(directory_.string(), ": cannot list this directory: ", error.message()));
        }
        std::sort(paths.begin(), paths.end());
        for (const auto& path : paths) read(path);
    }
    OutputStore(const OutputStore&) = delete;
    OutputStore& operator=(const OutputStore&) = delete;
    ~OutputStore() {
        if (own_ < 0) return;
        ::fsync(own_);  // on failure records are lost, which is detected on reading
        ::close(own_);
        flush_directory(directory_);
    }

    std::size_t records() const { return places_.size(); }
    std::vector<Key> keys() const {
        std::vector<Key> result;
        for (const auto& [key, place] : places_) result.push_back(key);
        return result;
    }
    bool has(const Key& key) const { return places_.find(key) != places_.end(); }

    /// The content of a record, valid until the next `append`; empty if there is none.
    /// \throws DataError if it is damaged
    std::optional<std::string_view> find(const Key& key) {
        const auto found = places_.find(key);
        if (found == places_.end()) return std::nullopt;
        const auto [file, offset] = found->second;
        File& segment = files_[file];
        // Records added by this process are mapped on first use.
        if (!segment.mapped || segment.mapped->bytes().size() < offset + record())
            segment.mapped.emplace(segment.path);
        const std::string_view bytes = segment.mapped->bytes();
        try {
            ByteReader reader(bytes, offset);
            const std::string_view checked = reader.take(record() - 8, "a record");
            Hash hash;
            hash.add(checked);
            if (reader.number<std::uint64_t>("a checksum") != hash.value()) {
                throw MalformedBytes(
                    offset, "a record with a matching checksum",
                    "a mismatch: the file is damaged; if removed, the teacher recomputes these outputs");
            }
            return checked.substr(16);
        } catch (const MalformedBytes& error) {
            throw DataError(concat(segment.path.string(), ": ", error.what()));
        }
    }

    /// Appends records: `contents` holds their contents, concatenated.
    /// \throws OutputError if they cannot be written; the store is then unchanged
    void append(const std::vector<Key>& keys, std::string_view contents) {
        if (keys.empty()) return;
        if (own_ < 0) create();
        std::string bytes;
        bytes.reserve(keys.size() * record());
        for (std::size_t i = 0; i < keys.size(); ++i) {
            const std::size_t begin = bytes.size();
            for (const std::uint64_t half : keys[i]) append_number(bytes, half);
            bytes.append(contents.substr(i * size_, size_));
            Hash hash;
            hash.add(std::string_view(bytes).substr(begin));
            append_number(bytes, hash.value());
        }
        write(bytes);
        for (std::size_t i = 0; i < keys.size(); ++i)
            places_.emplace(keys[i], Place{files_.size() - 1, end_ + i * record()});
        end_ += bytes.size();
    }

  private:
    struct Place {
        std::size_t file, offset;
    };
    struct KeyHash {
        std::size_t operator()(const Key& key) const { return static_cast<std::size_t>(key[0]); }
    };
    struct File {
        std::filesystem::path path;
        std::optional<MappedFile> mapped{};
    };
    static constexpr std::string_view magic = "retort outputs 1\n";
    static constexpr const char* extension = ".outputs";

    std::size_t record() const { return size_ + 24; }
    /// The first line in which two descriptions differ.
    static std::string difference(std::string_view expected, std::string_view found) {
        const auto line = [](std::string_view& rest) {
            const std::size_t end = rest.find('\n');
            const std::string_view result = rest.substr(0, end);
            rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
            return result;
        };
        while (!expected.empty() || !found.empty()) {
            const std::string_view mine = line(expected), theirs = line(found);
            if (mine != theirs) {
                return concat("expected \"", mine.empty() ? "(nothing more)" : mine, "\", found \"",
                              theirs.empty() ? "(nothing more)" : excerpt(theirs), '"');
            }
        }
        return {};
    }
    std::string header() const {
        std::string result(magic);
        append_number(result, description_.size());
        result.append(description_);
        Hash hash;
        hash.add(result);
        append_number(result, hash.value());
        return result;
    }
    void read(const std::filesystem::path& path) {
        MappedFile file(path);
        try {
            if (read_records(file.bytes())) files_.push_back({path, std::move(file)});
        } catch (const DataError& error) {
            throw DataError(concat(path.string(), ": ", error.what()));
        }
    }
    /// Finds the records of a file. \returns false if its process was killed before it had written the description
    bool read_records(std::string_view bytes) {
        if (bytes.substr(0, magic.size()) != magic.substr(0, bytes.size()))
            throw DataError("expected a file of teacher outputs, found something else");
        if (bytes.size() < magic.size() + 8) return false;
        ByteReader reader(bytes, magic.size());
        const auto length = reader.number<std::uint64_t>("the length of a description");
        if (reader.left() < 8 || length > reader.left() - 8) {
            if (length < 1U << 20U) return false;
            throw DataError(concat("expected the length of a description, found ", length));
        }
        const std::string_view found = reader.take(length, "a description");
        Hash hash;
        hash.add(bytes.substr(0, reader.position()));
        if (reader.number<std::uint64_t>("a checksum") != hash.value())
            throw DataError("expected a description with a matching checksum, found a mismatch");
        if (found != description_) {
            throw DataError(
                concat("these are not the outputs of this teacher: ", difference(description_, found)));
        }
        while (reader.left() >= record()) {
            const std::size_t offset = reader.position();
            ByteReader key(reader.take(record(), "a record"));
            const auto first = key.number<std::uint64_t>("a key");
            places_.emplace(Key{first, key.number<std::uint64_t>("a key")}, Place{files_.size(), offset});
        }
        return true;
    }
    void create() {
        std::filesystem::path path;
        for (int i = 0; own_ < 0; ++i) {
            path = directory_ / concat(::getpid(), '-', i, extension);
            own_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
            if (own_ < 0 && errno != EEXIST)
                throw OutputError(concat(path.string(), ": cannot create: ", std::strerror(errno)));
        }
        files_.push_back({path});
        try {
            write(header());
        } catch (...) {
            ::close(std::exchange(own_, -1));
            ::unlink(path.c_str());
            files_.pop_back();
            throw;
        }
        end_ = header().size();
    }
    void write(std::string_view bytes) {
        if (const int code = write_all(own_, bytes); code != 0) {
            // A partial record in the middle would make all later ones unreadable.
            if (::ftruncate(own_, static_cast<off_t>(end_)) != 0) ::close(std::exchange(own_, -1));
            throw OutputError(concat(files_.back().path.string(), ": cannot write: ", std::strerror(code)));
        }
    }

    std::filesystem::path directory_;
    std::string description_;
    std::size_t size_;
    std::vector<File> files_;
    std::unordered_map<Key, Place, KeyHash> places_;
    int own_ = -1;
    std::size_t end_ = 0;  // of this process's file: where the next record begins
};

}  // namespace retort::detail
