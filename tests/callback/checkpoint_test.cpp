// SPDX-License-Identifier: BSL-1.0
/// \file
/// Checkpoints: files, directories, what is refused, signals. Bit-identical results are law 9
/// (tests/laws/resume_test.cpp).
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

#include <retort/callback.hpp>
#include <retort/data/loader.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/tap.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace checkpoint_test {

using namespace retort_test;
using retort::Checkpoint;
using retort::CheckpointError;
using retort::CheckpointOptions;
using retort::ConfigError;
using retort::CrossEntropy;
using retort::FitContext;
using retort::Frozen;
using retort::Knowledge;
using retort::NoTeacher;
using retort::OutputError;
using retort::Schedule;
using retort::Sgd;
using retort::SoftTarget;
using retort::Trainer;
using retort::detail::decode_state;
using retort::detail::encode_state;
using retort::detail::StateItems;

namespace {
std::FILE* silence() {
    static std::FILE* const stream = std::fopen("/dev/null", "w");
    return stream;
}
CheckpointOptions quiet(CheckpointOptions options = {}) {
    options.stream = silence();
    return options;
}
constexpr Sgd sgd{.learning_rate = 0.1, .momentum = 0.9};
auto plain(const Perceptron& student) {
    return Trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, sgd};
}
/// A run of some epochs with its own random seed; returns the student.
template <class... Callbacks>
std::vector<torch::Tensor> train(const std::filesystem::path& directory, std::int64_t epochs,
                                 std::uint64_t seed, const CheckpointOptions& options,
                                 Callbacks&&... callbacks) {
    torch::manual_seed(seed);
    Perceptron student(8, 0.3);
    auto trainer = plain(student);
    trainer.fit(vectors(3), {.epochs = epochs}, std::forward<Callbacks>(callbacks)...,
                Checkpoint{directory, quiet(options)});
    return state(*student);
}
/// The checkpoint of a run of one epoch.
std::string a_checkpoint() {
    const TemporaryDirectory directory;
    train(directory.path(), 1, 1, {});
    return read_file(directory / "checkpoint-000001-00000000.retort");
}
std::string refusal_of(const std::string& bytes) {
    return words_of<CheckpointError>([&] { decode_state(bytes, "file"); });
}
/// Appends the checksum to bytes.
std::string signed_again(std::string bytes) {
    bytes.resize(bytes.size() - 8);
    retort::detail::Hash hash;
    hash.add(bytes);
    const auto value = hash.value();
    bytes.append(reinterpret_cast<const char*>(&value), 8);
    return bytes;
}
}  // namespace

TEST_CASE("the last checkpoints are kept, by epochs and by steps, and the end of the run") {
    const TemporaryDirectory directory;
    train(directory / "a", 5, 1, {.keep = 3});
    CHECK((retort::detail::checkpoints_in(directory / "a") ==
           std::vector<retort::detail::CheckpointName>{{3, 0}, {4, 0}, {5, 0}}));
    train(directory / "b", 5, 1, {.every_epochs = 2, .keep = 9});
    CHECK((retort::detail::checkpoints_in(directory / "b") ==
           std::vector<retort::detail::CheckpointName>{{2, 0}, {4, 0}, {5, 0}}));
    train(directory / "c/deep", 2, 1, {.every_epochs = 0, .every_steps = 2, .keep = 9});
    CHECK((retort::detail::checkpoints_in(directory / "c/deep") ==
           std::vector<retort::detail::CheckpointName>{{0, 2}, {1, 2}, {2, 0}}));
    // Nothing else is there.
    std::size_t files = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory.path()))
        files += entry.is_regular_file() ? 1 : 0;
    CHECK(files == 9);
}

TEST_CASE("a completed run restores its results, one with more epochs resumes") {
    const TemporaryDirectory directory, apart;
    const auto three = train(directory.path(), 3, 1, {});
    int steps = 0;
    auto count = retort::on_step_end([&](FitContext&) { ++steps; });
    CHECK(same(train(directory.path(), 3, 2, {}, count), three));
    CHECK(steps == 0);
    CHECK(same(train(directory.path(), 5, 3, {}, count), train(apart.path(), 5, 1, {})));
    CHECK(steps == 6);
    CHECK(words_of<ConfigError>([&] { train(directory.path(), 4, 4, {}); }) ==
          "fit: expected more epochs than the 5 that are already done, found 4; FitOptions::epochs counts "
          "all epochs of the "
          "training");
}

