// SPDX-License-Identifier: BSL-1.0
/// \file
/// A generated data set that needs no download; deterministic given its seed.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randperm.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include <retort/data/dataset.hpp>

namespace examples {

struct GlyphOptions {
    std::int64_t samples = 1000;  ///< at least 1
    std::uint64_t seed = 0;       ///< determines all randomness
    std::int64_t size = 28;       ///< height and width in pixels
    bool color =
        false;  ///< three channels, ink and paper in random colors; otherwise one channel, white on black
};

namespace detail {

using Stroke =
    std::vector<std::array<float, 2>>;  // a line through these points; x to the right, y down, from -1 to 1

/// An arc of an ellipse, in degrees; 0 is on the right, 90 at the bottom.
inline Stroke arc(float x, float y, float radius_x, float radius_y, float from, float to) {
    constexpr int pieces = 8;
    Stroke result;
    for (int i = 0; i <= pieces; ++i) {
        const float angle = (from + (to - from) * static_cast<float>(i) / pieces) * 3.14159265F / 180.0F;
        result.push_back({x + radius_x * std::cos(angle), y + radius_y * std::sin(angle)});
    }
    return result;
}

/// Ten letters that are easily confused: C and G, O and Q, D and O, P and R, E and F, B and all the others with a
/// stem.
inline std::vector<std::vector<Stroke>> letters() {
    const Stroke stem{{-0.6F, -1.0F}, {-0.6F, 1.0F}};
    const Stroke bowl = arc(-0.6F, -0.45F, 1.1F, 0.55F, -90.0F, 90.0F);
    const Stroke top{{-0.6F, -1.0F}, {0.6F, -1.0F}};
    const Stroke middle{{-0.6F, 0.0F}, {0.4F, 0.0F}};
    return {
        {arc(0.0F, 0.0F, 0.75F, 1.0F, 50.0F, 310.0F)},                                                 // C
        {arc(0.0F, 0.0F, 0.75F, 1.0F, 40.0F, 310.0F), {{0.1F, 0.15F}, {0.6F, 0.15F}, {0.6F, 0.65F}}},  // G
        {arc(0.0F, 0.0F, 0.75F, 1.0F, 0.0F, 360.0F)},                                                  // O
        {arc(0.0F, 0.0F, 0.75F, 1.0F, 0.0F, 360.0F), {{0.2F, 0.4F}, {0.8F, 1.1F}}},                    // Q
        {stem, arc(-0.6F, 0.0F, 1.25F, 1.0F, -90.0F, 90.0F)},                                          // D
        {stem, bowl},                                                                                  // P
        {stem, bowl, {{-0.2F, 0.1F}, {0.6F, 1.0F}}},                                                   // R
        {stem, bowl, arc(-0.6F, 0.55F, 1.25F, 0.45F, -90.0F, 90.0F)},                                  // B
        {stem, top, middle, {{-0.6F, 1.0F}, {0.6F, 1.0F}}},                                            // E
        {stem, top, middle},                                                                           // F
    };
}

/// A segment of a stroke: a straight line between two points.
struct Piece {
    float from_x, from_y, to_x, to_y;
};

/// Random numbers of one sample, so that it is the same whatever the number of threads (SplitMix64: Steele, Lea and
/// Flood, 2014).
class Random {
  public:
    Random(std::uint64_t seed, std::uint64_t sample) : state_(seed * 0xd1342543de82ef95U + sample) {
        state_ = next();  // decorrelates neighboring samples
    }
    /// Uniform in [low, high).
    float operator()(float low, float high) {
        return low + (high - low) * static_cast<float>(next() >> 40) * 0x1p-24F;
    }

