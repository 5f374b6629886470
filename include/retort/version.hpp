// SPDX-License-Identifier: BSL-1.0
/// \file
/// The version of retort. The one place where it is written: CMake and Conan read it from here.
#pragma once

#define RETORT_VERSION_MAJOR 0
#define RETORT_VERSION_MINOR 1
#define RETORT_VERSION_PATCH 0
