// SPDX-License-Identifier: BSL-1.0
/// \file
/// Early stopping, the best model, gradient clipping, callbacks from lambdas.
#include <torch/version.h>
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback/best_model.hpp>
#include <retort/callback/early_stopping.hpp>
#include <retort/callback/gradient_clipping.hpp>
#include <retort/callback/lambda.hpp>

namespace callbacks_test {

using namespace retort_test;
using retort::BestModel;
using retort::EarlyStopping;
using retort::FitContext;
using retort::Goal;
using retort::GradientClipping;

namespace {
const double none_measured = std::numeric_limits<double>::quiet_NaN();

#if TORCH_VERSION_MAJOR < 2
using WarningGuard = c10::Warning::WarningHandlerGuard;
#else
using WarningGuard = c10::WarningUtils::WarningHandlerGuard;
#endif
/// Collects LibTorch's warnings while it lives.
class Warnings : public c10::WarningHandler {
  public:
#if TORCH_VERSION_MAJOR < 2
    void process(const c10::SourceLocation&, const std::string& message, bool) override {
        heard_.push_back(message);
    }
#else
    void process(const c10::Warning& warning) override { heard_.push_back(warning.msg()); }
#endif
    const std::vector<std::string>& heard() const { return heard_; }

  private:
    std::vector<std::string> heard_;
    WarningGuard guard_{this};
};
/// A run that consists of what its epochs measured.
struct Run {
    explicit Run(torch::nn::Module& student) : module(student) {}
    template <class... Callbacks>
    std::int64_t measure(const std::vector<double>& values, Callbacks&... callbacks) {
        context.progress.epochs = context.progress.epoch + static_cast<std::int64_t>(values.size());
        history.declare("epoch");
        history.declare("validation_accuracy");
        (callbacks.on_fit_begin(context), ...);
        std::int64_t epochs = 0;
        for (const double value : values) {
            history.begin_row();
            history.set("epoch", static_cast<double>(context.progress.epoch));
            if (!std::isnan(value)) history.set("validation_accuracy", value);
            before_epoch_end();
            bool go_on = true;
            ((go_on = tell(callbacks) && go_on), ...);
            ++context.progress.epoch;
            ++epochs;
            if (!go_on) break;
        }
        return epochs;
    }
    template <class C>
    bool tell(C& callback) {
        if constexpr (std::is_void_v<decltype(callback.on_epoch_end(context))>) {
            callback.on_epoch_end(context);
            return true;
        } else {
            return callback.on_epoch_end(context);
        }
    }
    torch::nn::Module& module;
    retort::History history{};
    std::vector<torch::Tensor> parameters{};
    FitContext context{{}, history, module, parameters};
    std::function<void()> before_epoch_end = [] {};
};
}  // namespace

TEST_CASE("a run stops after so many epochs without improvement") {
    torch::nn::Module none;
    EarlyStopping stopping{{.patience = 2}};
    CHECK(stopping.best_epoch() == -1);
    CHECK(std::isnan(stopping.best()));
    CHECK(Run(none).measure({0.1, 0.3, 0.3, 0.2, 0.9}, stopping) == 4);  // equal is not better
    CHECK(stopping.best_epoch() == 1);
    CHECK(stopping.best() == 0.3);
    EarlyStopping patient{{.patience = 3}};
    CHECK(Run(none).measure({0.1, 0.3, 0.3, 0.2, 0.9}, patient) == 5);
    CHECK(patient.best_epoch() == 4);
}

TEST_CASE("smaller can be better, and small differences are no improvement") {
    torch::nn::Module none;
    EarlyStopping down{{.goal = Goal::minimize, .patience = 2}};
    CHECK(Run(none).measure({3, 2, 2.5, 1, 1.5, 1.2, 0}, down) == 6);
    CHECK(down.best() == 1.0);
    EarlyStopping margin{{.patience = 2, .margin = 0.25}};
    CHECK(Run(none).measure({1, 1.25, 1.26, 1.3}, margin) == 4);
    CHECK(margin.best_epoch() == 2);
    EarlyStopping creeping{{.patience = 2, .margin = 0.25}};
    CHECK(Run(none).measure({1, 1.2, 1.25, 9}, creeping) == 3);
}

TEST_CASE("unmeasured epochs do not end a run, but count") {
    torch::nn::Module none;
    EarlyStopping stopping{{.patience = 1}};
    CHECK(Run(none).measure({none_measured, 0.5, none_measured, 0.6, none_measured, 0.6, none_measured, 0.9},
                            stopping) == 6);
    EarlyStopping longer{{.patience = 4}};
    CHECK(Run(none).measure({0.5, none_measured, 0.4, none_measured, 0.4, none_measured, 0.9}, longer) == 5);
}

TEST_CASE("a column without a finite value in all epochs is an error that names it") {
    torch::nn::Module none;
    EarlyStopping stopping{{.patience = 1}};
    CHECK(words_of<retort::NonFiniteError>(
              [&] { Run(none).measure({none_measured, none_measured, none_measured}, stopping); }) ==
          "EarlyStopping: expected a finite value of \"validation_accuracy\" in one of the epochs, found "
          "none in the last one, epoch 2");
    BestModel best;
    const double infinity = std::numeric_limits<double>::infinity();
    CHECK(words_of<retort::NonFiniteError>([&] { Run(none).measure({infinity, infinity}, best); }) ==
          "BestModel: expected a finite value of \"validation_accuracy\" in one of the epochs, found inf in "
          "the "
          "last one, epoch 1");
}

TEST_CASE("a measurement that is NaN or infinite is worse than any other, is named once, and ends no run") {
    torch::nn::Linear net(1, 1);
    Warnings warnings;
    // What a metric that became NaN writes.
    Run run(*net);
    EarlyStopping stopping{{.patience = 2}};
    BestModel best;
    const auto spoil = [&run] {
        if (run.context.progress.epoch >= 2) run.history.set("validation_accuracy", std::nan(""));
    };
    run.before_epoch_end = spoil;
    CHECK(run.measure(std::vector<double>(40, 0.5), best, stopping) == 3);  // epoch 1 is no better than 0
    CHECK(run.context.progress.epoch == 3);
    CHECK(
        warnings.heard() ==
        std::vector<std::string>{
            "BestModel: \"validation_accuracy\" is nan in epoch 2, which counts as worse than any other "
            "value",
            "EarlyStopping: \"validation_accuracy\" is nan in epoch 2, which counts as worse than any other "
            "value"});
    const double infinity = std::numeric_limits<double>::infinity();
    EarlyStopping passing{{.patience = 2}};
    CHECK(Run(*net).measure({0.5, infinity, 0.6, -infinity, 0.7}, passing) == 5);
    CHECK(passing.best() == 0.7);
}

TEST_CASE("a column that no callback fills is refused before the first epoch") {
    torch::nn::Module none;
    EarlyStopping stopping{{.column = "validation_top5"}};
    CHECK(words_of<retort::ConfigError>([&] { Run(none).measure({0.5}, stopping); }) ==
          "EarlyStopping: expected a column \"validation_top5\" in the history, found epoch, "
          "validation_accuracy; place the callback that fills it (such as Validation) before this one");
    retort::History empty;
    const std::vector<torch::Tensor> parameters;
    FitContext context{{}, empty, none, parameters};
    CHECK(holds(words_of<retort::ConfigError>([&] { BestModel().on_fit_begin(context); }),
                "BestModel: ", "found none;"));
}

TEST_CASE("an invalid patience or margin is refused") {
    CHECK(
        holds(words_of<retort::ConfigError>([] { EarlyStopping({.patience = 0}); }),
              "EarlyStopping: expected a patience of at least 1 and a margin of at least 0, found 0 and 0"));
    CHECK_THROWS_AS(EarlyStopping({.margin = -0.1}), retort::ConfigError);
    CHECK_THROWS_AS(EarlyStopping({.margin = none_measured}), retort::ConfigError);
}

TEST_CASE("the best model is restored: parameters and buffers") {
    torch::manual_seed(1);
    ConvNet net;
    std::vector<std::vector<torch::Tensor>> states;
    Run run(*net);
    run.before_epoch_end = [&] {
        const torch::NoGradGuard no_grad;
        for (auto& each : net->parameters()) each.add_(1);
        net->forward(torch::randn({3, 1, 8, 8}));  // changes the statistics
        states.push_back(state(*net));
    };
    BestModel best;
    run.measure({0.1, none_measured, 0.4, 0.4, 0.2}, best);
    CHECK(best.best_epoch() == 2);
    CHECK(best.best() == 0.4);
    CHECK(same(state(*net), states[4]));
    best.on_fit_end(run.context);
    CHECK(same(state(*net), states[2]));
    CHECK(net->first->weight.requires_grad());

    ConvNet other;
    best.restore(*other);
    CHECK(same(state(*other), states[2]));
}

TEST_CASE("the best model can be kept without being restored") {
    Perceptron net;
    Run run(*net);
    BestModel best{{.restore = false}};
    run.before_epoch_end = [&] {
        const torch::NoGradGuard no_grad;
        net->last->bias.add_(1);
    };
    run.measure({0.4, 0.1}, best);
    const auto last = state(*net);
    best.on_fit_end(run.context);
    CHECK(same(state(*net), last));
    best.restore(*net);
    CHECK(close(net->last->bias, last[3] - 1));
}

TEST_CASE("a best model is copied only into a matching module, completely or not at all") {
    Perceptron net, wide(9);
    BestModel best;
    CHECK(holds(words_of<retort::ConfigError>([&] { best.restore(*net); }),
                "BestModel: expected a module with the 0"));
    Run(*net).measure({0.5}, best);
    const auto before = state(*wide);
    CHECK(holds(words_of<retort::ConfigError>([&] { best.restore(*wide); }),
                "found one of shape [9, 4] in place of [8, 4]"));
    CHECK(same(before, state(*wide)));
    ConvNet conv;
    CHECK(holds(words_of<retort::ConfigError>([&] { best.restore(*conv); }),
                "with the 4 parameters and buffers", "found 11"));
}

TEST_CASE("batch norm without statistics has nothing to keep") {
    torch::nn::BatchNorm1d norm(torch::nn::BatchNorm1dOptions(3).track_running_stats(false));
    BestModel best;
    Run run(*norm);
    CHECK_NOTHROW(run.measure({0.5}, best));
    CHECK_NOTHROW(best.on_fit_end(run.context));
}

TEST_CASE("a run stopped before its first measurement leaves the student unchanged") {
    Perceptron net;
    Run run(*net);
    BestModel best;
    CHECK_NOTHROW(best.on_fit_end(run.context));
}

TEST_CASE("gradients are clipped by their common norm, as LibTorch clips them") {
    torch::manual_seed(1);
    for (const double max_norm : {0.1, 1.0, 100.0}) {
        Perceptron net;
        Run run(*net);
        run.parameters = net->parameters();
        net->forward(torch::randn({5, 4})).pow(2).sum().backward();
        std::vector<torch::Tensor> expected;
        double squares = 0;
        for (const auto& each : net->parameters())
            squares += each.grad().to(torch::kDouble).pow(2).sum().item<double>();
        const double factor = std::min(1.0, max_norm / (std::sqrt(squares) + 1e-6));
        for (const auto& each : net->parameters()) expected.push_back(each.grad() * factor);
        OperatorCount count;
        GradientClipping{.max_norm = max_norm}.on_gradients(run.context);
        count.stop();
        for (std::size_t i = 0; i < expected.size(); ++i) {
            CHECK(close(net->parameters()[i].grad(), expected[i], 1e-5, 1e-8));
        }
        for (const auto& [name, number] : count.by_name()) {
            INFO(name << " " << number);
            CHECK((name != "aten::_local_scalar_dense" && name != "aten::item"));
        }
    }
}

TEST_CASE("a gradient that is NaN or infinite does not spread by clipping") {
    for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
        torch::nn::Linear net(3, 2);
        for (auto& each : net->parameters()) each.mutable_grad() = torch::full_like(each, 100.0);
        net->weight.mutable_grad()[0][1] = bad;
        retort::History history;
        const auto parameters = net->parameters();
        FitContext context{{}, history, *net, parameters};
        GradientClipping{.max_norm = 1.0}.on_gradients(context);
        CHECK(torch::isfinite(net->weight.grad()).sum().item<std::int64_t>() == 5);
        CHECK(torch::isfinite(net->bias.grad()).all().item<bool>());
    }
}

