// SPDX-License-Identifier: BSL-1.0
/// \file
/// The history and its file.
#include <retort_test.hpp>
#include <small_networks.hpp>

#include <retort/callback/csv_history.hpp>
#include <retort/callback/history.hpp>
#include <retort/callback/json_lines.hpp>

namespace history_test {

using namespace retort_test;
using retort::History;

namespace {
const double none_measured = std::numeric_limits<double>::quiet_NaN();
History three_rows() {
    History history;
    history.declare("loss");
    for (const auto& [loss, accuracy] : {std::pair{3.0, none_measured}, {1.0, 0.5}, {1.0, 0.25}}) {
        history.begin_row();
        history.set("loss", loss);
        if (!std::isnan(accuracy)) history.set("accuracy", accuracy);
    }
    return history;
}
}  // namespace

TEST_CASE("a history has named columns and one row per epoch") {
    const History history = three_rows();
    CHECK(history.size() == 3);
    CHECK_FALSE(history.empty());
    CHECK(history.columns() == std::vector<std::string>{"loss", "accuracy"});
    CHECK((history.has("loss") && !history.has("Loss")));
    CHECK(history.at(0, "loss") == 3.0);
    CHECK(std::isnan(history.at(0, "accuracy")));
    CHECK(history.at(1, "accuracy") == 0.5);
    CHECK(history.last("accuracy") == 0.25);
}

TEST_CASE("a measurement that is NaN is not one that is missing") {
    History history = three_rows();
    history.begin_row();
    history.set("loss", std::nan(""));
    CHECK((history.measured("loss") && std::isnan(history.last("loss"))));
    CHECK((!history.measured("accuracy") && std::isnan(history.last("accuracy"))));
    CHECK_THROWS_AS(history.measured("lr"), retort::ConfigError);
    CHECK(history.csv() == "loss,accuracy\n3,\n1,0.5\n1,0.25\nnan,\n");
    CHECK(holds(history.json_lines(), "{\"loss\":\"NaN\"}\n"));
    CHECK(history.best("loss") == 0);
}

TEST_CASE("the best row is the first among equals; unmeasured rows are never best") {
    const History history = three_rows();
    CHECK(history.best("accuracy") == 1);
    CHECK(history.best("loss") == 0);
    CHECK(history.best("loss", /*smallest=*/true) == 1);
    CHECK(history.best("accuracy", true) == 2);
}

TEST_CASE("missing columns and rows are named") {
    History history = three_rows();
    CHECK(words_of<retort::ConfigError>([&] { history.at(0, "lr"); }) ==
          "history: expected one of the columns loss, accuracy; found \"lr\"");
    CHECK(words_of<retort::ConfigError>([&] { history.at(3, "loss"); }) ==
          "history: expected a row below 3, found 3");
    history.declare("empty");
    CHECK(words_of<retort::ConfigError>([&] { history.best("empty"); }) ==
          "history: no row has a value for \"empty\"");
    History none;
    none.declare("loss");
    CHECK(holds(words_of<retort::ConfigError>([&] { none.last("loss"); }), "expected a row below 0"));
    CHECK_THROWS_AS(none.best("loss"), retort::ConfigError);
    CHECK(holds(words_of<retort::ConfigError>([&] { none.set("loss", 1.0); }),
                "expected a row for a value of \"loss\", found none"));
    CHECK_NOTHROW(none.drop_row());
}

TEST_CASE("a row can be dropped") {
    History history = three_rows();
    history.drop_row();
    CHECK(history.size() == 2);
    CHECK(history.last("accuracy") == 0.5);
}

TEST_CASE("as CSV: a header, empty where nothing was measured, numbers that round-trip") {
    CHECK(three_rows().csv() == "loss,accuracy\n3,\n1,0.5\n1,0.25\n");
    History history;
    CHECK(history.csv() == "\n");
    history.begin_row();
    const std::vector<double> values{0.1,
                                     1.0 / 3.0,
                                     1e-300,
                                     -2.5e17,
                                     5e-324,
                                     std::numeric_limits<double>::max(),
                                     std::numeric_limits<double>::infinity()};
    for (std::size_t i = 0; i < values.size(); ++i) history.set("c" + std::to_string(i), values[i]);
    const std::string csv = history.csv();
    std::istringstream row(csv.substr(csv.find('\n') + 1));
    for (const double value : values) {
        std::string cell;
        std::getline(row, cell, ',');
        CHECK(std::strtod(cell.c_str(), nullptr) == value);
    }
}

TEST_CASE("names with commas, quotes and line ends are quoted") {
    History history;
    history.begin_row();
    history.set("plain name", 1);
    history.set("hint(a,b)", 2);
    history.set("say \"x\"", 3);
    history.set("two\nlines", 4);
    CHECK(history.csv() == "plain name,\"hint(a,b)\",\"say \"\"x\"\"\",\"two\nlines\"\n1,2,3,4\n");
}

TEST_CASE("JSON lines omit unmeasured values") {
    History history = three_rows();
    CHECK(history.json_lines() ==
          "{\"loss\":3}\n{\"loss\":1,\"accuracy\":0.5}\n{\"loss\":1,\"accuracy\":0.25}\n");
    history.begin_row();
    history.set("loss", std::numeric_limits<double>::infinity());
    history.set("say \"x\" \\ \n\x1f", -std::numeric_limits<double>::infinity());
    history.set("small", 5e-324);
    const std::string lines = history.json_lines();
    CHECK(lines.substr(lines.rfind('{')) ==
          "{\"loss\":\"Infinity\",\"say \\\"x\\\" \\\\ \\u000a\\u001f\":\"-Infinity\",\"small\":5e-324}\n");
    CHECK(History().json_lines().empty());
}

TEMPLATE_TEST_CASE("the file is replaced after every epoch, and refused before the first", "",
                   retort::CsvHistory, retort::JsonLines) {
    const auto written = [](const History& history) {
        return std::is_same_v<TestType, retort::CsvHistory> ? history.csv() : history.json_lines();
    };
    const TemporaryDirectory directory;
    torch::nn::Module module;
    const std::vector<torch::Tensor> parameters;
    History history = three_rows();
    retort::FitContext context{{}, history, module, parameters};
    const TestType file{directory / "history"};
    file.on_fit_begin(context);
    CHECK(directory.names().empty());
    file.on_epoch_end(context);
    CHECK(read_file(directory / "history") == written(history));
    history.drop_row();
    file.on_epoch_end(context);
    CHECK(read_file(directory / "history") == written(history));
    CHECK(directory.names() == std::vector<std::string>{"history"});
    CHECK_THROWS_AS(TestType(directory / "missing/history").on_fit_begin(context), retort::OutputError);
    CHECK_THROWS_AS(TestType(directory.path()).on_fit_begin(context), retort::OutputError);
}

}  // namespace history_test
