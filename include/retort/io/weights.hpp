// SPDX-License-Identifier: BSL-1.0
/// \file
/// Weights to and from Python's torch.
#pragma once

#include <ATen/core/Tensor.h>
#include <caffe2/serialize/inline_container.h>

#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>
#include <retort/detail/atomic_file.hpp>
#include <retort/detail/byte_reader.hpp>
#include <retort/detail/mapped_file.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/io/detail/stored_state_dict.hpp>
#include <retort/io/detail/torch_file.hpp>
#include <retort/io/read_options.hpp>
#include <retort/io/safetensors.hpp>
#include <retort/io/state_dict.hpp>

namespace retort {

/// Reads weights: a state dictionary that Python's `torch.save` wrote, in the current format or the one from before version
/// 1.6; or, if the name ends in `.safetensors`, that format.
///
///     torch.save(model.state_dict(), "teacher.pt")                                 # Python
///     retort::load_state_dict(*teacher, retort::read_weights("teacher.pt"));      // C++
///
/// Nothing in the file is executed. Its data are read once; whatever the file declares is checked against its length before
/// memory is allocated for it, and the description of the tensors (names, sizes, nesting) takes a bounded multiple of its
/// bytes. The tensors are on the CPU; those that share memory in Python share it here.
/// \throws DataError if there is no such file, it is malformed, or holds what cannot be read (see `ReadOptions`);
/// ConfigError if retort is built without nlohmann-json, which safetensors needs
inline StateDict read_weights(const std::filesystem::path& path, const ReadOptions& options = {}) {
    if (path.extension() == ".safetensors") return read_safetensors(path, options);
    const detail::MappedFile file(path);
    const std::string_view bytes = file.bytes();
    try {
        const auto read = detail::ZipArchive::recognizes(bytes) ? detail::read_torch_zip
                          : bytes.starts_with('\x80')           ? detail::read_torch_legacy
                                                                : nullptr;
        if (read == nullptr) throw DataError("expected a file of torch.save, found something else");
        return detail::to_state_dict(read(bytes, options.key), options.left_out);
    } catch (const DataError& error) {
        throw DataError(detail::concat(path.string(), ": ", error.what()));
    }
}

namespace detail {

/// Writes the pickle of a dictionary of tensors.
class PickleWriter {
  public:
    PickleWriter() { bytes_ = std::string("\x80\x02", 2).append("ccollections\nOrderedDict\n)R("); }
    void tensor(std::string_view name, std::string_view storage_class, std::size_t key,
                const at::Tensor& tensor) {
        text(name);
        bytes_ += "ctorch._utils\n_rebuild_tensor_v2\n((";
        text("storage");
        bytes_.append("ctorch\n").append(storage_class).append("\n");
        text(std::to_string(key));
        text("cpu");
        integer(tensor.numel());
        bytes_ += "tQ";
        integer(0);
        tuple(tensor.sizes());
        tuple(tensor.strides());
        bytes_ += "\x89";  // requires_grad: False
        bytes_ += "ccollections\nOrderedDict\n)RtR";
    }
    std::string finish() && { return std::move(bytes_.append("u.")); }

  private:
    void text(std::string_view value) {
        bytes_ += 'X';
        append_number(bytes_, static_cast<std::uint32_t>(value.size()));
        bytes_ += value;
    }
    void integer(std::int64_t value) {
        if (value <= std::numeric_limits<std::int32_t>::max()) {
            bytes_ += 'J';
            append_number(bytes_, static_cast<std::int32_t>(value));
        } else {
            bytes_ += "\x8a\x08";
            append_number(bytes_, value);
        }
    }
    void tuple(at::IntArrayRef values) {
        bytes_ += '(';
        for (const std::int64_t value : values) integer(value);
        bytes_ += 't';
    }
    std::string bytes_;
};

}  // namespace detail

/// Writes weights, atomically: for Python's `torch.load(path, weights_only=True)`, or, if the name ends in
/// `.safetensors`, in that format.
///
///     retort::write_weights("student.pt", retort::state_dict(*student));          // C++
///     model.load_state_dict(torch.load("student.pt", weights_only=True))          # Python
///
/// A tensor with two names is written once, and is one tensor in Python, too.
/// \throws OutputError with the system's reason; ConfigError if a tensor is of a type that the format does not have
inline void write_weights(const std::filesystem::path& path, const StateDict& dictionary) {
    if (path.extension() == ".safetensors") return write_safetensors(path, dictionary);
    detail::PickleWriter pickle;
    std::vector<at::Tensor> contents;
    std::map<detail::TensorIdentity, std::size_t> known;
    for (const auto& item : dictionary) {
        const at::Tensor& tensor = item.value();
        const detail::ElementTypeNames& type = detail::element_type(tensor, item.key());
        if (type.storage.empty()) {
            throw ConfigError(detail::concat(
                "tensor ", item.key(), ": expected a type that torch.save has a storage class for, found ",
                type.torch, " (safetensors may have it)"));
        }
        const at::Tensor plain = detail::in_memory(tensor);
        std::size_t key = contents.size();
        if (tensor.numel() > 0) key = known.try_emplace(detail::identity_of(tensor), key).first->second;
        if (key == contents.size()) contents.push_back(plain);
        pickle.tensor(item.key(), type.storage, key, plain);
    }
    const std::string content = std::move(pickle).finish();
    detail::write_pieces(path, [&](auto&& append) {
        caffe2::serialize::PyTorchStreamWriter writer([&](const void* data, std::size_t size) {
            append(std::string_view(static_cast<const char*>(data), size));
            return size;
        });
        writer.writeRecord("data.pkl", content.data(), content.size());
        writer.writeRecord("byteorder", "little", 6);
        for (std::size_t i = 0; i < contents.size(); ++i) {
            writer.writeRecord("data/" + std::to_string(i), contents[i].data_ptr(), contents[i].nbytes());
        }
        writer.writeEndOfFile();
    });
}

}  // namespace retort
