// SPDX-License-Identifier: BSL-1.0
/// \file
/// A teacher that is served to other processes, and a student that asks it ahead of its steps.
///
/// Without arguments both are in this process, on the embedded transport. Over a NATS server, on one machine or several:
///
///     nats-server &
///     13_remote_teacher --transport nats://127.0.0.1:4222 --serve &    # trains the teacher and serves it
///     13_remote_teacher --transport nats://127.0.0.1:4222              # trains students with it
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>
#include <thread>

#include <retort/retort.hpp>
#include <retort/teacher/remote.hpp>
#include <retort/teacher/serve_teacher.hpp>
#include <retort/transport.hpp>
#if defined(RETORT_WITH_NATS) && RETORT_WITH_NATS
#include <retort/transport/nats.hpp>
#endif

#include "../common/glyphs.hpp"
#include "../common/program.hpp"
#include "../models/small_cnn.hpp"

namespace {

struct Options {
    std::int64_t samples = 6000;
    std::int64_t student_samples = 1000;
    std::int64_t teacher_epochs = 5;
    std::int64_t epochs = 15;
    std::int64_t workers = 2;
    std::int64_t patience = 60;
    double temperature = 2.0;
    std::string transport = "local";
    std::string subject = "retort.teacher";
    bool serve = false;
    examples::Machine machine;
};

const retort::data::Normalize normalize{.mean = {0.25}, .deviation = {0.25}};
const retort::Sgd sgd{.learning_rate = 0.05, .momentum = 0.9, .weight_decay = 5e-4};

models::SmallCnn trained_teacher(const Options& options, at::Device device) {
    torch::manual_seed(1);
    models::SmallCnn teacher(models::SmallCnnOptions{.width = 32});
    const retort::data::Loader batches{
        examples::glyphs({.samples = options.samples, .seed = 1}), {.seed = 1}, normalize};
    retort::Trainer trainer{teacher,
                            retort::NoTeacher{},
                            retort::Knowledge{retort::CrossEntropy{}},
                            retort::Schedule{1.0},
                            sgd,
                            retort::TrainerOptions{.device = device.str()}};
    trainer.fit(batches, {.epochs = options.teacher_epochs}, retort::ProgressBar{{.label = "teacher"}});
    return teacher;
}

volatile std::sig_atomic_t stopped = 0;

/// Serves a teacher until SIGINT or SIGTERM.
template <class Transport>
void serve(const Options& options, const Transport& transport, at::Device device) {
    models::SmallCnn teacher = trained_teacher(options, device);
    const auto served = retort::serve_teacher(transport, options.subject, retort::Frozen{teacher});
    std::printf("serving the teacher %s at %s\n", served.model().c_str(), options.subject.c_str());
    std::fflush(stdout);
    for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, [](int) { stopped = 1; });
    while (stopped == 0) std::this_thread::sleep_for(std::chrono::milliseconds(100));
    std::printf("served %lld batches\n", static_cast<long long>(served.batches()));
}

/// Trains a student alone, and one with a teacher that is elsewhere.
template <class Transport>
void learn(const Options& options, const Transport& transport, at::Device device) {
    const retort::Remote teacher{
        transport,
        options.subject,
        {.request = {.within = std::chrono::seconds(options.patience), .attempts = 12}}};
    std::printf("the teacher is %s\n", teacher.model().c_str());
    const retort::data::Loader batches{
        examples::glyphs({.samples = options.student_samples, .seed = 1}), {.seed = 1}, normalize};
    const retort::data::Loader test{
        examples::glyphs({.samples = 2000, .seed = 2}), {.batch_size = 500, .shuffle = false}, normalize};
    const auto train = [&](const char* name, double soft) {
        torch::manual_seed(2);
        models::SmallCnn student(models::SmallCnnOptions{.width = 16});
        retort::Trainer trainer{
            student,
            teacher,
            retort::Knowledge{retort::CrossEntropy{}, retort::SoftTarget{.temperature = options.temperature}},
            retort::Schedule{1.0 - soft, soft},
            sgd,
            retort::TrainerOptions{.device = device.str()}};
        // The workers ask for the outputs of the next batches while the student learns from this one.
        const auto asked_ahead = [&](std::int64_t epoch) {
            return batches.epoch(epoch) | retort::data::map(teacher.ahead()) |
                   retort::data::prefetch({.workers = options.workers, .depth = options.workers});
        };
        const retort::FitOptions fit{.epochs = options.epochs};
        retort::ProgressBar bar{{.label = name}};
        if (soft > 0) {
            trainer.fit(asked_ahead, fit, bar);
        } else {
            trainer.fit(batches, fit, bar);  // a teacher of weight 0 is not asked
        }
        return retort::evaluate(student, test).value();
    };
    const double alone = train("student alone", 0.0);
    const double taught = train("student taught", 0.9);
    const retort::transport::Traffic traffic = transport.traffic();
    std::printf("test accuracy: %.4f alone, %.4f with the teacher\n", alone, taught);
    std::printf(
        "asked %lld batches, of which %lld were answered before their step; %.1f MB sent, %.1f MB received\n",
        static_cast<long long>(teacher.asked()), static_cast<long long>(teacher.found()),
        static_cast<double>(traffic.bytes_sent) / 1e6, static_cast<double>(traffic.bytes_received) / 1e6);
}

void run(const Options& options) {
    const at::Device device = options.machine.apply();
    if (options.transport == "local") {
        if (options.serve) throw retort::ConfigError("--serve needs a --transport to other processes");
        const retort::transport::LocalNetwork network;
        models::SmallCnn teacher = trained_teacher(options, device);
        const auto served =
            retort::serve_teacher(network.node("teacher"), options.subject, retort::Frozen{teacher});
        learn(options, network.node("student"), device);
        return;
    }
#if defined(RETORT_WITH_NATS) && RETORT_WITH_NATS
    const retort::transport::Nats nats{{.servers = {options.transport}}};
    if (options.serve) {
        serve(options, nats, device);
    } else {
        learn(options, nats, device);
    }
#else
    throw retort::ConfigError(
        "--transport: expected local, as this program is built without NATS (RETORT_WITH_NATS), found " +
        options.transport);
#endif
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{
        "A teacher that is served to other processes, and a student that asks it ahead of its steps."};
    Options options;
    const examples::AddOption option{app};
    option("--samples", options.samples, "Training letters of the teacher");
    option("--student-samples", options.student_samples, "Training letters of the student");
    option("--teacher-epochs", options.teacher_epochs, "Epochs of the teacher");
    option("--epochs", options.epochs, "Epochs of each student");
    option("--workers", options.workers, "Batches that are asked at the same time");
    option("--temperature", options.temperature, "Temperature of the soft targets");
    option("--patience", options.patience, "Seconds to wait for a teacher that does not answer");
    app.add_option("--transport", options.transport,
                   "local: in this process; or a NATS server, such as nats://127.0.0.1:4222")
        ->capture_default_str();
    app.add_option("--subject", options.subject, "Where the teacher is served")->capture_default_str();
    app.add_flag("--serve", options.serve, "Train the teacher and serve it, until SIGINT or SIGTERM");
    options.machine.add_to(app);
    return examples::run(app, argc, argv, [&] { run(options); });
}
