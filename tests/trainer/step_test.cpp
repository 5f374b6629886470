// SPDX-License-Identifier: BSL-1.0
/// \file
/// A trainer, step by step: losses, optimizers, progress, and what it refuses.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback.hpp>
#include <retort/knowledge/connector/convolution.hpp>
#include <retort/knowledge/feature/hint.hpp>
#include <retort/knowledge/logit/cross_entropy.hpp>
#include <retort/knowledge/logit/soft_target.hpp>
#include <retort/optim.hpp>
#include <retort/schedule.hpp>
#include <retort/tap.hpp>
#include <retort/teacher.hpp>
#include <retort/trainer.hpp>

namespace step_test {

using namespace retort_test;
using retort::CrossEntropy;
using retort::Frozen;
using retort::Hint;
using retort::Knowledge;
using retort::NoTeacher;
using retort::Schedule;
using retort::Sgd;
using retort::SoftTarget;
using retort::tap;
using retort::Trainer;

namespace {
/// Records the progress of its calls, and returns 1.
struct Spy {
    std::shared_ptr<std::vector<retort::Progress>> seen = std::make_shared<std::vector<retort::Progress>>();
    double weight(const retort::Progress& progress) const {
        seen->push_back(progress);
        return 1.0;
    }
};
/// A teacher that learns along.
struct Counting {
    std::shared_ptr<std::vector<std::int64_t>> steps = std::make_shared<std::vector<std::int64_t>>();
    torch::Tensor operator()(const torch::Tensor& input) const { return torch::zeros({input.size(0), 3}); }
    void update(const retort::Progress& progress) { steps->push_back(progress.step); }
};
struct Detached {
    static constexpr bool needs_teacher = false, needs_target = false;
    torch::Tensor operator()(const auto& student, const auto&, const auto&) const {
        return retort::logits(student).detach().sum();
    }
};
const auto hint = [] { return Hint{tap<&ConvOutputs::early>, tap<&ConvOutputs::late>, retort::Conv1x1{}}; };
}  // namespace

TEST_CASE("the loss is that of the objective and changes no parameter") {
    torch::manual_seed(1);
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}, SoftTarget{}}, Schedule{0.5, 0.5},
                    Sgd{}};
    const auto batch = vectors(1)[0];
    const auto before = state(*student);
    const auto losses = trainer.losses(batch);
    CHECK(losses.total.requires_grad());
    CHECK(close(losses.total, 0.5 * losses.terms[0] + 0.5 * losses.terms[1]));
    CHECK(close(losses.terms[0],
                torch::nn::functional::cross_entropy(student->forward(batch.first), batch.second)));
    CHECK(same(before, state(*student)));
    CHECK(trainer.progress() == retort::Progress{});
    CHECK(trainer.optimizer() == nullptr);
}

TEST_CASE("a step changes the student, is counted and returns what it computed") {
    torch::manual_seed(1);
    Perceptron student;
    Trainer trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                    Sgd{.learning_rate = 0.5}};
    const auto batch = vectors(1)[0];
    const auto before = state(*student);
    const auto expected = student->forward(batch.first);
    const auto result = trainer.step(batch);
    CHECK(same(result.outputs, expected));
    CHECK(same(result.losses.total, torch::nn::functional::cross_entropy(expected, batch.second)));
    CHECK_FALSE(same(before, state(*student)));
    CHECK(trainer.progress().step == 1);
    CHECK(trainer.optimizer() != nullptr);
    double last = result.losses.total.item<double>();
    for (int i = 0; i < 20; ++i) last = trainer.step(batch).losses.total.item<double>();
    CHECK(last < 0.5 * result.losses.total.item<double>());
}

TEST_CASE("manual steps with schedules see the progress that the loop sets") {
    Perceptron student;
    const Spy spy;
    Trainer trainer{
        student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{spy},
        retort::WithLearningRate{Sgd{.learning_rate = 1.0},
                                 retort::Linear{.initial = 1.0, .final = 0.0, .every = retort::Every::step}}};
    trainer.progress().epochs = 2;
    trainer.progress().steps_per_epoch = 2;
    std::vector<double> rates;
    for (std::int64_t epoch = 0; epoch < 2; ++epoch) {
        trainer.progress().epoch = epoch;
        trainer.progress().step = 0;
        for (const auto& batch : vectors(2)) {
            trainer.step(batch);
            rates.push_back(trainer.optimizer()->param_groups()[0].options().get_lr());
        }
    }
    CHECK(rates == std::vector<double>{1.0, 0.75, 0.5, 0.25});
    REQUIRE(spy.seen->size() == 4);
    CHECK(spy.seen->at(3) == retort::Progress{.epoch = 1, .epochs = 2, .step = 1, .steps_per_epoch = 2});
}

