// SPDX-License-Identifier: BSL-1.0
/// \file
/// Finds the tensors of a state dictionary in a file that Python's `torch.save` wrote, in the current format
/// (a zip archive) or in that from before version 1.6 (a series of pickles). Independent of LibTorch.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include <retort/detail/byte_reader.hpp>
#include <retort/detail/zip.hpp>
#include <retort/io/detail/pickle.hpp>
#include <retort/io/detail/stored_tensor.hpp>

namespace retort::detail {

/// How a pickle refers to elements outside of it.
struct StorageReference {
    std::string_view key{};
    std::optional<ElementType> type{};  ///< none: untyped
    std::uint64_t count = 0;            ///< of elements; untyped: of bytes
    std::int64_t shift = 0;             ///< in elements; only of parts of a storage, in old files

    std::size_t element_size() const { return type ? detail::element_size(*type) : 1; }
};

/// ("storage", class, key, device, count), and in old files also None or (key, offset, count) of a part.
inline StorageReference storage_reference(const Pickle& pickle, const Pickle::Value& value,
                                          std::string_view who) {
    using Kind = Pickle::Kind;
    const auto refuse = [&](std::string_view expected, std::string_view found) {
        throw DataError(concat("tensor ", excerpt(who), ": expected ", expected, ", found ", found));
    };
    if (value.kind != Kind::stored) refuse("a storage", pickle.described(value));
    const Pickle::Value& parts = pickle[value.items[0]];
    if (parts.kind != Kind::tuple || parts.items.size() < 5 || pickle[parts.items[0]].text != "storage") {
        refuse("the description of a storage", pickle.described(parts));
    }
    StorageReference result;
    const Pickle::Value& type = pickle[parts.items[1]];
    if (!pickle.is_global(parts.items[1], "torch.storage", "UntypedStorage")) {
        const auto known = std::find_if(element_types.begin(), element_types.end(), [&](const auto& each) {
            return !each.storage.empty() && each.storage == type.name;
        });
        if (type.kind != Kind::global || type.text != "torch" || known == element_types.end())
            refuse("elements of a type such as torch.FloatStorage", pickle.described(type));
        result.type = known->type;
    }
    const Pickle::Value& key = pickle[parts.items[2]];
    if (key.kind != Kind::text) refuse("the key of a storage", pickle.described(key));
    result.key = key.text;
    const Pickle::Value& count = pickle[parts.items[4]];
    if (count.kind != Kind::integer || count.integer < 0)
        refuse("the size of a storage", pickle.described(count));
    result.count = static_cast<std::uint64_t>(count.integer);
    if (parts.items.size() > 5 && pickle[parts.items[5]].kind == Kind::tuple) {
        const Pickle::Value& part = pickle[parts.items[5]];
        if (part.items.size() != 3 || pickle[part.items[1]].kind != Kind::integer ||
            pickle[part.items[1]].integer < 0) {
            refuse("key, offset and size of a part of a storage", "something else");
        }
        result.shift = pickle[part.items[1]].integer;
    }
    return result;
}

/// Reads the tensors of one pickle. `storage_of(reference, name)` returns which stored elements are meant.
template <class StorageOf>
class TensorsOfPickle {
    using Kind = Pickle::Kind;
    using Value = Pickle::Value;
    using Id = Pickle::Id;
    using Pairs = std::vector<std::pair<std::string_view, Id>>;

  public:
    /// \param most maximum number of sizes of all tensors together: a file has at least a byte for each
    TensorsOfPickle(const Pickle& pickle, std::uint64_t most, StorageOf storage_of)
        : pickle_(pickle), left_(most), storage_of_(std::move(storage_of)) {}

