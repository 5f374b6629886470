// SPDX-License-Identifier: BSL-1.0
/// \file
/// Finds the tensors of a state dictionary in a file that Python's `torch.save` wrote, in the format of today
/// (a zip archive) and in that of before version 1.6 (a series of pickles). Knows nothing of LibTorch.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <retort/detail/byte_reader.hpp>
#include <retort/detail/zip.hpp>
#include <retort/io/detail/pickle.hpp>
#include <retort/io/detail/stored_tensor.hpp>

namespace retort::detail {

/// How a pickle names elements that stand outside of it.
struct StorageReference {
    std::string_view key{};
    ElementType type{};
    std::uint64_t count = 0;
    std::int64_t shift = 0;  ///< in elements; only of parts of a storage, in old files
};

/// ("storage", class, key, device, count), and in old files also None or (key, offset, count) of a part.
inline StorageReference storage_reference(const Pickle& pickle, const Pickle::Value& value,
                                          std::string_view who) {
    using Kind = Pickle::Kind;
    const auto refuse = [&](std::string_view expected, std::string_view found) {
        throw DataError(concat("tensor ", who, ": expected ", expected, ", found ", found));
    };
    if (value.kind != Kind::stored) refuse("a storage", pickle.described(value));
    const Pickle::Value& parts = pickle[value.items[0]];
    if (parts.kind != Kind::tuple || parts.items.size() < 5 || pickle[parts.items[0]].text != "storage") {
        refuse("the description of a storage", pickle.described(parts));
    }
    const Pickle::Value& type = pickle[parts.items[1]];
    const auto known = std::find_if(element_types.begin(), element_types.end(),
                                    [&](const auto& each) { return each.torch == type.name; });
    if (type.kind != Kind::global || type.text != "torch" || known == element_types.end()) {
        refuse("elements of a type such as torch.FloatStorage", pickle.described(type));
    }
    const Pickle::Value& key = pickle[parts.items[2]];
    if (key.kind != Kind::text) refuse("the key of a storage", pickle.described(key));
    const Pickle::Value& count = pickle[parts.items[4]];
    if (count.kind != Kind::integer || count.integer < 0)
        refuse("the size of a storage", pickle.described(count));
    StorageReference result{key.text, known->type, static_cast<std::uint64_t>(count.integer), 0};
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

/// Reads the tensors of one pickle. `storage_of(reference, name)` says which of the stored elements are meant.
template <class StorageOf>
class TensorsOfPickle {
    using Kind = Pickle::Kind;
    using Value = Pickle::Value;
    using Id = Pickle::Id;
    using Pairs = std::vector<std::pair<std::string_view, Id>>;

  public:
    TensorsOfPickle(const Pickle& pickle, StorageOf storage_of)
        : pickle_(pickle), storage_of_(std::move(storage_of)) {}

    /// The tensors of the dictionary that `path` leads to: keys with dots between them; empty: the one under the
    /// first of the usual keys, or the outermost.
    std::vector<StoredTensor> read(std::string_view path) {
        Pairs pairs = dictionary(pickle_.root(), "the file");
        if (path.empty()) {
            for (const std::string_view usual :
                 {"state_dict", "model_state_dict", "model", "net", "module"}) {
                if (all_tensors(pairs)) break;  // a checkpoint may have a tensor beside its epoch
                if (const Value* inner = find(pairs, usual); inner != nullptr && is_dictionary(*inner)) {
                    pairs = dictionary(*inner, usual);
                    break;
                }
            }
        }
        while (!path.empty()) {
            const std::string_view key = path.substr(0, path.find('.'));
            path.remove_prefix(std::min(path.size(), key.size() + 1));
            const Value* inner = find(pairs, key);
            if (inner == nullptr) {
                throw DataError(concat("expected a dictionary under the key \"", key, "\", found the keys ",
                                       keys(pairs)));
            }
            pairs = dictionary(*inner, key);
        }
        std::vector<StoredTensor> result;
        for (const auto& [name, id] : pairs) result.push_back(tensor(name, pickle_[id]));
        return result;
    }

  private:
    bool is_dictionary(const Value& value) const {
        return value.kind == Kind::dict || (value.kind == Kind::object &&
                                            pickle_.is_global(value.items[0], "collections", "OrderedDict"));
    }
    Pairs dictionary(const Value& value, std::string_view where) const {
        if (!is_dictionary(value)) {
            throw DataError(concat(where,
                                   ": expected a dictionary of tensors, as module.state_dict() gives, found ",
                                   pickle_.described(value)));
        }
        Pairs pairs;
        const auto add = [&](Id key, Id item) {
            if (pickle_[key].kind != Kind::text) {
                throw DataError(
                    concat(where, ": expected names as keys, found ", pickle_.described(pickle_[key])));
            }
            pairs.emplace_back(pickle_[key].text, item);
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
            result.append(result.empty() ? "" : ", ").append(name.substr(0, 100));
        }
        return result.empty() ? "of an empty dictionary" : result;
    }
    bool all_tensors(const Pairs& pairs) const {
        return !pairs.empty() && std::all_of(pairs.begin(), pairs.end(), [&](const auto& pair) {
            return arguments_of_tensor(pickle_[pair.second]) != nullptr;
        });
    }
    /// The arguments with which a tensor is rebuilt; null if the value is no tensor.
    const Value* arguments_of_tensor(const Value& outer) const {
        const Value* value = &outer;
        for (int depth = 0; depth < 4; ++depth) {  // a parameter around a tensor, a class around both
            if (value->kind != Kind::object) return nullptr;
            const Id callee = value->items[0];
            const Value& arguments = pickle_[value->items[1]];
            if (arguments.kind != Kind::tuple) return nullptr;
            if (pickle_.is_global(callee, "torch._utils", "_rebuild_tensor_v2") ||
                pickle_.is_global(callee, "torch._utils", "_rebuild_tensor")) {
                return arguments.items.size() >= 4 ? &arguments : nullptr;
            }
            const bool parameter = pickle_.is_global(callee, "torch._utils", "_rebuild_parameter") ||
                                   pickle_.is_global(callee, "torch._utils", "_rebuild_parameter_with_state");
            if (!parameter || arguments.items.empty()) return nullptr;
            value = &pickle_[arguments.items[0]];
        }
        return nullptr;
    }

    std::int64_t integer(Id id, std::string_view name, std::string_view what) const {
        if (pickle_[id].kind != Kind::integer) {
            throw DataError(
                concat("tensor ", name, ": expected ", what, ", found ", pickle_.described(pickle_[id])));
        }
        return pickle_[id].integer;
    }
    std::vector<std::int64_t> integers(Id id, std::string_view name, std::string_view what) const {
        const Value& value = pickle_[id];
        if (value.kind != Kind::tuple && value.kind != Kind::list) {
            throw DataError(
                concat("tensor ", name, ": expected ", what, ", found ", pickle_.described(value)));
        }
        // Many tensors may share one long list; more than 64 sizes are refused anyway.
        if (value.items.size() > 64) {
            throw DataError(
                concat("tensor ", name, ": expected at most 64 ", what, ", found ", value.items.size()));
        }
        std::vector<std::int64_t> result;
        for (const Id item : value.items) result.push_back(integer(item, name, what));
        return result;
    }

    StoredTensor tensor(std::string_view name, const Value& value) {
        const Value* arguments = arguments_of_tensor(value);
        if (arguments == nullptr) {
            throw DataError(concat("\"", name.substr(0, 200), "\": expected a dense tensor, found ",
                                   pickle_.described(value)));
        }
        StoredTensor result;
        result.name = std::string(name);
        const StorageReference storage = storage_reference(pickle_, pickle_[arguments->items[0]], name);
        result.storage = storage_of_(storage, name);
        const std::int64_t offset = integer(arguments->items[1], name, "an offset");
        if (__builtin_add_overflow(offset, storage.shift, &result.offset)) result.offset = -1;
        result.sizes = integers(arguments->items[2], name, "sizes");
        result.strides = integers(arguments->items[3], name, "strides");
        return result;
    }

    const Pickle& pickle_;
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
        throw DataError(
            concat("expected little-endian numbers, found the byte order ", order->substr(0, 20)));
    }
    StoredTensors result;
    std::map<std::string_view, std::size_t> known;
    std::uint64_t total = 0;
    ByteReader reader(*data);
    const Pickle pickle(reader);
    result.tensors =
        TensorsOfPickle(pickle, [&](const StorageReference& reference, std::string_view name) {
            const auto [key, type, count, shift] = reference;
            const auto [slot, fresh] = known.try_emplace(key, result.storages.size());
            if (fresh) {
                const std::string_view* bytes =
                    archive.find(inside(std::string("data/").append(key.substr(0, 1000))));
                if (bytes == nullptr)
                    throw DataError(concat("tensor ", name, ": its data are not in the archive"));
                if (count > bytes->size() || bytes->size() != count * element_size(type)) {
                    throw DataError(concat("tensor ", name, ": expected ", count, " elements of ",
                                           element_size(type), " bytes, found ", bytes->size(), " bytes"));
                }
                // Several entries may be the same bytes; reading them must not need more memory than the file.
                total += bytes->size();
                if (total > file.size())
                    throw DataError("expected data that do not overlap, found some that do");
                result.storages.push_back({type, *bytes});
            } else if (result.storages[slot->second].type != type) {
                throw DataError(concat("tensor ", name,
                                       ": expected the element type that another tensor gives its "
                                       "storage, found another"));
            }
            return slot->second;
        }).read(path);
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
    };
    StoredTensors result;
    std::map<std::string_view, Wanted> wanted;
    // All storages follow in the order of `keys`, also those of what is not in the state dictionary; their
    // element types are known from what refers to them only.
    for (const Pickle::Value& value : content.values()) {
        if (value.kind != Kind::stored) continue;
        const auto [key, type, count, shift] = storage_reference(content, value, "of the file");
        const auto [slot, fresh] = wanted.try_emplace(key, Wanted{result.storages.size(), count});
        if (fresh) {
            result.storages.push_back({type, {}});
        } else if (result.storages[slot->second.storage].type != type || slot->second.count != count) {
            throw DataError(
                concat("storage ", key.substr(0, 100), ": expected one type and size, found two"));
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
        elements.bytes = reader.take(count * element_size(elements.type), "elements");
        there[found->second.storage] = true;
    }
    result.tensors = TensorsOfPickle(content, [&](const StorageReference& reference, std::string_view name) {
                         const std::size_t storage = wanted.at(reference.key).storage;
                         if (!there[storage])
                             throw DataError(concat("tensor ", name, ": its data are not in the file"));
                         return storage;
                     }).read(path);
    return result;
}

}  // namespace retort::detail
