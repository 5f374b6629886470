// SPDX-License-Identifier: BSL-1.0
/// \file
/// TorchScript teachers from Python; the files are made by tests/io/weights.py.
#include <retort_test.hpp>

#include <sys/stat.h>

#include <retort/callback.hpp>
#include <retort/io.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/tap.hpp>
#include <retort/teacher/scripted.hpp>
#include <retort/trainer.hpp>

namespace scripted_test {

using namespace retort_test;
using Catch::Contains;
using retort::Scripted;

namespace {

std::filesystem::path stored(const char* name) {
    return std::filesystem::path(RETORT_GOLDEN_DIRECTORY) / "weights" / name;
}

}  // namespace

TEST_CASE("a scripted teacher gives Python's outputs, whatever its return type") {
    const auto answers = retort::read_weights(stored("net_answers.pt"));
    for (const bool freeze : {true, false}) {
        for (const char* file :
             {"Teacher.pt", "NamedTeacher.pt", "DictionaryTeacher.pt", "TupleTeacher.pt"}) {
            INFO(file);
            retort::ScriptedOptions options{.freeze = freeze};
            if (std::string(file) == "TupleTeacher.pt") options.outputs = {"logits", "body"};
            const Scripted teacher{stored(file), options};
            const auto outputs = teacher(answers["x"]);
            CHECK((outputs.logits - answers["y"]).abs().max().item<double>() < 1e-6);
            CHECK((retort::logits(outputs) - retort::tap<"logits">(outputs)).abs().max().item<double>() == 0);
            CHECK_FALSE(outputs.logits.requires_grad());
            if (std::string(file) != "Teacher.pt") {
                CHECK(retort::tap<"body">(outputs).sizes() == torch::IntArrayRef({2, 4, 6, 6}));
            } else {
                CHECK_THROWS_WITH(retort::tap<"body">(outputs),
                                  Contains("expected an output \"body\", found: logits"));
            }
        }
    }
}

TEST_CASE("a scripted teacher distills") {
    torch::manual_seed(2);
    torch::nn::Sequential student(torch::nn::Flatten(), torch::nn::Linear(192, 5));
    retort::Trainer trainer{student, Scripted{stored("Teacher.pt")},
                            retort::Knowledge{retort::SoftTarget{.temperature = 2.0}}, retort::Schedule{1.0},
                            retort::Sgd{.learning_rate = 0.05, .momentum = 0.9}};
    const auto batches = std::vector<torch::Tensor>{torch::randn({16, 3, 8, 8})};
    const auto& history = trainer.fit(batches, {.epochs = 30});
    CHECK(history.last("loss") < 0.2 * history.at(0, "loss"));
}

TEST_CASE("a file that is not a scripted teacher, or not a matching one, is refused on loading") {
    const TemporaryDirectory folder;
    CHECK_THROWS_AS(Scripted{folder.path() / "none.pt"}, retort::DataError);
    REQUIRE(::mkfifo((folder.path() / "pipe").c_str(), 0600) == 0);
    CHECK_THROWS_WITH(Scripted{folder.path() / "pipe"}, Contains("expected a regular file, found a pipe"));
    CHECK_THROWS_WITH(Scripted{stored("net.pt")}, Contains("expected a TorchScript program"));
    CHECK_THROWS_WITH(Scripted{stored("TupleTeacher.pt")},
                      Contains("expected 2 names") && Contains("found 0"));
    CHECK_THROWS_WITH((Scripted{stored("TupleTeacher.pt"), {.outputs = {"a", "b"}}}),
                      Contains("expected a name \"logits\""));
    CHECK_THROWS_WITH((Scripted{stored("Teacher.pt"), {.outputs = {"logits"}}}),
                      Contains("does not return a tuple"));
    CHECK_THROWS_AS((Scripted{stored("Teacher.pt"), {.device = "nowhere"}}), retort::ConfigError);
    CHECK_THROWS_WITH(retort::read_weights(stored("Teacher.pt")), Contains("found a TorchScript program"));
    const Scripted other{stored("DictionaryTeacher.pt"), {.logits = "scores"}};
    CHECK_THROWS_WITH(other(torch::randn({1, 3, 8, 8})),
                      Contains("expected an output \"scores\"") && Contains("body, logits"));
}

}  // namespace scripted_test
