// SPDX-License-Identifier: BSL-1.0
/// \file
/// Cases for the harness itself: a correct one, and one of each kind that it must reject.
#include <retort_test.hpp>

#if defined(RETORT_CASE_harness_right)
// expect: static assertion failed.* two [(]2[)] kinds; of "words"
// expect: error
static_assert(sizeof(char) == 2, "two (2) kinds; of \"words\"");
#elif !defined(RETORT_CASE)
static_assert(sizeof(char) == 1, "two (2) kinds; of \"words\"");
#endif

#if defined(RETORT_CASE_harness_compiles)
// expect: never said
static_assert(sizeof(char) == 1);
#elif !defined(RETORT_CASE)
static_assert(sizeof(char) == 1);
#endif

#if defined(RETORT_CASE_harness_other_words)
// expect: static assertion
// expect: words that stand only in this comment
static_assert(sizeof(char) == 2, "other words");
#elif !defined(RETORT_CASE)
static_assert(sizeof(char) == 1, "other words");
#endif

#if defined(RETORT_CASE_harness_no_expectation)
static_assert(sizeof(char) == 2);
#elif !defined(RETORT_CASE)
static_assert(sizeof(char) == 1);
#endif

#if defined(RETORT_CASE_harness_no_twin)
// expect: static assertion
static_assert(sizeof(char) == 2);
#endif
