// SPDX-License-Identifier: BSL-1.0
/// \file
/// The output of the progress bar: to a file, and to a terminal.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <fcntl.h>
#include <unistd.h>
#include <cstdio>

#include <retort/callback/progress_bar.hpp>

namespace progress_bar_test {

using namespace retort_test;
using retort::FitContext;
using retort::ProgressBar;

namespace {
const double none_measured = std::numeric_limits<double>::quiet_NaN();
struct Run {
    torch::nn::Module module{};
    retort::History history{};
    std::vector<torch::Tensor> parameters{};
    FitContext context{{}, history, module, parameters};
};
void two_epochs(ProgressBar& bar, Run& run) {
    FitContext& context = run.context;
    context.progress = {.epoch = 0, .epochs = 2, .step = 0, .steps_per_epoch = 4};
    run.history.declare("validation_accuracy");
    bar.on_fit_begin(context);
    for (; context.progress.epoch < 2; ++context.progress.epoch) {
        run.history.begin_row();
        run.history.set("epoch", static_cast<double>(context.progress.epoch));
        context.running = {.loss = 1.25, .accuracy = context.progress.epoch == 0 ? none_measured : 0.5};
        context.progress.step = 2;
        bar.on_report(context);
        context.progress.step = 4;
        if (context.progress.epoch == 1) {
            run.history.set("validation_accuracy", 0.75);
            run.history.set("validation_top%s%n", 0.5);
        }
        bar.on_epoch_end(context);
    }
    bar.on_fit_end(context);
}
std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> result;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) result.push_back(line);
    return result;
}
}  // namespace

TEST_CASE("to a file: a plain line at the end of every epoch") {
    const TemporaryDirectory directory;
    std::FILE* file = std::fopen((directory / "log").c_str(), "w");
    REQUIRE(file != nullptr);
    Run run;
    {
        ProgressBar bar{{.label = "student", .stream = file}};
        two_epochs(bar, run);
    }
    std::fclose(file);
    const auto lines = lines_of(read_file(directory / "log"));
    REQUIRE(lines.size() == 2);
    CHECK(lines[0].starts_with("student epoch 1/2  loss 1.2500  "));
    CHECK(lines[0].find("accuracy") == std::string::npos);  // unknown
    CHECK(
        lines[1].starts_with("student epoch 2/2  loss 1.2500  accuracy 0.5000  validation_accuracy 0.7500  "
                             "validation_top%s%n 0.5000  0:00 left"));
    CHECK(read_file(directory / "log").find('\033') == std::string::npos);
}

TEST_CASE("to a terminal: a bar updated on one line, which is terminated") {
    const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0 || ::grantpt(terminal) != 0 || ::unlockpt(terminal) != 0)
        return;  // no pseudo-terminals here
    const int other_end = ::open(::ptsname(terminal), O_RDWR | O_NOCTTY);
    REQUIRE(other_end >= 0);
    std::FILE* stream = ::fdopen(other_end, "w");
    Run run;
    {
        ProgressBar bar{{.stream = stream, .width = 8}};
        two_epochs(bar, run);
    }
    std::fclose(stream);
    // The kernel delivers the text in pieces; when the other end is closed, reading fails.
    std::string text;
    std::array<char, 4096> piece{};
    for (ssize_t count = 0; (count = ::read(terminal, piece.data(), piece.size())) > 0;) {
        text.append(piece.data(), static_cast<std::size_t>(count));
    }
    ::close(terminal);
    REQUIRE_FALSE(text.empty());
    CHECK(holds(text, "\r[##......] epoch 1/2", "\r[####....] epoch 1/2", "\r[######..] epoch 2/2",
                "\r[########] epoch 2/2"));
    CHECK(std::count(text.begin(), text.end(), '\n') == 1);
    CHECK(text.back() == '\n');
}

TEST_CASE("an invalid width becomes the smallest; a stream without a file is not a terminal") {
    std::string buffer(4096, '\0');
    std::FILE* memory = ::fmemopen(buffer.data(), buffer.size(), "w");
    REQUIRE(memory != nullptr);
    Run run;
    {
        ProgressBar bar{{.stream = memory, .width = -5}};
        two_epochs(bar, run);
    }
    std::fclose(memory);
    CHECK(buffer.starts_with("epoch 1/2"));
}

TEST_CASE("a run resumed after epoch 3 measures its own time") {
    const TemporaryDirectory directory;
    std::FILE* file = std::fopen((directory / "log").c_str(), "w");
    Run run;
    ProgressBar bar{{.stream = file}};
    run.context.progress = {.epoch = 3, .epochs = 4, .steps_per_epoch = 1};
    bar.on_fit_begin(run.context);
    run.history.begin_row();
    bar.on_epoch_end(run.context);
    std::fclose(file);
    CHECK(read_file(directory / "log") == "epoch 4/4  0:00 left\n");
}

}  // namespace progress_bar_test
