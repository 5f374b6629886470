// SPDX-License-Identifier: BSL-1.0
/// \file
/// A teacher from a TorchScript file. (Not in the umbrella headers: LibTorch's TorchScript headers take seconds to
/// compile.)
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/core/ivalue.h>
#include <ATen/core/jit_type.h>
#include <c10/util/Exception.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <retort/checkpoint/archive.hpp>
#include <retort/core/device.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/hash.hpp>
#include <retort/detail/mapped_file.hpp>
#include <retort/teacher/named_outputs.hpp>

namespace retort {

/// Options of `Scripted`.
struct ScriptedOptions {
    std::string device = "cpu";          ///< `cpu`, `cuda`, `cuda:N` or `auto`
    std::vector<std::string> outputs{};  ///< names for the elements of a tuple without names
    std::string logits = "logits";       ///< which of several outputs are the logits
    /// Embed the weights in the program as constants, and let LibTorch simplify it: batch norm is folded into the
    /// preceding convolutions, so that outputs differ in the last digits.
    bool freeze = true;
};

/// A teacher saved in Python by `torch.jit.script(model).save(path)` or `torch.jit.trace`. Runs without gradient and
/// in evaluation mode.
///
/// Its `forward` takes one tensor, and returns a tensor (the logits), a named tuple, a dictionary from names to
/// tensors, or a tuple whose elements `ScriptedOptions::outputs` names:
///
///     retort::Scripted teacher{"teacher.pt", {.device = "cuda", .outputs = {"logits", "layer3"}}};
///     retort::Hint{retort::tap<&StudentOutputs::body>, retort::tap<"layer3">, ...}
///
/// A TorchScript file is executable code: load only those you trust. Copies share it.
class Scripted {
  public:
    /// \throws DataError if the file is not a TorchScript program; ConfigError if its `forward` returns something
    /// else, the names do not match what it returns, or the device does not exist
    explicit Scripted(const std::filesystem::path& path, ScriptedOptions options = {})
        : options_(std::move(options)), path_(path.string()) {
        const at::Device device = retort::device(options_.device);
        const detail::MappedFile regular(path_);  // a pipe would make LibTorch wait
        try {
            // On the CPU first: the device it was saved on may not exist here.
            module_ = torch::jit::load(path_, at::Device(at::kCPU));
        } catch (const c10::Error& error) {
            throw DataError(detail::concat(path_,
                                           ": expected a TorchScript program (torch.jit.save), found: ",
                                           error.what_without_backtrace()));
        } catch (const std::exception& error) {
            throw DataError(detail::concat(
                path_, ": expected a TorchScript program (torch.jit.save), found: ", error.what()));
        }
        if (!module_.find_method("forward"))
            throw DataError(path_ + ": expected a method forward, found none");
        module_.to(device);
        module_.eval();
        find_names();
        if (options_.freeze) module_ = torch::jit::freeze(module_);
    }

    NamedOutputs operator()(const at::Tensor& value) const {
        const at::NoGradGuard no_grad;
        const c10::IValue result = module_.forward({value});
        NamedOutputs outputs;
        if (result.isTensor()) {
            outputs.logits = result.toTensor();
            outputs.emplace(options_.logits, outputs.logits);
            return outputs;
        }
        if (result.isTuple()) {
            const auto& elements = result.toTupleRef().elements();
            for (std::size_t i = 0; i < names_.size() && i < elements.size(); ++i) {
                if (elements[i].isTensor()) outputs.emplace(names_[i], elements[i].toTensor());
            }
        } else if (result.isGenericDict()) {
            for (const auto& item : result.toGenericDict()) {
                if (item.key().isString() && item.value().isTensor()) {
                    outputs.emplace(item.key().toStringRef(), item.value().toTensor());
                }
            }
        }
        outputs.take_logits(options_.logits, detail::concat("Scripted: ", path_), "ScriptedOptions::logits");
        return outputs;
    }

    /// The program.
    const torch::jit::Module& module() const { return module_; }
    /// Compares the program: checkpoints store a hash of its file.
    void checkpoint(Archive& archive) {
        if (hash_.empty()) {
            detail::Hash hash;
            hash.add(detail::MappedFile(path_).bytes());
            hash_ = hash.text();
        }
        archive.expect("hash of its file", hash_);
    }

  private:
    /// Determines what is known about the outputs' names before anything runs.
    void find_names() {
        const auto refuse = [&](const std::string& expected, const std::string& found) {
            throw ConfigError(
                detail::concat("Scripted: ", path_, ": expected ", expected, ", found ", found));
        };
        const c10::FunctionSchema& schema = module_.get_method("forward").function().getSchema();
        if (schema.arguments().size() < 2) refuse("a forward that takes a tensor", "one that takes nothing");
        const c10::TypePtr type = schema.returns().at(0).type();
        if (type->isSubtypeOf(*c10::TensorType::get()) || type->kind() == c10::TypeKind::DictType) {
            if (!options_.outputs.empty()) {
                refuse("no ScriptedOptions::outputs, since the forward does not return a tuple", "some");
            }
            return;
        }
        const auto tuple = type->cast<c10::TupleType>();
        if (!tuple)
            refuse("a forward that returns a tensor, a tuple or a dictionary of tensors", type->str());
        names_ = options_.outputs;
        if (names_.empty() && tuple->schema()) {
            for (const c10::Argument& field : tuple->schema()->arguments()) names_.push_back(field.name());
        }
        if (names_.size() != tuple->elements().size()) {
            refuse(detail::concat(
                       tuple->elements().size(),
                       " names (ScriptedOptions::outputs) for the elements of the tuple that it returns"),
                   detail::concat(names_.size()));
        }
        if (std::find(names_.begin(), names_.end(), options_.logits) == names_.end()) {
            refuse(detail::concat("a name \"", options_.logits,
                                  "\" among the outputs (ScriptedOptions::logits)"),
                   "none");
        }
    }

    ScriptedOptions options_;
    std::string path_;
    std::string hash_;                   // of the file, computed for the first checkpoint
    mutable torch::jit::Module module_;  // LibTorch's forward is not const
    std::vector<std::string> names_;
};

}  // namespace retort