TEST_CASE("every kind of batch, network and composition") {
    torch::manual_seed(1);
    const auto [x, y] = vectors(1)[0];
    PerceptronImpl object;
    Trainer by_object{object, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1}, Sgd{}};
    by_object.step(std::tuple{x, y, 5});
    by_object.step(torch::data::Example<>{x, y});
    Perceptron teacher;
    auto pointer = std::make_shared<PerceptronImpl>();
    Trainer by_pointer{pointer, Frozen{teacher}, Knowledge{SoftTarget{}}, Schedule{1}, Sgd{}};
    by_pointer.step(x);
    by_pointer.step(torch::data::TensorExample{x});
    Trainer named = Trainer<Perceptron, Frozen<Perceptron>, Knowledge<CrossEntropy, SoftTarget>,
                            Schedule<retort::Constant, retort::Constant>>{
        Perceptron(), Frozen{teacher}, Knowledge{CrossEntropy{}, SoftTarget{}}, Schedule{0.1, 0.9}, Sgd{}};
    named.step(std::pair{x, y});
    CHECK(named.progress().step == 1);
}

TEST_CASE("a batch of one sample trains") {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}, SoftTarget{}}, Schedule{0.5, 0.5},
                    Sgd{}};
    CHECK(trainer.step(vectors(1, 1)[0]).losses.total.isfinite().item<bool>());
}

TEST_CASE("a batch without samples, or an undefined one, is refused before anything changes") {
    Perceptron student;
    Trainer trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    trainer.progress().epoch = 2;
    trainer.progress().step = 3;
    const auto before = state(*student);
    const auto words = [&](torch::Tensor input) {
        return words_of<retort::DataError>(
            [&] { trainer.step(std::pair{input, torch::zeros({0}, torch::kLong)}); });
    };
    CHECK(words(torch::zeros({0, 4})) ==
          "batch: expected at least one sample, found [0, 4] in epoch 2, step 3");
    CHECK(holds(words(torch::Tensor()), "found an undefined tensor"));
    CHECK(holds(words(torch::tensor(1.0)), "found []"));
    CHECK(same(before, state(*student)));
    CHECK(trainer.progress().step == 3);
}

TEST_CASE("mismatched shapes are errors before the first optimizer step") {
    Perceptron student;
    struct Wide {
        torch::Tensor operator()(const torch::Tensor& input) const {
            return torch::zeros({input.size(0), 5});
        }
    };
    Trainer trainer{student, Wide{}, Knowledge{CrossEntropy{}, SoftTarget{}}, Schedule{0.5, 0.5}, Sgd{}};
    const auto before = state(*student);
    CHECK(holds(words_of<retort::ShapeError>([&] { trainer.step(vectors(1)[0]); }), "[6, 3] and [6, 5]"));
    CHECK(trainer.optimizer() == nullptr);
    CHECK(same(before, state(*student)));
}

TEST_CASE("learnable parts are trained, from the first batch on") {
    torch::manual_seed(1);
    ConvNet student(4), teacher(6);
    Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}, hint()}, Schedule{1.0, 1.0},
                    Sgd{.learning_rate = 0.1}};
    CHECK(trainer.learnable_parts()->parameters().empty());
    const auto batch = images(1)[0];
    trainer.step(batch);
    const auto parts = trainer.learnable_parts()->parameters();
    REQUIRE(parts.size() == 2);
    CHECK(parts[0].sizes() == at::IntArrayRef({12, 4, 1, 1}));
    const auto before = state(*trainer.learnable_parts());
    trainer.step(batch);
    CHECK_FALSE(same(before, state(*trainer.learnable_parts())));
    CHECK(trainer.optimizer()->param_groups()[0].params().size() == student->parameters().size() + 2);
}

