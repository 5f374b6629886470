// SPDX-License-Identifier: BSL-1.0
/// \file
/// Teachers compiled ahead of time in Python; tests/teacher/compiled.py makes the packages.
#include <retort_test.hpp>

#include <retort/callback.hpp>
#include <retort/io.hpp>
#include <retort/knowledge/connector/identity.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/tap.hpp>
#include <retort/teacher.hpp>
#include <retort/teacher/compiled.hpp>
#include <retort/trainer.hpp>

namespace compiled_test {

#if !RETORT_HAS_PACKAGE_LOADER

TEST_CASE("compiled teachers need a later LibTorch") {
    WARN("this LibTorch (" TORCH_VERSION ") cannot load packages: not tried");
}

#else

using namespace retort_test;
using Catch::Contains;
using retort::Compiled;
using retort::CompiledOptions;

namespace {

struct Outputs {
    torch::Tensor logits, body;
};
/// The network of compiled.py.
struct NetImpl : torch::nn::Module {
    NetImpl()
        : body(register_module("body", torch::nn::Conv2d(torch::nn::Conv2dOptions(3, 4, 3).padding(1)))),
          norm(register_module("norm", torch::nn::BatchNorm2d(4))),
          head(register_module("head", torch::nn::Linear(256, 5))) {}
    Outputs forward(const torch::Tensor& input) {
        const auto features = torch::relu(norm->forward(body->forward(input)));
        return {head->forward(features.flatten(1)), features};
    }
    torch::nn::Conv2d body;
    torch::nn::BatchNorm2d norm;
    torch::nn::Linear head;
};
TORCH_MODULE(Net);

/// The packages from Python, made once for all tests; null if it cannot make any.
const std::filesystem::path* packages() {
    static const TemporaryDirectory folder;
    static const bool made = [] {
        const std::string python = RETORT_TEST_PYTHON;
        if (python.empty()) return false;
        const std::string command =
            retort::detail::concat("TORCHINDUCTOR_CACHE_DIR='", (folder / "cache").string(), "' ", python,
                                   " '", RETORT_SOURCE_DIRECTORY "/tests/teacher/compiled.py", "' '",
                                   folder.path().string(), "' > '", (folder / "log").string(), "' 2>&1");
        const int status = std::system(command.c_str());
        if (status == 3 << 8) return false;
        INFO(read_file(folder / "log"));
        REQUIRE(status == 0);
        return true;
    }();
    if (!made) WARN("no Python here that can compile a network: not tried");
    return made ? &folder.path() : nullptr;
}
const CompiledOptions any_batch{.input = {-1, 3, 8, 8}};

double distance(const torch::Tensor& one, const torch::Tensor& other) {
    return (one - other).abs().max().item<double>();
}
Net loaded(const std::filesystem::path& folder) {
    Net net;
    retort::load_state_dict(*net, retort::read_weights(folder / "net.pt"));
    net->eval();
    return net;
}

}  // namespace

TEST_CASE("a compiled teacher has the outputs of the same network here, for batches of any size and layout") {
    const auto* const folder = packages();
    if (folder == nullptr) return;
    Net net = loaded(*folder);
    const Compiled teacher{*folder / "dictionary.pt2", any_batch};
    CHECK(teacher.outputs() == std::vector<std::string>{"logits", "body"});
    const auto all = torch::randn({3, 8, 8, 20}).permute({3, 0, 1, 2});
    const auto odd = torch::randn({3 * 3 * 64 + 1}).slice(0, 1).view({3, 3, 8, 8});
    for (const auto& input : {all, all.slice(0, 0, 1), all.slice(0, 0, 20, 3), odd}) {
        const auto outputs = teacher(input);
        const auto expected = net->forward(input);
        CHECK(distance(outputs.logits, expected.logits) < 1e-5);
        CHECK(distance(retort::tap<"body">(outputs), expected.body) < 1e-5);
        CHECK(retort::logits(outputs).is_same(retort::tap<"logits">(outputs)));
        CHECK_FALSE(outputs.logits.requires_grad());
    }
    // Two outputs without names, for three images.
    const Compiled pair{*folder / "pair.pt2",
                        {.input = {3, 3, 8, 8}, .outputs = {"scores", "body"}, .logits = "scores"}};
    CHECK(distance(pair(odd).logits, net->forward(odd).logits) < 1e-5);
    CHECK(distance(retort::tap<"body">(pair(odd)), net->forward(odd).body) < 1e-5);
}

TEST_CASE("a step with a compiled teacher is the step with the same network, in both precisions") {
    const auto* const folder = packages();
    if (folder == nullptr) return;
    torch::manual_seed(3);
    const auto batch = torch::randn({6, 3, 8, 8});
    Net student;
    const auto start = retort::state_dict(*student);
    std::vector<torch::Tensor> copies;
    for (const auto& item : start) copies.push_back(item.value().clone());
    const auto step = [&](auto teacher, auto tap, auto precision) {
        {
            const torch::NoGradGuard no_grad;
            std::size_t i = 0;
            for (const auto& item : retort::state_dict(*student)) item.value().copy_(copies[i++]);
        }
        retort::Trainer trainer{
            student,
            teacher,
            retort::Knowledge{retort::SoftTarget{.temperature = 2.0},
                              retort::Hint{retort::tap<&Outputs::body>, tap, retort::Identity{}}},
            retort::Schedule{1.0, 0.5},
            retort::Sgd{.learning_rate = 0.1},
            precision};
        const auto losses = trainer.step(batch).losses;
        std::vector<torch::Tensor> result{losses.total.detach()};
        for (const auto& each : student->parameters()) result.push_back(each.detach().clone());
        return result;
    };
    const Compiled teacher{*folder / "dictionary.pt2", any_batch};
    const auto compiled = step(teacher, retort::tap<"body">, retort::Float32{});
    const auto here = step(retort::Frozen{loaded(*folder)}, retort::tap<&Outputs::body>, retort::Float32{});
    for (std::size_t i = 0; i < here.size(); ++i) CHECK(distance(compiled[i], here[i]) < 1e-5);
    CHECK(distance(compiled[1], copies[0]) > 1e-4);  // it was trained
    // The student's autocast does not affect compiled code.
    const auto plain = teacher(batch);
    {
        const retort::detail::Autocast cast(at::kCPU, at::kBFloat16);
        const auto narrow = teacher(batch);
        CHECK(torch::equal(narrow.logits, plain.logits));
        CHECK(torch::equal(retort::tap<"body">(narrow), retort::tap<"body">(plain)));
    }
    const auto narrow = step(teacher, retort::tap<"body">, retort::Bfloat16{});
    CHECK(narrow[0].scalar_type() == at::kFloat);
    CHECK(narrow[0].item<double>() == Approx(here[0].item<double>()).epsilon(0.05));
}

TEST_CASE("a file that is not a package, or not a matching one, is refused on loading") {
    const TemporaryDirectory own;
    CHECK_THROWS_WITH((Compiled{own / "none.pt2", any_batch}), Contains("cannot read"));
    CHECK_THROWS_AS((Compiled{own / "none.pt2", any_batch}), retort::DataError);
    CHECK_THROWS_WITH((Compiled{own.path(), any_batch}), Contains("expected a regular file"));
    write_file(own / "text.pt2", "hello");
    CHECK_THROWS_WITH((Compiled{own / "text.pt2", any_batch}),
                      Contains("expected a package of torch._inductor.aoti_compile_and_package") &&
                          Contains("not a zip archive"));
    const auto weights = std::filesystem::path(RETORT_GOLDEN_DIRECTORY) / "weights" / "net.pt";
    CHECK_THROWS_WITH((Compiled{weights, any_batch}), Contains("without data/aotinductor"));
    CHECK_THROWS_WITH((Compiled{weights, {}}), Contains("expected the sizes of the input"));
    CHECK_THROWS_AS((Compiled{weights, {.input = {0, 3}}}), retort::ConfigError);
    CHECK_THROWS_AS((Compiled{weights, {.input = {-1, 3}, .device = "nowhere"}}), retort::ConfigError);

    const auto* const folder = packages();
    if (folder == nullptr) return;
    const auto& file = *folder / "dictionary.pt2";
    const std::string whole = read_file(file);
    write_file(own / "short.pt2", whole.substr(0, whole.size() - 10));
    CHECK_THROWS_AS((Compiled{own / "short.pt2", any_batch}), retort::DataError);
    std::string damaged = whole;
    damaged[damaged.find("\x7f"
                         "ELF") +
            20000] ^= 1;
    write_file(own / "damaged.pt2", damaged);
    CHECK_THROWS_AS((Compiled{own / "damaged.pt2", any_batch}), retort::DataError);
    CHECK_THROWS_WITH((Compiled{*folder / "cuda.pt2", any_batch}),
                      at::hasCUDA() ? Contains("expected a package for") : Contains("Unsupported device"));
    CHECK_THROWS_WITH((Compiled{file, {.input = {-1, 3, 8, 8}, .outputs = {"logits"}}}),
                      Contains("expected 2 names") && Contains("found 1"));
    CHECK_THROWS_WITH((Compiled{file, {.input = {-1, 3, 8, 8}, .outputs = {"a", "a"}}}), Contains("a twice"));
    CHECK_THROWS_WITH((Compiled{file, {.input = {-1, 3, 8, 8}, .logits = "scores"}}),
                      Contains("expected a name \"scores\"") && Contains("logits, body"));
    CHECK_THROWS_WITH((Compiled{*folder / "pair.pt2", {.input = {3, 3, 8, 8}}}),
                      Contains("expected 2 names") && Contains("found 0"));
}

TEST_CASE("a compiled teacher refuses inputs that it was not compiled for, as it would read out of bounds") {
    const auto* const folder = packages();
    if (folder == nullptr) return;
    const Compiled teacher{*folder / "dictionary.pt2", any_batch};
    const Compiled pair{*folder / "pair.pt2", {.input = {3, 3, 8, 8}, .outputs = {"logits", "body"}}};
    for (const auto& wrong : {torch::randn({2, 3, 8, 7}), torch::randn({3, 8, 8}), torch::Tensor()})
        CHECK_THROWS_AS(teacher(wrong), retort::ShapeError);
    CHECK_THROWS_WITH(pair(torch::randn({2, 3, 8, 8})),
                      Contains("expected an input of shape [3, 3, 8, 8]") && Contains("found [2, 3, 8, 8]"));
    CHECK_THROWS_WITH(teacher(torch::randn({2, 3, 8, 8}, at::kDouble)),
                      Contains("expected an input of Float on cpu, found Double on cpu"));
}

TEST_CASE("a checkpoint identifies its compiled teacher by the file") {
    const auto* const folder = packages();
    if (folder == nullptr) return;
    const TemporaryDirectory own;
    const auto batch = torch::randn({3, 3, 8, 8});
    const auto trainer = [&](const char* name) {
        return retort::Trainer{
            Net(), Compiled{*folder / name, {.input = {3, 3, 8, 8}, .outputs = {"logits", "body"}}},
            retort::Knowledge{retort::SoftTarget{}}, retort::Schedule{1.0},
            retort::Sgd{.learning_rate = 0.1}};
    };
    auto one = trainer("pair.pt2");
    one.step(batch);
    one.save(own / "state");
    auto same_teacher = trainer("pair.pt2"), other_teacher = trainer("dictionary.pt2");
    same_teacher.resume(own / "state");
    CHECK(same(one.step(batch).losses.total, same_teacher.step(batch).losses.total));
    CHECK_THROWS_WITH(other_teacher.resume(own / "state"), Contains("hash of its file"));
}

#endif

}  // namespace compiled_test
