// SPDX-License-Identifier: BSL-1.0
/// \file
/// Reads what Python's pickle wrote, as plain data. Nothing in it is called or constructed: classes and calls remain
/// names with their arguments. For the format see Python's `pickletools`.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <retort/detail/byte_reader.hpp>

namespace retort::detail {

/// A pickle as a graph of values. Values refer to each other by number, since a pickle can nest as deep as it is long,
/// and can contain itself.
class Pickle {
  public:
    using Id = std::uint32_t;

    enum class Kind : std::uint8_t {
        none,
        boolean,
        integer,
        number,
        text,  // str or bytes
        big,   // an integer beyond 64 bits; its bytes, little-endian
        tuple,
        list,
        dict,    // items: key, value, key, value, ...
        global,  // text: its module; name: its name there
        object,  // items: what is called, its argument tuple, then what was put into it as into a dict
        stored,  // items: the description of something outside of the pickle
    };
    struct Value {
        Kind kind = Kind::none;
        std::int64_t integer = 0;
        double number = 0;
        std::string_view text{};
        std::string_view name{};
        std::vector<Id> items{};
        std::optional<Id> state{};  // what an object's attributes are set from
    };

    /// Reads one pickle. The memory that it takes is bounded by a multiple of its bytes, of about 50.
    /// \throws MalformedBytes if it is malformed, or has something that `torch.save` does not write
    explicit Pickle(ByteReader& reader) : reader_(reader), most_(4096 + reader.left() / 2) {
        shared_.fill(none_shared);
        while (step()) {
        }
        root_ = pop();
        stack_ = {};
        memo_ = {};
        sparse_memo_ = {};
        marks_ = {};
    }

    const Value& root() const { return values_[root_]; }
    const Value& operator[](Id id) const { return values_[id]; }
    const std::deque<Value>& values() const { return values_; }

    bool is_global(Id id, std::string_view module, std::string_view name) const {
        const Value& value = values_[id];
        return value.kind == Kind::global && value.text == module && value.name == name;
    }
    /// The value of a dictionary under a key, if it is one of the first 64; null if there is none, or this is not a
    /// dictionary. Many values may refer to one large dictionary; what Python's torch looks up by name is in small ones.
    const Value* find(const Value& dictionary, std::string_view key) const {
        if (dictionary.kind != Kind::dict) return nullptr;
        const std::size_t end = std::min<std::size_t>(dictionary.items.size(), 2 * 64);
        for (std::size_t i = 0; i + 1 < end; i += 2) {
            const Value& each = values_[dictionary.items[i]];
            if (each.kind == Kind::text && each.text == key) return &values_[dictionary.items[i + 1]];
        }
        return nullptr;
    }
    /// Whether a value is an object of a class derived from torch.nn.Module.
    bool is_module(const Value& value) const {
        return value.kind == Kind::object && value.state &&
               find(values_[*value.state], "_parameters") != nullptr &&
               find(values_[*value.state], "_modules") != nullptr;
    }
    /// A short description of a value, for errors.
    std::string described(const Value& value) const {
        switch (value.kind) {
            case Kind::none:
                return "None";
            case Kind::boolean:
                return "a boolean";
            case Kind::integer:
            case Kind::big:
                return "an integer";
            case Kind::number:
                return "a number";
            case Kind::text:
                return "text";
            case Kind::tuple:
                return "a tuple";
            case Kind::list:
                return "a list";
            case Kind::dict:
                return "a dictionary";
            case Kind::stored:
                return "a storage";
            case Kind::global:
                return detail::concat("the class ", short_name(value));
            case Kind::object:
                break;
        }
        return detail::concat(
            "an object of ", short_name(values_[value.items[0]]),
            is_module(value) ? ", which is a pickled module: in Python, save its state_dict()" : "");
    }