TEST_CASE("an existing optimizer trains student and learnable parts") {
    torch::manual_seed(1);
    ConvNet student(4), teacher(6);
    torch::optim::SGD by_reference(student->parameters(), torch::optim::SGDOptions(0.1));
    const auto shared =
        std::make_shared<torch::optim::Adam>(student->parameters(), torch::optim::AdamOptions(0.01));
    const auto run = [&](auto& optimizer, torch::optim::Optimizer* which) {
        Trainer trainer{student, Frozen{teacher}, Knowledge{CrossEntropy{}, hint()}, Schedule{1.0, 1.0},
                        optimizer};
        const auto batch = images(1)[0];
        trainer.step(batch);
        CHECK(trainer.optimizer() == which);
        REQUIRE(which->param_groups().size() == 2);
        const auto student_before = state(*student), parts_before = state(*trainer.learnable_parts());
        trainer.step(batch);
        CHECK_FALSE(same(student_before, state(*student)));
        CHECK_FALSE(same(parts_before, state(*trainer.learnable_parts())));
    };
    run(by_reference, &by_reference);
    run(shared, shared.get());
}

TEST_CASE("an optimizer without the student's parameters is refused") {
    Perceptron student, other;
    torch::optim::SGD optimizer(other->parameters(), torch::optim::SGDOptions(0.1));
    Trainer trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, optimizer};
    const auto before = state(*student);
    CHECK(holds(words_of<retort::ConfigError>([&] { trainer.step(vectors(1)[0]); }),
                "the student's parameters"));
    CHECK(same(before, state(*student)));
}

TEST_CASE("a partly frozen student is trained in part, and a completely frozen one refused") {
    Perceptron student;
    student->first->weight.requires_grad_(false);
    const auto first = student->first->weight.clone(), last = student->last->weight.detach().clone();
    Trainer trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{.weight_decay = 0.1}};
    trainer.step(vectors(1)[0]);
    CHECK(same(student->first->weight, first));
    CHECK_FALSE(same(student->last->weight, last));
    CHECK(trainer.optimizer()->param_groups()[0].params().size() == 3);

    Perceptron frozen;
    for (auto& parameter : frozen->parameters()) parameter.requires_grad_(false);
    Trainer idle{frozen, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    CHECK(holds(words_of<retort::ConfigError>([&] { idle.step(vectors(1)[0]); }),
                "student: expected parameters that require a gradient, found none"));
}

