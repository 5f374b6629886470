#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
#
# Writes docs/reference-values.md: how far every loss is from the values of published implementations.
#
#   cmake --preset test && cmake --build --preset test --target test_knowledge test_cohort && docs/reference_values.sh
set -eu
cd "$(dirname "$0")/.."
record=$(mktemp)
trap 'rm -f "$record" "$record.md"' EXIT
for program in test_knowledge test_cohort; do
    RETORT_GOLDEN_RECORD=$record build/test/tests/$program >/dev/null
done
{
    cat <<'HEAD'
# Reference values

What the losses give, beside what published implementations give on the same inputs (`tests/golden`). The deviation is relative to the
largest number of the reference's value or gradient; an absolute difference up to 1e-12 counts as none. Cases whose reference is not finite,
or known to be wrong (such as KD_Lib's mutual learning, whose gradient leaks into the peers), are not in the table: their tests say what
is expected instead. Made by `docs/reference_values.sh`.

| reference | cases | worst deviation of a value | worst deviation of a gradient | tolerance |
|---|---|---|---|---|
HEAD
    sort -u "$record" | awk '
        { key = $1; if (!((key, $2) in seen)) { seen[key, $2] = 1; cases[key]++ }
          if ($3 > value[key]) value[key] = $3
          if ($4 > gradient[key]) gradient[key] = $4
          if ($5 > tolerance[key]) tolerance[key] = $5 }
        END { for (key in cases) printf "| %s | %d | %.1e | %.1e | %.0e |\n", key, cases[key], value[key], gradient[key], tolerance[key] }' |
        sort
} >"$record.md"
mv "$record.md" docs/reference-values.md