    /// Adds the tensors of the dictionary at `path`: a key, or keys with dots between them; empty: the one under the
    /// first of the usual keys, or the outermost.
    void read(std::string_view path, StoredTensors& result) {
        Pairs pairs = dictionary(pickle_.root(), "the file");
        if (path.empty()) {
            for (const std::string_view usual :
                 {"state_dict", "model_state_dict", "model", "net", "module"}) {
                if (all_tensors(pairs))
                    break;  // a checkpoint may also contain a single tensor, such as its epoch
                if (const Value* inner = find(pairs, usual); inner != nullptr && is_dictionary(*inner)) {
                    pairs = dictionary(*inner, usual);
                    break;
                }
            }
        }
        while (!path.empty()) {
            const bool last = find(pairs, path) != nullptr;  // keys may have dots in them
            const std::string_view key = last ? path : path.substr(0, path.find('.'));
            path.remove_prefix(std::min(path.size(), key.size() + 1));
            const Value* inner = find(pairs, key);
            if (inner == nullptr) {
                throw DataError(concat("expected a dictionary under the key \"", key, "\", found the keys ",
                                       keys(pairs)));
            }
            pairs = dictionary(*inner, key);
        }
        check_any(pairs);
        for (const auto& [name, id] : pairs) add(name, pickle_[id], result);
    }

  private:
    /// How Python rebuilds a tensor.
    struct Rebuilt {
        const Value* arguments = nullptr;  ///< null: the value is not a dense tensor
        bool typed = true;                 ///< whether its storage has the type of its elements
    };

    bool is_dictionary(const Value& value) const {
        return value.kind == Kind::dict || (value.kind == Kind::object &&
                                            pickle_.is_global(value.items[0], "collections", "OrderedDict"));
    }
    /// \throws DataError if a name occurs twice: a long one could be copied as often as there are entries
    Pairs dictionary(const Value& value, std::string_view where) const {
        if (!is_dictionary(value)) {
            throw DataError(concat(excerpt(where),
                                   ": expected a dictionary of tensors, as module.state_dict() gives, found ",
                                   pickle_.described(value)));
        }
        Pairs pairs;
        std::unordered_set<std::string_view> names;
        const auto add = [&](Id key, Id item) {
            const Value& name = pickle_[key];
            if (name.kind != Kind::text) {
                throw DataError(
                    concat(excerpt(where), ": expected names as keys, found ", pickle_.described(name)));
            }
            if (!names.insert(name.text).second)
                throw DataError(concat(excerpt(where), ": expected each name once, found \"",
                                       excerpt(name.text), "\" twice"));
            pairs.emplace_back(name.text, item);
        };
        std::size_t first = 0;
        if (value.kind == Kind::object) {
            first = 2;
            // Python 2 gave the pairs as the one argument of the class.
            const Value& arguments = pickle_[value.items[1]];
            if (arguments.items.size() == 1 && pickle_[arguments.items[0]].kind == Kind::list) {
                for (const Id pair : pickle_[arguments.items[0]].items) {
                    if (pickle_[pair].items.size() != 2)
                        throw DataError("expected pairs, found something else");
                    add(pickle_[pair].items[0], pickle_[pair].items[1]);
                }
            }
        }
        for (std::size_t i = first; i + 1 < value.items.size(); i += 2)
            add(value.items[i], value.items[i + 1]);
        return pairs;
    }
    const Value* find(const Pairs& pairs, std::string_view key) const {
        for (const auto& [name, id] : pairs) {
            if (name == key) return &pickle_[id];
        }
        return nullptr;
    }
    static std::string keys(const Pairs& pairs) {
        std::string result;
        std::size_t count = 0;
        for (const auto& [name, id] : pairs) {
            if (++count > 20) return result.append(", ...");
            result.append(result.empty() ? "" : ", ").append(excerpt(name, 40));
        }
        return result.empty() ? "of an empty dictionary" : result;
    }
    bool all_tensors(const Pairs& pairs) const {
        return !pairs.empty() && std::all_of(pairs.begin(), pairs.end(), [&](const auto& pair) {
            return rebuilt(pickle_[pair.second]).arguments != nullptr;
        });
    }
    /// \throws DataError if none of the entries is a tensor, with what they are instead
    void check_any(const Pairs& pairs) const {
        const auto is = [&](auto&& what) {
            return std::find_if(pairs.begin(), pairs.end(),
                                [&](const auto& pair) { return what(pickle_[pair.second]); });
        };
        if (pairs.empty() ||
            is([&](const Value& value) { return rebuilt(value).arguments != nullptr; }) != pairs.end())
            return;
        const auto module = is([&](const Value& value) { return pickle_.is_module(value); });
        if (module == pairs.end() &&
            is([&](const Value& value) { return is_dictionary(value); }) != pairs.end()) {
            throw DataError(concat("expected a dictionary of tensors, found the keys ", keys(pairs),
                                   "; ReadOptions::key chooses one"));
        }
        const auto& [name, id] = module == pairs.end() ? pairs.front() : *module;
        throw DataError(concat('"', excerpt(name), "\": expected a dense tensor, found ",
                               pickle_.described(pickle_[id])));
    }
    Rebuilt rebuilt_by(Id function, const Value& arguments) const {
        const auto is = [&](std::string_view name) {
            return pickle_.is_global(function, "torch._utils", name);
        };
        const bool untyped = is("_rebuild_tensor_v3");
        if (arguments.kind != Kind::tuple || arguments.items.size() < (untyped ? 7U : 4U)) return {};
        if (untyped || is("_rebuild_tensor_v2") || is("_rebuild_tensor")) return {&arguments, !untyped};
        return {};
    }
    /// What a tensor is rebuilt from.
    Rebuilt rebuilt(const Value& outer) const {
        const Value* value = &outer;
        for (int depth = 0; depth < 4; ++depth) {  // a parameter around a tensor, a class around both
            if (value->kind != Kind::object) return {};
            const Id callee = value->items[0];
            const Value& arguments = pickle_[value->items[1]];
            if (const Rebuilt result = rebuilt_by(callee, arguments); result.arguments != nullptr)
                return result;
            if (arguments.kind != Kind::tuple || arguments.items.empty()) return {};
            if (pickle_.is_global(callee, "torch._tensor", "_rebuild_from_type_v2")) {
                // A tensor with attributes. Derived classes may interpret the elements in their own way.
                if (arguments.items.size() < 3 ||
                    !(pickle_.is_global(arguments.items[1], "torch", "Tensor") ||
                      pickle_.is_global(arguments.items[1], "torch.nn.parameter", "Parameter")))
                    return {};
                return rebuilt_by(arguments.items[0], pickle_[arguments.items[2]]);
            }
            if (!pickle_.is_global(callee, "torch._utils", "_rebuild_parameter") &&
                !pickle_.is_global(callee, "torch._utils", "_rebuild_parameter_with_state"))
                return {};
            value = &pickle_[arguments.items[0]];
        }
        return {};
    }

