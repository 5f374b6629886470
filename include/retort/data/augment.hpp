// SPDX-License-Identifier: BSL-1.0
/// \file
/// All transforms.
#pragma once

#include <retort/data/augment/colour_jitter.hpp>
#include <retort/data/augment/compose.hpp>
#include <retort/data/augment/cutout.hpp>
#include <retort/data/augment/horizontal_flip.hpp>
#include <retort/data/augment/identity.hpp>
#include <retort/data/augment/normalise.hpp>
#include <retort/data/augment/random_crop.hpp>
#include <retort/data/augment/random_erasing.hpp>
#include <retort/data/augment/to_unit_range.hpp>
