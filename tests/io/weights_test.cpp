// SPDX-License-Identifier: BSL-1.0
/// \file
/// Weights from and for Python's torch. The files of tests/golden/weights are made by tests/io/weights.py.
#include <retort_test.hpp>

#include <models/residual.hpp>

#include <cstdlib>
#include <fstream>
#include <random>

#include <retort/io.hpp>

namespace weights_test {

using namespace retort_test;
using Catch::Contains;
using retort::read_weights;
using retort::StateDict;
using retort::write_weights;

namespace {

std::filesystem::path stored(const char* name) {
    return std::filesystem::path(RETORT_GOLDEN_DIRECTORY) / "weights" / name;
}

std::string content_of(const std::filesystem::path& path) {
    std::ifstream stream(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
}

void save_bytes(const std::filesystem::path& path, const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
}

/// The network of weights.py.
struct NetImpl : torch::nn::Module {
    torch::nn::Conv2d convolution{
        register_module("convolution", torch::nn::Conv2d(torch::nn::Conv2dOptions(3, 4, 3).bias(false)))};
    torch::nn::BatchNorm2d norm{register_module("norm", torch::nn::BatchNorm2d(4))};
    torch::nn::Sequential head{register_module(
        "head", torch::nn::Sequential(torch::nn::Flatten(), torch::nn::Linear(4 * 6 * 6, 5)))};
    torch::Tensor forward(const torch::Tensor& x) { return head->forward(norm(convolution(x)).relu()); }
};
TORCH_MODULE(Net);

/// The ResNet-18 of weights.py, built of other parts under other names.
struct ResNet18Impl : torch::nn::Module {
    ResNet18Impl() {
        for (std::int64_t i = 0; i < 4; ++i) {
            stages.push_back(register_module(
                retort::detail::concat("stage", i),
                models::residual_stage(i == 0 ? width : width << (i - 1), width << i, 2, i == 0 ? 1 : 2)));
        }
        classifier = register_module("classifier", torch::nn::Linear(width << 3, 10));
    }
    torch::Tensor forward(const torch::Tensor& images) {
        namespace functional = torch::nn::functional;
        auto x = functional::max_pool2d(norm(stem(images)).relu(),
                                        functional::MaxPool2dFuncOptions(3).stride(2).padding(1));
        for (auto& stage : stages) x = stage->forward(x);
        return classifier(x.mean({2, 3}));
    }
    static constexpr std::int64_t width = 2;
    torch::nn::Conv2d stem{register_module(
        "stem", torch::nn::Conv2d(torch::nn::Conv2dOptions(3, width, 7).stride(2).padding(3).bias(false)))};
    torch::nn::BatchNorm2d norm{register_module("norm", torch::nn::BatchNorm2d(width))};
    std::vector<torch::nn::Sequential> stages{};
    torch::nn::Linear classifier{nullptr};
};
TORCH_MODULE(ResNet18);

/// From the names of torchvision, and back to them.
retort::NameRules from_public() {
    namespace names = retort::names;
    return {names::replace("conv1.", "stem."),
            names::replace("bn1.", "norm."),
            names::replace("layer1.", "stage0."),
            names::replace("layer2.", "stage1."),
            names::replace("layer3.", "stage2."),
            names::replace("layer4.", "stage3."),
            names::replace_within(".bn", ".norm"),
            names::replace_within(".downsample.0.", ".shortcut."),
            names::replace_within(".downsample.1.", ".shortcut_norm."),
            names::replace("fc.", "classifier.")};
}
retort::NameRules to_public() {
    namespace names = retort::names;
    return {names::replace("stem.", "conv1."),
            names::replace("norm.", "bn1."),
            names::replace("stage0.", "layer1."),
            names::replace("stage1.", "layer2."),
            names::replace("stage2.", "layer3."),
            names::replace("stage3.", "layer4."),
            names::replace_within(".norm", ".bn"),
            names::replace_within(".shortcut.", ".downsample.0."),
            names::replace_within(".shortcut_norm.", ".downsample.1."),
            names::replace("classifier.", "fc.")};
}

/// Lets weights.py do something. \returns what it says, if it fails or there is no Python with torch here
std::string python(const char* what, const std::filesystem::path& file,
                   const std::filesystem::path& expected) {
    const std::string program = RETORT_TEST_PYTHON;
    if (program.empty()) {
        WARN("no Python with torch here: not tried");
        return {};
    }
    const auto log = expected.parent_path() / "log";
    const std::string command = retort::detail::concat(
        program, " '", RETORT_SOURCE_DIRECTORY "/tests/io/weights.py", "' ", what, " '", file.string(), "' '",
        expected.string(), "' > '", log.string(), "' 2>&1");
    const int status = std::system(command.c_str());
    return status == 0 ? std::string() : retort::detail::concat("status ", status, ": ", content_of(log));
}

StateDict everything() { return read_weights(stored("types.pt")); }

void check_equal(const StateDict& one, const StateDict& other) {
    REQUIRE(one.size() == other.size());
    for (const auto& item : one) {
        INFO(item.key());
        const torch::Tensor* found = other.find(item.key());
        REQUIRE(found != nullptr);
        CHECK(found->scalar_type() == item.value().scalar_type());
        CHECK(found->sizes() == item.value().sizes());
        CHECK(torch::equal(*found, item.value()));
    }
}

std::string error_of(const std::filesystem::path& path) {
    try {
        read_weights(path);
    } catch (const retort::DataError& error) {
        return error.what();
    }
    return "";
}

/// Name, type, shape and sum of every tensor, for weights.py to compare.
std::string sums(const StateDict& dictionary) {
    std::ostringstream text;
    text.precision(17);
    for (const auto& item : dictionary) {
        const torch::Tensor value = item.value().to(torch::kComplexDouble).sum();
        std::string type(torch::toString(item.value().scalar_type()));
        const std::map<std::string, std::string> python{{"Double", "float64"},
                                                        {"Float", "float32"},
                                                        {"Half", "float16"},
                                                        {"BFloat16", "bfloat16"},
                                                        {"Long", "int64"},
                                                        {"Int", "int32"},
                                                        {"Short", "int16"},
                                                        {"Char", "int8"},
                                                        {"Byte", "uint8"},
                                                        {"Bool", "bool"},
                                                        {"ComplexFloat", "complex64"},
                                                        {"ComplexDouble", "complex128"}};
        text << item.key() << '\t' << python.at(type) << '\t';
        for (std::size_t i = 0; i < item.value().sizes().size(); ++i) {
            text << (i > 0 ? "," : "") << item.value().sizes()[i];
        }
        text << '\t' << torch::real(value).item<double>() << '\t' << torch::imag(value).item<double>()
             << '\n';
    }
    return text.str();
}

}  // namespace

TEST_CASE("all types of elements, as Python's torch wrote them") {
    for (const char* file : {"types.pt", "types_legacy.pt"}) {
        INFO(file);
        const StateDict read = read_weights(stored(file));
        REQUIRE(read.size() == 18);
        CHECK(read["float64"].scalar_type() == torch::kDouble);
        CHECK(read["bfloat16"].scalar_type() == torch::kBFloat16);
        CHECK(read["bool"].scalar_type() == torch::kBool);
        CHECK(read["complex64"].scalar_type() == torch::kComplexFloat);
        CHECK(read["scalar"].item<float>() == 7.5F);
        CHECK(read["scalar"].dim() == 0);
        CHECK(read["empty"].sizes() == torch::IntArrayRef({0, 3}));
        CHECK(torch::equal(read["transposed"], torch::arange(6.0F).reshape({2, 3}).t()));
        CHECK(torch::equal(read["part"], torch::tensor({2.0F, 5.0F, 8.0F})));
        // What is one tensor in Python is one here.
        CHECK(read["tied.a"].data_ptr() == read["tied.b"].data_ptr());
        check_equal(read, everything());
    }
}

TEST_CASE("a network with batch normalization gives Python's answers") {
    const StateDict answers = read_weights(stored("net_answers.pt"));
    for (const char* file : {"net.pt", "wrapped.pt", "wrapped_legacy.pt"}) {
        INFO(file);
        torch::manual_seed(9);
        Net net;
        const auto report = retort::load_state_dict(*net, read_weights(stored(file)));
        CHECK(report.empty());
        net->eval();
        CHECK((net->forward(answers["x"]) - answers["y"]).abs().max().item<double>() < 1e-6);
        CHECK(net->norm->num_batches_tracked.item<std::int64_t>() == 3);
    }
    CHECK_NOTHROW(read_weights(stored("wrapped.pt"), {.key = "state_dict"}));
    CHECK_THROWS_WITH(read_weights(stored("wrapped.pt"), {.key = "optimizer"}),
                      Contains("\"lr\": expected a dense tensor, found a number"));
    CHECK_THROWS_WITH(
        read_weights(stored("wrapped.pt"), {.key = "ema"}),
        Contains("expected a dictionary under the key \"ema\"") && Contains("epoch, arch, state_dict"));
}

TEST_CASE("parameters are tensors") {
    Net net;
    const StateDict parameters = read_weights(stored("parameters.pt"));
    CHECK(parameters.size() == 5);
    CHECK_THROWS_WITH(retort::load_state_dict(*net, parameters),
                      Contains("3 missing: norm.running_mean, norm.running_var, norm.num_batches_tracked"));
    const auto before = net->norm->running_mean.clone();
    const auto report = retort::load_state_dict(*net, parameters, {.strict = false});
    CHECK(report.missing.size() == 3);
    CHECK(torch::equal(net->convolution->weight, parameters["convolution.weight"]));
    CHECK(torch::equal(net->norm->running_mean, before));
    CHECK(net->convolution->weight.requires_grad());
}

TEST_CASE("the state of a module has the names and the order of Python's") {
    Net net;
    std::vector<std::string> names, python;
    for (const auto& item : retort::state_dict(*net)) names.push_back(item.key());
    for (const auto& item : read_weights(stored("net.pt"))) python.push_back(item.key());
    CHECK(names == python);
}

TEST_CASE("what does not fit is listed, and nothing is loaded") {
    Net net;
    StateDict wrong = read_weights(stored("net.pt"));
    wrong["norm.weight"] = torch::ones({5});
    wrong.insert("more", torch::ones({1}));
    const auto before = net->convolution->weight.clone();
    CHECK_THROWS_WITH(
        retort::load_state_dict(*net, wrong),
        Contains("1 unexpected: more") && Contains("1 of the wrong shape: norm.weight ([5] for [4])"));
    CHECK(torch::equal(net->convolution->weight, before));
    const auto report = retort::load_state_dict(*net, wrong, {.strict = false});
    CHECK(report.unexpected == std::vector<std::string>{"more"});
    CHECK(report.missing.empty());
    CHECK(report.wrong_shape.size() == 1);
    StateDict other("tensor");
    other.insert("elsewhere", torch::ones({1}));
    CHECK_THROWS_AS(retort::load_state_dict(*net, other, {.strict = false}), retort::DataError);
}

TEST_CASE("rules give tensors other names") {
    namespace names = retort::names;
    Net net;
    StateDict renamed("tensor");
    for (const auto& item : read_weights(stored("net.pt"))) {
        std::string name = item.key();
        if (name.starts_with("head.")) name.replace(0, 5, "classifier.");
        renamed.insert(std::string("backbone.").append(name), item.value());
    }
    renamed.insert("other.weight", torch::ones({1}));
    const auto report = retort::load_state_dict(
        *net, renamed, {.names = {names::only("backbone."), names::replace("classifier.", "head.")}});
    CHECK(report.empty());
    CHECK(torch::equal(net->norm->running_var, renamed["backbone.norm.running_var"]));
    CHECK_THROWS_WITH(
        retort::load_state_dict(
            *net, renamed, {.names = {[](const std::string&) -> std::optional<std::string> { return "a"; }}}),
        Contains("found \"a\" twice"));
    CHECK_THROWS_AS(names::replace_within("", "x"), retort::ConfigError);
    StateDict dots("tensor");
    dots.insert("a.b.b.c", torch::ones({1}));
    CHECK(retort::renamed(dots, {names::replace_within(".b", ".bb")}).keys() ==
          std::vector<std::string>{"a.bb.bb.c"});
    const auto left = retort::load_state_dict(
        *net, read_weights(stored("net.pt")),
        {.names = {names::leave_out("head."), names::strip("x."), names::add("")}, .strict = false});
    CHECK(left.missing == std::vector<std::string>{"head.1.weight", "head.1.bias"});
}

TEST_CASE("what is written reads back, in both formats") {
    const TemporaryDirectory folder;
    const StateDict all = everything();
    write_weights(folder.path() / "all.pt", all);
    const StateDict back = read_weights(folder.path() / "all.pt");
    check_equal(all, back);
    CHECK(back["tied.a"].data_ptr() == back["tied.b"].data_ptr());

    StateDict real("tensor");
    for (const auto& item : all) {
        if (!item.value().is_complex()) real.insert(item.key(), item.value());
    }
    retort::Metadata metadata;
    retort::write_safetensors(folder.path() / "all.safetensors", real, {{"format", "pt"}});
    check_equal(real, retort::read_safetensors(folder.path() / "all.safetensors", &metadata));
    check_equal(real, read_weights(folder.path() / "all.safetensors"));
    CHECK(metadata == retort::Metadata{{"format", "pt"}});
    CHECK_THROWS_AS(write_weights(folder.path() / "no.safetensors", all), retort::ConfigError);
    CHECK_FALSE(std::filesystem::exists(folder.path() / "no.safetensors"));

    Net net, copy;
    net->train();
    net->forward(torch::randn({4, 3, 8, 8}));
    write_weights(folder.path() / "net.pt", retort::state_dict(*net));
    retort::load_state_dict(*copy, read_weights(folder.path() / "net.pt"));
    net->eval();
    copy->eval();
    const auto x = torch::randn({2, 3, 8, 8});
    CHECK(torch::equal(net->forward(x), copy->forward(x)));
}

TEST_CASE("Python reads what is written") {
    const TemporaryDirectory folder;
    const auto sum_file = folder.path() / "sums.txt";
    save_bytes(sum_file, sums(everything()));
    const auto file = folder.path() / "all.pt";
    write_weights(file, everything());
    CHECK(python("check", file, sum_file) == "");
}

TEST_CASE("a public checkpoint of a residual network gives Python's answers here, and what it became there") {
    const StateDict answers = read_weights(stored("resnet18_answers.pt"));
    const TemporaryDirectory folder;
    for (const char* file : {"resnet18.pth.tar", "resnet18_legacy.pth.tar"}) {
        INFO(file);
        const StateDict checkpoint = read_weights(stored(file));
        REQUIRE(checkpoint.size() == 122);
        torch::manual_seed(2);
        ResNet18 net;
        CHECK(retort::load_state_dict(*net, checkpoint, {.names = from_public()}).empty());
        net->eval();
        CHECK((net->forward(answers["x"]) - answers["y"]).abs().max().item<double>() < 1e-6);

        // Names, order and values come back as they were.
        StateDict back = retort::renamed(retort::state_dict(*net), to_public());
        const StateDict bare = retort::renamed(checkpoint, {retort::names::strip("module.")});
        check_equal(back, bare);
        CHECK(back.keys() == bare.keys());

        // And once the network has gone on learning, Python gives its answers.
        torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.05));
        net->train();
        net->forward(torch::randn({16, 3, 32, 32})).square().mean().backward();
        optimizer.step();
        net->eval();
        const torch::NoGradGuard no_grad;
        StateDict own("tensor");
        own.insert("x", torch::randn({4, 3, 32, 32}));
        own.insert("y", net->forward(own["x"]));
        CHECK((net->forward(answers["x"]) - answers["y"]).abs().max().item<double>() > 1e-3);
        write_weights(folder.path() / "net.pt", back);
        write_weights(folder.path() / "answers.pt", own);
        CHECK(python("answer", folder.path() / "net.pt", folder.path() / "answers.pt") == "");
    }
}

