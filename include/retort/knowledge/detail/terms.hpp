// SPDX-License-Identifier: BSL-1.0
/// \file
/// Operations on all terms of a tuple: checks, learnable parts, state.
#pragma once

#include <torch/nn/module.h>

#include <cstddef>
#include <memory>
#include <string_view>
#include <tuple>
#include <utility>

#include <retort/checkpoint/archive.hpp>
#include <retort/core/error.hpp>
#include <retort/core/network.hpp>
#include <retort/detail/check.hpp>
#include <retort/knowledge/concept.hpp>

namespace retort::detail {

/// Calls `function(term)` for each.
template <class Tuple, class Function>
void each_term(Tuple&& terms, Function&& function) {
    std::apply([&](auto&... term) { (function(term), ...); }, terms);
}

template <class... Terms>
void check_terms(const std::tuple<Terms...>& terms) {
    static_assert(
        (forwards_term<Terms>() && ...),
        "retort: the term in the member `term` has learnable parts or trains the teacher, but the term "
        "that wraps it does not forward module, prepared, prepare, trains_teacher and reads_parameters: "
        "derive it from "
        "retort::TermAdaptor");
    each_term(terms, [](const auto& term) { check_policy(term); });
}

template <class... Terms>
bool terms_prepared(const std::tuple<Terms...>& terms) {
    bool result = true;
    each_term(terms, [&](const auto& term) { result = result && term_prepared(term); });
    return result;
}

template <class... Terms, class Student, class Teacher, class B>
void prepare_terms(std::tuple<Terms...>& terms, const Student& student, const Teacher* teacher,
                   const B& batch) {
    each_term(terms, [&](auto& term) { prepare_term(term, student, teacher, batch); });
}

template <class... Terms, class Student>
void bind_terms(std::tuple<Terms...>& terms, const NetworkRef<Student>& student) {
    each_term(terms, [&](auto& term) { bind_term(term, student); });
}

/// The learnable parts of all terms, as children `term0`, `term1`, ... of one module.
template <class... Terms>
std::shared_ptr<torch::nn::Module> terms_module(const char* name, const std::tuple<Terms...>& terms) {
    auto result = std::make_shared<torch::nn::Module>(name);
    std::size_t position = 0;
    each_term(terms, [&](const auto& term) {
        if (const std::shared_ptr<torch::nn::Module> part = term_module(term))
            result->register_module(concat("term", position), part);
        ++position;
    });
    return result;
}

/// Stores or sets the state of all terms, except for their learnable parts.
template <class... Terms>
void archive_terms(Archive& archive, std::tuple<Terms...>& terms) {
    std::size_t position = 0;
    each_term(terms, [&](auto& term) { archive_policy(archive, concat("term", position++), term); });
}

}  // namespace retort::detail