  private:
    static std::string short_name(const Value& value) {
        if (value.kind != Kind::global) return "an unnamed class";
        return detail::concat(excerpt(value.text), ".", excerpt(value.name));
    }
    [[noreturn]] void fail(std::string_view expected, std::string_view found) const {
        throw MalformedBytes(at_, expected, found);
    }
    void push(Id id) { stack_.push_back(id); }
    Value& push_new(Kind kind) {
        // A value takes almost 100 bytes here, and may be a single one in the file. `torch.save` uses three or more on
        // average, not counting those that are shared.
        if (values_.size() >= std::min<std::uint64_t>(most_, std::numeric_limits<Id>::max()))
            fail(detail::concat("a pickle of this length to have at most ", most_, " values"), "more");
        values_.emplace_back().kind = kind;
        push(static_cast<Id>(values_.size() - 1));
        return values_.back();
    }
    /// A value that cannot change, and is one however often it occurs.
    void push_shared(Kind kind, std::uint8_t integer = 0) {
        std::size_t place = integer;
        if (kind == Kind::boolean) place += 256;
        if (kind == Kind::none) place = 258;
        if (kind == Kind::tuple) place = 259;
        Id& id = shared_[place];
        if (id != none_shared) return push(id);
        push_new(kind).integer = integer;
        id = stack_.back();
    }
    std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
    Id pop() {
        if (stack_.size() <= floor()) fail("a value on the pickle's stack", "none");
        const Id id = stack_.back();
        stack_.pop_back();
        return id;
    }
    Value& top() {
        if (stack_.size() <= floor()) fail("a value on the pickle's stack", "none");
        return values_[stack_.back()];
    }
    std::vector<Id> pop_to_mark() {
        if (marks_.empty()) fail("a mark on the pickle's stack", "none");
        const auto from = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
        std::vector<Id> items(from, stack_.end());
        stack_.erase(from, stack_.end());
        marks_.pop_back();
        return items;
    }
    void collect(Kind kind, std::size_t count) {
        std::vector<Id> items(count);
        for (std::size_t i = count; i-- > 0;) items[i] = pop();
        push_new(kind).items = std::move(items);
    }
    void remember(std::uint32_t slot) {
        top();
        if (slot < memo_.size()) {
            memo_[slot] = stack_.back();
        } else if (slot == memo_.size()) {
            memo_.push_back(stack_.back());
        } else {
            sparse_memo_[slot] = stack_.back();
        }
    }
    void recall(std::uint32_t slot) {
        if (slot < memo_.size()) return push(memo_[slot]);
        const auto found = sparse_memo_.find(slot);
        if (found == sparse_memo_.end()) fail("a value stored before", detail::concat("none in slot ", slot));
        push(found->second);
    }
    void put(std::vector<Id> items, bool pairs) {
        Value& target = top();
        if (pairs && items.size() % 2 != 0) fail("a value for each key", "a key without one");
        const bool fits = pairs ? target.kind == Kind::dict || target.kind == Kind::object
                                : target.kind == Kind::list || target.kind == Kind::object;
        if (!fits) fail(pairs ? "a dictionary to put into" : "a list to put into", "another value");
        // What is appended to an object is irrelevant for tensors, and would be mistaken for pairs.
        if (!pairs && target.kind == Kind::object) return;
        target.items.insert(target.items.end(), items.begin(), items.end());
    }
    void push_text(std::uint64_t size) {
        const std::string_view bytes = reader_.take(size, "text");
        push_new(Kind::text).text = bytes;
    }
    void push_integer(std::int64_t value) { push_new(Kind::integer).integer = value; }
    void push_long(std::uint64_t size) {
        const std::string_view bytes = reader_.take(size, "an integer");
        if (bytes.size() > 8) {
            push_new(Kind::big).text = bytes;
            return;
        }
        std::uint64_t value = 0;
        for (std::size_t i = 0; i < bytes.size(); ++i) {
            value |= std::uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
        }
        if (!bytes.empty() && bytes.size() < 8 && (static_cast<unsigned char>(bytes.back()) & 0x80U) != 0) {
            value |= ~std::uint64_t{0} << (8 * bytes.size());
        }
        push_integer(std::bit_cast<std::int64_t>(value));
    }
    void push_global(std::string_view module, std::string_view name) {
        Value& value = push_new(Kind::global);
        value.text = module;
        value.name = name;
    }
    void push_call() {
        const Id arguments = pop();
        const Id callee = pop();
        push_new(Kind::object).items = {callee, arguments};
    }