TEST_CASE("other files are refused with a reason") {
    const TemporaryDirectory folder;
    CHECK_THAT(error_of(stored("no_tensors.pt")),
               Contains("\"numbers\": expected a dense tensor, found a list"));
    CHECK_THAT(error_of(stored("whole_module.pt")),
               Contains("expected a dictionary of tensors, as module.state_dict() gives, found an object of "
                        "__main__.Net"));
    CHECK_THAT(error_of(folder.path() / "none.pt"), Contains("cannot open"));
    CHECK_THAT(error_of(folder.path()), Contains("expected a regular file"));
    save_bytes(folder.path() / "empty.pt", "");
    CHECK_THAT(error_of(folder.path() / "empty.pt"), Contains("expected a file of torch.save"));
    save_bytes(folder.path() / "text.pt", "hello");
    CHECK_THAT(error_of(folder.path() / "text.pt"), Contains("expected a file of torch.save"));
    save_bytes(folder.path() / "a.safetensors", std::string("\x02\0\0\0\0\0\0\0[]", 10));
    CHECK_THAT(error_of(folder.path() / "a.safetensors"), Contains("expected a JSON object"));
    save_bytes(folder.path() / "a.safetensors", std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10));
    CHECK_THAT(error_of(folder.path() / "a.safetensors"), Contains("bytes of a header"));
}

