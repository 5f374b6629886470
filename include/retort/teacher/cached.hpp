// SPDX-License-Identifier: BSL-1.0
/// \file
/// A teacher whose outputs are cached on disk.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logsumexp.h>
#include <c10/core/ScalarType.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/checkpoint/module_state.hpp>
#include <retort/core/error.hpp>
#include <retort/core/logits.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/compat.hpp>
#include <retort/detail/hash.hpp>
#include <retort/detail/tensor.hpp>
#include <retort/detail/type_name.hpp>
#include <retort/teacher/concept.hpp>
#include <retort/teacher/detail/output_store.hpp>
#include <retort/teacher/detail/teacher_state.hpp>

namespace retort {

/// Options of `Cached`.
struct CachedOptions {
    enum class Format {
        exact,    ///< exactly as the teacher computed them
        float16,  ///< rounded to 11 significant bits
    };
    std::filesystem::path directory{};  ///< where the outputs are stored; created if missing
    Format format = Format::exact;
    /// Of the logits store only the k largest log-probabilities and the total probability of all other classes, which
    /// is spread evenly over them on reading. 0: all logits. (Shen, Xing, "A Fast Knowledge Distillation Framework
    /// for Visual Recognition", ECCV 2022, section 3.3: marginal smoothing with top-k.)
    std::int64_t top_k = 0;
    bool only_stored = false;  ///< an input missing from the store is an error
    /// Identifies this teacher if it has neither modules to hash nor an `identity()`.
    std::string identity{};
};

namespace detail {

template <class O>
concept LogitsMember = outputs::HasLogitsMember<O>;

/// Writes a tensor to where a tap reads it.
template <class Tap, class Outputs>
void put(const Tap& tap, Outputs& outputs, const at::Tensor& tensor) {
    if constexpr (requires { outputs.emplace(std::string(), tensor); }) {
        outputs.emplace(tap.name(), tensor);
    } else {
        // The tap returns a reference into `outputs`, which is not const.
        const_cast<at::Tensor&>(tap(std::as_const(outputs))) = tensor;
    }
}

/// The keys of the rows of a tensor: for each a 128-bit hash of type, shape and content.
inline std::vector<OutputStore::Key> row_keys(const at::Tensor& rows) {
    const at::Tensor memory = in_memory(rows);
    const auto count = static_cast<std::size_t>(memory.size(0));
    const std::size_t size = count > 0 ? memory.nbytes() / count : 0;
    const auto* const bytes = static_cast<const char*>(memory.data_ptr());
    const std::string kind = concat(at::toString(memory.scalar_type()), memory.sizes().slice(1));
    std::vector<OutputStore::Key> result(count);
    for (std::size_t i = 0; i < count; ++i) {
        for (std::size_t half = 0; half < 2; ++half) {
            Hash hash;
            hash.add(half == 0 ? std::string_view("first") : std::string_view("second"));
            hash.add(kind);
            hash.add(bytes + i * size, size);
            result[i][half] = hash.value();
        }
    }
    return result;
}

}  // namespace detail

/// A teacher whose outputs are cached on disk, so that it computes them once per distinct input: not again in later
/// epochs of a loader with a `cycle`, in later runs, or for other students.
///
///     retort::Cached teacher{retort::Frozen{network}, {.directory = "outputs"}, retort::tap<&Outputs::body>};
///     retort::data::Loader batches{dataset, {.batch_size = 128, .cycle = 10}, retort::data::cifar10_train()};
///
/// Cached are the logits and what the taps select. If the outputs are an aggregate, only these members are set when
/// they are read from the store (a member that is a vector cannot be cached: make it an array), as contiguous tensors
/// on the input's device.
///
/// An input is identified by a hash of its content (128 bits, one per row), however it was augmented: an input that
/// recurs bit for bit is found; any other is computed and added. Making augmented inputs recur is up to the loader
/// (`LoaderOptions::cycle`). A batch with a missing row is computed as a whole. In the exact format, a run with the
/// store is bit-identical to one without it, as long as the batches are those that filled it: in a batch of other
/// samples, a network may round differently. In the other formats, freshly computed outputs are returned as they would
/// be read back.
///
/// The store is tied to the teacher by a hash of its parameters and buffers, to the type and shape of inputs and
/// outputs, to the precision, and to the format; it is refused with any other. The first batch of a run is always
/// computed, since its outputs determine the record layout. Records are looked up in memory-mapped files and verified
/// by checksums; several processes may fill one store (each sees its own additions immediately, and those of others
/// when it opens the store). A row takes its bytes plus 24 on disk, and about 80 bytes in memory. Inputs on a GPU are
/// copied to the host for the hash, which waits for the device. A killed run loses no records; the store is flushed
/// to disk when the last copy of the teacher is destroyed, so that after an earlier power loss records may be refused
/// as damaged: remove the file that the error names.
///
/// Under a trainer's `Bfloat16` or `Float16` a teacher gives other outputs than without autocast, as in validation or
/// another run: each precision has a separate store, that of autocast in a subdirectory (`autocast-BFloat16`).
///
/// With all rows in the store, the teacher costs about 2 % of the forward of a residual network with 0.7 million
/// parameters (`build/bench/bench/cached`).
///
/// The teacher must not change. For inputs that are a single tensor with one row per sample. Copies share the store.
/// \throws ConfigError if an option is out of range or the teacher cannot be identified; with the first input,
/// DataError if the store is another teacher's or damaged, OutputError if it cannot be written
template <class T, class... TapPolicies>
class Cached {
  public:
    explicit Cached(T teacher, CachedOptions options, TapPolicies... taps)
        : state_(std::make_shared<State>(std::move(teacher), std::move(options),
                                         std::tuple<TapPolicies...>(std::move(taps)...))) {
        static_assert(
            !LearnsAlong<T>,
            "retort: a teacher that learns along cannot be Cached: its outputs change during training");
        const CachedOptions& given = state_->options;
        if (given.directory.empty()) throw ConfigError("Cached: expected a directory, found none");
        if (given.top_k < 0)
            throw ConfigError(detail::concat("Cached: expected a top_k of at least 0, found ", given.top_k));
        if (given.identity.empty() && !detail::Identified<T> &&
            detail::teacher_modules(state_->teacher).empty()) {
            throw ConfigError(detail::concat("Cached: ", detail::type_name<T>(),
                                             " has no modules to hash: expected CachedOptions::identity"));
        }
        if (given.identity.find('\n') != std::string::npos)
            throw ConfigError("Cached: expected an identity of one line, found a line break");
    }

