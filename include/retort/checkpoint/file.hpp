// SPDX-License-Identifier: BSL-1.0
/// \file
/// The file of a checkpoint: a flat list of named tensors and texts.
///
/// | bytes | content |
/// |-------|---------|
/// | 8     | `RETORT` and two characters of the format's version |
/// | 8     | the length of the file |
/// | 8     | how many values there are |
/// |       | each value: length of the name (4), name, kind (1), number of dimensions (1), dimensions (8 each), content |
/// | 8     | checksum (`Hash`) of all before it |
///
/// All integers are little-endian. Kinds: 0 to 12 are tensors of the types in `state_types`, content their numbers
/// row by row; 254 an undefined tensor; 255 a text of one dimension.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/atomic_file.hpp>
#include <retort/detail/hash.hpp>

namespace retort::detail {

static_assert(std::endian::native == std::endian::little,
              "retort: checkpoints are written on little-endian machines");

inline constexpr std::string_view state_magic = "RETORT01";
inline constexpr std::array state_types{
    at::kByte,   at::kChar,        at::kShort,        at::kInt,           at::kLong, at::kHalf,    at::kFloat,
    at::kDouble, at::kComplexHalf, at::kComplexFloat, at::kComplexDouble, at::kBool, at::kBFloat16};
inline constexpr std::uint8_t undefined_kind = 254;
inline constexpr std::uint8_t text_kind = 255;

/// The bytes of a file with these values. Tensors of a device are brought to the CPU.
/// \throws ConfigError if a tensor is of a type that the format has not
inline std::string encode_state(const StateItems& items) {
    std::vector<at::Tensor> tensors;
    std::size_t length = state_magic.size() + 24;
    for (const StateItem& item : items) {
        tensors.push_back(item.tensor.defined() ? item.tensor.cpu().contiguous() : at::Tensor());
        const std::size_t dimensions = item.text ? 1
                                       : tensors.back().defined()
                                           ? static_cast<std::size_t>(tensors.back().dim())
                                           : 0;
        length += 6 + item.name.size() + 8 * dimensions +
                  (item.text                  ? item.text->size()
                   : tensors.back().defined() ? tensors.back().nbytes()
                                              : 0);
    }
    std::string bytes;
    bytes.reserve(length);
    const auto put = [&](auto value) { bytes.append(reinterpret_cast<const char*>(&value), sizeof value); };
    bytes.append(state_magic);
    put(static_cast<std::uint64_t>(length));
    put(static_cast<std::uint64_t>(items.size()));
    for (std::size_t i = 0; i < items.size(); ++i) {
        put(static_cast<std::uint32_t>(items[i].name.size()));
        bytes.append(items[i].name);
        const at::Tensor& tensor = tensors[i];
        if (items[i].text) {
            put(text_kind);
            put(std::uint8_t{1});
            put(static_cast<std::uint64_t>(items[i].text->size()));
            bytes.append(*items[i].text);
        } else if (!tensor.defined()) {
            put(undefined_kind);
            put(std::uint8_t{0});
        } else {
            std::uint8_t kind = 0;
            while (kind < state_types.size() && state_types[kind] != tensor.scalar_type()) ++kind;
            if (kind == state_types.size()) {
                throw ConfigError(concat("checkpoint: ", items[i].name, ": tensors of type ",
                                         at::toString(tensor.scalar_type()), " cannot be stored"));
            }
            put(kind);
            put(static_cast<std::uint8_t>(tensor.dim()));
            for (const std::int64_t size : tensor.sizes()) put(size);
            bytes.append(static_cast<const char*>(tensor.data_ptr()), tensor.nbytes());
        }
    }
    Hash hash;
    hash.add(bytes);
    put(hash.value());
    return bytes;
}

/// Takes bytes apart, and asks for no more than there is.
class StateReader {
  public:
    StateReader(std::string_view bytes, const std::string& where) : bytes_(bytes), where_(where) {}
    template <class T>
    T number() {
        T result{};
        std::memcpy(&result, take(sizeof result).data(), sizeof result);
        return result;
    }
    std::string_view take(std::uint64_t size) {
        if (size > bytes_.size() - done_) {
            damaged(concat("a value of ", size, " bytes where ", bytes_.size() - done_, " are left"));
        }
        const std::string_view result = bytes_.substr(done_, size);
        done_ += size;
        return result;
    }
    std::uint64_t left() const { return bytes_.size() - done_; }
    template <class What>
    [[noreturn]] void damaged(const What& what) const {
        throw CheckpointError(concat(where_, ": damaged at byte ", done_, ": ", what));
    }