TEST_CASE(
    "damaged files are refused or read as something whole, at every length and with every byte changed") {
    const TemporaryDirectory folder;
    StateDict real("tensor");
    for (const auto& item : everything()) {
        if (!item.value().is_complex()) real.insert(item.key(), item.value());
    }
    retort::write_safetensors(folder.path() / "real.safetensors", real);
    std::mt19937 random(7);
    for (const auto& source :
         {stored("types.pt"), stored("types_legacy.pt"), folder.path() / "real.safetensors"}) {
        INFO(source);
        const std::string whole = content_of(source);
        const auto path = folder.path() / "damaged" += source.extension();
        for (std::size_t length = 0; length < whole.size(); length += 1 + random() % 13) {
            save_bytes(path, whole.substr(0, length));
            CHECK_FALSE(error_of(path).empty());
        }
        for (int i = 0; i < 400; ++i) {
            std::string damaged = whole;
            damaged[random() % damaged.size()] ^= static_cast<char>(1 << random() % 8);
            save_bytes(path, damaged);
            try {
                for (const auto& item : read_weights(path)) item.value().sum();
            } catch (const retort::Error&) {
            }
        }
        // Checksums find every change of the data in an archive.
        if (source.filename() == "types.pt") {
            std::string damaged = whole;
            const std::string eight(reinterpret_cast<const char*>(everything()["float64"].data_ptr()), 8);
            damaged[damaged.find(eight)] ^= 1;
            save_bytes(path, damaged);
            CHECK_THAT(error_of(path), Contains("with the checksum"));
        }
    }
}

