// SPDX-License-Identifier: BSL-1.0
/// \file
/// Finds the files in a zip archive of uncompressed files, such as `torch.save` writes.
/// The format: PKWARE, ".ZIP File Format Specification", version 6.3.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include <retort/detail/byte_reader.hpp>
#include <retort/detail/crc.hpp>

namespace retort::detail {

/// The files of an archive: their names, and their bytes within the archive.
class ZipArchive {
  public:
    struct Entry {
        std::string_view bytes;
        std::uint32_t checksum = 0;
        bool plain = false;  ///< neither compressed nor encrypted
    };

    static bool recognizes(std::string_view archive) { return archive.starts_with("PK\x03\x04"); }

    /// \throws MalformedBytes if it is malformed, or its files overlap
    explicit ZipArchive(std::string_view archive) : archive_(archive) {
        const Directory directory = find_directory();
        ByteReader reader(archive_, directory.offset);
        for (std::uint64_t i = 0; i < directory.entries; ++i) read_entry(reader);
    }

    const std::map<std::string_view, Entry>& entries() const { return entries_; }

    /// The bytes of a file, with their checksum verified; null if there is none of this name. A checksum of 0 stands for
    /// none: Python's torch omits it on request (`set_crc32_options`).
    /// \throws MalformedBytes if the checksum does not match
    const std::string_view* find(std::string_view name) const {
        const auto found = entries_.find(name);
        if (found == entries_.end()) return nullptr;
        if (!found->second.plain) {
            throw DataError(
                concat(excerpt(name), ": expected an uncompressed file, found it compressed or encrypted"));
        }
        const std::string_view bytes = found->second.bytes;
#ifndef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION  // a fuzzer's mutations would all fail here
        if (found->second.checksum != 0) {
            if (const std::uint32_t sum = reflected_crc<0xEDB88320U>(bytes); sum != found->second.checksum) {
                throw MalformedBytes(static_cast<std::size_t>(bytes.data() - archive_.data()),
                                     concat(excerpt(name), " with the checksum ", found->second.checksum),
                                     concat(sum));
            }
        }
#endif
        return &found->second.bytes;
    }

  private:
    struct Directory {
        std::uint64_t entries = 0;
        std::uint64_t offset = 0;
    };
    static constexpr std::uint32_t entry_signature = 0x02014b50;
    static constexpr std::uint32_t local_signature = 0x04034b50;
    static constexpr std::uint32_t end_signature = 0x06054b50;
    static constexpr std::uint32_t end64_signature = 0x06064b50;
    static constexpr std::uint32_t locator_signature = 0x07064b50;
    static constexpr std::size_t end_size = 22;
    static constexpr std::size_t locator_size = 20;

    static void expect(ByteReader& reader, std::uint32_t signature, std::string_view what) {
        const std::size_t at = reader.position();
        const auto found = reader.number<std::uint32_t>(what);
        if (found != signature) {
            throw MalformedBytes(at, concat(what, " with the signature ", signature), concat(found));
        }
    }

    Directory find_directory() const {
        // The end record is followed by a comment of at most 65,535 bytes.
        const std::size_t first = archive_.size() > end_size + 65535 ? archive_.size() - end_size - 65535 : 0;
        const std::size_t found = archive_.substr(first).rfind("PK\x05\x06");
        if (found == std::string_view::npos) {
            throw MalformedBytes(archive_.size(), "the end record of a zip archive before",
                                 "none: the file is truncated, or not a zip archive");
        }
        const std::size_t at = first + found;
        ByteReader reader(archive_, at);
        expect(reader, end_signature, "end record");
        reader.take(4, "end record");  // the numbers of disks
        Directory result;
        reader.number<std::uint16_t>("end record");
        result.entries = reader.number<std::uint16_t>("end record");
        reader.number<std::uint32_t>("end record");  // size of the directory
        result.offset = reader.number<std::uint32_t>("end record");
        if ((result.entries == 0xffff || result.offset == 0xffffffff) && at >= locator_size) {
            ByteReader locator(archive_, at - locator_size);
            expect(locator, locator_signature, "zip64 locator");
            locator.take(4, "zip64 locator");
            const auto offset = locator.number<std::uint64_t>("zip64 locator");
            ByteReader end64(archive_, offset);
            expect(end64, end64_signature, "zip64 end record");
            end64.take(8 + 2 + 2 + 4 + 4 + 8, "zip64 end record");
            result.entries = end64.number<std::uint64_t>("zip64 end record");
            end64.take(8, "zip64 end record");
            result.offset = end64.number<std::uint64_t>("zip64 end record");
        }
        return result;
    }

    void read_entry(ByteReader& reader) {
        const std::size_t at = reader.position();
        expect(reader, entry_signature, "directory entry");
        reader.take(2 + 2, "directory entry");  // versions
        const auto flags = reader.number<std::uint16_t>("directory entry");
        const auto method = reader.number<std::uint16_t>("directory entry");
        reader.take(2 + 2, "directory entry");  // time and date
        Entry entry;
        entry.checksum = reader.number<std::uint32_t>("directory entry");
        std::uint64_t stored = reader.number<std::uint32_t>("directory entry");
        std::uint64_t size = reader.number<std::uint32_t>("directory entry");
        const auto name_size = reader.number<std::uint16_t>("directory entry");
        const auto extra_size = reader.number<std::uint16_t>("directory entry");
        const auto comment_size = reader.number<std::uint16_t>("directory entry");
        reader.take(2 + 2 + 4, "directory entry");  // disk, attributes
        std::uint64_t offset = reader.number<std::uint32_t>("directory entry");
        const std::string_view name = reader.take(name_size, "name of a file");
        read_sizes64(reader.take(extra_size, "extra fields"), size, stored, offset);
        reader.take(comment_size, "comment of a file");

        ByteReader local(archive_, offset);
        expect(local, local_signature, "header of a file");
        local.take(22, "header of a file");
        const auto local_name = local.number<std::uint16_t>("header of a file");
        const auto local_extra = local.number<std::uint16_t>("header of a file");
        local.take(std::uint64_t{local_name} + local_extra, "header of a file");
        entry.plain = method == 0 && (flags & 1U) == 0 && stored == size;
        entry.bytes = local.take(stored, excerpt(name));
        // Otherwise a small archive could expand to far more memory and time than its size.
        if (stored > apart_) throw MalformedBytes(at, "files that do not overlap", "some that do");
        apart_ -= stored;
        if (!entries_.emplace(name, entry).second)
            throw MalformedBytes(at, concat("one file ", excerpt(name)), "a second one");
    }

    /// The zip64 field has those of the three numbers that do not fit into the entry, in this order.
    static void read_sizes64(std::string_view extra, std::uint64_t& size, std::uint64_t& stored,
                             std::uint64_t& offset) {
        ByteReader fields(extra);
        while (fields.left() >= 4) {
            const auto id = fields.number<std::uint16_t>("extra field");
            const auto length = fields.number<std::uint16_t>("extra field");
            ByteReader field(fields.take(length, "extra field"));
            if (id != 1) continue;
            for (std::uint64_t* each : {&size, &stored, &offset}) {
                if (*each == 0xffffffff) *each = field.number<std::uint64_t>("zip64 field");
            }
        }
    }

    std::string_view archive_;
    std::uint64_t apart_ = archive_.size();  // bytes that no file has taken
    std::map<std::string_view, Entry> entries_;
};

}  // namespace retort::detail
