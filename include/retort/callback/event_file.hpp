// SPDX-License-Identifier: BSL-1.0
/// \file
/// Event files for TensorBoard.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/histc.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/masked_select.h>
#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <retort/callback/detail/png.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/crc.hpp>
#include <retort/detail/write_all.hpp>

namespace retort {

namespace detail {

/// A protocol buffer message, field by field
/// (https://protobuf.dev/programming-guides/encoding; field numbers from tensorboard/compat/proto/{event,summary}.proto).
class ProtobufMessage {
  public:
    ProtobufMessage& varint(int field, std::uint64_t value) {
        key(field, 0);
        write_varint(value);
        return *this;
    }
    ProtobufMessage& real(int field, double value) { return fixed(field, 1, value); }
    ProtobufMessage& real(int field, float value) { return fixed(field, 5, value); }
    ProtobufMessage& bytes(int field, std::string_view value) {
        key(field, 2);
        write_varint(value.size());
        bytes_.append(value);
        return *this;
    }
    ProtobufMessage& message(int field, const ProtobufMessage& value) { return bytes(field, value.bytes_); }
    ProtobufMessage& reals(int field, const std::vector<double>& values) {
        std::string packed;
        for (const double value : values) append_little_endian(packed, value);
        return bytes(field, packed);
    }
    const std::string& encoded() const { return bytes_; }

    template <class T>
    static void append_little_endian(std::string& bytes, T value) {
        static_assert(std::endian::native == std::endian::little,
                      "retort: event files are written on little-endian machines only");
        char raw[sizeof(T)];
        std::memcpy(raw, &value, sizeof(T));
        bytes.append(raw, sizeof(T));
    }

  private:
    void key(int field, std::uint64_t type) { write_varint((static_cast<std::uint64_t>(field) << 3) | type); }
    void write_varint(std::uint64_t value) {
        for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>((value & 0x7F) | 0x80));
        bytes_.push_back(static_cast<char>(value));
    }
    template <class T>
    ProtobufMessage& fixed(int field, std::uint64_t type, T value) {
        key(field, type);
        append_little_endian(bytes_, value);
        return *this;
    }

    std::string bytes_;
};

/// The checksum of a record: CRC32C, rotated and offset, since CRCs of data that contain CRCs are weak.
constexpr std::uint32_t masked_crc32c(std::string_view bytes) {
    const std::uint32_t crc = reflected_crc<0x82F63B78u>(bytes);
    return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
}

}  // namespace detail

