// SPDX-License-Identifier: BSL-1.0
/// \file
/// Nothing: the precompiled header that all tests share belongs to this file's target.
