// SPDX-License-Identifier: BSL-1.0
/// \file
/// Information flow modeling: a teacher, an auxiliary teacher between it and a small student, and a student that
/// learns every layer of the auxiliary teacher; compared with other methods of teaching the same student.
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <retort/io/write_file.hpp>
#include <retort/knowledge/flow/information_flow.hpp>
#include <retort/knowledge/flow/matched_information_flow.hpp>
#include <retort/knowledge/relation/probabilistic_transfer.hpp>
#include <retort/retort.hpp>

#include "../common/glyphs.hpp"
#include "../common/gnuplot.hpp"
#include "../common/image_data.hpp"
#include "../common/program.hpp"
#include "../common/spread.hpp"
#include "../models/flow_cnn.hpp"
#include "../models/image_outputs.hpp"
#include "../models/pre_activation.hpp"
#include "picture.hpp"

namespace {

using models::FlowCnn;
using models::FlowOutputs;
using models::PreActivationNet;

const std::vector<std::string> all_students{
    "plain",           "soft_target", "hint", "pkt", "information_flow", "constant_weights",
    "adaptive_period", "no_auxiliary"};

struct Options {
    std::string data;
    std::string labels = "coarse";
    std::string out = "examples-output/information_flow";
    std::vector<std::string> students = all_students;
    std::int64_t samples = 0;
    std::int64_t test_samples = 0;
    std::int64_t teacher_samples = 0;
    std::int64_t teacher_width = 0;
    std::int64_t teacher_epochs = 0;
    std::int64_t auxiliary_epochs = 0;
    std::int64_t transfer_epochs = 0;
    std::int64_t epochs = 0;
    std::int64_t batch_size = 128;
    int seeds = 1;
    double learning_rate = 1e-3;
    double initial = 100.0;
    double decay = 0.7;
    double fall = 0.5;
    double constant = 1.0;
    double temperature = 2.0;
    bool released_average = false;
    examples::Machine machine;
};

/// Fills in the options that were not given: the paper's protocol for CIFAR, minutes of training for the letters.
void fill_in(Options& options) {
    const bool letters = options.data.empty();
    const auto choose = [&](std::int64_t& value, std::int64_t published, std::int64_t small) {
        if (value == 0) value = letters ? small : published;
    };
    choose(options.samples, 0, 2000);
    choose(options.test_samples, 0, 1000);
    choose(options.teacher_width, 64, 16);
    choose(options.teacher_epochs, 80, 8);
    choose(options.auxiliary_epochs, 80, 8);
    choose(options.transfer_epochs, 40, 8);
    choose(options.epochs, 50, 16);
}

struct Data {
    std::string name;
    retort::data::Dataset train, test;
    retort::data::Dataset teachers;  // training samples of the teacher
    retort::data::Normalize normalize;
    double mirrored = 0.5;  // fraction of mirrored images; letters are not