TEST_CASE("a run that a callback stopped is over; resumed manually it continues") {
    const TemporaryDirectory directory, apart;
    const auto stop_at = [](std::int64_t epoch, std::int64_t step) {
        return retort::on_step_end([=](FitContext& context) {
            return context.progress.epoch != epoch || context.progress.step != step;
        });
    };
    const auto stopped = train(directory.path(), 3, 1, {}, stop_at(1, 2));
    CHECK(same(train(directory.path(), 3, 2, {}), stopped));
    torch::manual_seed(9);
    Perceptron student(8, 0.3);
    auto trainer = plain(student);
    trainer.resume(directory.path());  // the newest checkpoint in it
    CHECK(same(state(*student), stopped));
    CHECK(trainer.progress() == retort::Progress{1, 0, 2, 3});
    CHECK(trainer.history().size() == 2);
    CHECK(trainer.history().last("samples") == 12);
    torch::rand({100});  // random numbers drawn in between do not matter
    trainer.fit(vectors(3), {.epochs = 3}, Checkpoint{directory.path(), quiet()});
    CHECK(same(state(*student), train(apart.path(), 3, 1, {})));
}

TEST_CASE("a state is saved and resumed in a custom loop") {
    const TemporaryDirectory directory;
    const auto batches = images(4);
    torch::manual_seed(1);
    ConvNet teacher(6);
    const auto trainer_of = [&](const ConvNet& student) {
        return Trainer{
            student, Frozen{teacher},
            Knowledge{CrossEntropy{}, retort::Hint{retort::tap<&ConvOutputs::late>,
                                                   retort::tap<&ConvOutputs::late>, retort::Conv1x1{}}},
            Schedule{1.0, 0.5}, retort::FromTorch<torch::optim::Adam>{torch::optim::AdamOptions(0.01)}};
    };
    ConvNet one(4, 0.2), other(4, 0.2);
    auto first = trainer_of(one), second = trainer_of(other);
    for (std::size_t i = 0; i < 2; ++i) first.step(batches[i]);
    first.save(directory / "state");
    for (std::size_t i = 2; i < 4; ++i) first.step(batches[i]);
    second.resume(directory / "state");
    CHECK(second.optimizer() == nullptr);  // before the first batch the sizes of the parts are unknown
    second.save(directory / "again");      // pending state is not lost
    // In parentheses, so that a difference is not printed: Catch2 would take minutes for thousands of bytes.
    CHECK((read_file(directory / "again") == read_file(directory / "state")));
    for (std::size_t i = 2; i < 4; ++i) second.step(batches[i]);
    CHECK(same(state(*one), state(*other)));
    CHECK(same(state(*first.learnable_parts()), state(*second.learnable_parts())));
    // Back again, with the parts built in the meantime.
    second.resume(directory / "state");
    for (std::size_t i = 2; i < 4; ++i) second.step(batches[i]);
    CHECK(same(state(*one), state(*other)));
    CHECK(directory.names() == std::vector<std::string>{"again", "state"});
}

TEST_CASE("a checkpoint from before the first step cannot be resumed after one") {
    const TemporaryDirectory directory;
    Perceptron student;
    auto trainer = plain(student);
    trainer.save(directory / "state");
    trainer.step(vectors(1)[0]);
    const auto before = state(*student);
    CHECK(holds(words_of<CheckpointError>([&] { trainer.resume(directory / "state"); }),
                "before the first step"));
    CHECK(same(state(*student), before));
    Perceptron fresh;
    plain(fresh).resume(directory / "state");
    CHECK_FALSE(same(state(*fresh), before));
}

