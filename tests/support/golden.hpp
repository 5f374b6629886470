// SPDX-License-Identifier: BSL-1.0
/// \file
/// Reference values of losses: values and gradients of published implementations on fixed inputs.
/// See tests/golden/README.md for their origin.
#pragma once

#include <retort_test.hpp>

namespace retort_test::golden {

/// Tensors by name; a single tensor in the file is a list of one here.
using Tensors = std::map<std::string, std::vector<torch::Tensor>>;

/// One case of a file.
class Case {
  public:
    Case(std::string file, const c10::IValue& stored) : file_(std::move(file)) {
        const auto content = stored.toGenericDict();
        name_ = content.at("name").toStringRef();
        value_ = content.at("value").toTensor();
        inputs_ = read(content.at("inputs"));
        parameters_ = read(content.at("parameters"));
        components_ = read(content.at("components"));
        gradients_ = read(content.at("gradients"));
        for (const auto& option : content.at("options").toGenericDict()) {
            options_.emplace(option.key().toStringRef(), option.value());
        }
    }
    const std::string& file() const { return file_; }
    const std::string& name() const { return name_; }
    /// The reference's value of the loss.
    const torch::Tensor& value() const { return value_; }

    bool has_option(const std::string& key) const { return options_.contains(key); }
    /// A number (1 for true, 0 for false, -1 for None if the note of the file says so).
    double option(const std::string& key) const { return number(stored_option(key)); }
    std::string word(const std::string& key) const { return stored_option(key).toStringRef(); }
    /// A list of any type.
    c10::ArrayRef<c10::IValue> list(const std::string& key) const { return stored_option(key).toListRef(); }
    std::vector<double> option_list(const std::string& key) const {
        std::vector<double> result;
        for (const c10::IValue& each : stored_option(key).toListRef()) result.push_back(number(each));
        return result;
    }

    bool has_input(const std::string& key) const { return inputs_.contains(key); }
    torch::Tensor input(const std::string& key) const { return one(inputs_, "input", key); }
    std::vector<torch::Tensor> inputs(const std::string& key) const { return all(inputs_, "input", key); }
    bool has_parameter(const std::string& key) const { return parameters_.contains(key); }
    torch::Tensor parameter(const std::string& key) const { return one(parameters_, "parameter", key); }
    std::vector<torch::Tensor> parameters(const std::string& key) const {
        return all(parameters_, "parameter", key);
    }
    const Tensors& parameters() const { return parameters_; }
    bool has_component(const std::string& key) const { return components_.contains(key); }
    torch::Tensor component(const std::string& key) const { return one(components_, "component", key); }
    std::vector<torch::Tensor> components(const std::string& key) const {
        return all(components_, "component", key);
    }
    const Tensors& components() const { return components_; }
    /// The reference's gradients; absent for inputs without one.
    const Tensors& gradients() const { return gradients_; }

    /// Inputs or parameters as leaves that require a gradient.
    torch::Tensor leaf(const std::string& key) const { return leaves(key).at(0); }
    std::vector<torch::Tensor> leaves(const std::string& key) const {
        std::vector<torch::Tensor> result;
        for (const torch::Tensor& each : has_input(key) ? inputs(key) : parameters(key)) {
            result.push_back(each.detach().clone().requires_grad_());
        }
        return result;
    }

  private:
    static double number(const c10::IValue& value) {
        return value.isInt() ? static_cast<double>(value.toInt()) : value.toDouble();
    }
    static Tensors read(const c10::IValue& stored) {
        Tensors result;
        read(stored, "", result);
        return result;
    }
    /// A dictionary in a dictionary is read as `outer.inner`.
    static void read(const c10::IValue& stored, const std::string& prefix, Tensors& result) {
        for (const auto& entry : stored.toGenericDict()) {
            const std::string key = prefix + entry.key().toStringRef();
            if (entry.value().isGenericDict()) {
                read(entry.value(), key + ".", result);
            } else {
                collect(entry.value(), result[key]);
            }
        }
    }
    static void collect(const c10::IValue& value, std::vector<torch::Tensor>& list) {
        if (value.isTensor()) {
            list.push_back(value.toTensor());
        } else if (value.isList()) {
            for (const c10::IValue& each : value.toListRef()) collect(each, list);
        } else {
            list.push_back(torch::tensor(number(value), torch::kFloat64));
        }
    }
    const c10::IValue& stored_option(const std::string& key) const {
        const auto found = options_.find(key);
        if (found == options_.end()) throw std::out_of_range(file_ + "/" + name_ + ": no option " + key);
        return found->second;
    }
    std::vector<torch::Tensor> all(const Tensors& tensors, const char* kind, const std::string& key) const {
        const auto found = tensors.find(key);
        if (found == tensors.end()) {
            std::string names;
            for (const auto& [name, unused] : tensors) names += " " + name;
            throw std::out_of_range(file_ + "/" + name_ + ": no " + kind + " " + key + ", only" + names);
        }
        return found->second;
    }
    torch::Tensor one(const Tensors& tensors, const char* kind, const std::string& key) const {
        const auto list = all(tensors, kind, key);
        if (list.size() != 1) throw std::out_of_range(file_ + "/" + name_ + ": " + key + " is a list");
        return list[0];
    }