    template <std::same_as<at::Tensor> I>
        requires Teacher<T, I>
    TeacherOutputsOf<T, I> operator()(const I& value) const {
        return state_->template outputs<TeacherOutputsOf<T, I>>(value);
    }

    std::vector<torch::nn::Module*> modules() const { return detail::teacher_modules(state_->teacher); }
    /// The wrapped teacher.
    const T& teacher() const { return state_->teacher; }
    /// The number of rows computed by the teacher for this policy and its copies.
    std::int64_t computed() const { return state_->computed; }
    /// The number of rows found in the store instead.
    std::int64_t found() const { return state_->found; }

    /// Compares the teacher; the store is not part of a checkpoint.
    void checkpoint(Archive& archive) {
        archive.in("cached", [&] { detail::archive_teacher(archive, state_->teacher); });
    }

  private:
    /// The layout of a tensor in a record.
    struct Part {
        std::string name{};
        at::ScalarType type{};
        std::vector<std::int64_t> shape{};  ///< of a row
        std::size_t bytes = 0;              ///< of a row in a record
    };
    /// The store of one precision.
    struct Kept {
        std::filesystem::path directory{};
        std::vector<Part> parts{};
        std::optional<detail::OutputStore> store{};
    };
    struct State {
        State(T what, CachedOptions how, std::tuple<TapPolicies...> kept)
            : teacher(std::move(what)), options(std::move(how)), taps(std::move(kept)) {}