TEST_CASE("a checkpoint of another composition is refused with the difference, and nothing is changed") {
    const TemporaryDirectory directory;
    torch::manual_seed(1);
    Perceptron student, teacher, other_teacher;
    const auto file = directory / "run/checkpoint-000001-00000000.retort";
    retort::data::Loader batches{
        retort::data::in_memory(torch::randn({12, 4}), torch::ones({12}, torch::kLong), 3),
        {.batch_size = 4, .seed = 1}};
    const auto refused = [&](auto&& source, auto trainer, auto&&... callbacks) {
        const auto before = state(trainer.student());
        const auto words = words_of<CheckpointError>([&] {
            trainer.fit(source, {.epochs = 2}, callbacks..., Checkpoint{directory / "run", quiet()});
        });
        CHECK(holds(words, file.string() + ": ", "\n(without this file the run starts over)"));
        CHECK(trainer.history().empty());
        CHECK(same(state(trainer.student()), before));
        return words;
    };
    const auto knowledge = Knowledge{CrossEntropy{}, SoftTarget{}};
    Trainer original{student, Frozen{teacher}, knowledge, Schedule{0.5, 0.5}, sgd};
    original.fit(batches, {.epochs = 1}, retort::BestModel{{.column = "accuracy"}},
                 Checkpoint{directory / "run", quiet()});
    const retort::BestModel best{{.column = "accuracy"}};

    Perceptron wide(9), fresh;
    ConvNet deep;
    CHECK(holds(refused(batches, Trainer{wide, Frozen{teacher}, knowledge, Schedule{0.5, 0.5}, sgd},
                        retort::BestModel(best)),
                "student/parameters/first.weight: expected Float [9, 4], found Float [8, 4]"));
    CHECK(holds(refused(images(1), Trainer{deep, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, sgd}),
                "student/type: this run has \"ConvNet\", the checkpoint was made with \"Perceptron\""));
    CHECK(holds(refused(batches, Trainer{fresh, Frozen{other_teacher}, knowledge, Schedule{0.5, 0.5}, sgd}),
                "teacher/hash of its parameters and buffers: this run has \""));
    CHECK(
        holds(refused(batches, Trainer{fresh, Frozen{teacher}, Knowledge{SoftTarget{}}, Schedule{0.5}, sgd}),
              "objective/terms: this run has \"soft_target (SoftTarget) by Constant\", the checkpoint was "
              "made with "
              "\"cross_entropy (CrossEntropy) by Constant, soft_target (SoftTarget) by Constant\""));
    CHECK(holds(
        refused(batches, Trainer{fresh, Frozen{teacher}, knowledge, Schedule{0.5, retort::Linear{}}, sgd}),
        "soft_target (SoftTarget) by Linear"));
    CHECK(
        holds(refused(batches, Trainer{fresh, Frozen{teacher}, knowledge, Schedule{0.5, 0.5},
                                       retort::FromTorch<torch::optim::SGD>{torch::optim::SGDOptions(0.1)}}),
              "built/optimizer/type: this run has \"torch::optim::SGD\""));
    CHECK(holds(
        refused(batches,
                Trainer{fresh, Frozen{teacher}, knowledge, Schedule{0.5, 0.5}, Sgd{.learning_rate = 0.2}}),
        "learning rate 0.2\", the checkpoint was made with \"4 tensors of 67 numbers, learning rate 0.1\""));
}

TEST_CASE("other callbacks or data are refused before the first step") {
    const TemporaryDirectory directory;
    torch::manual_seed(1);
    auto data = retort::data::in_memory(torch::randn({12, 4}), torch::ones({12}, torch::kLong), 3);
    const auto run = [&](const retort::data::LoaderOptions& options, auto&&... callbacks) {
        Perceptron student;
        auto trainer = plain(student);
        return words_of<CheckpointError>([&] {
            trainer.fit(retort::data::Loader{data, options}, {.epochs = trainer.progress().epoch + 4},
                        callbacks..., Checkpoint{directory.path(), quiet()});
        });
    };
    CHECK(run({.batch_size = 4, .seed = 1}, retort::EarlyStopping{{.column = "accuracy"}}) == "");
    CHECK(
        holds(run({.batch_size = 4, .seed = 1}),
              "fit/callbacks with state: this run has \"\", the checkpoint was made with \"EarlyStopping\""));
    CHECK(holds(run({.batch_size = 4, .seed = 1}, retort::EarlyStopping{{.column = "loss"}}),
                "fit/0/column: this run has \"loss\""));
    CHECK(holds(run({.batch_size = 6, .seed = 1}, retort::EarlyStopping{{.column = "accuracy"}}),
                "fit/data: this run has \"12 samples (contents ",
                ") in batches of 6, shuffled, seed 1, NoTransform\""));
    // Callbacks without state may be added and removed.
    CHECK(run({.batch_size = 4, .seed = 1}, retort::GradientClipping{.max_norm = 1},
              retort::EarlyStopping{{.column = "accuracy"}}) == "");
    // Other data of the same size.
    data = retort::data::in_memory(data.inputs.flip(0), data.targets, 3);
    CHECK(holds(run({.batch_size = 4, .seed = 1}, retort::EarlyStopping{{.column = "accuracy"}}),
                "fit/data: this run has \"12 samples (contents ", "the checkpoint was made with"));
}

TEST_CASE("changed data are an error") {
    const TemporaryDirectory directory;
    Perceptron student, again;
    auto first = plain(student), second = plain(again);
    first.fit(vectors(5), {.epochs = 1},
              retort::on_step_end([](FitContext& c) { return c.progress.step < 4; }));
    first.save(directory / "state");
    second.resume(directory / "state");
    CHECK(words_of<retort::DataError>([&] { second.fit(vectors(3), {.epochs = 1}); }) ==
          "fit: expected the batches of epoch 0 to be those of the interrupted run, found 3 where 4 have "
          "been used");
}