  private:
    std::string_view bytes_;
    const std::string& where_;
    std::size_t done_ = 0;
};

/// The values between the head and the checksum of a file. Whatever the bytes are, no more memory is asked for than
/// they fill.
/// \throws CheckpointError
inline StateItems decode_values(std::string_view bytes, std::uint64_t count, const std::string& where) {
    StateReader reader(bytes, where);
    constexpr std::uint64_t least = 6;  // bytes of a value
    if (count > reader.left() / least) reader.damaged(concat(count, " values in ", reader.left(), " bytes"));
    StateItems items;
    items.reserve(count);
    std::unordered_set<std::string_view> names;
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::string_view name = reader.take(reader.number<std::uint32_t>());
        if (!names.insert(name).second) reader.damaged(concat("two values of the name ", name));
        StateItem& item = items.emplace_back();
        item.name = name;
        const auto kind = reader.number<std::uint8_t>();
        const auto dimensions = reader.number<std::uint8_t>();
        if (kind == undefined_kind && dimensions == 0) continue;
        if (kind == text_kind && dimensions == 1) {
            item.text.emplace(reader.take(reader.number<std::uint64_t>()));
            continue;
        }
        if (kind >= state_types.size()) {
            reader.damaged(concat("a value of kind ", int{kind}, " with ", int{dimensions}, " dimensions"));
        }
        const at::ScalarType type = state_types[kind];
        std::vector<std::int64_t> sizes(dimensions);
        // The product of the dimensions other than 0 has a bound for empty tensors, too: LibTorch multiplies them.
        std::uint64_t product = c10::elementSize(type);
        bool empty = false;
        for (std::int64_t& size : sizes) {
            size = reader.number<std::int64_t>();
            constexpr std::uint64_t bound = std::uint64_t{1} << 48;
            if (size < 0 || (size > 0 && static_cast<std::uint64_t>(size) > bound / product)) {
                reader.damaged(concat("a dimension of ", size));
            }
            if (size > 0) product *= static_cast<std::uint64_t>(size);
            empty = empty || size == 0;
        }
        const std::string_view content = reader.take(empty ? 0 : product);
        item.tensor = at::empty(sizes, at::TensorOptions(type));
        if (!content.empty()) std::memcpy(item.tensor.data_ptr(), content.data(), content.size());
    }
    if (reader.left() > 0) reader.damaged(concat(reader.left(), " bytes behind the last value"));
    return items;
}

/// The values of the bytes of a file.
/// \param where stands in front of errors
/// \throws CheckpointError if they are no checkpoint, of another version, cut off or damaged
inline StateItems decode_state(std::string_view bytes, const std::string& where) {
    const std::size_t head = state_magic.size() + 16;
    const std::string_view family = state_magic.substr(0, 6);
    if (bytes.substr(0, family.size()) != family.substr(0, std::min(family.size(), bytes.size())) ||
        bytes.empty()) {
        throw CheckpointError(concat(where, ": no checkpoint of retort"));
    }
    if (bytes.size() >= state_magic.size() && bytes.substr(0, state_magic.size()) != state_magic) {
        throw CheckpointError(concat(where, ": written in version ", bytes.substr(6, 2),
                                     " of the format, this program reads ", state_magic.substr(6)));
    }
    if (bytes.size() < head + 8) {
        throw CheckpointError(concat(where, ": cut off after ", bytes.size(), " bytes"));
    }
    StateReader reader(bytes, where);
    reader.take(state_magic.size());
    const auto length = reader.number<std::uint64_t>();
    if (length != bytes.size()) {
        throw CheckpointError(
            concat(where, ": cut off or damaged: expected ", length, " bytes, found ", bytes.size()));
    }
    Hash hash;
    hash.add(bytes.substr(0, bytes.size() - 8));
    std::uint64_t checksum = 0;
    std::memcpy(&checksum, bytes.data() + bytes.size() - 8, 8);
#ifndef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION  // or no changed file would come further than this
    if (hash.value() != checksum)
        throw CheckpointError(concat(where, ": damaged: the checksum does not agree"));
#endif
    const auto count = reader.number<std::uint64_t>();
    return decode_values(bytes.substr(head, bytes.size() - head - 8), count, where);
}

/// The bytes of a file.
/// \throws CheckpointError with the path and the system's reason
inline std::string read_whole_file(const std::filesystem::path& path) {
    const auto fail = [&](int code) {
        throw CheckpointError(concat(path.string(), ": cannot read: ", std::strerror(code)));
    };
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) fail(errno);
    struct Close {
        int file;
        ~Close() { ::close(file); }
    } const close{file};
    struct stat about{};
    if (::fstat(file, &about) != 0) fail(errno);
    if (!S_ISREG(about.st_mode)) throw CheckpointError(concat(path.string(), ": cannot read: no file"));
    std::string bytes(static_cast<std::size_t>(about.st_size), '\0');
    std::size_t done = 0;
    while (done < bytes.size()) {
        const ssize_t count = ::read(file, bytes.data() + done, bytes.size() - done);
        if (count > 0) {
            done += static_cast<std::size_t>(count);
        } else if (count == 0) {
            break;
        } else if (errno != EINTR) {
            fail(errno);
        }
    }
    bytes.resize(done);
    return bytes;
}

/// \throws CheckpointError
inline StateItems read_state(const std::filesystem::path& path) {
    return decode_state(read_whole_file(path), path.string());
}
/// Whole or not at all.
/// \throws OutputError
inline void write_state(const std::filesystem::path& path, const StateItems& items) {
    write_atomically(path, encode_state(items));
}

}  // namespace retort::detail
