// SPDX-License-Identifier: BSL-1.0
/// \file
/// Weights in common formats, and files written atomically. (Not in the umbrella header: it costs compile time.)
#pragma once

#include <retort/io/load_state_dict.hpp>
#include <retort/io/name_rules.hpp>
#include <retort/io/read_options.hpp>
#include <retort/io/safetensors.hpp>
#include <retort/io/state_dict.hpp>
#include <retort/io/weights.hpp>
#include <retort/io/write_file.hpp>