    auto shuffled(const retort::data::Dataset& dataset, std::int64_t batch_size, std::uint64_t seed) const {
        return retort::data::Loader{
            dataset,
            {.batch_size = batch_size, .seed = seed},
            retort::data::Compose{retort::data::RandomCrop{.padding = 4},
                                  retort::data::HorizontalFlip{.probability = mirrored}, normalize}};
    }
    auto in_order(const retort::data::Dataset& dataset) const {
        return retort::data::Loader{dataset, {.batch_size = 500, .shuffle = false}, normalize};
    }
};

Data load(const Options& options) {
    using retort::data::Split;
    const std::int64_t teachers = options.teacher_samples > 0 ? options.teacher_samples : options.samples;
    if (options.data.empty()) {
        const auto letters = [](std::int64_t samples, std::uint64_t seed) {
            return examples::glyphs({.samples = samples, .seed = seed, .size = 32, .color = true});
        };
        return {"Built-in letters",   letters(options.samples, 1),  letters(options.test_samples, 2),
                letters(teachers, 1), retort::data::cifar10_eval(), 0.0};
    }
    const std::filesystem::path folder = options.data;
    Data data;
    if (std::filesystem::exists(folder / "test_batch.bin") ||
        std::filesystem::exists(folder / "cifar-10-batches-bin")) {
        data = {"CIFAR-10",
                retort::data::cifar10(folder, Split::train),
                retort::data::cifar10(folder, Split::test),
                {},
                retort::data::cifar10_eval()};
    } else {
        const auto labels =
            options.labels == "fine" ? retort::data::CifarLabels::fine : retort::data::CifarLabels::coarse;
        data = {"CIFAR-100, " + options.labels + " classes",
                retort::data::cifar100(folder, Split::train, labels),
                retort::data::cifar100(folder, Split::test, labels),
                {},
                retort::data::cifar100_eval()};
    }
    data.teachers = examples::some(data.train, teachers, "--teacher-samples");
    data.train = examples::some(data.train, options.samples, "--samples");
    data.test = examples::some(data.test, options.test_samples, "--test-samples");
    return data;
}

/// The results of one network.
struct Scores {
    double average_precision = 0, precision = 0, centroid = 0, probe = 0;
    retort::InformationFlowVector flow{};
};

/// The layers of student, auxiliary and teacher; the last is the representation used for retrieval.
template <std::size_t I>
constexpr auto layer = retort::tap<&FlowOutputs::layers, I>;
const retort::Taps all_layers{layer<0>, layer<1>, layer<2>, layer<3>};

auto adam(double rate) { return retort::FromTorch<torch::optim::Adam>{torch::optim::AdamOptions(rate)}; }

/// Records at the end of every epoch how far each layer's neighborhoods are from the auxiliary's, on a fixed set of
/// images.
struct FlowWatch {
    FlowCnn student, auxiliary;
    at::Tensor images;

    void on_fit_begin(retort::FitContext& context) const {
        for (std::size_t i = 0; i < flow::layers; ++i) context.history.declare(flow::divergence_column(i));
    }
    void on_epoch_end(retort::FitContext& context) const {
        const FlowOutputs own = retort::Frozen{student}(images), theirs = retort::Frozen{auxiliary}(images);
        for (std::size_t i = 0; i < flow::layers; ++i) {
            const auto value = retort::functional::information_flow(own.layers[i], theirs.layers[i]);
            context.history.set(flow::divergence_column(i), value.item<double>());
        }
    }
};

/// All stages of the run, and the results.
class Experiment {
  public:
    explicit Experiment(const Options& options)
        : options_(options),
          device_(options.machine.apply()),
          data_(load(options)),
          out_(options.out),
          stages_(out_.path() / "stages"),
          where_{.device = device_.str()} {
        at::Generator none;
        const auto probe = std::min<std::int64_t>(256, data_.train.size());
        images_ = data_.normalize(data_.train.inputs.narrow(0, 0, probe), none).to(device_);
    }

    void run() {
        const auto results = out_.file("results.csv");
        const auto table = out_.file("information_flow.csv");
        const auto script = out_.file("information_flow.gp");
        const auto picture = out_.file("information_flow.svg");
        std::printf(
            "%s: %lld training samples (%lld for the teacher), %lld queries, %lld classes; on %s "
            "with "
            "%d threads.\n",
            data_.name.c_str(), static_cast<long long>(data_.train.size()),
            static_cast<long long>(data_.teachers.size()), static_cast<long long>(data_.test.size()),
            static_cast<long long>(classes()), device_.str().c_str(), at::get_num_threads());
        std::fflush(stdout);
        torch::manual_seed(0);
        teacher_ = PreActivationNet(
            models::PreActivationOptions{.width = options_.teacher_width, .classes = classes()});
        learn_classes("teacher", teacher_, data_.teachers, options_.teacher_epochs, 0);
        measure("teacher", teacher_);
        for (int seed = 0; seed < options_.seeds; ++seed) {
            one_seed(static_cast<std::uint64_t>(seed));
            // After every seed, so that an aborted run leaves its results so far.
            retort::write_file(results, results_csv());
        }
        print();
        retort::write_file(table, flow::table(kinds_));
        retort::write_file(script, flow::script(kinds_));
        const bool drawn = examples::draw(out_.path(), "information_flow");
        std::printf("\nResults: %s\nPlot: %s\n", results.c_str(),
                    drawn ? picture.c_str() : "none, as gnuplot is not installed");
    }

