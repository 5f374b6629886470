// SPDX-License-Identifier: BSL-1.0
/// \file
/// Weights from and for Python's torch. The files of tests/golden/weights are made by tests/io/weights.py.
#include <retort_test.hpp>

#include <models/residual.hpp>

#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <random>

#include <retort/io.hpp>

namespace weights_test {

using namespace retort_test;
using Catch::Contains;
using Catch::Equals;
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

/// The ResNet-18 of weights.py, built from other modules with other names.
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

/// Runs a command of weights.py. \returns its output, if it fails or there is no Python with torch here
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

/// A pickle as Python's torch writes it, value by value.
class Pickled {
  public:
    explicit Pickled(std::string bytes = {}) : bytes_(std::move(bytes)) {}
    Pickled& raw(std::string_view bytes) {
        bytes_ += bytes;
        return *this;
    }
    Pickled& text(std::string_view value) {
        raw("X");
        retort::detail::append_number(bytes_, static_cast<std::uint32_t>(value.size()));
        return raw(value);
    }
    Pickled& integer(std::int32_t value) {
        raw("J");
        retort::detail::append_number(bytes_, value);
        return *this;
    }
    Pickled& global(std::string_view module, std::string_view name) {
        return raw("c").raw(module).raw("\n").raw(name).raw("\n");
    }
    Pickled& integers(const std::vector<std::int32_t>& values) {
        raw("(");
        for (const std::int32_t each : values) integer(each);
        return raw("t");
    }
    /// The arguments with which a tensor is rebuilt; `more` ends them.
    Pickled& tensor_arguments(std::string_view module, std::string_view storage, std::int32_t count,
                              const std::vector<std::int32_t>& sizes,
                              const std::vector<std::int32_t>& strides, std::string_view more = {}) {
        raw("((").text("storage").global(module, storage).text("0").text("cpu").integer(count).raw("tQ");
        return integer(0).integers(sizes).integers(strides).raw("\x89").raw("}").raw(more).raw("t");
    }
    const std::string& bytes() const { return bytes_; }