/// An event file of a training run, for `tensorboard --logdir DIRECTORY`. Each object writes a separate file,
/// `events.out.tfevents.<seconds>.<process>.<number>`; TensorBoard merges those of a directory.
///
/// With `first_step`, steps continue those of an earlier file: TensorBoard then drops what the earlier files hold
/// from that step on. A resumed run passes the step it resumed at.
///
///     retort::EventFile events("runs/first");
///     events.scalar("loss", step, 0.25);
///
/// Every call appends its records and hands them to the system; checksums keep readers from using a partial one.
/// \throws OutputError from any member, with the path and the system's reason
class EventFile {
  public:
    explicit EventFile(const std::filesystem::path& directory, std::int64_t first_step = 1) {
        std::error_code error;
        std::filesystem::create_directories(directory, error);
        if (error) {
            throw OutputError(
                detail::concat(directory.string(), ": cannot create this directory: ", error.message()));
        }
        static std::atomic<int> files{0};
        path_ = directory / detail::concat("events.out.tfevents.", static_cast<std::int64_t>(now()), '.',
                                           ::getpid(), '.', files++);
        file_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_APPEND, 0666);
        if (file_ < 0)
            throw OutputError(detail::concat(path_.string(), ": cannot create: ", std::strerror(errno)));
        try {
            append(detail::ProtobufMessage().real(1, now()).bytes(3, "brain.Event:2"));
            if (first_step > 1) {  // SessionLog.START
                append(detail::ProtobufMessage()
                           .real(1, now())
                           .varint(2, static_cast<std::uint64_t>(first_step))
                           .message(7, detail::ProtobufMessage().varint(1, 1)));
            }
        } catch (...) {
            ::close(file_);
            ::unlink(path_.c_str());
            throw;
        }
    }
    EventFile(EventFile&& other) noexcept
        : path_(std::move(other.path_)), file_(std::exchange(other.file_, -1)) {}
    EventFile& operator=(EventFile&& other) noexcept {
        std::swap(path_, other.path_);
        std::swap(file_, other.file_);
        return *this;
    }
    ~EventFile() {
        if (file_ >= 0) ::close(file_);
    }

    const std::filesystem::path& path() const { return path_; }

    /// A scalar; infinities and NaN are written as such.
    void scalar(std::string_view tag, std::int64_t step, double value) {
        append(tag, step, detail::ProtobufMessage().real(2, static_cast<float>(value)));
    }

    /// A histogram of a tensor's elements: `bins` of equal width between the smallest and the largest.
    /// Elements that are not finite are left out; nothing is written if none remain. Synchronizes with the tensor's
    /// device.
    void histogram(std::string_view tag, std::int64_t step, const at::Tensor& values,
                   std::int64_t bins = 64) {
        if (bins < 1) throw ConfigError(detail::concat("event file: expected at least 1 bin, found ", bins));
        at::Tensor numbers = values.detach().to(at::kCPU, at::kDouble).flatten();
        numbers = at::masked_select(numbers, at::isfinite(numbers));
        if (numbers.numel() == 0) return;
        const auto smallest = numbers.min().item<double>(), largest = numbers.max().item<double>();
        std::vector<double> limits, counts;
        if (smallest == largest) {
            limits = {largest};
            counts = {static_cast<double>(numbers.numel())};
        } else {
            const at::Tensor bin = at::histc(numbers, bins, smallest, largest);
            for (std::int64_t i = 0; i < bins; ++i) {
                limits.push_back(smallest + (largest - smallest) * static_cast<double>(i + 1) /
                                                static_cast<double>(bins));
                counts.push_back(bin[i].item<double>());
            }
            limits.back() = largest;
        }
        append(tag, step,
               detail::ProtobufMessage().message(5, detail::ProtobufMessage()
                                                        .real(1, smallest)
                                                        .real(2, largest)
                                                        .real(3, static_cast<double>(numbers.numel()))
                                                        .real(4, numbers.sum().item<double>())
                                                        .real(5, numbers.square().sum().item<double>())
                                                        .reals(6, limits)
                                                        .reals(7, counts)));
    }

    /// An image, as PNG.
    /// \param pixels (channels, height, width) with 1 or 3 channels; floating point in [0, 1] (clamped), or bytes
    /// \throws ShapeError for other shapes
    void image(std::string_view tag, std::int64_t step, const at::Tensor& pixels) {
        if (pixels.dim() != 3 || (pixels.size(0) != 1 && pixels.size(0) != 3) || pixels.numel() == 0) {
            throw ShapeError(detail::concat(
                "event file: expected an image of (1 or 3, height, width), found ", pixels.sizes()));
        }
        at::Tensor bytes = pixels.detach().to(at::kCPU);
        if (bytes.scalar_type() != at::kByte)
            bytes = bytes.to(at::kDouble).nan_to_num().clamp(0, 1).mul(255).round();
        bytes = bytes.to(at::kByte).permute({1, 2, 0}).contiguous();
        const auto channels = static_cast<int>(bytes.size(2));
        const std::string encoded = detail::png(
            {reinterpret_cast<const char*>(bytes.data_ptr<std::uint8_t>()),
             static_cast<std::size_t>(bytes.numel())},
            static_cast<std::uint32_t>(bytes.size(1)), static_cast<std::uint32_t>(bytes.size(0)), channels);
        append(tag, step,
               detail::ProtobufMessage().message(4, detail::ProtobufMessage()
                                                        .varint(1, static_cast<std::uint64_t>(bytes.size(0)))
                                                        .varint(2, static_cast<std::uint64_t>(bytes.size(1)))
                                                        .varint(3, static_cast<std::uint64_t>(channels))
                                                        .bytes(4, encoded)));
    }

    /// Text, which TensorBoard renders as Markdown.
    void text(std::string_view tag, std::int64_t step, std::string_view words) {
        using detail::ProtobufMessage;
        const auto tensor = ProtobufMessage()
                                .varint(1, 7)  // DT_STRING
                                .message(2, ProtobufMessage().message(2, ProtobufMessage().varint(1, 1)))
                                .bytes(8, words);
        append(tag, step,
               ProtobufMessage()
                   .message(9, ProtobufMessage().message(1, ProtobufMessage().bytes(1, "text")))
                   .message(8, tensor));
    }

  private:
    static double now() {
        return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    }
    /// \param value the fields of a Summary.Value except its tag
    void append(std::string_view tag, std::int64_t step, const detail::ProtobufMessage& value) {
        std::string fields = detail::ProtobufMessage().bytes(1, tag).encoded();
        fields.append(value.encoded());
        append(detail::ProtobufMessage()
                   .real(1, now())
                   .varint(2, static_cast<std::uint64_t>(step))
                   .message(5, detail::ProtobufMessage().bytes(1, fields)));
    }
    void append(const detail::ProtobufMessage& event) {
        const std::string& data = event.encoded();
        std::string record;
        detail::ProtobufMessage::append_little_endian(record, static_cast<std::uint64_t>(data.size()));
        detail::ProtobufMessage::append_little_endian(record, detail::masked_crc32c(record));
        record.append(data);
        detail::ProtobufMessage::append_little_endian(record, detail::masked_crc32c(data));
        const off_t begin = ::lseek(file_, 0, SEEK_END);
        if (const int code = detail::write_all(file_, record); code != 0) {
            // A partial record would hide all later ones.
            const bool whole = begin >= 0 && ::ftruncate(file_, begin) == 0;
            throw OutputError(detail::concat(path_.string(), ": cannot write: ", std::strerror(code),
                                             whole ? "" : "; its last record is damaged"));
        }
    }

    std::filesystem::path path_;
    int file_ = -1;
};

}  // namespace retort
