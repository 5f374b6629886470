// SPDX-License-Identifier: BSL-1.0
/// \file
/// Standard transforms for the published data sets.
///
/// | set | training | means | standard deviations |
/// |---|---|---|---|
/// | CIFAR-100 | crop 32 of 40, flip | 0.5071 0.4867 0.4408 | 0.2675 0.2565 0.2761 |
/// | CIFAR-10 | crop 32 of 40, flip | 0.4914 0.4822 0.4465 | 0.2470 0.2435 0.2616 |
/// | Fashion-MNIST | crop 28 of 32, flip | 0.2860 | 0.3530 |
/// | MNIST | crop 28 of 32 | 0.1307 | 0.3081 |
///
/// Means and standard deviations are those of the training pixels, from 0 to 1. The CIFAR-100 numbers and
/// transforms are those of RepDistiller and mdistiller, which most published results share. For the others
/// there is no such convention: the crops are common ones, and digits are not flipped.
#pragma once

#include <retort/data/augment/color_jitter.hpp>
#include <retort/data/augment/compose.hpp>
#include <retort/data/augment/cutout.hpp>
#include <retort/data/augment/horizontal_flip.hpp>
#include <retort/data/augment/normalize.hpp>
#include <retort/data/augment/random_crop.hpp>

namespace retort::data {

inline Normalize cifar100_eval() {
    return {.mean = {0.5071, 0.4867, 0.4408}, .deviation = {0.2675, 0.2565, 0.2761}};
}
inline Normalize cifar10_eval() {
    return {.mean = {0.4914, 0.4822, 0.4465}, .deviation = {0.2470, 0.2435, 0.2616}};
}
inline Normalize fashion_mnist_eval() { return {.mean = {0.2860}, .deviation = {0.3530}}; }
inline Normalize mnist_eval() { return {.mean = {0.1307}, .deviation = {0.3081}}; }

inline auto cifar100_train() { return Compose{RandomCrop{.padding = 4}, HorizontalFlip{}, cifar100_eval()}; }
inline auto cifar10_train() { return Compose{RandomCrop{.padding = 4}, HorizontalFlip{}, cifar10_eval()}; }
inline auto fashion_mnist_train() {
    return Compose{RandomCrop{.padding = 2}, HorizontalFlip{}, fashion_mnist_eval()};
}
inline auto mnist_train() { return Compose{RandomCrop{.padding = 2}, mnist_eval()}; }

// The strong views are this library's choice: the weak view with changed colors and a blanked rectangle. They do not
// reproduce a published one (such as RandAugment or AutoAugment). The weak views are the training transforms above.

inline auto cifar100_strong() {
    return Compose{RandomCrop{.padding = 4}, HorizontalFlip{}, ColorJitter{}, cifar100_eval(),
                   Cutout{.size = 16}};
}
inline auto cifar10_strong() {
    return Compose{RandomCrop{.padding = 4}, HorizontalFlip{}, ColorJitter{}, cifar10_eval(),
                   Cutout{.size = 16}};
}
inline auto fashion_mnist_strong() {
    return Compose{RandomCrop{.padding = 2}, HorizontalFlip{}, ColorJitter{}, fashion_mnist_eval(),
                   Cutout{.size = 8}};
}
inline auto mnist_strong() {
    return Compose{RandomCrop{.padding = 2}, ColorJitter{}, mnist_eval(), Cutout{.size = 8}};
}

}  // namespace retort::data