        T teacher;
        CachedOptions options;
        std::tuple<TapPolicies...> taps;
        std::map<at::ScalarType, Kept> precisions{};  ///< by autocast type; Undefined: no autocast
        std::int64_t computed = 0, found = 0;

        template <class Outputs>
        Outputs outputs(const at::Tensor& value) {
            static_assert(std::default_initializable<Outputs>,
                          "retort: the outputs of a Cached teacher need a default constructor");
            static_assert(
                std::same_as<Outputs, at::Tensor> || detail::LogitsMember<Outputs> ||
                    sizeof...(TapPolicies) > 0,
                "retort: the outputs of a Cached teacher have no logits: select what to cache by taps");
            if (value.dim() < 1) throw ShapeError("Cached: expected a row for each sample, found a scalar");
            Kept& kept = precisions[autocast(value.device().type())];
            std::optional<detail::OutputStore>& store = kept.store;
            const std::vector<detail::OutputStore::Key> keys = detail::row_keys(value);
            bool all = store.has_value() && !keys.empty();
            for (std::size_t i = 0; all && i < keys.size(); ++i) all = store->has(keys[i]);
            if (all) {
                found += value.size(0);
                return stored<Outputs>(kept, keys, value.device());
            }
            Outputs result = teacher(value);
            computed += value.size(0);
            if (keys.empty()) return result;
            const std::vector<at::Tensor> tensors = tensors_of(result, value.size(0));
            if (!store) open(kept, tensors, value);
            check(kept, tensors);
            std::size_t missing = 0;
            for (const auto& key : keys) missing += store->has(key) ? 0 : 1;
            if (missing > 0 && options.only_stored) {
                throw DataError(detail::concat("Cached: expected all inputs in ", kept.directory.string(),
                                               ", found ", missing, " of ", keys.size(), " missing"));
            }
            add(kept, keys, tensors);
            const bool exact = options.format == CachedOptions::Format::exact && options.top_k == 0;
            return exact ? result : stored<Outputs>(kept, keys, value.device());
        }

        template <class Outputs>
        std::vector<at::Tensor> tensors_of(const Outputs& outputs, std::int64_t rows) const {
            std::vector<at::Tensor> result;
            if constexpr (std::same_as<Outputs, at::Tensor> || detail::LogitsMember<Outputs>)
                result.push_back(logits(outputs));
            std::apply([&](const auto&... tap) { (result.push_back(tap(outputs)), ...); }, taps);
            for (const at::Tensor& tensor : result) {
                if (!tensor.defined() || tensor.dim() < 1 || tensor.size(0) != rows) {
                    throw ShapeError(detail::concat("Cached: expected outputs with a row for each of the ",
                                                    rows, " samples, found ",
                                                    tensor.defined() ? detail::shape_text(tensor) : "none"));
                }
            }
            return result;
        }
        bool top(std::size_t part) const { return options.top_k > 0 && part == 0; }

