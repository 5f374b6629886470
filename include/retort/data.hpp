// SPDX-License-Identifier: BSL-1.0
/// \file
/// Data sets as ranges of batches: readers, splits, transforms, loaders.
#pragma once

#include <retort/data/augment.hpp>
#include <retort/data/batch.hpp>
#include <retort/data/batch_random.hpp>
#include <retort/data/chunks.hpp>
#include <retort/data/cifar.hpp>
#include <retort/data/concept.hpp>
#include <retort/data/dataset.hpp>
#include <retort/data/epoch_order.hpp>
#include <retort/data/idx.hpp>
#include <retort/data/loader.hpp>
#include <retort/data/loader_options.hpp>
#include <retort/data/map.hpp>
#include <retort/data/mnist.hpp>
#include <retort/data/one_view.hpp>
#include <retort/data/prefetch.hpp>
#include <retort/data/presets.hpp>
#include <retort/data/rotated_batch.hpp>
#include <retort/data/rotated_views.hpp>
#include <retort/data/split.hpp>
#include <retort/data/stratified_split.hpp>
#include <retort/data/to_device.hpp>
#include <retort/data/torch_loader.hpp>
#include <retort/data/two_view_batch.hpp>
#include <retort/data/two_views.hpp>