TEST_CASE("a loss that depends on no parameter is refused") {
    Perceptron student;
    Trainer trainer{student, NoTeacher{}, Knowledge{Detached{}}, Schedule{1.0}, Sgd{}};
    CHECK(holds(words_of<retort::ConfigError>([&] { trainer.step(vectors(1)[0]); }),
                "student: the loss does not require grad"));
    Trainer other{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    const torch::NoGradGuard no_grad;
    CHECK_THROWS_AS(other.step(vectors(1)[0]), retort::ConfigError);
}

TEST_CASE("a teacher that shares parameters with the student is refused") {
    Perceptron net, other;
    const auto compose = [](auto& student, auto teacher) {
        return words_of<retort::ConfigError>(
            [&] { Trainer{student, std::move(teacher), Knowledge{SoftTarget{}}, Schedule{1.0}, Sgd{}}; });
    };
    CHECK(holds(compose(net, Frozen{net}),
                "teacher: expected no parameters shared with the student, found \"first.weight\"",
                "clone() makes new ones"));
    CHECK(holds(compose(net, retort::Ensemble{Frozen{other}, Frozen{net}}), "found \"first.weight\""));
    other->last = net->last;
    other->replace_module("last", net->last);
    CHECK(holds(compose(net, Frozen{other}), "found \"last.weight\""));
    PerceptronImpl copy = *net;  // shares its parameters
    CHECK(holds(compose(net, Frozen{copy}), "found \"first.weight\""));
    CHECK(compose(net, Frozen{Perceptron()}).empty());
}

TEST_CASE("a teacher on another device is refused, unless a device is given") {
    struct Elsewhere : torch::nn::Module {
        Elsewhere() { register_parameter("weight", torch::empty({3, 4}, at::kMeta)); }
        torch::Tensor forward(const torch::Tensor& x) { return x; }
    } teacher;
    Perceptron student;
    CHECK(words_of<retort::ConfigError>([&] {
              Trainer{student, Frozen{teacher}, Knowledge{SoftTarget{}}, Schedule{1.0}, Sgd{}};
          }) == "teacher: expected it on the student's device, cpu, found it on meta");
    CHECK(holds(words_of<retort::ConfigError>([&] {
                    Trainer{student,       NoTeacher{}, Knowledge{CrossEntropy{}},
                            Schedule{1.0}, Sgd{},       retort::TrainerOptions{.device = "tpu"}};
                }),
                "expected cpu, cuda, cuda:N or auto, found \"tpu\""));
}

TEST_CASE("a trainer moves all its parts to the requested device") {
    Perceptron student, teacher;
    Trainer trainer{student, Frozen{teacher},   Knowledge{CrossEntropy{}, SoftTarget{}}, Schedule{1.0, 1.0},
                    Sgd{},   {.device = "auto"}};
    const auto device = retort::device("auto");
    CHECK(student->first->weight.device().type() == device.type());
    CHECK(teacher->first->weight.device().type() == device.type());
    CHECK_NOTHROW(trainer.fit(vectors(2), {.epochs = 1}));
}

TEST_CASE("a teacher that learns along is updated after every step") {
    Perceptron student;
    const Counting teacher;
    Trainer trainer{student, teacher, Knowledge{SoftTarget{}}, Schedule{1.0}, Sgd{}};
    for (const auto& batch : vectors(3)) trainer.step(batch);
    CHECK(*teacher.steps == std::vector<std::int64_t>{0, 1, 2});
}

TEST_CASE("a parameter shared by two layers is updated once, and clipped once") {
    torch::manual_seed(1);
    struct Tied : torch::nn::Module {
        Tied() {
            layer = register_module("one", torch::nn::Linear(torch::nn::LinearOptions(4, 4).bias(false)));
            register_module("two", layer);
        }
        torch::Tensor forward(const torch::Tensor& x) {
            return layer->forward(torch::relu(layer->forward(x)));
        }
        torch::nn::Linear layer{nullptr};
    } net;
    const auto [x, y] = vectors(1)[0];
    const auto weight = net.layer->weight.detach().clone().requires_grad_();
    torch::nn::functional::cross_entropy(torch::relu(x.mm(weight.t())).mm(weight.t()), y).backward();
    Trainer trainer{net, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0},
                    Sgd{.learning_rate = 0.5, .weight_decay = 0.1}};
    trainer.step(std::pair{x, y});
    CHECK(close(net.layer->weight, weight - 0.5 * (weight.grad() + 0.1 * weight), 1e-5, 1e-7));
}

TEST_CASE("what LibTorch refuses is named with network or term, shapes, epoch, step and remedy") {
    Perceptron student;
    Trainer trainer{student, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    auto batches = vectors(2);
    trainer.step(batches[0]);
    auto beyond = batches[1];
    beyond.second = torch::full_like(beyond.second, 12);
    CHECK(holds(
        words_of<retort::StepError>([&] { trainer.step(beyond); }),
        "cross_entropy; student's logits: Float [6, 3] on cpu; targets: Long [6] on cpu: in epoch 0, step 1, "
        "LibTorch: ",
        "12 is out of bounds", "(are all targets and indices from 0 to the number of classes less 1?)"));
    auto wide = batches[1];
    wide.first = wide.first.to(torch::kFloat64);
    CHECK(holds(words_of<retort::StepError>([&] { trainer.step(wide); }), "student; input: Double [6, ",
                "in epoch 0, step 1, LibTorch: ",
                "(do the floating-point types of inputs, networks and options agree?)"));
    ConvNet conv;
    Trainer normed{conv, NoTeacher{}, Knowledge{CrossEntropy{}}, Schedule{1.0}, Sgd{}};
    auto single = images(1)[0];
    single.first = single.first.slice(0, 0, 1).slice(2, 0, 1).slice(3, 0, 1);
    single.second = single.second.slice(0, 0, 1);
    CHECK_THROWS_AS(normed.step(single), retort::StepError);
}

}  // namespace step_test