    std::int64_t integer(Id id, std::string_view name, std::string_view what) const {
        if (pickle_[id].kind != Kind::integer) {
            throw DataError(concat("tensor ", excerpt(name), ": expected ", what, ", found ",
                                   pickle_.described(pickle_[id])));
        }
        return pickle_[id].integer;
    }
    std::vector<std::int64_t> integers(Id id, std::string_view name, std::string_view what) {
        const Value& value = pickle_[id];
        if (value.kind != Kind::tuple && value.kind != Kind::list) {
            throw DataError(
                concat("tensor ", excerpt(name), ": expected ", what, ", found ", pickle_.described(value)));
        }
        // Many tensors may share one long list.
        if (value.items.size() > most_dimensions || value.items.size() > left_) {
            throw DataError(concat("tensor ", excerpt(name), ": expected at most ",
                                   std::min<std::uint64_t>(most_dimensions, left_), ' ', what, ", found ",
                                   value.items.size()));
        }
        left_ -= value.items.size();
        std::vector<std::int64_t> result;
        for (const Id item : value.items) result.push_back(integer(item, name, what));
        return result;
    }

    void add(std::string_view name, const Value& value, StoredTensors& result) {
        const auto unreadable = [&](std::string found) {
            result.unreadable.push_back({std::string(name), std::move(found)});
        };
        const auto [arguments, typed] = rebuilt(value);
        if (arguments == nullptr) return unreadable(pickle_.described(value));
        StoredTensor tensor;
        tensor.name = std::string(name);
        const StorageReference storage = storage_reference(pickle_, pickle_[arguments->items[0]], name);
        if (typed != storage.type.has_value()) {
            throw DataError(concat("tensor ", excerpt(name),
                                   ": expected a storage of the kind that its tensor needs, found another"));
        }
        if (typed) {
            tensor.type = *storage.type;
        } else {
            const Value& type = pickle_[arguments->items[6]];
            const auto known =
                std::find_if(element_types.begin(), element_types.end(), [&](const auto& each) {
                    return type.kind == Kind::global && type.text == "torch" && type.name == each.torch;
                });
            if (known == element_types.end())
                return unreadable(concat("a tensor of ", pickle_.described(type)));
            tensor.type = known->type;
        }
        if (const std::size_t at = typed ? 6 : 7; arguments->items.size() > at) {
            const Value& bits = pickle_[arguments->items[at]];
            std::size_t known = 0;
            const auto read = [&](std::string_view key, bool& bit) {
                const Value* found = pickle_.find(bits, key);
                if (found == nullptr || found->kind != Kind::boolean) return;
                bit = found->integer != 0;
                ++known;
            };
            read("conj", tensor.conjugated);
            read("neg", tensor.negated);
            const bool complex = tensor.type == ElementType::complex32 ||
                                 tensor.type == ElementType::complex64 ||
                                 tensor.type == ElementType::complex128;
            if (bits.kind != Kind::none && (bits.kind != Kind::dict || bits.items.size() != 2 * known))
                return unreadable("a tensor with metadata other than conj and neg");
            if ((tensor.conjugated && !complex) || (tensor.negated && tensor.type == ElementType::boolean))
                return unreadable(concat("a conjugated or negated tensor of ", names_of(tensor.type).torch));
        }
        tensor.storage = storage_of_(storage, name);
        StoredElements& elements = result.storages[tensor.storage];
        const ElementType type = types_.try_emplace(tensor.storage, tensor.type).first->second;
        if (type != tensor.type) {
            throw DataError(concat("tensor ", excerpt(name),
                                   ": expected the element type that another tensor gives its storage, ",
                                   names_of(type).torch, ", found ", names_of(tensor.type).torch));
        }
        elements.type = type;
        const std::int64_t offset = integer(arguments->items[1], name, "an offset");
        if (__builtin_add_overflow(offset, storage.shift, &tensor.offset)) tensor.offset = -1;
        tensor.sizes = integers(arguments->items[2], name, "sizes");
        tensor.strides = integers(arguments->items[3], name, "strides");
        result.tensors.push_back(std::move(tensor));
    }

