#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
#
# The instructions of a step of mutual learning, hand-written and by a cohort, counted by valgrind (callgrind): a
# noise-free number, whatever the load of the machine. Takes about ten minutes.
#
#   cmake --preset bench && cmake --build build/bench --target bench_cohort && bench/cohort/instructions.sh
set -eu
program=${1:-$(dirname "$0")/../../build/bench/bench/cohort}
steps=5
command -v valgrind >/dev/null || { echo "valgrind is needed (Debian: apt-get install valgrind)" >&2; exit 1; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT

count() { # <kind> <learners>
    OMP_NUM_THREADS=1 valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no \
        --toggle-collect='*counted_steps*' "$program" --only "$1" --learners "$2" --steps "$steps" >"$log" 2>&1 ||
        { cat "$log" >&2; exit 1; }
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$log"
}

echo "Perceptrons 64-32-10, batch 32: instructions of a step"
echo "  learners  hand-written cohort, known  ratio   run-time graph  ratio"
for learners in 2 3 5 7; do
    hand=$(count hand $learners)
    known=$(count known $learners)
    open=$(count run-time $learners)
    awk -v n=$learners -v h="$hand" -v k="$known" -v o="$open" -v s=$steps \
        'BEGIN { printf "  %-8d  %-10.0f  %-13.0f  %.4f  %-14.0f  %.4f\n", n, h / s, k / s, k / h, o / s, o / h }'
done
