// SPDX-License-Identifier: BSL-1.0
/// \file
/// A teacher from a package compiled ahead of time in Python. (Not in the umbrella headers, as it requires
/// LibTorch 2.6 or later. Needs no library other than LibTorch.)
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/MemoryFormat.h>
#include <c10/core/ScalarType.h>

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/detail/compat.hpp>
#include <retort/teacher/named_outputs.hpp>

#if RETORT_HAS_PACKAGE_LOADER
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/util/Exception.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>

#if defined(RETORT_WITH_JSON) && RETORT_WITH_JSON
#include <nlohmann/json.hpp>
#endif

#include <retort/core/device.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/check.hpp>
#include <retort/detail/hash.hpp>
#include <retort/detail/mapped_file.hpp>
#include <retort/detail/zip.hpp>
#endif

namespace retort {

/// Options of `Compiled`. A package is compiled for one kind of input and does not check it: given any other, it
/// reads out of bounds. So the kind must be declared here.
struct CompiledOptions {
    /// The sizes of the example input passed to `torch.export`; -1: any (a `Dim` in its `dynamic_shapes`). Required.
    std::vector<std::int64_t> input{};
    at::ScalarType type = at::kFloat;  ///< of the input
    /// Of the example input passed to `torch.export`. Inputs in another layout are converted to it.
    at::MemoryFormat layout = at::MemoryFormat::Contiguous;
    std::string device = "cpu";  ///< `cpu`, `cuda`, `cuda:N` or `auto`: of the kind it was compiled for
    /// Names for the outputs, in order (for nested ones: of their leaves). Empty: the package's own, which exist if
    /// the network returns a dictionary or a single tensor.
    std::vector<std::string> outputs{};
    std::string logits = "logits";  ///< which of several outputs are the logits
};

#if RETORT_HAS_PACKAGE_LOADER

/// A teacher compiled ahead of time in Python, for one kind of device. LibTorch 2.6 or later.
///
///     with torch.no_grad():
///         program = torch.export.export(model.eval(), (x,), dynamic_shapes={"x": {0: torch.export.Dim("batch")}})
///     torch._inductor.aoti_compile_and_package(program, package_path="teacher.pt2")
///
///     retort::Compiled teacher{"teacher.pt2", {.input = {-1, 3, 32, 32}, .device = "cuda"}};
///     retort::Hint{retort::tap<&StudentOutputs::body>, retort::tap<"body">, ...}
///
/// Its network takes one tensor, and returns a tensor (the logits), a dictionary from names to tensors (whose names
/// are read if retort is built with nlohmann-json), or any nesting of tensors, named by `CompiledOptions::outputs`.
/// It is in evaluation mode if it was at export. Runs without gradient, and without autocast: its types are compiled
/// in.
///
/// A package is executable code: load only those you trust. Copies share it. Checkpoints store a hash of its file;
/// recompiling a network gives a different file.
class Compiled {
  public:
    /// \throws DataError if the file is not such a package, is damaged, or LibTorch cannot load it; ConfigError if it
    /// is for another device, or takes or returns something other than the options say
    explicit Compiled(const std::filesystem::path& path, CompiledOptions options)
        : options_(std::move(options)),
          path_(path.string()),
          device_(numbered(retort::device(options_.device))) {
        check_options();
        look_at_file(path);
        const c10::OptionalDeviceGuard guard(guarded());
        std::string key;
        std::vector<std::string> spec;
        try {
            loader_ = std::make_shared<torch::inductor::AOTIModelPackageLoader>(path_);
            key = loader_->get_metadata()["AOTI_DEVICE_KEY"];
            spec = loader_->get_call_spec();
        } catch (const c10::Error& error) {
            refuse_file(error.what_without_backtrace());
        } catch (const std::exception& error) {
            refuse_file(error.what());
        }
        if (key != c10::DeviceTypeName(device_.type(), /*lower_case=*/true)) {
            refuse(detail::concat("a package for ", device_.type(), " (CompiledOptions::device)"),
                   "one for " + key);
        }
        find_names(spec);
    }