  private:
    std::int64_t classes() const { return data_.test.classes; }

    template <class Trainer, class... Callbacks>
    void fit(const std::string& name, Trainer& trainer, const retort::data::Dataset& dataset,
             std::int64_t epochs, std::uint64_t seed, Callbacks&&... callbacks) {
        std::string label = name;
        label.resize(30, ' ');
        stages_.fit(name, trainer, data_.shuffled(dataset, options_.batch_size, seed), {.epochs = epochs},
                    callbacks..., retort::ProgressBar{{.label = label}});
    }
    /// As in the released code: most of the epochs at the full learning rate, the others at a tenth with a new
    /// optimizer. `make(rate)` returns the trainer.
    template <class Make>
    void in_two_stages(const std::string& name, const retort::data::Dataset& dataset, std::int64_t epochs,
                       std::int64_t first, std::uint64_t seed, Make&& make) {
        auto fast = make(options_.learning_rate);
        fit(name, fast, dataset, first, seed);
        if (epochs == first) return;
        auto slow = make(options_.learning_rate / 10);
        fit(name + "-slow", slow, dataset, epochs - first, seed + 10000);
    }
    /// Cross-entropy: 50 of 80 epochs at the full rate.
    template <class Network>
    void learn_classes(const std::string& name, const Network& network, const retort::data::Dataset& dataset,
                       std::int64_t epochs, std::uint64_t seed) {
        const std::int64_t first = std::max<std::int64_t>(1, epochs * 5 / 8);
        in_two_stages(name, dataset, epochs, first, seed, [&](double rate) {
            return retort::Trainer{network,
                                   retort::NoTeacher{},
                                   retort::Knowledge{retort::CrossEntropy{}},
                                   retort::Schedule{1.0},
                                   adam(rate),
                                   where_};
        });
    }

