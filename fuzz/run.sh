#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
#
# Runs every fuzzer on its corpus: fuzz/run.sh <build folder> [executions of each]
#
# `fuzz/run.sh build/fuzz 1450000` with all seven is 10.15 million executions, about half an hour on one core. Clang 19
# with LibTorch 2.6 (Debian 13: apt-get install clang libclang-rt-19-dev) found no failures in them.
set -eu
build=$1
runs=${2:-1000000}
here=$(cd "$(dirname "$0")" && pwd)
for corpus in "$here"/corpus/*; do
    name=$(basename "$corpus")
    [ -x "$build/fuzz_$name" ] || { echo "$name: not built" >&2; continue; }
    work=$build/corpus/$name
    mkdir -p "$work"
    "$build/fuzz_$name" -runs="$runs" -max_len=8192 -timeout=10 -rss_limit_mb=512 -print_final_stats=1 \
        "$work" "$corpus"
done