    /// \param value of the sizes, type and device given in the options
    /// \throws ShapeError otherwise
    NamedOutputs operator()(const at::Tensor& value) const {
        check_input(value);
        const at::NoGradGuard no_grad;
        const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
        const c10::OptionalDeviceGuard guard(guarded());
        at::Tensor own = value.contiguous(options_.layout);
        // Compiled code relies on the alignment of freshly allocated tensors; a view may be aligned less.
        if (reinterpret_cast<std::uintptr_t>(own.data_ptr()) % 16 != 0) own = at::empty_like(own).copy_(own);
        std::vector<at::Tensor> results;
        try {
            results = loader_->run({own});
        } catch (const c10::Error& error) {
            fail(error.what_without_backtrace());
        } catch (const std::exception& error) {
            fail(error.what());
        }
        if (results.size() != names_.size()) {
            refuse(detail::concat(names_.size(), " outputs (CompiledOptions::outputs)"),
                   std::to_string(results.size()));
        }
        NamedOutputs outputs;
        for (std::size_t i = 0; i < names_.size(); ++i) outputs.emplace(names_[i], std::move(results[i]));
        outputs.take_logits(options_.logits, detail::concat("Compiled: ", path_), "CompiledOptions::logits");
        return outputs;
    }

    /// The program.
    torch::inductor::AOTIModelPackageLoader& loader() const { return *loader_; }
    /// The names of its outputs, in order.
    const std::vector<std::string>& outputs() const { return names_; }
    /// Compares the program: checkpoints store a hash of its file.
    void checkpoint(Archive& archive) { archive.expect("hash of its file", hash_); }

  private:
    [[noreturn]] void refuse(const std::string& expected, const std::string& found) const {
        throw ConfigError(detail::concat("Compiled: ", path_, ": expected ", expected, ", found ", found));
    }
    [[noreturn]] void refuse_file(const char* found) const {
        throw DataError(detail::concat(path_,
                                       ": expected a package of torch._inductor.aoti_compile_and_package ",
                                       "that this LibTorch (", TORCH_VERSION, ") can load, found: ", found));
    }
    [[noreturn]] void fail(const char* found) const {
        throw DataError(detail::concat(path_, ": expected the compiled program to run, found: ", found));
    }

    static at::Device numbered(at::Device device) {
        return device.is_cpu() || device.has_index() ? device : at::Device(device.type(), 0);
    }
    /// For a CUDA device: weights and kernels are loaded onto the current one.
    std::optional<c10::Device> guarded() const {
        return device_.is_cpu() ? std::nullopt : std::optional<c10::Device>(device_);
    }

    void check_options() const {
        const auto positive = [](std::int64_t size) { return size > 0 || size == -1; };
        if (options_.input.empty() || !std::all_of(options_.input.begin(), options_.input.end(), positive)) {
            refuse(
                "the sizes of the input that it was compiled for, above 0, or -1 for any "
                "(CompiledOptions::input)",
                detail::shape_text(options_.input));
        }
    }

    void look_at_file(const std::filesystem::path& path) {
        const detail::MappedFile file(path);
        if (!detail::ZipArchive::recognizes(file.bytes())) refuse_file("not a zip archive");
        bool compiled = false;
        try {
            const detail::ZipArchive archive(file.bytes());
            for (const auto& [name, entry] : archive.entries()) {
                compiled = compiled || name.find("data/aotinductor/") != std::string_view::npos;
                // LibTorch does not verify checksums, and running a damaged library is undefined.
                if (entry.plain) archive.find(name);
            }
        } catch (const detail::MalformedBytes& error) {
            refuse_file(error.what());
        }
        if (!compiled) refuse_file("a zip archive without data/aotinductor");
        detail::Hash hash;
        hash.add(file.bytes());
        hash_ = hash.text();
    }