    void one_seed(std::uint64_t seed) {
        // The auxiliary teacher: the student's architecture, twice as wide. It is trained on the classes, and then on
        // the teacher's representation (30 of 40 epochs at the full rate).
        torch::manual_seed(100 + seed);
        FlowCnn wide = models::cnn1_auxiliary(classes());
        const std::string name = "seed" + std::to_string(seed) + "-auxiliary";
        learn_classes(name + "-plain", wide, data_.train, options_.auxiliary_epochs, 2000 + seed);
        measure("auxiliary, plain", wide);
        retort::Auxiliary auxiliary{wide};
        auxiliary.learn([&](FlowCnn& network) {
            const std::int64_t first = std::max<std::int64_t>(1, options_.transfer_epochs * 3 / 4);
            in_two_stages(name, data_.train, options_.transfer_epochs, first, 3000 + seed, [&](double rate) {
                return retort::Trainer{network,
                                       retort::Frozen{teacher_},
                                       retort::Knowledge{retort::InformationFlow{layer<3>, layer<3>}},
                                       retort::Schedule{1.0},
                                       adam(rate),
                                       where_};
            });
        });
        measure("auxiliary", wide);
        auxiliary_ = wide;

        // The students: the same initial weights, the same batches.
        const retort::Frozen teacher{teacher_};
        const auto steady = adam(options_.learning_rate);
        const retort::RebuiltEachEpoch fresh{steady};
        const retort::InformationFlow last{layer<3>, layer<3>};
        const retort::Knowledge every_layer{last, retort::Sum{retort::InformationFlow{layer<2>, layer<2>},
                                                              retort::InformationFlow{layer<1>, layer<1>},
                                                              retort::InformationFlow{layer<0>, layer<0>}}};
        const retort::CriticalPeriod period{.initial = options_.initial, .factor = options_.decay};

        const FlowCnn plain_student =
            student(seed, "plain", retort::NoTeacher{}, retort::Knowledge{retort::CrossEntropy{}},
                    retort::Schedule{1.0}, steady);
        student(seed, "soft_target", teacher,
                retort::Knowledge{retort::Sum{0.1 * retort::CrossEntropy{},
                                              0.9 * retort::SoftTarget{.temperature = options_.temperature}}},
                retort::Schedule{1.0}, steady);
        student(seed, "hint", teacher,
                retort::Knowledge{retort::Hint{layer<3>, layer<3>, retort::LinearMap{}}},
                retort::Schedule{1.0}, steady);
        student(seed, "pkt", teacher, retort::Knowledge{retort::ProbabilisticTransfer{layer<3>, layer<3>}},
                retort::Schedule{1.0}, steady);
        student(seed, "information_flow", auxiliary, every_layer, retort::Schedule{1.0, period}, fresh);
        student(seed, "constant_weights", auxiliary, every_layer, retort::Schedule{1.0, options_.constant},
                fresh);
        retort::AdaptiveCriticalPeriod adaptive{
            {.initial = options_.initial, .factor = options_.decay, .fall = options_.fall}};
        student(seed, "adaptive_period", auxiliary, every_layer, retort::Schedule{1.0, adaptive}, fresh,
                adaptive);
        if (wanted("adaptive_period")) {
            const auto end = adaptive.last_epoch();
            std::printf("seed %llu: the adaptive period %s %lld epochs\n",
                        static_cast<unsigned long long>(seed), end ? "lasted" : "did not end within",
                        static_cast<long long>(end ? *end + 1 : options_.epochs));
        }
        // Without an auxiliary each layer follows the teacher's layer of nearest information content, given the
        // layers of a student trained on the classes.
        const auto nearest =
            retort::LayerMap::nearest(flow_vector(plain_student), flow_vector(teacher_)).layers();
        student(seed, "no_auxiliary", teacher,
                retort::Knowledge{last,
                                  retort::MatchedInformationFlow{
                                      retort::Taps{layer<0>, layer<1>, layer<2>},
                                      all_layers,
                                      {.map = retort::LayerMap({nearest[0], nearest[1], nearest[2]})}}},
                retort::Schedule{1.0, period}, fresh);
    }

    bool wanted(const std::string& name) const {
        return std::find(options_.students.begin(), options_.students.end(), name) != options_.students.end();
    }

    /// Trains and evaluates a student, if requested.
    template <class Teacher, class Knowledge, class Schedule, class Optimizer, class... Callbacks>
    FlowCnn student(std::uint64_t seed, const std::string& name, const Teacher& teacher,
                    const Knowledge& knowledge, const Schedule& schedule, const Optimizer& optimizer,
                    Callbacks&&... callbacks) {
        torch::manual_seed(200 + seed);
        FlowCnn net = models::cnn1(classes());
        if (!wanted(name) && name != "plain") return net;
        retort::Trainer trainer{net, teacher, knowledge, schedule, optimizer, where_};
        fit("seed" + std::to_string(seed) + "-" + name, trainer, data_.train, options_.epochs, 4000 + seed,
            FlowWatch{net, auxiliary_, images_}, callbacks...);
        if (!wanted(name)) return net;
        measure(name, net);
        auto kind = std::find_if(kinds_.begin(), kinds_.end(),
                                 [&](const flow::Kind& each) { return each.name == name; });
        if (kind == kinds_.end()) {
            kind = kinds_.insert(kind, {name});
            for (std::int64_t epoch = 0; Schedule::size == 2 && epoch < options_.epochs; ++epoch) {
                kind->weights.push_back(schedule.weights({.epoch = epoch, .epochs = options_.epochs}).back());
            }
        }
        kind->runs.push_back(trainer.history());
        return net;
    }

    /// The information of each layer about the classes of (at most 2000) test images, in nats.
    template <class Network>
    retort::InformationFlowVector flow_vector(const Network& network) const {
        retort::data::Dataset asked = data_.test;
        asked.inputs = asked.inputs.slice(0, 0, 2000);
        asked.targets = asked.targets.slice(0, 0, 2000);
        retort::InformationFlowVector result;
        for (const auto& each : retort::features(network, all_layers, data_.in_order(asked))) {
            result.push_back(retort::metrics::information_content(each));
        }
        return result;
    }