TEST_CASE("gradients are clipped by value, then by norm; parameters without gradient are skipped") {
    const auto a = torch::zeros({2}).requires_grad_(), b = torch::zeros({1}).requires_grad_();
    a.mutable_grad() = torch::tensor({-9.0F, 3.0F});
    torch::nn::Module none;
    Run run(none);
    run.parameters = {a, b};
    GradientClipping{.max_value = 4.0}.on_gradients(run.context);
    CHECK(same(a.grad(), torch::tensor({-4.0F, 3.0F})));
    GradientClipping{.max_norm = 1.0, .max_value = 3.5}.on_gradients(run.context);
    const double norm = std::sqrt(3.5 * 3.5 + 9);
    CHECK(close(a.grad(), torch::tensor({-3.5 / norm, 3 / norm}), 1e-5));
    CHECK_FALSE(b.grad().defined());
    run.parameters = {b};
    CHECK_NOTHROW(GradientClipping{.max_norm = 1.0}.on_gradients(run.context));
}

TEST_CASE("zero gradients stay zero, invalid bounds are refused") {
    const auto a = torch::zeros({2}).requires_grad_();
    a.mutable_grad() = torch::zeros({2});
    torch::nn::Module none;
    Run run(none);
    run.parameters = {a};
    GradientClipping{.max_norm = 1.0}.on_gradients(run.context);
    CHECK(same(a.grad(), torch::zeros({2})));
    for (const GradientClipping& bounds :
         {GradientClipping{}, GradientClipping{.max_norm = -1}, GradientClipping{.max_value = none_measured},
          GradientClipping{.max_norm = std::numeric_limits<double>::infinity()}}) {
        CHECK(holds(words_of<retort::ConfigError>([&] { bounds.on_fit_begin(run.context); }),
                    "GradientClipping: expected a max_norm or max_value above 0, found "));
    }
}

TEST_CASE("a lambda is a callback with one hook") {
    torch::nn::Module none;
    Run run(none);
    int calls = 0;
    const auto count = [&](FitContext&) { ++calls; };
    retort::on_restore(count).on_restore(run.context);
    retort::on_fit_begin(count).on_fit_begin(run.context);
    retort::on_epoch_begin(count).on_epoch_begin(run.context);
    retort::on_gradients(count).on_gradients(run.context);
    retort::on_step_end(count).on_step_end(run.context);
    retort::on_report(count).on_report(run.context);
    retort::on_epoch_end(count).on_epoch_end(run.context);
    retort::on_settled(count).on_settled(run.context);
    retort::on_fit_end(count).on_fit_end(run.context);
    retort::on_error(count).on_error(run.context);
    CHECK(calls == 10);
    auto stop = retort::on_step_end([](auto&) { return false; });
    CHECK_FALSE(retort::detail::hook::on_step_end::call(stop, run.context));
    CHECK(retort::detail::hook::on_report::call(stop, run.context));
}

}  // namespace callbacks_test