    const Pickle& pickle_;
    std::uint64_t left_;                                  // sizes and strides
    std::unordered_map<std::size_t, ElementType> types_;  // of the storages
    StorageOf storage_of_;
};

/// The tensors of a state dictionary in a zip archive of `torch.save`.
inline StoredTensors read_torch_zip(std::string_view file, std::string_view path) {
    const ZipArchive archive(file);
    std::string folder;  // the archive's only one, of any name
    for (const auto& [name, entry] : archive.entries()) {
        if (name == "data.pkl" || name.ends_with("/data.pkl")) {
            folder = std::string(name.substr(0, name.size() - 8));
            break;
        }
    }
    const auto inside = [&](std::string_view name) { return folder + std::string(name); };
    if (archive.entries().contains(inside("constants.pkl"))) {
        throw DataError("expected a state dictionary, found a TorchScript program");
    }
    const std::string_view* data = archive.find(inside("data.pkl"));
    if (data == nullptr) throw DataError("expected a file data.pkl in the archive, found none");
    if (const std::string_view* order = archive.find(inside("byteorder"));
        order != nullptr && *order != "little") {
        throw DataError(concat("expected little-endian numbers, found the byte order ", excerpt(*order, 20)));
    }
    StoredTensors result;
    std::map<std::string_view, std::size_t> known;
    ByteReader reader(*data);
    const Pickle pickle(reader);
    const auto storage_of = [&](const StorageReference& storage, std::string_view name) {
        const auto [slot, fresh] = known.try_emplace(storage.key, result.storages.size());
        if (!fresh) return slot->second;
        const std::string_view* bytes =
            archive.find(inside(std::string("data/").append(storage.key.substr(0, 1000))));
        if (bytes == nullptr)
            throw DataError(concat("tensor ", excerpt(name), ": its data are not in the archive"));
        if (storage.count > bytes->size() || bytes->size() != storage.count * storage.element_size()) {
            throw DataError(concat("tensor ", excerpt(name), ": expected ", storage.count, " elements of ",
                                   storage.element_size(), " bytes, found ", bytes->size(), " bytes"));
        }
        result.storages.push_back({ElementType::uint8, *bytes});
        return slot->second;
    };
    TensorsOfPickle(pickle, data->size(), storage_of).read(path, result);
    return result;
}

/// The tensors of a state dictionary in a file of `torch.save` from before version 1.6.
inline StoredTensors read_torch_legacy(std::string_view file, std::string_view path) {
    using Kind = Pickle::Kind;
    static constexpr std::string_view magic("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);
    ByteReader reader(file);
    const Pickle head(reader);
    if (head.root().kind != Kind::big || head.root().text != magic) {
        throw MalformedBytes(0, "the number that files of torch.save begin with", "another value");
    }
    const Pickle version(reader);
    if (version.root().kind != Kind::integer || version.root().integer != 1001) {
        throw DataError("expected version 1001 of the format, found another");
    }
    const Pickle system(reader);
    for (std::size_t i = 0; i + 1 < system.root().items.size(); i += 2) {
        if (system[system.root().items[i]].text == "little_endian" &&
            system[system.root().items[i + 1]].integer == 0) {
            throw DataError("expected little-endian numbers, found the other byte order");
        }
    }
    const Pickle content(reader);
    const Pickle keys(reader);

    struct Wanted {
        std::size_t storage;
        std::uint64_t count;
        std::optional<ElementType> type;
    };
    StoredTensors result;
    std::map<std::string_view, Wanted> wanted;
    // All storages follow in the order of `keys`, also those of what is not in the state dictionary; their
    // element types are known only from what refers to them.
    for (const Pickle::Value& value : content.values()) {
        if (value.kind != Kind::stored) continue;
        const StorageReference storage = storage_reference(content, value, "of the file");
        const auto [slot, fresh] =
            wanted.try_emplace(storage.key, Wanted{result.storages.size(), storage.count, storage.type});
        if (fresh) {
            result.storages.push_back({ElementType::uint8, {}});
        } else if (slot->second.type != storage.type || slot->second.count != storage.count) {
            throw DataError(
                concat("storage ", excerpt(storage.key), ": expected one type and size, found two"));
        }
    }
    if (keys.root().kind != Kind::list) throw DataError("expected a list of storages, found something else");
    std::vector<bool> there(result.storages.size());
    for (const Pickle::Id id : keys.root().items) {
        const auto found = wanted.find(keys[id].text);
        if (keys[id].kind != Kind::text || found == wanted.end() || there[found->second.storage]) {
            throw DataError("expected each storage once in the list of storages, found another list");
        }
        StoredElements& elements = result.storages[found->second.storage];
        const std::size_t at = reader.position();
        const auto count = reader.number<std::uint64_t>("the size of a storage");
        if (count != found->second.count) {
            throw MalformedBytes(at, concat("a storage of ", found->second.count, " elements"),
                                 concat(count));
        }
        if (count > reader.left())
            throw MalformedBytes(at, concat(count, " elements"), "the end of the file");
        const std::size_t size = found->second.type ? element_size(*found->second.type) : 1;
        elements.bytes = reader.take(count * size, "elements");
        there[found->second.storage] = true;
    }
    const auto storage_of = [&](const StorageReference& reference, std::string_view name) {
        const std::size_t storage = wanted.at(reference.key).storage;
        if (!there[storage])
            throw DataError(concat("tensor ", excerpt(name), ": its data are not in the file"));
        return storage;
    };
    TensorsOfPickle(content, file.size(), storage_of).read(path, result);
    return result;
}

}  // namespace retort::detail
