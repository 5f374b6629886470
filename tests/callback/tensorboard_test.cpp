// SPDX-License-Identifier: BSL-1.0
/// \file
/// Event files: read back record by record, field by field.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <sys/resource.h>
#include <csignal>
#include <map>
#ifdef RETORT_WITH_ZLIB
#include <zlib.h>
#endif

#include <retort/callback.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace tensorboard_test {

using namespace retort_test;
using retort::EventFile;

namespace {
/// The fields of a message: varints as numbers, length-delimited fields as their content, fixed-size ones as bytes.
struct Field {
    std::uint64_t number = 0;
    std::string bytes{};
    template <class T>
    T as() const {
        T value;
        REQUIRE(bytes.size() == sizeof(T));
        std::memcpy(&value, bytes.data(), sizeof(T));
        return value;
    }
};
using Message = std::multimap<int, Field>;

Message parse(const std::string& bytes) {
    std::size_t at = 0;
    const auto varint = [&] {
        std::uint64_t value = 0;
        for (int shift = 0;; shift += 7) {
            REQUIRE(at < bytes.size());
            const auto byte = static_cast<unsigned char>(bytes[at++]);
            value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
            if (byte < 0x80) return value;
        }
    };
    Message result;
    while (at < bytes.size()) {
        const std::uint64_t key = varint();
        Field field;
        if ((key & 7) == 0) {
            field.number = varint();
        } else {
            const std::size_t size = (key & 7) == 2 ? varint() : (key & 7) == 1 ? 8 : 4;
            REQUIRE(size <= bytes.size() - at);
            field.bytes = bytes.substr(at, size);
            at += size;
        }
        result.emplace(static_cast<int>(key >> 3), field);
    }
    return result;
}
const Field& one(const Message& message, int field) {
    REQUIRE(message.count(field) == 1);
    return message.find(field)->second;
}
std::vector<Message> events_of(const std::filesystem::path& path) {
    const std::string content = read_file(path);
    std::vector<Message> result;
    for (std::size_t at = 0; at < content.size();) {
        REQUIRE(content.size() - at >= 16);
        const std::string length = content.substr(at, 8);
        const auto size = Field{0, length}.as<std::uint64_t>();
        REQUIRE(content.size() - at == std::max(content.size() - at, 16 + size));
        const std::string data = content.substr(at + 12, size);
        CHECK((Field{0, content.substr(at + 8, 4)}.as<std::uint32_t>()) ==
              retort::detail::masked_crc32c(length));
        CHECK((Field{0, content.substr(at + 12 + size, 4)}.as<std::uint32_t>()) ==
              retort::detail::masked_crc32c(data));
        result.push_back(parse(data));
        at += 16 + size;
    }
    return result;
}
auto plain(const Perceptron& student) {
    return retort::Trainer{student, retort::NoTeacher{}, retort::Knowledge{retort::CrossEntropy{}},
                           retort::Schedule{1.0}, retort::Sgd{.learning_rate = 0.1}};
}
Message value_of(const Message& event) { return parse(one(parse(one(event, 5).bytes), 1).bytes); }
std::string tag_of(const Message& event) { return one(value_of(event), 1).bytes; }
std::vector<double> doubles(const std::string& packed) {
    std::vector<double> result(packed.size() / 8);
    std::memcpy(result.data(), packed.data(), packed.size());
    return result;
}
}  // namespace

TEST_CASE("checksums are those of the standards") {
    CHECK(retort::detail::reflected_crc<0xEDB88320u>("123456789") == 0xCBF43926u);
    CHECK(retort::detail::reflected_crc<0x82F63B78u>("123456789") == 0xE3069283u);
    CHECK(retort::detail::reflected_crc<0x82F63B78u>(std::string(32, '\0')) == 0x8A9136AAu);  // RFC 3720, B.4
    // For every length: bit by bit, by definition.
    std::string bytes;
    for (int i = 0; i < 40; ++i) {
        std::uint32_t crc = 0xFFFFFFFFu;
        for (const char byte : bytes) {
            crc ^= static_cast<unsigned char>(byte);
            for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320u : 0);
        }
        CHECK(retort::detail::reflected_crc<0xEDB88320u>(bytes) == ~crc);
        bytes.push_back(static_cast<char>(37 * i + 200));
    }
}

