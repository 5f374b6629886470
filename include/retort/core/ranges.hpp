// SPDX-License-Identifier: BSL-1.0
/// \file
/// The range concepts of the standard library without its views: including <ranges> costs every translation unit a
/// tenth of a second or more. The views of range-v3 satisfy these concepts.
#pragma once

#include <initializer_list>
#include <iterator>

#if __has_include(<bits/ranges_base.h>)
#include <bits/ranges_base.h>  // libstdc++
#else
#include <ranges>
#endif