    /// Determines what is known about inputs and outputs before anything runs.
    void find_names(const std::vector<std::string>& spec) {
        names_ = options_.outputs;
        std::optional<std::size_t> count;
#if defined(RETORT_WITH_JSON) && RETORT_WITH_JSON
        // As written by torch.utils._pytree: [1, {"type": ..., "context": ..., "children_spec": [...]}].
        using Json = nlohmann::json;
        const auto leaves = [](const auto& self, const Json& node, int depth = 0) -> std::size_t {
            if (node.at("type").is_null()) return 1;
            if (depth == 100) throw std::out_of_range("nested too deeply");
            std::size_t result = 0;
            for (const Json& each : node.at("children_spec")) result += self(self, each, depth + 1);
            return result;
        };
        try {
            const Json inputs = Json::parse(spec.at(0)).at(1), results = Json::parse(spec.at(1)).at(1);
            if (const std::size_t found = leaves(leaves, inputs); found != 1)
                refuse("a network that takes one tensor", detail::concat("one that takes ", found));
            count = leaves(leaves, results);
            const bool dictionary =
                results.at("type") == "builtins.dict" || results.at("type") == "collections.OrderedDict";
            if (names_.empty() && dictionary && results.at("children_spec").size() == *count) {
                names_ =
                    Json::parse(results.at("context").get<std::string>()).get<std::vector<std::string>>();
            }
        } catch (const Json::exception&) {
            // Unknown format: the names then come from the options.
        } catch (const std::out_of_range&) {
        }
#else
        static_cast<void>(spec);
#endif
        if (names_.empty() && count.value_or(1) == 1) names_ = {options_.logits};
        if (count && names_.size() != *count) {
            refuse(detail::concat(*count, " names (CompiledOptions::outputs) for the outputs"),
                   std::to_string(names_.size()));
        }
        std::vector<std::string> sorted = names_;
        std::sort(sorted.begin(), sorted.end());
        if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
            refuse("different names for the outputs",
                   *std::adjacent_find(sorted.begin(), sorted.end()) + " twice");
        if (!std::binary_search(sorted.begin(), sorted.end(), options_.logits)) {
            std::string all;
            for (const std::string& each : names_) all.append(all.empty() ? "" : ", ").append(each);
            refuse(detail::concat("a name \"", options_.logits,
                                  "\" among the outputs (CompiledOptions::logits)"),
                   all);
        }
    }

    void check_input(const at::Tensor& value) const {
        const std::vector<std::int64_t>& sizes = options_.input;
        bool fits = value.defined() && value.dim() == static_cast<std::int64_t>(sizes.size());
        for (std::size_t i = 0; fits && i < sizes.size(); ++i)
            fits = sizes[i] == -1 || sizes[i] == value.size(static_cast<std::int64_t>(i));
        if (!fits) {
            throw ShapeError(detail::concat(
                "Compiled: ", path_, ": expected an input of shape ", detail::shape_text(sizes),
                " (CompiledOptions::input, -1: any), found ", detail::shape_text(value)));
        }
        if (value.scalar_type() != options_.type || value.device() != device_) {
            throw ShapeError(detail::concat("Compiled: ", path_, ": expected an input of ", options_.type,
                                            " on ", device_, ", found ", value.scalar_type(), " on ",
                                            value.device()));
        }
    }

    CompiledOptions options_;
    std::string path_;
    at::Device device_;
    std::string hash_;
    std::shared_ptr<torch::inductor::AOTIModelPackageLoader> loader_;
    std::vector<std::string> names_;
};

#else

/// A teacher compiled ahead of time in Python: not available, as this LibTorch cannot load it.
class Compiled {
  public:
    template <class Path>
    explicit Compiled(const Path&, const CompiledOptions&) {
        static_assert(
            !std::same_as<Path, Path>,
            "retort: Compiled needs LibTorch 2.6 or later, which loads packages that are compiled "
            "ahead of time; this one is older. retort::Scripted loads TorchScript with any version");
    }
    NamedOutputs operator()(const at::Tensor&) const;
    void checkpoint(Archive&);
};

#endif

}  // namespace retort
