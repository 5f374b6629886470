// SPDX-License-Identifier: BSL-1.0
/// \file
/// A teacher that another process serves. (Not in the umbrella headers: transports need nlohmann-json.)
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/isfinite.h>
#include <c10/core/ScalarType.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/core/batch.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/byte_reader.hpp>
#include <retort/detail/check.hpp>
#include <retort/teacher/concept.hpp>
#include <retort/teacher/detail/remote_messages.hpp>
#include <retort/teacher/named_outputs.hpp>
#include <retort/transport/concept.hpp>
#include <retort/transport/message.hpp>
#include <retort/transport/messenger.hpp>

namespace retort {

/// Options of `Remote`.
struct RemoteOptions {
    std::string model{};  ///< the hash that the served teacher must have; empty: that of the first answer
    std::string logits = "logits";  ///< which of the outputs are the logits
    /// How long to wait for an answer, and how often to ask: a server that is restarted meanwhile is found again.
    transport::RequestOptions request{.within = std::chrono::milliseconds(60'000), .attempts = 12};
    std::size_t prepared =
        16;  ///< batches whose outputs are kept for their step; beyond them the oldest are asked again
    transport::MessengerOptions messenger{};
};

/// A teacher that another process serves by `serve_teacher`. Its outputs have names: `logits`, and those of the taps with
/// which it is served, or its own (`tap<"name">`).
///
///     retort::Remote teacher{nats, "retort.teacher"};
///     retort::Trainer trainer{student, teacher, ...};
///     trainer.fit([&](std::int64_t epoch) {
///         return loader.epoch(epoch) | retort::data::map(teacher.ahead()) | retort::data::prefetch({.workers = 4, .depth = 4});
///     }, ...);
///
/// By itself it asks in the step and waits. With `ahead`, the workers of `prefetch` ask, so that as many batches are in flight as
/// it has workers, and the step finds its outputs there, by a hash of the input.
///
/// Every answer is checked: the hash of the teacher's parameters and buffers (a server that was restarted with other weights is
/// refused), that it belongs to this input, all rows in their order, the names, types and shapes of the outputs, and that they
/// are finite. Checkpoints store the hash of the teacher, so that a run resumes with the same one only.
/// `Cached{Remote{...}, ...}` stores what was answered on disk.
///
/// Inputs are a tensor with one row per sample. On a GPU they are copied to the host, which waits for the device; the outputs are moved to
/// the input's device. The server computes in its own precision: autocast of the student's process has no effect on it.
/// Copies share the connection and the prepared outputs. May be called on several threads at once.
/// \throws TransportError if the teacher is not served, does not answer in time (the checkpoints of the run remain, and resume it), or
/// answers with what cannot be used; ConfigError if an option is out of range, or the outputs have no such logits
template <transport::Transport T>
class Remote {
  public:
    /// Asks the teacher who it is.
    explicit Remote(T transport, std::string subject, RemoteOptions options = {})
        : state_(std::make_shared<State>(std::move(transport), std::move(subject), std::move(options))) {
        state_->introduce();
    }

    NamedOutputs operator()(const at::Tensor& value) const { return state_->outputs(value); }

    /// Asks for the outputs of an input now, and keeps them until the teacher is called with it.
    void prepare(const at::Tensor& value) const { state_->prepare(value); }
    /// A stage for `data::map`, which prepares each batch and passes it on.
    auto ahead() const {
        return [teacher = *this](auto batch) {
            teacher.prepare(retort::input(batch));
            return batch;
        };
    }

    /// The hash of the served teacher's parameters and buffers.
    const std::string& model() const { return state_->options.model; }
    /// Identifies the teacher, for `Cached`.
    std::string identity() const { return model(); }
    std::int64_t asked() const { return state_->asked; }  ///< batches, so far
    std::int64_t found() const {
        return state_->found;
    }  ///< batches that were prepared when they were needed
    const transport::Messenger<T>& messenger() const { return state_->messenger; }

    /// Compares the served teacher.
    void checkpoint(Archive& archive) { archive.expect("hash of the served teacher", model()); }

  private:
    using Reason = TransportError::Reason;

    struct State {
        State(T transport, std::string where, RemoteOptions how)
            : options(std::move(how)),
              subject(std::move(where)),
              messenger(std::move(transport), options.messenger) {
            if (options.prepared < 1)
                throw ConfigError("Remote: expected at least 1 prepared batch, found 0");
        }

        RemoteOptions options;
        std::string subject;
        transport::Messenger<T> messenger;
        std::atomic<std::int64_t> asked{0}, found{0};
        std::mutex mutex{};
        std::deque<std::pair<transport::Id, NamedOutputs>> kept{};  // the oldest first
        std::vector<std::string> kinds{};                           // of the outputs of the first answer

        template <class... Parts>
        [[noreturn]] void refuse(const Parts&... parts) const {
            throw TransportError(Reason::unusable, detail::concat("Remote: ", subject, ": ", parts...));
        }

        void introduce() {
            const transport::Message answer = messenger.request(
                subject, transport::Message{.kind = detail::remote::describe}, options.request);
            if (answer.kind != detail::remote::taught || answer.model.empty())
                refuse("expected a served teacher, found an answer of the kind ",
                       detail::excerpt(answer.kind));
            if (options.model.empty()) options.model = answer.model;
            check_model(answer);
        }
        void check_model(const transport::Message& answer) const {
            if (answer.model != options.model) {
                refuse("expected the teacher ", options.model, ", found ", detail::excerpt(answer.model),
                       ": was it restarted with other weights?");
            }
        }

        NamedOutputs ask(const at::Tensor& value, const transport::Id& key) {
            const at::NoGradGuard no_grad;
            transport::Message question{.kind = detail::remote::teach, .id = key};
            question.tensors.insert("input", value.detach().cpu());
            const transport::Message answer = messenger.request(subject, question, options.request);
            ++asked;
            if (answer.kind != detail::remote::taught)
                refuse("expected ", detail::remote::taught, ", found ", detail::excerpt(answer.kind));
            check_model(answer);
            if (answer.field("key") != detail::remote::key_text(key))
                refuse("expected the outputs for this input, found those for another one");
            NamedOutputs result;
            std::vector<std::string> found_kinds;
            for (const auto& item : answer.tensors) {
                const at::Tensor& tensor = item.value();
                if (tensor.dim() < 1 || tensor.size(0) != value.size(0)) {
                    refuse("output ", detail::excerpt(item.key()), ": expected ", value.size(0),
                           " rows, found ", detail::shape_text(tensor));
                }
                if (at::isFloatingType(tensor.scalar_type()) &&
                    !at::isfinite(tensor).all().template item<bool>())
                    refuse("output ", detail::excerpt(item.key()), ": expected finite numbers, found others");
                found_kinds.push_back(detail::concat(detail::excerpt(item.key()), ' ',
                                                     at::toString(tensor.scalar_type()), ' ',
                                                     tensor.sizes().slice(1)));
                result.emplace(item.key(), tensor);
            }
            check_kinds(found_kinds);
            result.take_logits(options.logits, detail::concat("Remote: ", subject), "RemoteOptions::logits");
            return result;
        }
        /// Names, types and shapes of rows stay those of the first answer.
        void check_kinds(std::vector<std::string> now) {
            std::sort(now.begin(), now.end());
            const auto list = [](const std::vector<std::string>& of) {
                std::string result;
                for (const std::string& each : of) result.append(result.empty() ? "" : ", ").append(each);
                return result;
            };
            const std::lock_guard lock(mutex);
            if (kinds.empty()) kinds = now;
            if (kinds != now) refuse("expected the outputs ", list(kinds), " as before, found ", list(now));
        }

        static void check_input(const at::Tensor& value) {
            if (!value.defined() || value.dim() < 1)
                throw ShapeError("Remote: expected an input with a row for each sample, found none");
        }
        void prepare(const at::Tensor& value) {
            check_input(value);
            const transport::Id key = detail::remote::key_of(value);
            {
                const std::lock_guard lock(mutex);
                for (const auto& [known, outputs] : kept) {
                    if (known == key) return;
                }
            }
            NamedOutputs outputs = ask(value, key);
            const std::lock_guard lock(mutex);
            kept.emplace_back(key, std::move(outputs));
            if (kept.size() > options.prepared) kept.pop_front();
        }

        NamedOutputs outputs(const at::Tensor& value) {
            check_input(value);
            const transport::Id key = detail::remote::key_of(value);
            NamedOutputs result;
            bool ready = false;
            {
                const std::lock_guard lock(mutex);
                const auto each =
                    std::find_if(kept.begin(), kept.end(), [&](const auto& one) { return one.first == key; });
                ready = each != kept.end();
                if (ready) {
                    result = std::move(each->second);
                    kept.erase(each);
                }
            }
            if (ready) {
                ++found;
            } else {
                result = ask(value, key);
            }
            for (auto& [name, tensor] : result) tensor = tensor.to(value.device());
            result.logits = result.at(options.logits);
            return result;
        }
    };

    std::shared_ptr<State> state_;
};

}  // namespace retort