TEST_CASE("a file truncated anywhere is refused") {
    const std::string bytes = a_checkpoint();
    REQUIRE(refusal_of(bytes) == "");
    bool refused = true;
    for (std::size_t length = 0; length < bytes.size(); ++length) {
        refused = refused && !refusal_of(bytes.substr(0, length)).empty();
    }
    CHECK(refused);
    CHECK(refusal_of("") == "file: expected a checkpoint of retort, found something else");
    CHECK(refusal_of("PK\x03\x04 and more") == "file: expected a checkpoint of retort, found something else");
    CHECK(refusal_of(bytes.substr(0, 10)) == "file: truncated after 10 bytes");
    CHECK(refusal_of(bytes.substr(0, 100)) ==
          "file: truncated or damaged: expected " + std::to_string(bytes.size()) + " bytes, found 100");
    CHECK(holds(refusal_of(bytes + "x"), "truncated or damaged"));
}

TEST_CASE("a changed bit anywhere is found") {
    const std::string bytes = a_checkpoint();
    bool refused = true;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        std::string changed = bytes;
        changed[i] = static_cast<char>(changed[i] ^ (1 << (i % 8)));
        refused = refused && !refusal_of(changed).empty();
    }
    CHECK(refused);
    std::string changed = bytes;
    changed[1000] = static_cast<char>(changed[1000] ^ 1);
    CHECK(refusal_of(changed) == "file: damaged: the checksum does not match");
    changed = bytes;
    changed[7] = '9';
    CHECK(refusal_of(changed) == "file: written in version 09 of the format, this program reads 01");
}

TEST_CASE("whatever a file contains, it is read within its bounds or refused") {
    const std::string bytes = a_checkpoint();
    std::uint64_t random = 1;
    const auto below = [&](std::uint64_t end) {
        random = random * 6364136223846793005U + 1442695040888963407U;
        return (random >> 33) % end;
    };
    std::size_t read = 0, refused = 0;
    for (int round = 0; round < 3000; ++round) {
        std::string changed = bytes;
        // Mostly among the names, kinds and dimensions of the first values; also runs of extreme bytes.
        const std::size_t at = 24 + below(round % 2 == 0 ? 400 : changed.size() - 40);
        const std::size_t run = 1 + below(8);
        for (std::size_t i = at; i < at + run && i + 8 < changed.size(); ++i) {
            changed[i] = round % 3 == 0 ? '\xff' : static_cast<char>(below(256));
        }
        (refusal_of(signed_again(std::move(changed))).empty() ? read : refused) += 1;
    }
    CHECK(read > 0);
    CHECK(refused > 0);
    const auto with_value = [](const std::string& value, std::uint64_t count = 1) {
        std::string made = "RETORT01";
        const std::uint64_t length = 24 + value.size() + 8;
        made.append(reinterpret_cast<const char*>(&length), 8)
            .append(reinterpret_cast<const char*>(&count), 8);
        return refusal_of(signed_again(made + value + std::string(8, '\0')));
    };
    const std::string name("\x01\0\0\0x", 5);
    const std::string many = std::string("\0\0\0\0\0\0\0\x40", 8);
    CHECK(with_value("", 0) == "");
    CHECK(holds(with_value("", std::uint64_t{1} << 60), "values, found 0 bytes for them"));
    CHECK(holds(with_value(name + std::string("\x06\x01", 2) + many), "a dimension of 4611686018427387904"));
    CHECK(holds(with_value(name + std::string("\x06\x02", 2) +
                           std::string("\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0", 16)),
                "expected 17179869184 bytes of a tensor, found 0 until the end"));
    CHECK(holds(with_value(name + std::string("\x06\x01", 2) + std::string(8, '\xff')), "a dimension of -1"));
    CHECK(holds(with_value(name + std::string("\x20\0", 2)),
                "expected a known kind of value named x, found kind 32 with 0 dimensions"));
    CHECK(holds(with_value(name + std::string("\xff\x01", 2) + many),
                "bytes of a text, found 0 until the end"));
    CHECK(holds(with_value(std::string(4, '\xff')), "damaged"));
    CHECK(holds(with_value(name + std::string("\xfe\0", 2) + name + std::string("\xfe\0", 2), 2),
                "at offset 31: expected one value named x, found two"));
    CHECK(holds(with_value(name + std::string("\xfe\0", 2) + "rest"),
                "expected the end after the last value, found 4 more bytes"));
}

TEST_CASE("tensors of every type and texts round-trip; other types are refused") {
    StateItems items;
    const auto generator = at::detail::createCPUGenerator(1);
    for (const auto type : retort::detail::state_types) {
        items.push_back(
            {at::toString(type), torch::randint(0, 2, {2, 3}, generator).to(type).transpose(0, 1)});
    }
    items.push_back({"nan", torch::tensor({std::nan(""), -0.0})});
    items.push_back({"none", {}});
    items.push_back({"empty", torch::empty({0, 7})});
    items.push_back({"scalar", torch::tensor(3.5)});
    items.push_back({"text", {}, std::string("a\0b", 3)});
    const StateItems read = decode_state(encode_state(items), "file");
    REQUIRE(read.size() == items.size());
    for (std::size_t i = 0; i < items.size(); ++i) {
        CHECK(read[i].name == items[i].name);
        CHECK(read[i].text == items[i].text);
        CHECK(same(read[i].tensor, items[i].tensor));
    }
    items.push_back({"odd", torch::zeros({2}).to_sparse()});
    CHECK_THROWS(encode_state(items));
    const StateItems odd{{"odd", torch::quantize_per_tensor(torch::zeros({2}), 1.0, 0, torch::kQInt8)}};
    CHECK(holds(words_of<ConfigError>([&] { encode_state(odd); }),
                "odd: tensors of type QInt8 cannot be stored"));
}

