// SPDX-License-Identifier: BSL-1.0
/// \file
/// All transforms.
#pragma once

#include <retort/data/augment/color_jitter.hpp>
#include <retort/data/augment/compose.hpp>
#include <retort/data/augment/cutout.hpp>
#include <retort/data/augment/horizontal_flip.hpp>
#include <retort/data/augment/no_transform.hpp>
#include <retort/data/augment/normalize.hpp>
#include <retort/data/augment/random_crop.hpp>
#include <retort/data/augment/random_erasing.hpp>
#include <retort/data/augment/to_unit_range.hpp>