  private:
    std::uint64_t next() {
        std::uint64_t x = state_ += 0x9e3779b97f4a7c15U;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
        return x ^ (x >> 31);
    }
    std::uint64_t state_;
};

/// Adds ink along a stroke: `ink` becomes at least `strength` within `radius` pixels of the pieces.
inline void add_ink(std::vector<float>& ink, std::vector<float>& nearest, const std::vector<Piece>& pieces,
                    float radius, float strength, std::size_t size) {
    std::fill(nearest.begin(), nearest.end(), 1e9F);
    for (const Piece& piece : pieces) {
        const float along_x = piece.to_x - piece.from_x;
        const float along_y = piece.to_y - piece.from_y;
        const float scale = 1.0F / std::max(along_x * along_x + along_y * along_y, 1e-6F);
        for (std::size_t row = 0; row < size; ++row) {
            const float y = static_cast<float>(row) + 0.5F - piece.from_y;
            float* const distances = &nearest[row * size];
            for (std::size_t column = 0; column < size; ++column) {
                const float x = static_cast<float>(static_cast<int>(column)) + 0.5F - piece.from_x;
                const float share = std::min(std::max((x * along_x + y * along_y) * scale, 0.0F), 1.0F);
                const float off_x = x - share * along_x;
                const float off_y = y - share * along_y;
                distances[column] = std::min(distances[column], off_x * off_x + off_y * off_y);
            }
        }
    }
    for (std::size_t pixel = 0; pixel < ink.size(); ++pixel) {
        const float cover = std::min(std::max(0.5F + radius - std::sqrt(nearest[pixel]), 0.0F), 1.0F);
        ink[pixel] = std::max(ink[pixel], strength * cover);
    }
}

/// Draws one letter into `image`: channels x size x size.
inline void draw(const std::vector<Stroke>& letter, const GlyphOptions& options, Random random,
                 std::uint8_t* image) {
    const auto size = static_cast<std::size_t>(options.size);
    const auto scale = static_cast<float>(options.size);

    // The letter: bent, sheared, rotated, scaled and shifted.
    const float bend_x = random(0.0F, 0.2F);
    const float bend_y = random(0.0F, 0.2F);
    const float wave_x = random(1.0F, 3.0F);
    const float wave_y = random(1.0F, 3.0F);
    const float phase_x = random(0.0F, 6.2832F);
    const float phase_y = random(0.0F, 6.2832F);
    const float angle = random(-0.5F, 0.5F);
    const float shear = random(-0.4F, 0.4F);
    const float wide = random(0.19F, 0.34F) * scale;
    const float high = random(0.21F, 0.36F) * scale;
    const float middle_x = random(0.40F, 0.60F) * scale;
    const float middle_y = random(0.40F, 0.60F) * scale;
    const float cosine = std::cos(angle);
    const float sine = std::sin(angle);
    const auto place = [&](const std::array<float, 2>& point) {
        const float x = wide * (point[0] + bend_x * std::sin(wave_x * point[1] + phase_x));
        const float y = high * (point[1] + bend_y * std::sin(wave_y * point[0] + phase_y));
        const float slanted = x + shear * y;
        return std::array<float, 2>{middle_x + cosine * slanted - sine * y,
                                    middle_y + sine * slanted + cosine * y};
    };
    std::vector<Piece> pieces;
    for (const Stroke& stroke : letter) {
        for (std::size_t i = 0; i + 1 < stroke.size(); ++i) {
            const auto from = place(stroke[i]);
            const auto to = place(stroke[i + 1]);
            pieces.push_back({from[0], from[1], to[0], to[1]});
        }
    }
    std::vector<float> ink(size * size, 0.0F);
    std::vector<float> nearest(size * size);
    add_ink(ink, nearest, pieces, random(0.02F, 0.055F) * scale, random(0.5F, 1.0F), size);

    // Stray strokes, some as dark as the letter itself.
    for (int i = 0; i < 2; ++i) {
        const float x = random(0.05F, 0.95F) * scale;
        const float y = random(0.05F, 0.95F) * scale;
        const float half_x = random(-0.15F, 0.15F) * scale;
        const float half_y = random(-0.15F, 0.15F) * scale;
        const float radius = random(0.02F, 0.045F) * scale;
        add_ink(ink, nearest, {{x - half_x, y - half_y, x + half_x, y + half_y}}, radius, random(0.1F, 0.9F),
                size);
    }
    // An occluding patch.
    const float patch_x = random(0.1F, 0.9F) * scale;
    const float patch_y = random(0.1F, 0.9F) * scale;
    const float patch_wide = random(0.03F, 0.13F) * scale;
    const float patch_high = random(0.03F, 0.13F) * scale;
    for (std::size_t row = 0; row < size; ++row) {
        for (std::size_t column = 0; column < size; ++column) {
            const bool hidden = std::abs(static_cast<float>(column) + 0.5F - patch_x) < patch_wide &&
                                std::abs(static_cast<float>(row) + 0.5F - patch_y) < patch_high;
            if (hidden) ink[row * size + column] = 0.0F;
        }
    }
    // Ink on paper, with grain.
    const float grain = random(0.02F, 0.18F);
    for (std::size_t channel = 0; channel < (options.color ? 3U : 1U); ++channel) {
        const float paper = options.color ? random(0.0F, 0.5F) : random(0.0F, 0.25F);
        const float full = options.color ? random(0.4F, 1.0F) : 1.0F;
        for (std::size_t pixel = 0; pixel < size * size; ++pixel) {
            const float noise = grain * (random(-1.0F, 1.0F) + random(-1.0F, 1.0F));
            const float value = paper + ink[pixel] * (full - paper) + noise;
            *image++ = static_cast<std::uint8_t>(std::lround(255.0F * std::min(std::max(value, 0.0F), 1.0F)));
        }
    }
}

}  // namespace detail

/// Ten letters, all classes equally frequent (as far as the number of samples allows), drawn with strokes that are
/// bent, rotated, scaled, shifted and partly hidden, among stray strokes and noise: uint8 [samples, channels, size,
/// size].
///
/// Different seeds give different samples of the same distribution: one for training, another for testing.
/// \throws retort::DataError if there are no samples to draw
inline retort::data::Dataset glyphs(const GlyphOptions& options) {
    if (options.samples < 1 || options.size < 8) {
        throw retort::DataError("glyphs: expected at least 1 sample of at least 8 pixels, found " +
                                std::to_string(options.samples) + " of " + std::to_string(options.size));
    }
    const auto letters = detail::letters();
    const auto classes = static_cast<std::int64_t>(letters.size());
    at::Generator generator = at::detail::createCPUGenerator(options.seed);
    const at::Tensor targets =
        at::randperm(options.samples, generator, at::TensorOptions(at::kLong)).remainder(classes);
    const at::Tensor images = at::empty({options.samples, options.color ? 3 : 1, options.size, options.size},
                                        at::TensorOptions(at::kByte));
    const auto* target = targets.data_ptr<std::int64_t>();
    auto* pixels = images.data_ptr<std::uint8_t>();
    const std::int64_t bytes = images.stride(0);
    at::parallel_for(0, options.samples, 64, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t sample = begin; sample < end; ++sample) {
            detail::draw(letters[static_cast<std::size_t>(target[sample])], options,
                         detail::Random(options.seed, static_cast<std::uint64_t>(sample)),
                         pixels + sample * bytes);
        }
    });
    return retort::data::in_memory(images, targets, classes);
}

}  // namespace examples