  private:
    std::string bytes_;
};

/// A file of torch.save with a dictionary of these items, and one storage.
void save_pickle(const std::filesystem::path& path, const Pickled& items, std::string_view storage) {
    const std::string pickle = std::string("\x80\x02}(").append(items.bytes()).append("u.");
    caffe2::serialize::PyTorchStreamWriter writer(path.string());
    writer.writeRecord("data.pkl", pickle.data(), pickle.size());
    writer.writeRecord("data/0", storage.data(), storage.size());
    writer.writeEndOfFile();
}

/// A file of safetensors.
void save_safetensors(const std::filesystem::path& path, const std::string& header,
                      const std::string& data = {}) {
    std::string bytes;
    retort::detail::append_number(bytes, static_cast<std::uint64_t>(header.size()));
    save_bytes(path, bytes + header + data);
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

TEST_CASE("all element types, as written by Python's torch") {
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
        // Tensors that are shared in Python are shared here.
        CHECK(read["tied.a"].data_ptr() == read["tied.b"].data_ptr());
        check_equal(read, everything());
    }
}

TEST_CASE("a network with batch normalization gives Python's outputs") {
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

TEST_CASE("the state of a module has Python's names and order") {
    Net net;
    std::vector<std::string> names, python;
    for (const auto& item : retort::state_dict(*net)) names.push_back(item.key());
    for (const auto& item : read_weights(stored("net.pt"))) python.push_back(item.key());
    CHECK(names == python);
}

TEST_CASE("mismatches are listed, and nothing is loaded") {
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

TEST_CASE("rules rename tensors") {
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

TEST_CASE("written weights round-trip, in both formats") {
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
    check_equal(real, retort::read_safetensors(folder.path() / "all.safetensors", {.metadata = &metadata}));
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

TEST_CASE("Python reads written weights") {
    const TemporaryDirectory folder;
    const auto sum_file = folder.path() / "sums.txt";
    save_bytes(sum_file, sums(everything()));
    const auto file = folder.path() / "all.pt";
    write_weights(file, everything());
    CHECK(python("check", file, sum_file) == "");
}

TEST_CASE(
    "a public checkpoint of a residual network gives Python's outputs here, and trained further here, the "
    "same in Python") {
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

        // Names, order and values round-trip.
        StateDict back = retort::renamed(retort::state_dict(*net), to_public());
        const StateDict bare = retort::renamed(checkpoint, {retort::names::strip("module.")});
        check_equal(back, bare);
        CHECK(back.keys() == bare.keys());

        // After further training, Python computes the same outputs.
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
    CHECK_THAT(error_of(folder.path() / "none.pt"), Contains("cannot read"));
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

TEST_CASE("files truncated anywhere or with any byte changed are refused or read completely") {
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
        // Checksums detect every change of the data in an archive.
        if (source.filename() == "types.pt") {
            std::string damaged = whole;
            const std::string eight(reinterpret_cast<const char*>(everything()["float64"].data_ptr()), 8);
            damaged[damaged.find(eight)] ^= 1;
            save_bytes(path, damaged);
            CHECK_THAT(error_of(path), Contains("with the checksum"));
        }
    }
}

TEST_CASE("a file cannot cause allocations larger than itself") {
    const TemporaryDirectory folder;
    // A tensor of 2^40 elements that all refer to the same one, as made by expand().
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

TEST_CASE("entries that cannot be read are refused, or left out and named") {
    for (const auto& [file, entry, what] :
         {std::tuple("extra_state.pt", "0._extra_state", "an object of _io.BytesIO"),
          {"plus_epoch.pt", "epoch", "an integer"}}) {
        INFO(file);
        CHECK_THAT(error_of(stored(file)),
                   Contains(retort::detail::concat('"', entry, "\": expected a dense tensor, found ", what,
                                                   "; ReadOptions::left_out reads the other entries")));
        std::vector<std::string> left_out{"before"};
        const StateDict read = read_weights(stored(file), {.left_out = &left_out});
        CHECK(left_out == std::vector<std::string>{entry});
        CHECK(read.keys() == std::vector<std::string>{"0.weight", "0.bias", "2.weight", "2.bias"});
        CHECK(read["0.weight"].sizes() == torch::IntArrayRef({8, 6}));
    }
    std::vector<std::string> left_out{"before"};
    CHECK(read_weights(stored("net.pt"), {.left_out = &left_out}).size() == 8);
    CHECK(left_out.empty());
    // A file without any tensor is not a file of weights.
    CHECK_THROWS_WITH(read_weights(stored("no_tensors.pt"), {.left_out = &left_out}),
                      Contains("\"numbers\": expected a dense tensor, found a list"));
}

TEST_CASE("a state dictionary under another key is selected by it, and errors name the keys") {
    for (const auto& [file, key, keys] : {std::tuple("student_key.pt", "student", "epoch, student"),
                                          {"params_ema.pt", "params_ema", "params_ema"}}) {
        INFO(file);
        const std::string error = error_of(stored(file));
        CHECK_THAT(error, Contains("expected a dictionary of tensors, found the keys " + std::string(keys)) &&
                              Contains("; ReadOptions::key chooses one"));
        CHECK(read_weights(stored(file), {.key = key}).size() == 4);
    }
    const TemporaryDirectory folder;
    Pickled items;
    items.text("a.b").raw("}(").text("w").global("torch._utils", "_rebuild_tensor_v2");
    items.tensor_arguments("torch", "FloatStorage", 1, {1}, {1}).raw("Ru");
    const float value = 2;
    save_pickle(folder.path() / "a.pt", items, {reinterpret_cast<const char*>(&value), sizeof value});
    CHECK(read_weights(folder.path() / "a.pt", {.key = "a.b"})["w"].item<float>() == 2.0F);
    CHECK_THROWS_WITH(read_weights(folder.path() / "a.pt", {.key = "a"}), Contains("found the keys a.b"));
    write_weights(folder.path() / "b.safetensors", read_weights(stored("net.pt")));
    CHECK_THROWS_AS(read_weights(folder.path() / "b.safetensors", {.key = "a"}), retort::ConfigError);
}

TEST_CASE("errors recognize a pickled module") {
    CHECK_THAT(
        error_of(stored("yolo_like.pt")),
        Contains("\"model\": expected a dense tensor, found an object of torch.nn.modules.container.") &&
            Contains(", which is a pickled module: in Python, save its state_dict()"));
    CHECK_THAT(error_of(stored("whole_module.pt")),
               Contains("which is a pickled module: in Python, save its state_dict()"));
    CHECK_THROWS_WITH(read_weights(stored("yolo_like.pt"), {.key = "model"}),
                      Contains("which is a pickled module"));
}

TEST_CASE("sets, views that repeat elements, and types of newer versions are read") {
    CHECK(read_weights(stored("frozenset_4.pt")).keys() == std::vector<std::string>{"w"});
    const StateDict expanded = read_weights(stored("expanded.pt"));
    REQUIRE(expanded.size() == 5);
    CHECK(expanded["scale"].sizes() == torch::IntArrayRef({4}));
    CHECK(torch::equal(expanded["scale"], expanded["scale"][0].repeat({4})));

    std::vector<std::string> left_out;
    const StateDict narrow = read_weights(stored("fp8.safetensors"), {.left_out = &left_out});
    if (retort::detail::compat::float8_e4m3fn == torch::ScalarType::Undefined) {
        CHECK_THAT(
            error_of(stored("fp8.safetensors")),
            Contains("\"q\": expected a dense tensor, found a tensor of the type float8_e4m3fn, which this "
                     "version of LibTorch does not have; ReadOptions::left_out"));
        CHECK(left_out == std::vector<std::string>{"q"});
        CHECK(narrow.size() == 4);
    } else {
        CHECK(left_out.empty());
        REQUIRE(narrow.size() == 5);
        CHECK(narrow["q"].scalar_type() == retort::detail::compat::float8_e4m3fn);
        torch::nn::Module module;
        const torch::Tensor wide = module.register_buffer("q", torch::zeros({4}));
        CHECK(retort::load_state_dict(module, narrow, {.strict = false}).missing.empty());
        CHECK(torch::equal(wide, torch::tensor({1.0F, -1.5F, 448.0F, 0.015625F})));
    }
}

TEST_CASE("tensors as newer versions of Python's torch rebuild them") {
    const TemporaryDirectory folder;
    const auto path = folder.path() / "a.pt";
    const float values[] = {1, 2, 3, 4};
    const std::string_view storage(reinterpret_cast<const char*>(values), sizeof values);
    const auto complex = torch::complex(torch::tensor({1.0F, 3.0F}), torch::tensor({2.0F, 4.0F}));
    const auto read = [&](const Pickled& items) {
        save_pickle(path, Pickled().text("w").raw(items.bytes()), storage);
        return read_weights(path)["w"];
    };
    const auto rebuilt = [](const char* bits, const char* type, std::int32_t count) {
        Pickled metadata, result;
        if (bits != nullptr) metadata.raw("}(").text(bits).raw("\x88u");
        result.global("torch._utils", "_rebuild_tensor_v2");
        return result.tensor_arguments("torch", type, count, {count}, {1}, metadata.bytes()).raw("R");
    };
    CHECK(torch::equal(read(rebuilt(nullptr, "ComplexFloatStorage", 2)), complex));
    CHECK(torch::equal(read(rebuilt("conj", "ComplexFloatStorage", 2)), torch::conj(complex)));
    CHECK(torch::equal(read(rebuilt("neg", "FloatStorage", 4)), -torch::tensor({1.0F, 2.0F, 3.0F, 4.0F})));
    CHECK_THROWS_WITH(
        read(rebuilt("conj", "FloatStorage", 4)),
        Contains("\"w\": expected a dense tensor, found a conjugated or negated tensor of float32"));
    CHECK_THROWS_WITH(
        read(rebuilt("other", "FloatStorage", 4)),
        Contains("\"w\": expected a dense tensor, found a tensor with metadata other than conj and neg"));

    // From an untyped storage, with the type as another argument.
    const auto untyped = [](const char* type, std::int32_t size) {
        Pickled more, result;
        more.global("torch", type);
        result.global("torch._utils", "_rebuild_tensor_v3");
        return result.tensor_arguments("torch.storage", "UntypedStorage", 16, {size}, {1}, more.bytes())
            .raw("R");
    };
    CHECK(torch::equal(read(untyped("float32", 4)), torch::tensor({1.0F, 2.0F, 3.0F, 4.0F})));
    CHECK(read(untyped("complex32", 4)).scalar_type() == torch::kComplexHalf);
    CHECK_THROWS_WITH(read(untyped("float32", 5)), Contains("expected elements among the 4 that are stored"));
    CHECK_THROWS_WITH(read(untyped("bits8", 16)),
                      Contains("\"w\": expected a dense tensor, found a tensor of the class torch.bits8"));
    if (retort::detail::compat::uint16 == torch::ScalarType::Undefined) {
        CHECK_THROWS_WITH(read(untyped("uint16", 8)),
                          Contains("a tensor of the type uint16, which this version"));
    } else {
        CHECK(read(untyped("uint16", 8)).to(torch::kLong)[1].item<std::int64_t>() == 0x3f80);
    }

    // With attributes: of tensors and parameters, not of classes derived from them.
    const auto derived = [](const char* module, const char* name) {
        Pickled result;
        result.global("torch._tensor", "_rebuild_from_type_v2").raw("(");
        result.global("torch._utils", "_rebuild_tensor_v2").global(module, name);
        return result.tensor_arguments("torch", "FloatStorage", 4, {4}, {1}).raw("}tR");
    };
    CHECK(torch::equal(read(derived("torch", "Tensor")), torch::tensor({1.0F, 2.0F, 3.0F, 4.0F})));
    CHECK(read(derived("torch.nn.parameter", "Parameter")).size(0) == 4);
    CHECK_THROWS_WITH(read(derived("torchao.quantization", "LinearActivationQuantizedTensor")),
                      Contains("found an object of torch._tensor._rebuild_from_type_v2"));
}

TEST_CASE("a checksum of 0 means none") {
    const TemporaryDirectory folder;
    std::string bytes = content_of(stored("net.pt"));
    for (const auto& [signature, at] : {std::pair("PK\x03\x04", std::size_t{14}), {"PK\x01\x02", 16}}) {
        for (std::size_t i = bytes.find(signature); i != std::string::npos; i = bytes.find(signature, i + 1))
            bytes.replace(i + at, 4, 4, '\0');
    }
    save_bytes(folder.path() / "net.pt", bytes);
    check_equal(read_weights(folder.path() / "net.pt"), read_weights(stored("net.pt")));
}

TEST_CASE("conjugated and negated tensors are written with their values") {
    const TemporaryDirectory folder;
    const auto complex = torch::complex(torch::arange(3.0F), torch::arange(3.0F) + 1);
    StateDict dictionary("tensor");
    dictionary.insert("plain", complex);
    dictionary.insert("conjugate", complex.conj());
    dictionary.insert("negative", torch::imag(complex.conj()));
    REQUIRE(dictionary["conjugate"].is_conj());
    REQUIRE(dictionary["negative"].is_neg());
    for (const char* name : {"a.pt", "a.safetensors"}) {
        INFO(name);
        write_weights(folder.path() / name, dictionary);
        check_equal(read_weights(folder.path() / name), dictionary);
    }
}

TEST_CASE("tied weights need one of their names") {
    struct TiedImpl : torch::nn::Module {
        torch::nn::Embedding emb{register_module("emb", torch::nn::Embedding(7, 4))};
        torch::nn::Linear head{
            register_module("head", torch::nn::Linear(torch::nn::LinearOptions(4, 7).bias(false)))};
        TiedImpl() { head->weight.set_data(emb->weight.data()); }
    };
    const StateDict file = read_weights(stored("tied.safetensors"));
    torch::nn::Linear apart(torch::nn::LinearOptions(4, 7).bias(false));
    TiedImpl tied;
    REQUIRE(retort::state_dict(tied).size() == 2);
    CHECK(retort::load_state_dict(tied, file).empty());
    CHECK(torch::equal(tied.head->weight, file["emb.weight"]));
    CHECK_THROWS_WITH(retort::load_state_dict(*apart, file),
                      Contains("1 missing: weight; 1 unexpected: emb.weight"));
    StateDict both = file;
    both.insert("head.weight", file["emb.weight"].clone());
    CHECK(retort::load_state_dict(tied, both).empty());
    both["head.weight"] = file["emb.weight"] + 1;
    CHECK_THROWS_WITH(
        retort::load_state_dict(tied, both),
        Contains("emb.weight and head.weight: expected equal values, since they are one tensor"));
}

TEST_CASE("repeated content of a file is not copied repeatedly") {
    const TemporaryDirectory folder;
    const auto path = folder.path() / "a.pt";
    const std::string storage(4, '\0');
    // One long name for many entries, one tensor.
    Pickled items;
    items.text(std::string(20'000, 'x')).raw("q").raw(std::string_view("\0", 1));
    items.global("torch._utils", "_rebuild_tensor_v2");
    items.tensor_arguments("torch", "FloatStorage", 1, {1}, {1}).raw("Rq\1");
    for (int i = 0; i < 1'000; ++i) items.raw(std::string_view("h\0h\1", 4));
    save_pickle(path, items, storage);
    const retort::detail::MappedFile file(path);
    // In the parser: no tensor is created yet.
    CHECK_THROWS_WITH(retort::detail::read_torch_zip(file.bytes(), ""), Contains("expected each name once"));
    CHECK(error_of(path).size() < 1000);

    // One long list of sizes for many tensors.
    Pickled many;
    many.text("sizes").integers(std::vector<std::int32_t>(64, 1)).raw("q").raw(std::string_view("\0", 1));
    for (int i = 0; i < 1'000; ++i) {
        many.text(std::to_string(i)).global("torch._utils", "_rebuild_tensor_v2");
        many.raw("((")
            .text("storage")
            .global("torch", "FloatStorage")
            .text("0")
            .text("cpu")
            .integer(1)
            .raw("tQ");
        many.integer(0).raw(std::string_view("h\0h\0", 4)).raw("\x89}tR");
    }
    std::vector<std::string> left_out;
    save_pickle(path, many, storage);
    CHECK_THROWS_WITH(read_weights(path, {.left_out = &left_out}),
                      Contains("sizes, found 64") || Contains("strides, found 64"));

    // Entries of an archive that share their bytes.
    std::string archive = content_of(stored("types.pt"));
    const std::size_t first = archive.find("PK\x01\x02");
    const std::size_t second = archive.find("PK\x01\x02", first + 1);
    const std::string offset = archive.substr(first + 42, 4), sizes = archive.substr(first + 16, 12);
    for (std::size_t i = second; i != std::string::npos; i = archive.find("PK\x01\x02", i + 1))
        archive.replace(i + 42, 4, offset).replace(i + 16, 12, sizes);
    save_bytes(path, archive);
    CHECK_THAT(error_of(path), Contains("expected files that do not overlap, found some that do"));
}

TEST_CASE("headers of safetensors are read without recursion, and quoted in at most one line") {
    const TemporaryDirectory folder;
    const auto path = folder.path() / "a.safetensors";
    const auto refusal = [&](const std::string& header, const std::string& data = {}) {
        save_safetensors(path, header, data);
        const std::string error = error_of(path);
        CHECK(error.size() < 1000);
        return error;
    };
    const std::string deep = std::string(200'000, '[') + std::string(200'000, ']');
    CHECK_THAT(refusal(deep), Contains("expected a JSON object as the header, found a list"));
    CHECK_THAT(refusal("{\"a\":" + deep + "}"),
               Contains("tensor a: expected dtype, shape and data_offsets, found a list"));
    CHECK_THAT(refusal("{\"a\":{\"b\":" + deep + "}}"),
               Contains("tensor a: expected dtype, shape and data_offsets, found no dtype"));
    for (const char* field : {"dtype", "shape", "data_offsets"}) {
        CHECK_THAT(refusal("{\"a\":{\"" + std::string(field) + "\":[" + deep + "]}}"),
                   Contains(std::string("tensor a: expected ") +
                            (field == std::string("dtype") ? "a dtype" : field)));
    }
    CHECK_THAT(refusal("{\"__metadata__\":{\"a\":" + deep + "}}"),
               Contains("__metadata__: expected texts, found a list"));
    CHECK_THAT(refusal("{\"__metadata__\":1}"), Contains("__metadata__: expected texts, found 1"));
    CHECK_THAT(refusal("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}"),
               Contains("__metadata__: expected a once, found it twice"));
    CHECK_THAT(refusal("{\"__metadata__\":{},\"__metadata__\":{}}"),
               Contains("\"__metadata__\": expected it once, found it twice"));
    CHECK_THAT(refusal(std::string(100'000, 'x')), Contains("expected a header in JSON"));
    CHECK_THAT(refusal("\"" + std::string(100'000, 'x')), Contains("expected a header in JSON"));
    const std::string good = R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})", four(4, '\0');
    CHECK(refusal("{\"a\":" + good + "}", four) == "");
    CHECK(refusal("{\"a\":{\"more\":{\"x\":" + deep + "}," + good.substr(1) + "}", four) == "");
    CHECK_THAT(refusal("{\"a\":" + good + ",\"a\":" + good + "}", four),
               Contains("\"a\": expected it once, found it twice"));
    CHECK_THAT(refusal(R"({"a":{"shape":[1],"shape":[2],"dtype":"F32","data_offsets":[0,4]}})", four),
               Contains("tensor a: expected shape once, found it twice"));
    CHECK_THAT(refusal(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", four),
               Contains("tensor a: expected shape to be a list of numbers of at least 0, found -1"));
    std::string ones = "1";
    for (int i = 0; i < 64; ++i) ones += ",1";
    CHECK_THAT(refusal(R"({"a":{"dtype":"F32","shape":[)" + ones + R"(],"data_offsets":[0,4]}})", four),
               Contains("tensor a: expected shape of at most 64 numbers, found more"));
    CHECK_THAT(refusal("{\"" + std::string(5'000, 'n') + "\":1}"), Contains("nnn...: expected dtype, shape"));
    CHECK_THAT(refusal(R"({"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}})", "x"),
               Contains("\"a\": expected a dense tensor, found a tensor of the unknown dtype F4"));
    CHECK_THAT(refusal(R"({"a":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}})", four + four), Equals(""));
    CHECK(read_weights(path)["a"].scalar_type() == torch::kComplexFloat);
}

TEST_CASE("pipes, devices and sparse files do not block a reader") {
    const TemporaryDirectory folder;
    for (const char* name : {"pipe.pt", "pipe.safetensors"}) {
        const auto path = folder.path() / name;
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
        CHECK_THAT(error_of(path), Contains("expected a regular file, found a pipe, socket or device"));
    }
    for (const auto& [name, start] : {std::pair("a.pt", "PK\x03\x04"), {"b.pt", ""}, {"c.safetensors", ""}}) {
        const auto path = folder.path() / name;
        save_bytes(path, start);
        std::error_code error;
        std::filesystem::resize_file(path, std::uintmax_t{100} << 30, error);
        if (error) continue;  // not on this file system
        CHECK_FALSE(error_of(path).empty());
    }
}

TEST_CASE("an unwritable location leaves nothing behind") {
    const TemporaryDirectory folder;
    CHECK_THROWS_AS(write_weights(folder.path() / "no" / "such.pt", everything()), retort::OutputError);
    std::filesystem::create_directory(folder.path() / "taken.pt");
    CHECK_THROWS_AS(write_weights(folder.path() / "taken.pt", everything()), retort::OutputError);
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

}  // namespace weights_test