TEST_CASE("a file cannot ask for more memory than it is long") {
    const TemporaryDirectory folder;
    // A tensor of 2^40 elements that all look at the same one, as expand() makes them.
    const std::string numbers = "\x8a\x08";
    std::string pickle;
    pickle.append("\x80\x02}(", 4).append("X\x01\0\0\0a", 6).append("ctorch._utils\n_rebuild_tensor_v2\n((");
    pickle.append("X\x07\0\0\0storage", 12)
        .append("ctorch\nFloatStorage\n")
        .append("X\x01\0\0\0", 5)
        .append("0");
    pickle.append("X\x03\0\0\0cpu", 8).append("K\x01tQ", 4).append("K\0", 2);
    pickle.append(numbers).append("\0\0\0\0\0\x01\0\0", 8).append("\x85", 1);
    pickle.append("K\0\x85", 3).append("\x89", 1).append("}tRu.");
    const auto path = folder.path() / "huge.pt";
    {
        caffe2::serialize::PyTorchStreamWriter writer(path.string());
        writer.writeRecord("data.pkl", pickle.data(), pickle.size());
        const float one = 1;
        writer.writeRecord("data/0", &one, sizeof one);
        writer.writeEndOfFile();
    }
    CHECK_THAT(error_of(path), Contains("tensor a: expected elements among the 1 that are stored"));
}

TEST_CASE("an unwritable place leaves nothing behind") {
    const TemporaryDirectory folder;
    CHECK_THROWS_AS(write_weights(folder.path() / "no" / "such.pt", everything()), retort::OutputError);
    std::filesystem::create_directory(folder.path() / "taken.pt");
    CHECK_THROWS_AS(write_weights(folder.path() / "taken.pt", everything()), retort::OutputError);
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

}  // namespace weights_test