TEST_CASE("a checkpoint of another LibTorch is refused") {
    const TemporaryDirectory directory;
    StateItems items = decode_state(a_checkpoint(), "file");
    for (auto& item : items) {
        if (item.name == "composition/LibTorch") item.text = "0.4.1";
    }
    retort::detail::write_state(directory / "state", items);
    Perceptron student;
    auto trainer = plain(student);
    CHECK(words_of<CheckpointError>([&] { trainer.resume(directory / "state"); }) ==
          (directory / "state").string() + ": composition/LibTorch: this run has \"" + TORCH_VERSION +
              "\", the checkpoint was made with \"0.4.1\"");
}

TEST_CASE("values that are missing, of another kind, or too many are refused") {
    const TemporaryDirectory directory;
    const StateItems good = decode_state(a_checkpoint(), "file");
    std::string in_the_middle;
    {
        Perceptron other(8, 0.3);
        auto first = plain(other);
        first.fit(vectors(3), {.epochs = 1}, retort::on_settled([&](FitContext& context) {
                      if (context.progress.step == 2) first.save(directory / "middle");
                      return true;
                  }));
        in_the_middle = read_file(directory / "middle");
    }
    Perceptron student;
    auto trainer = plain(student);
    const auto before = state(*student);
    const auto refused = [&](const StateItems& items) {
        retort::detail::write_state(directory / "state", items);
        const auto words = words_of<CheckpointError>([&] { trainer.resume(directory / "state"); });
        CHECK(same(state(*student), before));
        return words;
    };
    for (std::size_t i = 0; i < good.size(); ++i) {
        if (good[i].name.starts_with("fit/")) continue;  // compared when a fit begins
        INFO(good[i].name);
        StateItems items = good;
        items.erase(items.begin() + static_cast<std::ptrdiff_t>(i));
        CHECK(holds(refused(items), good[i].name, "found nothing of that name"));
        items = good;
        items[i] = {good[i].name, good[i].text ? torch::zeros({2}) : torch::zeros({3, 1, 2}, torch::kChar)};
        CHECK(holds(refused(items), good[i].name + ": expected "));
    }
    StateItems more = good;
    more.push_back({"student/parameters/third", torch::zeros({2})});
    CHECK(holds(refused(more),
                "student/parameters/third: the checkpoint has it, and this run has nothing of that name"));
    CHECK(refused(more).size() > 0);
    for (const char* name : {"run/random/0", "run/epoch_random/0"}) {
        INFO(name);
        StateItems broken = decode_state(in_the_middle, "file");
        const auto item =
            std::find_if(broken.begin(), broken.end(), [&](const auto& each) { return each.name == name; });
        REQUIRE(item != broken.end());
        item->tensor = torch::full_like(item->tensor, 255);
        CHECK(holds(refused(broken), std::string(name).substr(0, std::string_view(name).size() - 2)));
        CHECK(trainer.progress() == retort::Progress{});
    }
    retort::detail::write_state(directory / "state", good);
    CHECK_NOTHROW(trainer.resume(directory / "state"));
}

TEST_CASE("the newest checkpoint is never silently ignored") {
    const TemporaryDirectory directory;
    train(directory.path(), 2, 1, {});
    const auto newest = directory / "checkpoint-000002-00000000.retort";
    write_file(newest, read_file(newest).substr(0, 1000));
    CHECK(holds(words_of<CheckpointError>([&] { train(directory.path(), 3, 1, {}); }),
                newest.string() + ": truncated",
                "(without this file the run resumes from " +
                    (directory / "checkpoint-000001-00000000.retort").string() + ")"));
    std::filesystem::remove(newest);
    const TemporaryDirectory apart;
    CHECK(same(train(directory.path(), 3, 5, {}), train(apart.path(), 3, 1, {})));
    CHECK(holds(words_of<CheckpointError>([&] { plain(Perceptron()).resume(directory / "missing"); }),
                "cannot read: No such file"));
    std::filesystem::create_directory(directory / "empty");
    CHECK(holds(words_of<CheckpointError>([&] { plain(Perceptron()).resume(directory / "empty"); }),
                "no checkpoint"));
}

