// SPDX-License-Identifier: BSL-1.0
/// \file
/// Teachers in checkpoints.
#pragma once

#include <string>

#include <retort/checkpoint/archive.hpp>
#include <retort/checkpoint/module_state.hpp>
#include <retort/core/error.hpp>
#include <retort/detail/type_name.hpp>
#include <retort/teacher/concept.hpp>

namespace retort::detail {

/// Stores or restores the state of a teacher with state; otherwise compares the hash of its modules.
/// \param hash of its modules, if known already; otherwise it is computed and stored there
/// \throws ConfigError if a teacher learns along and does not declare what goes into a checkpoint; CheckpointError if
/// it is another teacher
template <class T>
void archive_teacher(Archive& archive, T& teacher, std::string* hash = nullptr) {
    archive.expect("type", std::string(type_name<T>()));
    if constexpr (Checkpointed<T>) {
        teacher.checkpoint(archive);
    } else if constexpr (LearnsAlong<T>) {
        throw ConfigError(concat(
            "teacher: ", type_name<T>(),
            " learns along (update), but has no member checkpoint(retort::Archive&) that declares what "
            "goes into a checkpoint"));
    } else {
        std::string own = hash != nullptr ? *hash : std::string();
        if (own.empty()) own = hash_of_modules(teacher_modules(teacher));
        if (hash != nullptr) *hash = own;
        archive.expect("hash of its parameters and buffers", own);
    }
}

}  // namespace retort::detail
