// SPDX-License-Identifier: BSL-1.0
/// \file
/// Images for training, validation and testing: Fashion-MNIST, MNIST, CIFAR-100, or generated letters.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>

#include <retort/core/error.hpp>
#include <retort/data.hpp>

#include "glyphs.hpp"

namespace examples {

/// `count` of the samples, stratified by class; all of them if `count` is 0.
/// \param option the option named in the error
/// \throws retort::ConfigError if there are fewer
inline retort::data::Dataset some(const retort::data::Dataset& dataset, std::int64_t count,
                                  const char* option) {
    if (count > dataset.size()) {
        throw retort::ConfigError(std::string(option) + ": expected at most " +
                                  std::to_string(dataset.size()) + ", found " + std::to_string(count));
    }
    if (count == 0 || count == dataset.size()) return dataset;
    const double share = static_cast<double>(count) / static_cast<double>(dataset.size());
    return retort::data::stratified_split(dataset, {.validation_fraction = share}).validation;
}

/// Normalizes a data set to mean 0 and standard deviation 1.
inline retort::data::Normalize normalize(const retort::data::Dataset& dataset) {
    const at::Tensor pixels = dataset.inputs.to(at::kFloat).div(255);
    return {.mean = {pixels.mean().item<double>()}, .deviation = {pixels.std().item<double>()}};
}

struct ImageData {
    std::string name{};
    bool colored = false;  ///< CIFAR-100
    retort::data::Dataset train{};
    retort::data::Dataset validation{};
    retort::data::Dataset test{};
    retort::data::Normalize normalize{};
    std::int64_t padding = 2;
    double flip = 0.0;  ///< probability of mirroring an image; 0 for letters

    std::int64_t channels() const { return train.inputs.size(1); }
    std::int64_t classes() const { return train.classes; }

    /// The augmentation of training images.
    auto moved() const {
        return retort::data::Compose{retort::data::RandomCrop{.padding = padding},
                                     retort::data::HorizontalFlip{.probability = flip}, normalize};
    }
    /// Training batches: shuffled, each image shifted and randomly mirrored.
    auto shuffled(std::int64_t batch_size, std::uint64_t seed) const {
        return retort::data::Loader{
            train, {.batch_size = batch_size, .drop_last = true, .seed = seed}, moved()};
    }
    /// The same images in the same order, each in four rotations.
    auto rotated(std::int64_t batch_size, std::uint64_t seed) const {
        return retort::data::Loader{train,
                                    {.batch_size = batch_size, .drop_last = true, .seed = seed},
                                    retort::data::RotatedViews{moved()}};
    }
    /// Evaluation batches.
    auto in_order(const retort::data::Dataset& dataset) const {
        return retort::data::Loader{dataset, {.batch_size = 500, .shuffle = false}, normalize};
    }
};

/// Loads the data of a folder, with some of the training samples held out for validation.
/// \param folder with CIFAR-100 (binary version) or with the IDX files of Fashion-MNIST or MNIST; empty: letters
/// \param samples how many of the training samples are used, stratified by class; 0: all of the folder, or `letters`
/// letters
/// \param validation the fraction of them that is held out
/// \param test_samples how many of the test samples are used, stratified by class; 0: all of the folder, or 4000
/// letters
inline ImageData image_data(const std::filesystem::path& folder, std::int64_t samples, std::int64_t letters,
                            double validation = 0.1, std::int64_t test_samples = 0) {
    using namespace retort::data;
    ImageData data;
    Dataset all;
    if (folder.empty()) {
        data.name = "Built-in letters";
        all = glyphs({.samples = samples > 0 ? samples : letters, .seed = 1});
        data.test = glyphs({.samples = test_samples > 0 ? test_samples : 4000, .seed = 2});
    } else {
        data.name = folder.string();
        data.colored = std::filesystem::exists(folder / "train.bin") ||
                       std::filesystem::exists(folder / "cifar-100-binary");
        if (data.colored) {
            all = cifar100(folder, Split::train);
            data.test = cifar100(folder, Split::test);
            data.normalize = cifar100_eval();
            data.padding = 4;
        } else {
            all = mnist(folder, Split::train);
            data.test = mnist(folder, Split::test);
        }
        data.flip = 0.5;
        all = some(all, samples, "--samples");
        data.test = some(data.test, test_samples, "--test-samples");
    }
    auto parts = stratified_split(all, {.validation_fraction = validation});
    data.train = std::move(parts.train);
    data.validation = std::move(parts.validation);
    if (!data.colored) data.normalize = normalize(data.train);
    return data;
}

}  // namespace examples