TEST_CASE("half-written files of a dead process are not checkpoints, and are removed") {
    const TemporaryDirectory directory;
    write_file(directory / "checkpoint-000009-00000000.retort.part123", "half");
    write_file(directory / "notes.part1", "mine");
    write_file(directory / "checkpoint-9-0.retort", "no name of ours");
    train(directory.path(), 1, 1, {});
    CHECK(directory.names() == std::vector<std::string>{"checkpoint-000001-00000000.retort",
                                                        "checkpoint-9-0.retort", "notes.part1"});
}

TEST_CASE("a directory that cannot be used is an error before the first step") {
    const TemporaryDirectory directory;
    write_file(directory / "file", "");
    int steps = 0;
    auto count = retort::on_step_end([&](FitContext&) { ++steps; });
    CHECK(holds(words_of<OutputError>([&] { train(directory / "file", 1, 1, {}, count); }), "cannot"));
    CHECK(holds(words_of<OutputError>([&] { train(directory / "file/run", 1, 1, {}, count); }),
                "cannot create this directory"));
    if (::geteuid() != 0) {
        std::filesystem::create_directory(directory / "locked");
        std::filesystem::permissions(directory / "locked",
                                     std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
        CHECK(holds(words_of<OutputError>([&] { train(directory / "locked", 1, 1, {}, count); }),
                    "Permission denied"));
    }
    {
        const retort::detail::CheckpointDirectory other(directory / "run");
        CHECK(holds(words_of<OutputError>([&] { train(directory / "run", 1, 1, {}, count); }),
                    "expected a directory that no other run uses, found one in use"));
    }
    CHECK(steps == 0);
    train(directory / "run", 1, 1, {}, count);
    CHECK(steps == 3);
    CHECK(holds(words_of<ConfigError>([&] { train(directory / "run", 2, 1, {.resume = false}, count); }),
                "exists already, and CheckpointOptions::resume is false"));
    CHECK_THROWS_AS(Checkpoint(directory / "run", {.keep = 0}), ConfigError);
    CHECK_THROWS_AS(Checkpoint(directory / "run", {.every_steps = -1}), ConfigError);
    CHECK_THROWS_AS(Checkpoint(""), ConfigError);
}

TEST_CASE("a trainer that has started resumes neither an earlier run's directory nor a later state") {
    const TemporaryDirectory directory;
    train(directory.path(), 3, 1, {});
    Perceptron student(8, 0.3);
    auto trainer = plain(student);
    trainer.fit(vectors(3), {.epochs = 1});
    CHECK(holds(words_of<ConfigError>(
                    [&] { trainer.fit(vectors(3), {.epochs = 4}, Checkpoint{directory.path(), quiet()}); }),
                "checkpoint-000003-00000000.retort: is later than this trainer"));
}

TEST_CASE("a full disk ends the run with an error, and earlier files remain") {
    const TemporaryDirectory directory;
    train(directory.path(), 1, 1, {});
    const auto before = read_file(directory / "checkpoint-000001-00000000.retort");
    rlimit limit{};
    ::getrlimit(RLIMIT_FSIZE, &limit);
    const rlimit small{1000, limit.rlim_max};
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    ::setrlimit(RLIMIT_FSIZE, &small);
    const auto words = words_of<OutputError>([&] { train(directory.path(), 3, 1, {}); });
    ::setrlimit(RLIMIT_FSIZE, &limit);
    std::signal(SIGXFSZ, handler);
    CHECK(holds(words, "cannot write: File too large"));
    CHECK(directory.names() == std::vector<std::string>{"checkpoint-000001-00000000.retort"});
    CHECK(read_file(directory / "checkpoint-000001-00000000.retort") == before);
    const TemporaryDirectory apart;
    CHECK(same(train(directory.path(), 3, 7, {}), train(apart.path(), 3, 1, {})));
}

TEST_CASE("a signal ends the step, saves, and ends the run; the same command resumes") {
    const TemporaryDirectory directory, apart;
    const auto undisturbed = train(apart.path(), 3, 1, {});
    for (const int signal : {SIGTERM, SIGINT}) {
        const auto run = directory / std::to_string(signal);
        const auto before = std::signal(signal, SIG_DFL);
        int steps = 0;
        const TemporaryDirectory words;
        std::FILE* const stream = std::fopen((words / "words").c_str(), "w");
        const auto interrupted = [&](std::uint64_t seed) {
            torch::manual_seed(seed);
            Perceptron student(8, 0.3);
            auto trainer = plain(student);
            trainer.fit(vectors(3), {.epochs = 3}, retort::on_step_end([&](FitContext&) {
                            if (++steps == 5) std::raise(signal);
                        }),
                        Checkpoint{run, {.stream = stream}});
            return trainer.progress();
        };
        CHECK(interrupted(1) == retort::Progress{1, 3, 2, 3});
        CHECK(retort::interrupted());
        CHECK(steps == 5);
        CHECK(interrupted(1).step == 2);  // later runs of the program take no step
        CHECK(steps == 5);
        CHECK(std::signal(signal, before) == SIG_DFL);  // as it was before
        retort::clear_interruption();
        std::fclose(stream);
        CHECK(
            holds(read_file(words / "words"), signal == SIGINT ? "interrupted" : "terminated",
                  ": saved to " + (run / "checkpoint-000001-00000002.retort").string() +
                      "; rerun the same command to resume",
                  ": no step was made, as a signal came before the first; rerun the same command to resume"));
        CHECK(same(train(run, 3, 8, {}), undisturbed));
    }
}

TEST_CASE("a signal at the end of a run is not lost on the next one, which says that it makes no step") {
    const TemporaryDirectory directory;
    const auto before = std::signal(SIGTERM, SIG_DFL);
    const auto words = directory / "words";
    std::FILE* const stream = std::fopen(words.c_str(), "w");
    Perceptron student;
    auto trainer = plain(student);
    trainer.fit(vectors(3), {.epochs = 1}, retort::on_fit_end([](FitContext&) { std::raise(SIGTERM); }),
                Checkpoint{directory / "one", {.stream = stream}});
    CHECK(trainer.progress().epoch == 1);
    trainer.fit(vectors(3), {.epochs = 2}, Checkpoint{directory / "two", {.stream = stream}});
    CHECK(trainer.progress().epoch == 1);
    std::fclose(stream);
    CHECK(read_file(words) ==
          "terminated: no step was made, as a signal came before the first; rerun the same command to "
          "resume\n");
    // Once it is cleared, the same trainer goes on.
    retort::clear_interruption();
    trainer.fit(vectors(3), {.epochs = 2}, Checkpoint{directory / "two", quiet()});
    CHECK(trainer.progress().epoch == 2);
    CHECK(std::signal(SIGTERM, before) == SIG_DFL);
}

namespace {
constexpr auto raises = "a step that raises a signal in a separate process";
/// The exit status of this test program, run again for the case above. Not a fork: neither OpenMP's nor autograd's
/// threads survive one (https://github.com/pytorch/pytorch/wiki/Autograd-and-Fork).
int in_program_of_its_own(int times, bool signals, const std::filesystem::path& directory) {
    const std::string text = std::to_string(times) + (signals ? "s" : "-") + directory.string();
    const pid_t child = ::fork();
    if (child == 0) {
        ::setenv("RETORT_TEST_RAISE", text.c_str(), 1);
        ::execl("/proc/self/exe", "test_trainer", raises, static_cast<char*>(nullptr));
        ::_exit(1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return status;
}
}  // namespace

TEST_CASE(raises) {
    const char* const text = std::getenv("RETORT_TEST_RAISE");
    if (text == nullptr) return;    // run by the next case only
    std::signal(SIGTERM, SIG_DFL);  // without the test program's own handler
    train(text + 2, 1, 1, {.signals = text[1] == 's'}, retort::on_step_end([&](FitContext&) {
              for (int i = '0'; i < text[0]; ++i) std::raise(SIGTERM);
          }));
    ::_exit(77);
}

TEST_CASE("the second signal ends the program as usual; without `signals` the first one does") {
    const TemporaryDirectory directory;
    int status = in_program_of_its_own(2, true, directory.path());
    CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM));
    status = in_program_of_its_own(1, false, directory.path());
    CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM));
    status = in_program_of_its_own(1, true, directory.path());
    CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 77));
}