TEST_CASE("an event file contains scalars, histograms and texts") {
    const TemporaryDirectory directory;
    EventFile file(directory / "a/b");
    file.scalar("loss", 300, 0.25);
    file.scalar("bad", 0, std::numeric_limits<double>::infinity());
    file.histogram("weights", 7, torch::tensor({1.0, 2.0, 2.5, 5.0, std::nan("")}), 4);
    file.histogram("equal", 7, torch::full({3}, 2.0f));
    file.histogram("none", 7, torch::full({3}, std::nan("")));
    file.text("words", 2, "a *b*");
    const auto events = events_of(file.path());
    REQUIRE(events.size() == 6);
    CHECK(one(events[0], 3).bytes == "brain.Event:2");
    for (const Message& event : events) CHECK(one(event, 1).as<double>() > 1.7e9);
    CHECK(one(events[1], 2).number == 300);
    CHECK(tag_of(events[1]) == "loss");
    CHECK(one(value_of(events[1]), 2).as<float>() == 0.25f);
    CHECK(std::isinf(one(value_of(events[2]), 2).as<float>()));
    const Message weights = parse(one(value_of(events[3]), 5).bytes);
    CHECK(one(weights, 1).as<double>() == 1.0);
    CHECK(one(weights, 2).as<double>() == 5.0);
    CHECK(one(weights, 3).as<double>() == 4.0);
    CHECK(one(weights, 4).as<double>() == 10.5);
    CHECK(one(weights, 5).as<double>() == 1 + 4 + 6.25 + 25);
    CHECK(doubles(one(weights, 6).bytes) == std::vector<double>{2, 3, 4, 5});
    CHECK(doubles(one(weights, 7).bytes) == std::vector<double>{1, 2, 0, 1});
    const Message equal = parse(one(value_of(events[4]), 5).bytes);
    CHECK(doubles(one(equal, 6).bytes) == std::vector<double>{2});
    CHECK(doubles(one(equal, 7).bytes) == std::vector<double>{3});
    const Message words = value_of(events[5]);
    CHECK(one(parse(one(parse(one(words, 9).bytes), 1).bytes), 1).bytes == "text");
    CHECK(one(parse(one(words, 8).bytes), 8).bytes == "a *b*");
    CHECK_THROWS_AS(file.histogram("x", 0, torch::rand(3), 0), retort::ConfigError);
}

TEST_CASE("images are PNG files with their pixels") {
    const TemporaryDirectory directory;
    EventFile file(directory.path());
    const auto gray = torch::tensor({0.0, 0.5, 2.0, -1.0, 1.0, std::nan("")}).view({1, 2, 3});
    file.image("gray", 1, gray);
    const auto color =
        torch::randint(0, 256, {3, 150, 200}, torch::kByte);  // more than one block of 65,535 bytes
    file.image("color", 1, color);
    const auto events = events_of(file.path());
    REQUIRE(events.size() == 3);
    const auto check = [](const Message& event, std::int64_t channels, std::int64_t height,
                          std::int64_t width, const std::string& expected) {
        const Message image = parse(one(value_of(event), 4).bytes);
        CHECK(one(image, 1).number == static_cast<std::uint64_t>(height));
        CHECK(one(image, 2).number == static_cast<std::uint64_t>(width));
        CHECK(one(image, 3).number == static_cast<std::uint64_t>(channels));
        const std::string png = one(image, 4).bytes;
        CHECK(png.substr(0, 8) == "\x89PNG\r\n\x1a\n");
        const auto number = [&](std::size_t at) {
            std::uint32_t value = 0;
            for (std::size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(png[at + i]);
            return value;
        };
        std::vector<std::string> names;
        std::string data;
        for (std::size_t at = 8; at < png.size();) {
            const std::size_t size = number(at);
            names.push_back(png.substr(at + 4, 4));
            CHECK(number(at + 8 + size) ==
                  retort::detail::reflected_crc<0xEDB88320u>(png.substr(at + 4, 4 + size)));
            if (names.back() == "IDAT") data = png.substr(at + 8, size);
            at += 12 + size;
        }
        CHECK(names == std::vector<std::string>{"IHDR", "IDAT", "IEND"});
        CHECK(number(16) == width);
        CHECK(number(20) == height);
        CHECK(png[24] == 8);
        CHECK(png[25] == (channels == 3 ? 2 : 0));
#ifdef RETORT_WITH_ZLIB
        std::string rows(expected.size() + static_cast<std::size_t>(height), 'x'), pixels;
        uLongf size = rows.size();
        REQUIRE(::uncompress(reinterpret_cast<Bytef*>(rows.data()), &size,
                             reinterpret_cast<const Bytef*>(data.data()), data.size()) == Z_OK);
        REQUIRE(size == rows.size());
        const auto row = static_cast<std::size_t>(width * channels) + 1;
        for (std::size_t at = 0; at < rows.size(); at += row) {
            CHECK(rows[at] == '\0');
            pixels += rows.substr(at + 1, row - 1);
        }
        CHECK((pixels == expected));
#endif
    };
    check(events[1], 1, 2, 3, {'\0', '\x80', '\xff', '\0', '\xff', '\0'});
    const auto interleaved = color.permute({1, 2, 0}).contiguous();
    check(events[2], 3, 150, 200,
          {reinterpret_cast<const char*>(interleaved.data_ptr<std::uint8_t>()),
           static_cast<std::size_t>(interleaved.numel())});
    for (const auto& shape : std::vector<std::vector<std::int64_t>>{{2, 3}, {2, 3, 3}, {1, 0, 3}}) {
        CHECK(holds(words_of<retort::ShapeError>([&] { file.image("x", 1, torch::zeros(shape)); }),
                    "expected an image of (1 or 3, height, width), found ["));
    }
}

TEST_CASE("a directory that cannot be written is an error before the first step; a full disk is one") {
    const TemporaryDirectory directory;
    std::ofstream(directory / "file") << "x";
    CHECK_THROWS_AS(EventFile(directory / "file/events"), retort::OutputError);
    Perceptron student;
    retort::Trainer trainer = plain(student);
    retort::TensorBoard board(directory / "file");
    const auto batches = vectors(2);
    CHECK_THROWS_AS(trainer.fit(batches, {.epochs = 1}, board), retort::OutputError);
    CHECK(trainer.history().empty());
    CHECK(words_of<retort::ConfigError>([&] { board.file(); }) ==
          "TensorBoard: the file is created when fit starts, found a call before");
    CHECK_THROWS_AS((retort::TensorBoard{directory.path(), {.histograms_every = -1}}), retort::ConfigError);

    EventFile file(directory / "full");
    rlimit before{};
    ::getrlimit(RLIMIT_FSIZE, &before);
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit small{200, before.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &small);
    const std::string words = words_of<retort::OutputError>([&] {
        for (int i = 0; i < 100; ++i) file.scalar("loss", i, 1.0);
    });
    ::setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);
    CHECK(words == file.path().string() + ": cannot write: File too large");
}