        /// The autocast type on a device; Undefined: no autocast.
        static at::ScalarType autocast(at::DeviceType device) {
            return detail::compat::autocast_enabled(device) ? detail::compat::autocast_type(device)
                                                            : at::ScalarType::Undefined;
        }
        /// Determines the record layout from the first outputs, and opens the store.
        void open(Kept& kept, const std::vector<at::Tensor>& tensors, const at::Tensor& value) {
            const at::ScalarType narrow = autocast(value.device().type());
            const bool casts = narrow != at::ScalarType::Undefined;
            kept.directory = casts ? options.directory / detail::concat("autocast-", at::toString(narrow))
                                   : options.directory;
            std::vector<std::string> names;
            if (tensors.size() > sizeof...(TapPolicies))
                names.emplace_back("logits");
            else if (options.top_k > 0)
                throw ConfigError("Cached: top_k needs outputs with logits");
            std::apply([&](const auto&... tap) { (names.push_back(tap.name()), ...); }, taps);
            std::string description = detail::concat(
                "teacher: ", identity(), "\ninputs: ", at::toString(value.scalar_type()), ' ',
                value.sizes().slice(1),
                "\nprecision: ", casts ? detail::concat("autocast to ", at::toString(narrow)) : "no autocast",
                "\nformat: ", options.format == CachedOptions::Format::exact ? "exact" : "float16", '\n');
            std::size_t size = 0;
            kept.parts.clear();
            for (std::size_t i = 0; i < tensors.size(); ++i) {
                const at::Tensor& tensor = tensors[i];
                Part part{names[i], tensor.scalar_type(), tensor.sizes().slice(1).vec()};
                const auto elements = static_cast<std::size_t>(tensor.numel() / tensor.size(0));
                description.append(
                    detail::concat(part.name, ": ", at::toString(part.type), ' ', tensor.sizes().slice(1)));
                if (top(i)) {
                    if (tensor.dim() != 2 || tensor.size(1) < options.top_k) {
                        throw ShapeError(
                            detail::concat("Cached: expected logits of at least top_k = ", options.top_k,
                                           " classes, found ", detail::shape_text(tensor)));
                    }
                    description.append(detail::concat(", top ", options.top_k));
                    part.bytes = static_cast<std::size_t>(options.top_k) * 8 + 4;
                } else {
                    part.bytes =
                        elements * (rounded(part.type) ? 2 : static_cast<std::size_t>(tensor.element_size()));
                }
                description.append("\n");
                size += part.bytes;
                kept.parts.push_back(std::move(part));
            }
            kept.store.emplace(kept.directory, std::move(description), size);
        }
        std::string identity() const {
            if (!options.identity.empty()) return options.identity;
            if constexpr (detail::Identified<T>) {
                return teacher.identity();
            } else {
                return detail::hash_of_modules(detail::teacher_modules(teacher));
            }
        }
        bool rounded(at::ScalarType type) const {
            return options.format == CachedOptions::Format::float16 && at::isFloatingType(type);
        }
        static void check(const Kept& kept, const std::vector<at::Tensor>& tensors) {
            const std::vector<Part>& parts = kept.parts;
            for (std::size_t i = 0; i < parts.size(); ++i) {
                if (tensors[i].sizes().slice(1) != at::IntArrayRef(parts[i].shape) ||
                    tensors[i].scalar_type() != parts[i].type) {
                    throw ShapeError(detail::concat("Cached: expected the rows of ", parts[i].name, " to be ",
                                                    at::toString(parts[i].type), ' ',
                                                    at::IntArrayRef(parts[i].shape), " as before, found ",
                                                    at::toString(tensors[i].scalar_type()), ' ',
                                                    tensors[i].sizes().slice(1)));
                }
            }
        }

