// SPDX-License-Identifier: BSL-1.0
/// \file
/// Serves a teacher to other processes. (Not in the umbrella headers: transports need nlohmann-json.)
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <atomic>
#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>

#include <retort/checkpoint/module_state.hpp>
#include <retort/core/error.hpp>
#include <retort/core/logits.hpp>
#include <retort/detail/byte_reader.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/type_name.hpp>
#include <retort/teacher/concept.hpp>
#include <retort/teacher/detail/remote_messages.hpp>
#include <retort/teacher/named_outputs.hpp>
#include <retort/transport/concept.hpp>
#include <retort/transport/message.hpp>
#include <retort/transport/messenger.hpp>

namespace retort {

/// Options of `serve_teacher`.
struct ServeTeacherOptions {
    /// Identifies the teacher if it has no modules to hash.
    std::string model{};
    std::int64_t rows = 4096;  ///< larger batches are refused
    transport::MessengerOptions messenger{};
};

/// A teacher that is served as long as this lives: see `serve_teacher`.
template <transport::Transport T>
class [[nodiscard]] ServedTeacher {
  public:
    /// The hash that students see.
    const std::string& model() const { return state_->model; }
    /// Batches that were computed so far; what is asked twice is answered from memory.
    std::int64_t batches() const { return state_->batches; }

  private:
    struct State {
        std::string model;
        std::atomic<std::int64_t> batches{0};
        std::mutex mutex{};
    };
    ServedTeacher(std::shared_ptr<State> state, std::unique_ptr<transport::Messenger<T>> messenger)
        : state_(std::move(state)), messenger_(std::move(messenger)) {}

    template <transport::Transport U, class Policy, class... TapPolicies>
    friend ServedTeacher<U> serve_teacher(U, const std::string&, Policy, ServeTeacherOptions, TapPolicies...);

    std::shared_ptr<State> state_;
    std::unique_ptr<transport::Messenger<T>> messenger_;
    transport::Subscription served_{};
};

/// Serves a teacher at a subject of a transport, for a `Remote` of another process.
///
///     retort::transport::Nats nats{{.servers = {"nats://10.0.0.7:4222"}}};
///     auto served = retort::serve_teacher(nats, "retort.teacher", retort::Frozen{network}, {},
///                                         retort::tap<&Outputs::body>);
///
/// Answers are the logits and what the taps select, by the taps' names; all outputs of a teacher that names them
/// (`NamedOutputs`). The teacher computes one batch at a time, on threads of the transport, and must neither change nor be used
/// otherwise meanwhile. Inputs that it does not take are answered with an error, which the student throws.
/// \throws ConfigError if the teacher cannot be identified, or an option is out of range; TransportError if the subject
/// cannot be served
template <transport::Transport T, class Policy, class... TapPolicies>
ServedTeacher<T> serve_teacher(T transport, const std::string& subject, Policy teacher,
                               ServeTeacherOptions options = {}, TapPolicies... taps) {
    static_assert(
        Teacher<Policy, at::Tensor>,
        "retort: not a teacher for tensors: serve_teacher takes a teacher policy, such as Frozen{network}");
    static_assert(!LearnsAlong<Policy>,
                  "retort: a teacher that learns along cannot be served: its students expect "
                  "the same outputs for the same inputs");
    using Outputs = TeacherOutputsOf<Policy, at::Tensor>;
    static_assert(std::same_as<Outputs, NamedOutputs> || HasLogits<Outputs> || sizeof...(TapPolicies) > 0,
                  "retort: the outputs of a served teacher have no logits: select what to send by taps");
    if (options.rows < 1)
        throw ConfigError(detail::concat("serve_teacher: expected at least 1 row, found ", options.rows));
    auto state = std::make_shared<typename ServedTeacher<T>::State>();
    state->model = std::move(options.model);
    if constexpr (detail::Identified<Policy>) {
        if (state->model.empty()) state->model = teacher.identity();
    }
    if (state->model.empty()) {
        const auto modules = detail::teacher_modules(teacher);
        if (modules.empty()) {
            throw ConfigError(detail::concat("serve_teacher: ", detail::type_name<Policy>(),
                                             " has no modules to hash: expected ServeTeacherOptions::model"));
        }
        state->model = detail::hash_of_modules(modules);
    }
    ServedTeacher<T> result(
        state, std::make_unique<transport::Messenger<T>>(std::move(transport), options.messenger));
    const auto respond = [state, teacher = std::make_shared<Policy>(std::move(teacher)), rows = options.rows,
                          taps = std::tuple<TapPolicies...>(std::move(taps)...)](
                             const transport::Message& asked) {
        transport::Message answer{.kind = detail::remote::taught, .model = state->model};
        if (asked.kind == detail::remote::describe) return answer;
        if (asked.kind != detail::remote::teach) {
            throw DataError(detail::concat("a teacher: expected ", detail::remote::describe, " or ",
                                           detail::remote::teach, ", found ", detail::excerpt(asked.kind)));
        }
        const at::Tensor& value = asked.tensor("input");
        if (value.dim() < 1 || value.size(0) > rows) {
            throw ShapeError(detail::concat("a teacher: expected at most ", rows, " rows, found ",
                                            detail::shape_text(value)));
        }
        answer.fields["key"] = detail::remote::key_text(detail::remote::key_of(value));
        const at::NoGradGuard no_grad;
        const std::lock_guard lock(state->mutex);
        try {
            const Outputs outputs = (*teacher)(value);
            const auto add = [&](const std::string& name, const at::Tensor& tensor) {
                if (!answer.tensors.contains(name)) answer.tensors.insert(name, tensor.detach());
            };
            if constexpr (std::same_as<Outputs, NamedOutputs>) {
                for (const auto& [name, tensor] : outputs) add(name, tensor);
                add("logits", outputs.logits);
            } else if constexpr (HasLogits<Outputs>) {
                add("logits", logits(outputs));
            }
            std::apply([&](const auto&... tap) { (add(tap.name(), tap(outputs)), ...); }, taps);
        } catch (const c10::Error& error) {
            throw DataError(detail::concat("a teacher: ", error.what_without_backtrace()));
        }
        ++state->batches;
        return answer;
    };
    result.served_ = result.messenger_->serve(
        subject, std::function<transport::Message(const transport::Message&)>(respond));
    return result;
}

}  // namespace retort