    /// Evaluates a network by retrieval: training images are the gallery, test images the queries.
    template <class Network>
    void measure(const std::string& name, const Network& network) {
        namespace metrics = retort::metrics;
        const auto database = retort::features(network, layer<3>, data_.in_order(data_.train));
        const auto queries = retort::features(network, layer<3>, data_.in_order(data_.test));
        const metrics::Retrieval retrieval{
            database,
            {.average = options_.released_average ? metrics::AveragePrecision::eleven_point_released
                                                  : metrics::AveragePrecision::exact,
             .at = {std::min<std::int64_t>(100, database.size())}}};
        const auto found = retrieval.scores(queries);
        if (scores_[name].empty()) {
            names_.push_back(name);
            parameters_[name] = models::parameter_count(*network);
        }
        scores_[name].push_back(
            {found.mean_average_precision, found.precision.front(),
             metrics::NearestCentroid{database, metrics::Distance::cosine}.accuracy(queries),
             metrics::LinearProbe{database}.accuracy(queries), flow_vector(network)});
    }

    std::string results_csv() const {
        std::ostringstream stream;
        stream.precision(9);
        stream << "network,seed,average_precision,precision_at_100,nearest_centroid,linear_probe,"
                  "information_layer1,information_layer2,information_layer3,information_layer4\n";
        for (const std::string& name : names_) {
            for (std::size_t seed = 0; seed < scores_.at(name).size(); ++seed) {
                const Scores& s = scores_.at(name)[seed];
                stream << '"' << name << "\"," << seed << ',' << s.average_precision << ',' << s.precision
                       << ',' << s.centroid << ',' << s.probe;
                for (const double content : s.flow) stream << ',' << content;
                stream << '\n';
            }
        }
        return std::move(stream).str();
    }

    void print() const {
        std::printf(
            "\nRetrieval of training images by test images, cosine distance, in percent%s:\n\n"
            "%-18s %10s  %14s  %14s  %14s  %14s  %s\n",
            options_.seeds > 1 ? ", mean +- standard deviation over the seeds" : "", "network", "parameters",
            "mAP", "precision@100", "centroid", "linear probe", "information of layers (nats)");
        for (const std::string& name : names_) {
            const std::vector<Scores>& scores = scores_.at(name);
            const auto column = [&](double Scores::* member) {
                std::vector<double> values;
                for (const Scores& each : scores) values.push_back(100 * (each.*member));
                return examples::with_deviation(values);
            };
            std::string flows;
            for (std::size_t i = 0; i < flow::layers; ++i) {
                std::vector<double> values;
                for (const Scores& each : scores) values.push_back(each.flow[i]);
                char text[32];
                std::snprintf(text, sizeof text, "%s%.2f", i > 0 ? " " : "", examples::Spread(values).mean);
                flows += text;
            }
            std::printf("%-18s %10lld  %14s  %14s  %14s  %14s  %s\n", name.c_str(),
                        static_cast<long long>(parameters_.at(name)),
                        column(&Scores::average_precision).c_str(), column(&Scores::precision).c_str(),
                        column(&Scores::centroid).c_str(), column(&Scores::probe).c_str(), flows.c_str());
        }
    }