    std::string file_;
    std::string name_;
    torch::Tensor value_;
    Tensors inputs_, parameters_, components_, gradients_;
    std::map<std::string, c10::IValue> options_;
};

/// The cases of tests/golden/<name>.pt.
inline std::vector<Case> cases(const std::string& name) {
    const std::string bytes = read_file(std::filesystem::path(RETORT_GOLDEN_DIRECTORY) / (name + ".pt"));
    const auto root = torch::pickle_load({bytes.begin(), bytes.end()}).toGenericDict();
    std::vector<Case> result;
    const c10::IValue list = root.at("cases");
    for (const c10::IValue& each : list.toListRef()) result.emplace_back(name, each);
    if (result.empty()) throw std::runtime_error(name + ": no cases");
    return result;
}

/// The case of that name.
inline Case find(const std::string& file, const std::string& name) {
    for (const Case& each : cases(file)) {
        if (each.name() == name) return each;
    }
    throw std::out_of_range(file + ": no case " + name);
}

/// The largest difference relative to the reference's largest value; absolute if all of it is below `floor`.
inline double deviation(const torch::Tensor& found, const torch::Tensor& expected, double floor = 1e-12) {
    if (found.sizes() != expected.sizes()) return std::numeric_limits<double>::infinity();
    if (expected.numel() == 0) return 0;
    const auto left = found.detach().to(torch::kFloat64);
    const auto right = expected.detach().to(torch::kFloat64);
    const double difference = (left - right).abs().max().item<double>();
    if (std::isnan(difference)) return std::numeric_limits<double>::infinity();
    return difference <= floor ? 0.0 : difference / std::max(right.abs().max().item<double>(), floor);
}

/// Whether `value`, and its gradient with respect to every given leaf, agrees with the reference. Every gradient of the
/// case must be requested, unless `without` names it. The worst deviations are written, one line per case, to the file
/// that the environment variable RETORT_GOLDEN_RECORD names: docs/reference-values.md is made from them.
/// \param leaves by the names of the case's inputs and parameters
/// \param tolerance relative
inline Comparison agrees(const Case& reference, const torch::Tensor& value, const Tensors& leaves,
                         double tolerance = 1e-8, const std::vector<std::string>& without = {},
                         double floor = 1e-12) {
    std::ostringstream text;
    text.precision(17);
    const double of_value = deviation(value, reference.value(), floor);
    if (!(of_value <= tolerance)) {
        text << "value " << value.item<double>() << ", expected " << reference.value().item<double>()
             << " (relative " << of_value << "); ";
    }
    std::vector<torch::Tensor> flat;
    for (const auto& [key, list] : leaves) flat.insert(flat.end(), list.begin(), list.end());
    std::vector<torch::Tensor> gradients;
    if (!flat.empty()) {
        gradients = torch::autograd::grad({value}, flat, {}, /*retain_graph=*/true, /*create_graph=*/false,
                                          /*allow_unused=*/true);
    }
    double of_gradients = 0;
    std::size_t position = 0;
    for (const auto& [key, list] : leaves) {
        const auto expected = reference.gradients().find(key);
        for (std::size_t i = 0; i < list.size(); ++i, ++position) {
            const torch::Tensor found =
                gradients[position].defined() ? gradients[position] : torch::zeros_like(list[i]);
            const double off = expected == reference.gradients().end() || i >= expected->second.size()
                                   ? std::numeric_limits<double>::infinity()
                                   : deviation(found, expected->second[i], floor);
            of_gradients = std::max(of_gradients, off);
            if (!(off <= tolerance)) text << "gradient " << key << "[" << i << "] (relative " << off << "); ";
        }
    }
    for (const auto& [key, unused] : reference.gradients()) {
        if (!leaves.contains(key) && std::find(without.begin(), without.end(), key) == without.end()) {
            text << "gradient " << key << " was not compared; ";
        }
    }
    if (const char* path = std::getenv("RETORT_GOLDEN_RECORD")) {
        std::ofstream(path, std::ios::app) << reference.file() << ' ' << reference.name() << ' ' << of_value
                                           << ' ' << of_gradients << ' ' << tolerance << '\n';
    }
    const std::string difference = std::move(text).str();
    return Comparison(difference.empty() ? ""
                                         : reference.file() + "/" + reference.name() + ": " + difference);
}

}  // namespace retort_test::golden
