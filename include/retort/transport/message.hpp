// SPDX-License-Identifier: BSL-1.0
/// \file
/// Messages with tensors.
#pragma once

#include <chrono>
#include <string>
#include <utility>

#include <retort/core/error.hpp>
#include <retort/detail/byte_reader.hpp>
#include <retort/io/read_options.hpp>
#include <retort/io/safetensors.hpp>
#include <retort/io/state_dict.hpp>
#include <retort/transport/concept.hpp>
#include <retort/transport/frame.hpp>

namespace retort::transport {

/// A message with tensors and texts by name: a frame whose payload is a file of the format safetensors, with the texts as its
/// metadata.
struct Message {
    std::string kind{};
    Id id{};                 ///< empty: a new one when it is sent
    std::string run{};       ///< set by `Messenger`
    std::string sender{};    ///< set by `Messenger`
    std::string model{};     ///< hash of the network that the tensors stem from
    milliseconds within{0};  ///< of what was received: how long the sender waits
    Metadata fields{};       ///< texts by name
    StateDict tensors{"tensor"};

    /// \throws TransportError if there is no such text
    const std::string& field(const std::string& name) const {
        const auto found = fields.find(name);
        if (found == fields.end()) refuse(detail::concat("a text \"", name, '"'), "none");
        return found->second;
    }
    /// \throws TransportError if there is no such tensor
    const at::Tensor& tensor(const std::string& name) const {
        const at::Tensor* const found = tensors.find(name);
        if (found == nullptr) refuse(detail::concat("a tensor \"", name, '"'), "none");
        return *found;
    }

  private:
    [[noreturn]] void refuse(const std::string& expected, const std::string& found) const {
        throw TransportError(TransportError::Reason::malformed,
                             detail::concat(detail::excerpt(kind), " of ", detail::excerpt(sender),
                                            ": expected ", expected, ", found ", found));
    }
};

/// \throws ConfigError if a tensor has a type that safetensors lacks
inline Frame to_frame(const Message& message) {
    Frame result{{.kind = message.kind,
                  .id = message.id,
                  .run = message.run,
                  .sender = message.sender,
                  .model = message.model,
                  .within = message.within},
                 {}};
    if (!message.fields.empty() || !message.tensors.is_empty())
        result.payload = encode_safetensors(message.tensors, message.fields);
    return result;
}

/// The tensors are copies, on the CPU.
/// \throws TransportError if the payload is not a file of safetensors
inline Message to_message(const Frame& frame) {
    Message result;
    result.kind = frame.header.kind;
    result.id = frame.header.id;
    result.run = frame.header.run;
    result.sender = frame.header.sender;
    result.model = frame.header.model;
    result.within = frame.header.within;
    if (frame.payload.empty()) return result;
    try {
        result.tensors = decode_safetensors(frame.payload.view(), {.metadata = &result.fields});
    } catch (const DataError& error) {
        throw TransportError(TransportError::Reason::malformed,
                             detail::concat(detail::excerpt(result.kind), " of ",
                                            detail::excerpt(result.sender), ": ", error.what()));
    }
    return result;
}

}  // namespace retort::transport