    Options options_;
    at::Device device_;
    Data data_;
    examples::OutputFolder out_;
    retort::Stages stages_;
    retort::TrainerOptions where_;
    at::Tensor images_;
    PreActivationNet teacher_{nullptr};
    FlowCnn auxiliary_{nullptr};
    std::vector<std::string> names_;
    std::map<std::string, std::vector<Scores>> scores_;
    std::map<std::string, std::int64_t> parameters_;
    std::vector<flow::Kind> kinds_;
};

void describe(CLI::App& app, Options& options) {
    const examples::AddOption option{app};
    app.add_option("--data", options.data,
                   "Folder with CIFAR-10 or CIFAR-100, binary version. Without it: generated colored "
                   "letters");
    option("--labels", options.labels, "Labels of CIFAR-100: coarse (20 classes) or fine (100)",
           CLI::IsMember({"coarse", "fine"}));
    option("--samples", options.samples, "Training samples; 0: all of --data, or 2000 letters",
           examples::zero_or_more());
    option("--test-samples", options.test_samples, "Query samples; 0: all of --data, or 1000 letters",
           examples::zero_or_more());
    option("--teacher-samples", options.teacher_samples,
           "Training samples of the teacher; 0: as many as --samples", examples::zero_or_more());
    option("--students", options.students, "Which students to compare", CLI::IsMember(all_students));
    option("--seeds", options.seeds, "Runs of auxiliary and students, each with a different seed",
           CLI::Range(1, 1000));
    option("--teacher-width", options.teacher_width,
           "Channels of the teacher's first stage; 0: 64, the paper's ResNet-18, or 16 for letters",
           examples::zero_or_more());
    option("--teacher-epochs", options.teacher_epochs, "Epochs of the teacher; 0: 80, or 8 for letters",
           examples::zero_or_more());
    option("--auxiliary-epochs", options.auxiliary_epochs,
           "Epochs of the auxiliary on the classes; 0: 80, or 8 for letters", examples::zero_or_more());
    option("--transfer-epochs", options.transfer_epochs,
           "Epochs of the auxiliary on the teacher; 0: 40, or 8 for letters", examples::zero_or_more());
    option("--epochs", options.epochs, "Epochs of the students; 0: 50, or 16 for letters",
           examples::zero_or_more());
    option("--batch-size", options.batch_size, "Samples per step", CLI::Range(2, 1000000));
    option("--learning-rate", options.learning_rate, "Learning rate of Adam", examples::above_zero());
    option("--initial", options.initial, "Initial weight of the intermediate layers", examples::above_zero());
    option("--decay", options.decay, "Factor on this weight per epoch", CLI::Range(0.01, 0.999));
    option("--fall", options.fall,
           "The adaptive period ends when the gradient falls below this fraction of its peak",
           CLI::Range(0.01, 0.99));
    option("--constant", options.constant, "Weight of the intermediate layers without a critical period",
           examples::above_zero());
    option("--temperature", options.temperature, "Temperature of the soft targets", examples::above_zero());
    app.add_flag("--released-average", options.released_average,
                 "Average precision as in the paper's released evaluation, instead of the exact one");
    app.add_option("--out", options.out,
                   "Folder for results and checkpoints; an interrupted run resumes from it")
        ->capture_default_str();
    options.machine.add_to(app);
    app.footer(
        "The students:\n"
        "  plain             cross-entropy, no teacher\n"
        "  soft_target       0.9 soft targets of the teacher, 0.1 cross-entropy\n"
        "  hint, pkt         the teacher's representation through a linear map, or by its neighborhoods\n"
        "  information_flow  every layer of the auxiliary teacher, with the critical period\n"
        "  constant_weights  the same without the critical period\n"
        "  adaptive_period   the same with a period that ends when gradients fall\n"
        "  no_auxiliary      every layer from the teacher's layer of nearest information content\n"
        "Writes to the folder of --out:\n"
        "  information_flow.svg  divergence of each layer from the auxiliary's, by epoch (drawn by gnuplot)\n"
        "  results.csv           all measurements, by network and seed\n"
        "  stages                checkpoints; rerun the same command to resume");
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{
        "Information flow modeling (Passalis, Tzelepi, Tefas, \"Heterogeneous Knowledge Distillation Using\n"
        "Information Flow Modeling\", CVPR 2020) with the paper's networks: a ResNet-18 teaches an "
        "auxiliary\n"
        "teacher, which has the student's architecture with twice the neurons, and this one teaches every "
        "layer\n"
        "to a student of about 15,000 parameters, the intermediate ones most of all in the first epochs."};
    Options options;
    describe(app, options);
    return examples::run(app, argc, argv, [&] {
        fill_in(options);
        Experiment(options).run();
    });
}