    /// One operation; false after the last.
    bool step() {
        at_ = reader_.position();
        const auto code = reader_.number<std::uint8_t>("an operation of a pickle");
        switch (code) {
            case 0x80: {  // PROTO
                const auto version = reader_.number<std::uint8_t>("the pickle protocol");
                if (version < 2 || version > 5) fail("pickle protocol 2 to 5", detail::concat(int{version}));
                started_ = true;
                return true;
            }
            case 0x95:
                reader_.number<std::uint64_t>("a frame");
                return true;
            case '.':
                return false;
            default:
                break;
        }
        if (!started_) fail("a pickle, which begins with byte 128", detail::concat("byte ", int{code}));
        switch (code) {
            case '(':
                marks_.push_back(stack_.size());
                break;
            case '0':
                pop();
                break;
            case '1':
                pop_to_mark();
                break;
            case '2':
                top();
                push(stack_.back());
                break;
            case 'N':
                push_shared(Kind::none);
                break;
            case 0x88:
                push_shared(Kind::boolean, 1);
                break;
            case 0x89:
                push_shared(Kind::boolean, 0);
                break;
            case 'J':
                push_integer(reader_.number<std::int32_t>("an integer"));
                break;
            case 'K':
                push_shared(Kind::integer, reader_.number<std::uint8_t>("an integer"));
                break;
            case 'M':
                push_integer(reader_.number<std::uint16_t>("an integer"));
                break;
            case 0x8a:
                push_long(reader_.number<std::uint8_t>("an integer"));
                break;
            case 0x8b:
                push_long(reader_.number<std::uint32_t>("an integer"));
                break;
            case 'G':
                push_new(Kind::number).number =
                    std::bit_cast<double>(reader_.big_endian<std::uint64_t>("a number"));
                break;
            case 'X':
            case 'T':
            case 'B':
                push_text(reader_.number<std::uint32_t>("a text's length"));
                break;
            case 0x8c:
            case 'U':
            case 'C':
                push_text(reader_.number<std::uint8_t>("a text's length"));
                break;
            case 0x8d:
            case 0x8e:
            case 0x96:
                push_text(reader_.number<std::uint64_t>("a text's length"));
                break;
            case ')':
                push_shared(Kind::tuple);
                break;
            case 't': {
                auto items = pop_to_mark();
                push_new(Kind::tuple).items = std::move(items);
                break;
            }
            case 0x85:
                collect(Kind::tuple, 1);
                break;
            case 0x86:
                collect(Kind::tuple, 2);
                break;
            case 0x87:
                collect(Kind::tuple, 3);
                break;
            case ']':
            case 0x8f:
                push_new(Kind::list);
                break;  // a set is read as a list
            case 'l':
            case 0x91: {
                auto items = pop_to_mark();
                push_new(Kind::list).items = std::move(items);
                break;
            }
            case 'a': {
                const Id item = pop();
                put({item}, false);
                break;
            }
            case 'e':
            case 0x90:
                put(pop_to_mark(), false);
                break;
            case '}':
                push_new(Kind::dict);
                break;
            case 'd': {
                auto items = pop_to_mark();
                push_new(Kind::dict);
                put(std::move(items), true);
                break;
            }
            case 's': {
                const Id value = pop();
                const Id key = pop();
                put({key, value}, true);
                break;
            }
            case 'u':
                put(pop_to_mark(), true);
                break;
            case 'q':
                remember(reader_.number<std::uint8_t>("a slot"));
                break;
            case 'r':
                remember(reader_.number<std::uint32_t>("a slot"));
                break;
            case 0x94:
                remember(static_cast<std::uint32_t>(memo_.size() + sparse_memo_.size()));
                break;
            case 'h':
                recall(reader_.number<std::uint8_t>("a slot"));
                break;
            case 'j':
                recall(reader_.number<std::uint32_t>("a slot"));
                break;
            case 'c': {
                const std::string_view module = reader_.line("a module's name");
                push_global(module, reader_.line("a class's name"));
                break;
            }
            case 0x93: {
                const Id name = pop(), module = pop();
                if (values_[name].kind != Kind::text || values_[module].kind != Kind::text) {
                    fail("a class's module and name", "other values");
                }
                push_global(values_[module].text, values_[name].text);
                break;
            }
            case 0x92:
                pop();  // arguments by name
                push_call();
                break;
            case 'R':
            case 0x81:
                push_call();
                break;
            case 'b': {  // attributes: such as the versions in a state dictionary
                const Id state = pop();
                if (top().kind == Kind::object) top().state = state;
                break;
            }
            case 'Q': {
                const Id description = pop();
                push_new(Kind::stored).items = {description};
                break;
            }
            default:
                fail("an operation that torch.save uses", detail::concat("byte ", int{code}));
        }
        return true;
    }

    static constexpr Id none_shared = std::numeric_limits<Id>::max();

    ByteReader& reader_;
    std::uint64_t most_;            // values
    std::array<Id, 260> shared_{};  // integers from 0 to 255, false and true, None, the empty tuple
    std::deque<Value> values_;
    std::vector<Id> stack_;
    std::vector<std::size_t> marks_;
    std::vector<Id> memo_;  // slots as Python numbers them
    std::unordered_map<std::uint32_t, Id> sparse_memo_;
    std::size_t at_ = 0;
    Id root_ = 0;
    bool started_ = false;
};

}  // namespace retort::detail