TEST_CASE("handlers are restored after an error, too") {
    const TemporaryDirectory directory;
    const auto before = std::signal(SIGTERM, SIG_DFL);
    Checkpoint checkpoint(directory.path(), quiet());
    Perceptron student;
    auto trainer = plain(student);
    CHECK_THROWS_WITH(trainer.fit(vectors(2), {.epochs = 1}, checkpoint,
                                  retort::on_step_end([](FitContext&) { throw std::runtime_error("mine"); })),
                      "mine");
    CHECK(std::signal(SIGTERM, before) == SIG_DFL);
    // Its directory is released, too.
    CHECK_NOTHROW(train(directory.path(), 1, 1, {}));
}

namespace {
/// Counts what it has seen, as state.
struct Counter {
    std::int64_t seen = 0;
    std::vector<double> losses{};
    std::string word = "first";
    torch::Tensor tensor{};
    bool flag = false;
    void on_epoch_end(FitContext& context) {
        ++seen;
        losses.push_back(context.history.last("loss"));
        word += "!";
        tensor = torch::full({2}, static_cast<double>(seen));
        flag = !flag;
    }
    void checkpoint(retort::Archive& archive) {
        archive("seen", seen);
        archive("losses", losses);
        archive("word", word);
        archive("tensor", tensor);
        archive("flag", flag);
    }
};
/// Learns along: an average of the student's weights.
struct Average {
    Perceptron student;
    std::shared_ptr<torch::Tensor> mean = std::make_shared<torch::Tensor>(torch::zeros({8, 4}));
    torch::Tensor operator()(const torch::Tensor& input) const {
        return torch::nn::functional::linear(input, *mean).narrow(1, 0, 3);
    }
    void update(const retort::Progress&) {
        const torch::NoGradGuard no_grad;
        mean->mul_(0.9).add_(student->first->weight, 0.1);
    }
};
struct SavedAverage : Average {
    void checkpoint(retort::Archive& archive) { archive("mean", *mean); }
};
template <class T>
std::vector<torch::Tensor> average(const std::filesystem::path& directory, std::uint64_t seed,
                                   std::int64_t epochs) {
    torch::manual_seed(seed);
    Perceptron student;
    Trainer trainer{student, retort::Ensemble{T{student}, T{student}},
                    Knowledge{CrossEntropy{}, SoftTarget{}}, Schedule{0.5, 0.5}, sgd};
    trainer.fit(vectors(3), {.epochs = epochs}, Checkpoint{directory, quiet()});
    return state(*student);
}
}  // namespace