        void add(Kept& kept, const std::vector<detail::OutputStore::Key>& keys,
                 const std::vector<at::Tensor>& tensors) const {
            const std::vector<Part>& parts = kept.parts;
            std::vector<at::Tensor> memory;
            for (std::size_t i = 0; i < tensors.size(); ++i) {
                const at::Tensor tensor = detail::in_memory(tensors[i]);
                if (top(i)) {
                    memory.push_back(shortened(tensor));
                } else {
                    memory.push_back(rounded(tensor.scalar_type()) ? tensor.to(at::kHalf) : tensor);
                }
            }
            std::vector<detail::OutputStore::Key> added;
            std::string contents;
            for (std::size_t row = 0; row < keys.size(); ++row) {
                // A sample may occur twice in a batch.
                if (kept.store->has(keys[row]) ||
                    std::find(added.begin(), added.end(), keys[row]) != added.end())
                    continue;
                added.push_back(keys[row]);
                for (std::size_t i = 0; i < parts.size(); ++i) {
                    contents.append(static_cast<const char*>(memory[i].data_ptr()) + row * parts[i].bytes,
                                    parts[i].bytes);
                }
            }
            kept.store->append(added, contents);
        }
        /// Rows of 2k + 1 numbers of 4 bytes: log-probabilities, classes, and the log of the remaining probability.
        at::Tensor shortened(const at::Tensor& values) const {
            const at::Tensor log_probabilities = at::log_softmax(values.to(at::kFloat), 1);
            const auto [largest, classes] = log_probabilities.sort(1, /*descending=*/true);
            const std::int64_t k = options.top_k, all = values.size(1);
            at::Tensor rest = k < all ? at::logsumexp(largest.narrow(1, k, all - k), {1}, true)
                                      : at::full({values.size(0), 1}, -std::numeric_limits<float>::infinity(),
                                                 largest.options());
            at::Tensor result = at::empty({values.size(0), 2 * k + 1}, largest.options());
            result.narrow(1, 0, k).copy_(largest.narrow(1, 0, k));
            // The classes as integers, bit-cast to floating point.
            const at::Tensor numbers = classes.narrow(1, 0, k).to(at::kInt).contiguous();
            result.narrow(1, k, k).copy_(numbers.view(at::kFloat));
            result.narrow(1, 2 * k, 1).copy_(rest);
            return result;
        }
        at::Tensor lengthened(const at::Tensor& rows, std::int64_t all) const {
            const std::int64_t k = options.top_k;
            const at::Tensor classes = rows.narrow(1, k, k).contiguous().view(at::kInt).to(at::kLong);
            at::Tensor result = rows.narrow(1, 2 * k, 1)
                                    .sub(std::log(static_cast<double>(std::max<std::int64_t>(all - k, 1))))
                                    .repeat({1, all});
            return result.scatter_(1, classes, rows.narrow(1, 0, k));
        }

        template <class Outputs>
        Outputs stored(Kept& kept, const std::vector<detail::OutputStore::Key>& keys,
                       at::Device device) const {
            const std::vector<Part>& parts = kept.parts;
            const auto rows = static_cast<std::int64_t>(keys.size());
            std::vector<at::Tensor> memory;
            for (std::size_t i = 0; i < parts.size(); ++i) {
                std::vector<std::int64_t> shape{rows};
                if (top(i)) {
                    shape.push_back(2 * options.top_k + 1);
                } else {
                    shape.insert(shape.end(), parts[i].shape.begin(), parts[i].shape.end());
                }
                const at::ScalarType type = top(i)                   ? at::kFloat
                                            : rounded(parts[i].type) ? at::kHalf
                                                                     : parts[i].type;
                memory.push_back(at::empty(shape, at::TensorOptions(type)));
            }
            for (std::size_t row = 0; row < keys.size(); ++row) {
                const std::optional<std::string_view> content = kept.store->find(keys[row]);
                std::size_t offset = 0;
                for (std::size_t i = 0; i < parts.size(); ++i) {
                    std::memcpy(static_cast<char*>(memory[i].data_ptr()) + row * parts[i].bytes,
                                content->data() + offset, parts[i].bytes);
                    offset += parts[i].bytes;
                }
            }
            for (std::size_t i = 0; i < parts.size(); ++i) {
                if (top(i)) memory[i] = lengthened(memory[i], parts[i].shape.at(0));
                memory[i] = memory[i].to(at::TensorOptions(device).dtype(parts[i].type));
            }
            Outputs result{};
            std::size_t next = 0;
            if constexpr (std::same_as<Outputs, at::Tensor>) {
                result = memory[next++];
            } else if constexpr (detail::LogitsMember<Outputs>) {
                result.logits = memory[next++];
            }
            std::apply([&](const auto&... tap) { (detail::put(tap, result, memory[next++]), ...); }, taps);
            return result;
        }
    };

    std::shared_ptr<State> state_;
};

template <class T, class... TapPolicies>
Cached(T, CachedOptions, TapPolicies...) -> Cached<T, TapPolicies...>;

}  // namespace retort