TEST_CASE("a run and its resumption write two files, the second from its first step on") {
    const TemporaryDirectory directory;
    const auto batches = vectors(3);
    const auto train = [&](std::int64_t epochs) {
        Perceptron student;
        retort::Trainer trainer = plain(student);
        retort::TensorBoard board(directory / "board", {.histograms_every = 2});
        std::FILE* const silence = std::fopen("/dev/null", "w");
        trainer.fit(batches, {.epochs = epochs, .report_every = 2},
                    retort::Checkpoint{directory / "run", {.stream = silence}}, board,
                    retort::on_epoch_end([&](retort::FitContext& context) {
                        board.file().scalar("mine", context.progress.epoch, 1.0);
                    }));
        std::fclose(silence);
        return events_of(board.file().path());
    };
    const auto tags = [](const std::vector<Message>& events) {
        std::multimap<std::string, std::uint64_t> result;
        for (const Message& event : events)
            if (event.count(5) == 1) result.emplace(tag_of(event), one(event, 2).number);
        return result;
    };
    using Steps = std::multimap<std::string, std::uint64_t>;
    const auto first = train(1);
    CHECK(one(first[0], 3).bytes == "brain.Event:2");
    const Steps seen = tags(first);
    CHECK(seen.count("parameters/first.weight") == 0);
    CHECK(seen.find("epoch/loss")->second == 3);
    CHECK(seen.find("running/loss")->second == 2);
    CHECK(seen.count("epoch/epoch") == 0);
    const std::string words = one(parse(one(value_of(first[1]), 8).bytes), 8).bytes;
    CHECK(holds(words, "Trainer<", "retort_test::Perceptron", "LibTorch "));
    const auto second = train(2);
    // The start of a session, at step 4.
    CHECK(one(second[1], 2).number == 4);
    CHECK(one(parse(one(second[1], 7).bytes), 1).number == 1);
    const Steps later = tags(second);
    CHECK(later.count("epoch/loss") == 1);
    CHECK(later.find("epoch/loss")->second == 6);
    CHECK(later.find("running/loss")->second == 5);
    CHECK(later.find("parameters/first.weight")->second == 6);
    CHECK(later.find("mine")->second == 1);
    CHECK(std::distance(std::filesystem::directory_iterator(directory / "board"),
                        std::filesystem::directory_iterator{}) == 2);
}

}  // namespace tensorboard_test