TEST_CASE("the state of a custom callback is in checkpoints") {
    const TemporaryDirectory directory;
    Counter first, second;
    train(directory.path(), 2, 1, {}, first);
    train(directory.path(), 4, 2, {}, second);
    CHECK(second.seen == 4);
    CHECK(second.losses.size() == 4);
    CHECK(std::equal(first.losses.begin(), first.losses.end(), second.losses.begin()));
    CHECK(second.word == "first!!!!");
    CHECK(same(second.tensor, torch::full({2}, 4.0)));
    CHECK_FALSE(second.flag);
}

TEST_CASE("a teacher that learns along is saved; one without a member checkpoint is refused") {
    const TemporaryDirectory directory, apart;
    average<SavedAverage>(directory.path(), 1, 2);
    CHECK(same(average<SavedAverage>(directory.path(), 2, 4), average<SavedAverage>(apart.path(), 1, 4)));
    const TemporaryDirectory other;
    CHECK(holds(words_of<ConfigError>([&] { average<Average>(other.path(), 1, 1); }),
                "learns along (update), but has no member checkpoint(retort::Archive&)"));
}

TEST_CASE("a moving average of the student resumes where it was") {
    const auto run = [](const std::filesystem::path& directory, std::uint64_t seed, std::int64_t epochs) {
        torch::manual_seed(seed);
        Perceptron student, teacher;
        Trainer trainer{student, retort::MovingAverage{teacher, student, {.decay = 0.8}},
                        Knowledge{CrossEntropy{}, SoftTarget{}}, Schedule{0.5, 0.5}, sgd};
        trainer.fit(vectors(3), {.epochs = epochs}, Checkpoint{directory, quiet()});
        auto result = state(*student);
        for (const auto& each : state(*teacher)) result.push_back(each);
        return result;
    };
    const TemporaryDirectory directory, apart;
    run(directory.path(), 1, 2);
    CHECK(same(run(directory.path(), 2, 4), run(apart.path(), 1, 4)));
}

TEST_CASE("an optimizer that stores nothing is refused") {
    struct Mine : torch::optim::Optimizer {
        explicit Mine(std::vector<torch::Tensor> parameters)
            : Optimizer(std::move(parameters), std::make_unique<retort::MultiTensorSgdOptions>()) {}
        torch::Tensor step(LossClosure) override { return {}; }
    };
    const TemporaryDirectory directory;
    Perceptron student;
    Trainer trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                    std::make_shared<Mine>(student->parameters())};
    CHECK(holds(words_of<ConfigError>(
                    [&] { trainer.fit(vectors(1), {.epochs = 1}, Checkpoint{directory.path(), quiet()}); }),
                "stores nothing: it needs a member save and load, or checkpoint(retort::Archive&)"));
}

TEST_CASE("a state that is no longer finite is not saved") {
    const TemporaryDirectory directory;
    auto batches = vectors(6);
    batches[4].first[0][0] = std::nan("");
    Perceptron student;
    auto trainer = plain(student);
    CHECK_THROWS_AS(trainer.fit(batches, {.epochs = 1, .report_every = 100},
                                Checkpoint{directory.path(), quiet({.every_steps = 1, .keep = 9})}),
                    retort::NonFiniteError);
    CHECK(directory.names().back() == "checkpoint-000000-00000004.retort");
}

}  // namespace checkpoint_test
