// SPDX-License-Identifier: BSL-1.0
/// \file
/// Information-flow vectors, and maps from a student's layers to a teacher's.
#pragma once

#include <cmath>
#include <cstddef>
#include <initializer_list>
#include <utility>
#include <vector>

#include <retort/core/error.hpp>

namespace retort {

/// An information-flow vector: the information of each layer of a network about the classes, from shallow to deep
/// (`metrics::information_content` of each).
using InformationFlowVector = std::vector<double>;

/// Options of `LayerMap::nearest`.
struct NearestLayerOptions {
    /// Map the last layer to the last, whatever their information content. Sources do not settle it; the default is
    /// this library's choice.
    bool last_to_last = true;
};

/// Maps each layer of the student to a layer of the teacher: \f$ \kappa \f$, with indices from 0.
class LayerMap {
  public:
    /// By index: element i is the teacher's layer for the student's layer i.
    explicit LayerMap(std::vector<std::size_t> layers) : layers_(std::move(layers)) {}
    LayerMap(std::initializer_list<std::size_t> layers) : layers_(layers) {}

    /// One to one: for an auxiliary teacher of the student's architecture.
    static LayerMap one_to_one(std::size_t layers) {
        std::vector<std::size_t> result;
        for (std::size_t i = 0; i < layers; ++i) result.push_back(i);
        return LayerMap(std::move(result));
    }
    /// The layer of nearest information content: \f$ \kappa(i) = \arg\min_j ([w_s]_i - [w_t]_j)^2 \f$, the shallower
    /// of equals. Several layers of the student may map to the same layer, and some of the teacher's may be unused.
    ///
    /// Source: Passalis, Tzelepi, Tefas, "Heterogeneous Knowledge Distillation Using Information Flow
    /// Modeling", CVPR 2020.
    /// \throws ConfigError if a vector is empty or has a value that is not finite
    static LayerMap nearest(const InformationFlowVector& student, const InformationFlowVector& teacher,
                            const NearestLayerOptions& options = {}) {
        check("student", student);
        check("teacher", teacher);
        std::vector<std::size_t> result;
        for (const double content : student) {
            std::size_t best = 0;
            for (std::size_t j = 1; j < teacher.size(); ++j) {
                if (std::abs(content - teacher[j]) < std::abs(content - teacher[best])) best = j;
            }
            result.push_back(best);
        }
        if (options.last_to_last) result.back() = teacher.size() - 1;
        return LayerMap(std::move(result));
    }

    /// The number of the student's layers.
    std::size_t size() const { return layers_.size(); }
    /// The teacher's layer for one of the student's.
    std::size_t operator[](std::size_t layer) const { return layers_[layer]; }
    const std::vector<std::size_t>& layers() const { return layers_; }
    friend bool operator==(const LayerMap&, const LayerMap&) = default;

    /// \throws ConfigError unless the map has this many layers of the student and only indices below this many layers
    /// of the teacher
    void check(const char* where, std::size_t student_layers, std::size_t teacher_layers) const {
        if (layers_.size() != student_layers) {
            throw ConfigError(detail::concat(where, ": expected a map for the ", student_layers,
                                             " layers of the student, found one for ", layers_.size()));
        }
        for (std::size_t i = 0; i < layers_.size(); ++i) {
            if (layers_[i] >= teacher_layers) {
                throw ConfigError(detail::concat(where, ": expected a map to the teacher's layers below ",
                                                 teacher_layers, ", found ", layers_[i],
                                                 " for the student's layer ", i));
            }
        }
    }

  private:
    static void check(const char* whose, const InformationFlowVector& flow) {
        if (flow.empty()) {
            throw ConfigError(detail::concat("LayerMap: expected layers of the ", whose, ", found none"));
        }
        for (const double content : flow) {
            if (!std::isfinite(content)) {
                throw ConfigError(detail::concat("LayerMap: expected finite information contents of the ",
                                                 whose, ", found ", content));
            }
        }
    }
    std::vector<std::size_t> layers_;
};

/// The distance of two information flows:
/// \f$ D_F = \sum_i ([w_s]_i - [w_t]_{\kappa(i)})^2 \f$ (Passalis, Tzelepi, Tefas, CVPR 2020). A measurement; the
/// training loss is `InformationFlow`, which compares neighborhoods.
/// \throws ConfigError if the map does not match
inline double flow_vector_divergence(const InformationFlowVector& student,
                                     const InformationFlowVector& teacher, const LayerMap& map) {
    map.check("flow_vector_divergence", student.size(), teacher.size());
    double sum = 0;
    for (std::size_t i = 0; i < student.size(); ++i) {
        sum += (student[i] - teacher[map[i]]) * (student[i] - teacher[map[i]]);
    }
    return sum;
}

}  // namespace retort
