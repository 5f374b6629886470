// SPDX-License-Identifier: BSL-1.0
/// \file
/// Outputs of a teacher, cached on disk.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <sys/resource.h>
#include <csignal>
#include <fstream>

#include <retort/callback.hpp>
#include <retort/data/augment.hpp>
#include <retort/data/loader.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/metrics.hpp>
#include <retort/metrics/agreement.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/tap.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace cached_test {

using namespace retort_test;
using retort::Cached;
using retort::CachedOptions;
using retort::DataError;
using retort::Frozen;

namespace {

retort::data::Dataset pictures() {
    torch::manual_seed(5);
    return {torch::rand({20, 1, 8, 8}), torch::randint(0, 3, {20}), 3};
}
retort::data::Loader<retort::data::RandomCrop> cropped(std::int64_t cycle) {
    return retort::data::Loader{
        pictures(), {.batch_size = 6, .seed = 3, .cycle = cycle}, retort::data::RandomCrop{.padding = 1}};
}
std::vector<std::filesystem::path> files_in(const std::filesystem::path& directory) {
    std::vector<std::filesystem::path> result;
    for (const auto& each : std::filesystem::directory_iterator(directory)) result.push_back(each.path());
    std::sort(result.begin(), result.end());
    return result;
}
ConvNet net(std::uint64_t seed, std::int64_t width = 6) {
    torch::manual_seed(seed);
    ConvNet result(width);
    return result;
}
void write(const std::filesystem::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace

TEST_CASE("epochs of a cycle recur, batch for batch") {
    const auto batches = cropped(2);
    const auto inputs = [&](std::int64_t epoch) {
        std::vector<torch::Tensor> result;
        for (const auto& batch : batches(epoch)) result.push_back(batch.input);
        return result;
    };
    CHECK(same(inputs(0), inputs(2)));
    CHECK(same(inputs(1), inputs(5)));
    CHECK_FALSE(same(inputs(0), inputs(1)));
    CHECK(same(inputs(1), [&] {
        std::vector<torch::Tensor> result;
        for (const auto& batch : cropped(0)(1)) result.push_back(batch.input);
        return result;
    }()));
    CHECK(holds(batches.description(), "a cycle of 2 epochs"));
    CHECK_FALSE(holds(cropped(0).description(), "cycle"));
    CHECK(words_of<retort::ConfigError>([] { cropped(-1); }) ==
          "loader: expected a cycle of 0 or more epochs, found -1");
}

TEST_CASE("training with the store is training without it, bit for bit") {
    const TemporaryDirectory directory;
    ConvNet teacher = net(1);
    const auto train = [&](auto policy) {
        ConvNet student = net(2, 4);
        retort::Trainer trainer{
            student, policy,
            retort::Knowledge{retort::CrossEntropy{}, retort::SoftTarget{.temperature = 2},
                              retort::Hint{retort::tap<&ConvOutputs::late>, retort::tap<&ConvOutputs::late>,
                                           retort::Conv1x1{}}},
            retort::Schedule{1.0, 0.5, 0.5}, retort::Sgd{.learning_rate = 0.1, .momentum = 0.9}};
        trainer.fit(cropped(2), {.epochs = 4});
        return state(*student);
    };
    const auto cached = [&] {
        return Cached{Frozen{teacher}, {.directory = directory / "store"}, retort::tap<&ConvOutputs::late>};
    };
    const auto expected = train(Frozen{teacher});
    auto first = cached();
    CHECK(same(train(first), expected));
    CHECK(first.computed() == 40);  // two epochs; the other two recur
    CHECK(first.found() == 40);
    auto second = cached();
    CHECK(same(train(second), expected));
    CHECK(second.computed() == 6);  // the first batch
    CHECK(second.found() == 74);
    CHECK(files_in(directory / "store").size() == 1);
}

TEST_CASE("stored outputs are the computed ones, for rows in any order and batches of any size") {
    const TemporaryDirectory directory;
    Perceptron teacher;
    const auto inputs = torch::randn({10, 4});
    Cached cached{Frozen{teacher}, {.directory = directory.path()}};
    const auto expected = Frozen{teacher}(inputs);
    CHECK(torch::equal(cached(inputs), expected));
    CHECK(torch::equal(cached(inputs.flip(0)), expected.flip(0)));
    CHECK(torch::equal(cached(inputs.narrow(0, 3, 1)), expected.narrow(0, 3, 1)));
    CHECK(cached.computed() == 10);
    CHECK(cached.found() == 11);
    // One new row, twice.
    const auto more = torch::cat({inputs, torch::ones({2, 4})});
    CHECK(torch::allclose(cached(more), Frozen{teacher}(more)));
    CHECK(cached.computed() == 22);
    CHECK(torch::equal(cached(torch::ones({1, 4})), cached(torch::ones({3, 4})).narrow(0, 1, 1)));
    CHECK(cached.computed() == 22);
    // A row is also identified by its type and shape.
    CHECK(cached(torch::empty({0, 4})).sizes() == torch::IntArrayRef({0, 3}));
    CHECK_FALSE(cached(inputs).requires_grad());
    CHECK_THROWS_AS(cached(torch::tensor(1.0)), retort::ShapeError);
}

TEST_CASE("rounded to 16 bits, and only the largest with the mass of the others") {
    const TemporaryDirectory directory;
    torch::manual_seed(1);
    torch::nn::Linear teacher(4, 10);
    const auto inputs = 3 * torch::randn({8, 4});
    const auto logits = Frozen{teacher}(inputs);
    const auto twice = [&](CachedOptions options) {
        const auto first = Cached{Frozen{teacher}, options}(inputs);
        Cached again{Frozen{teacher}, options};
        again(inputs.narrow(0, 0, 1));
        CHECK(torch::equal(again(inputs), first));  // as read as freshly computed
        CHECK(again.found() == 8);
        CHECK(first.scalar_type() == torch::kFloat);
        return first;
    };
    CHECK(torch::equal(twice({.directory = directory / "half", .format = CachedOptions::Format::float16}),
                       logits.to(torch::kHalf).to(torch::kFloat)));
    const auto some = twice({.directory = directory / "top", .top_k = 3}).softmax(1);
    const auto all = logits.softmax(1);
    const auto [largest, classes] = all.topk(3);
    CHECK(torch::allclose(some.gather(1, classes), largest, 1e-5, 1e-7));
    CHECK(torch::allclose(some.sum(1), torch::ones(8)));
    CHECK(torch::allclose(std::get<0>(some.sort(1)).narrow(1, 0, 7),
                          ((1 - largest.sum(1, true)) / 7).expand({8, 7}), 1e-4, 1e-6));
    CHECK(torch::allclose(twice({.directory = directory / "ten", .top_k = 10}).softmax(1), all, 1e-5, 1e-7));
    const auto size = [&](const char* name) {
        return std::filesystem::file_size(files_in(directory / name).at(0));
    };
    CHECK(size("half") < size("ten"));
    CHECK(holds(words_of<retort::ShapeError>([&] {
                    Cached{Frozen{teacher}, {.directory = directory / "eleven", .top_k = 11}}(inputs);
                }),
                "at least top_k = 11 classes, found [8, 10]"));
    CHECK_FALSE(std::filesystem::exists(directory / "eleven"));
}

TEST_CASE("a store of another teacher, of other inputs, outputs or format is refused") {
    const TemporaryDirectory directory;
    Perceptron teacher;
    const auto inputs = torch::randn({4, 4});
    Cached{Frozen{teacher}, {.directory = directory.path()}}(inputs);
    const auto refusal = [&](auto&& network, CachedOptions options, const torch::Tensor& asked) {
        options.directory = directory.path();
        return words_of<DataError>([&] { Cached{network, options}(asked); });
    };
    torch::manual_seed(77);
    Perceptron other;
    CHECK(holds(refusal(Frozen{other}, {}, inputs),
                "these are not the outputs of this teacher: expected \"teacher: "));
    CHECK(holds(refusal(Frozen{teacher}, {.format = CachedOptions::Format::float16}, inputs),
                "expected \"format: float16\", found \"format: exact\""));
    CHECK(holds(refusal(Frozen{teacher}, {.top_k = 2}, inputs),
                "expected \"logits: Float [3], top 2\", found \"logits: Float [3]\""));
    // A changed teacher is a different one.
    {
        const torch::NoGradGuard no_grad;
        teacher->first->bias.add_(1);
    }
    CHECK(holds(refusal(Frozen{teacher}, {}, inputs), "expected \"teacher: "));
    const auto words =
        refusal([](const torch::Tensor& x) { return x.sum(1, true); }, {.identity = "sum"}, inputs);
    CHECK(holds(words, "expected \"teacher: sum\", found \"teacher: "));
    CHECK(files_in(directory.path()).size() == 1);
}

TEST_CASE("each precision has a separate store, with which its run gives the same as without") {
    // Its outputs do not show in which precision they were computed.
    struct WidenedImpl : torch::nn::Module {
        explicit WidenedImpl(ConvNet of) : net(register_module("net", std::move(of))) {}
        torch::Tensor forward(const torch::Tensor& input) {
            return net->forward(input).logits.to(torch::kFloat);
        }
        ConvNet net;
    };
    const TemporaryDirectory directory;
    ConvNet network = net(1);
    const auto wide = std::make_shared<WidenedImpl>(network);
    const auto run = [&](const auto& policy, auto... precision) {
        ConvNet student = net(2, 4);
        retort::Trainer trainer{student,
                                policy,
                                retort::Knowledge{retort::CrossEntropy{}, retort::SoftTarget{}},
                                retort::Schedule{0.5, 0.5},
                                retort::Sgd{.learning_rate = 0.1, .momentum = 0.9},
                                precision...};
        trainer.fit(cropped(2), {.epochs = 4});
        auto result = state(*student);
        // Evaluated without autocast, on the same inputs.
        result.push_back(torch::tensor(trainer.evaluate(cropped(2), retort::metrics::Agreement{}).value()));
        return result;
    };
    const auto check = [&](const char* name, const auto& teacher) {
        const Cached narrow{teacher, {.directory = directory / name}};
        const auto expected = run(teacher, retort::Bfloat16{});
        CHECK(same(run(narrow, retort::Bfloat16{}), expected));
        CHECK(narrow.computed() == 40 + 20);  // two epochs, and the first one again for the evaluation
        CHECK(narrow.found() == 40);
        CHECK(files_in(directory / name).size() == 2);
        CHECK(files_in(directory / name / "autocast-BFloat16").size() == 1);
        const Cached again{teacher, {.directory = directory / name}},
            plain{teacher, {.directory = directory / name}};
        CHECK(same(run(again, retort::Bfloat16{}), expected));
        CHECK(again.computed() == 6 + 6);  // the first batch of each precision
        CHECK(same(run(plain), run(teacher)));
        CHECK(plain.computed() == 6 + 20);  // and the other epoch of the cycle
    };
    check("narrow outputs", Frozen{network});
    check("wide outputs", Frozen{wide});
    const auto stored = directory / "wide outputs";
    for (const auto& each : files_in(stored)) {
        if (std::filesystem::is_regular_file(each)) std::filesystem::remove(each);
    }
    std::filesystem::rename(files_in(stored / "autocast-BFloat16")[0], stored / "moved.outputs");
    CHECK(holds(words_of<DataError>([&] { Cached{Frozen{wide}, {.directory = stored}}(pictures().inputs); }),
                "expected \"precision: no autocast\", found \"precision: autocast to BFloat16\""));
}

TEST_CASE(
    "several processes fill one store; the file of a killed one is used up to its last complete record") {
    const TemporaryDirectory directory;
    Perceptron teacher;
    const auto a = torch::randn({4, 4}), b = torch::randn({4, 4}), c = torch::randn({4, 4});
    const auto make = [&](bool only_stored = false) {
        return Cached{Frozen{teacher}, {.directory = directory.path(), .only_stored = only_stored}};
    };
    {
        Cached one = make(), two = make();
        one(a);
        two(b);  // before it could see the file of the first
        one(c);
        two(a);
    }
    CHECK(files_in(directory.path()).size() == 2);
    const auto all = torch::cat({a, b, c});
    {
        Cached reader = make(true);
        reader(a);
        CHECK(torch::equal(reader(all),
                           torch::cat({Frozen{teacher}(a), Frozen{teacher}(b), Frozen{teacher}(c)})));
        CHECK(words_of<DataError>([&] { reader(torch::ones({2, 4})); }) ==
              "Cached: expected all inputs in " + directory.path().string() + ", found 2 of 2 missing");
    }
    const auto path = files_in(directory.path())[0];
    const std::string whole = read_file(path);
    for (std::size_t size = 0; size < whole.size(); ++size) {
        write(path, whole.substr(0, size));
        Cached reader = make();
        CHECK_NOTHROW(reader(a));
        CHECK_NOTHROW(reader(all));
    }
    for (const auto& each : files_in(directory.path())) std::filesystem::remove(each);
}

TEST_CASE("damage is detected anywhere") {
    const TemporaryDirectory directory;
    Perceptron teacher;
    const auto inputs = torch::randn({3, 4});
    Cached{Frozen{teacher}, {.directory = directory.path()}}(inputs);
    const auto path = files_in(directory.path())[0];
    const std::string whole = read_file(path);
    int refused = 0, computed = 0;
    for (std::size_t at = 0; at < whole.size(); ++at) {
        std::string bytes = whole;
        bytes[at] = static_cast<char>(bytes[at] ^ 0x10);
        write(path, bytes);
        try {
            Cached reader{Frozen{teacher}, {.directory = directory.path()}};
            reader(inputs);
            const auto read = reader(inputs);
            CHECK(torch::equal(read, Frozen{teacher}(inputs)));
            ++computed;  // a damaged key is a missing row
        } catch (const DataError& error) {
            CHECK(holds(error.what(), path.string()));
            ++refused;
        }
        for (const auto& each : files_in(directory.path()))
            if (each != path) std::filesystem::remove(each);
    }
    CHECK(refused > 3 * computed);
    CHECK(computed >= 3 * 16);
    write(path, "something else");
    CHECK(
        holds(words_of<DataError>([&] { Cached{Frozen{teacher}, {.directory = directory.path()}}(inputs); }),
              "expected a file of teacher outputs, found something else"));
}

TEST_CASE("an unwritable store is an error, and stays readable") {
    const TemporaryDirectory directory;
    Perceptron teacher;
    const auto inputs = torch::randn({64, 4});
    write(directory / "file", "x");
    CHECK_THROWS_AS((Cached{Frozen{teacher}, {.directory = directory / "file"}}(inputs)),
                    retort::OutputError);
    Cached cached{Frozen{teacher}, {.directory = directory / "store"}};
    cached(inputs.narrow(0, 0, 8));
    rlimit before{};
    ::getrlimit(RLIMIT_FSIZE, &before);
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    const auto size = std::filesystem::file_size(files_in(directory / "store")[0]);
    const rlimit small{size + 100, before.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &small);
    const std::string words = words_of<retort::OutputError>([&] { cached(inputs); });
    ::setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);
    CHECK(holds(words, "cannot write: File too large"));
    CHECK(std::filesystem::file_size(files_in(directory / "store")[0]) == size);
    CHECK(torch::equal(cached(inputs), Frozen{teacher}(inputs)));
    Cached again{Frozen{teacher}, {.directory = directory / "store", .only_stored = true}};
    again(inputs.narrow(0, 0, 8));
    CHECK_NOTHROW(again(inputs));
}

TEST_CASE("options are checked before anything is computed, and checkpoints compare the wrapped teacher") {
    Perceptron teacher;
    CHECK(words_of<retort::ConfigError>([&] { Cached{Frozen{teacher}, {}}; }) ==
          "Cached: expected a directory, found none");
    CHECK_THROWS_AS((Cached{Frozen{teacher}, {.directory = "x", .top_k = -1}}), retort::ConfigError);
    CHECK_THROWS_AS((Cached{Frozen{teacher}, {.directory = "x", .identity = "a\nb"}}), retort::ConfigError);
    const auto lambda = [](const torch::Tensor& x) { return x; };
    CHECK(holds(words_of<retort::ConfigError>([&] { Cached{lambda, {.directory = "x"}}; }),
                "expected CachedOptions::identity"));
    const TemporaryDirectory directory;
    Perceptron student;
    const auto trainer_of = [&](Perceptron& of) {
        return retort::Trainer{student, Cached{Frozen{of}, {.directory = directory / "outputs"}},
                               retort::Knowledge{retort::SoftTarget{}}, retort::Schedule{1.0},
                               retort::Sgd{.learning_rate = 0.1}};
    };
    auto trainer = trainer_of(teacher);
    trainer.step(vectors(1)[0]);
    trainer.save(directory / "state");
    auto same_teacher = trainer_of(teacher);
    CHECK_NOTHROW(same_teacher.resume(directory / "state"));
    torch::manual_seed(78);
    Perceptron other;
    auto other_teacher = trainer_of(other);
    CHECK_THROWS_AS(other_teacher.resume(directory / "state"), retort::CheckpointError);
}

}  // namespace cached_test
