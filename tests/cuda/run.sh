#!/usr/bin/env bash
# SPDX-License-Identifier: BSL-1.0
#
# What only a machine with a GPU can tell: the unit tests and the laws on the device, the losses beside those of the CPU,
# and steps per second beside Python. With a CUDA LibTorch (CMAKE_PREFIX_PATH, and a CUDA toolkit):
#
#   cmake --preset test -B build/cuda && tests/cuda/run.sh --build build/cuda    # needs no GPU
#   tests/cuda/run.sh build/cuda                                                 # under 8 minutes of GPU time
#   tests/cuda/run.sh build/cuda cpu                                             # the same, tried on the CPU
#
# A toolkit with an NCCL older than that of PyPI's LibTorch does not link; name the right one when CMake configures:
# -DCMAKE_EXE_LINKER_FLAGS=-Wl,-rpath-link,<site-packages>/nvidia/nccl/lib
#
# Results: result.md and result.json in <build folder>/cuda-result. RETORT_CUDA_TESTS: other programs than these;
# RETORT_CUDA_SECONDS: how long each composition is measured (5); RETORT_CUDA_BUDGET: of all, in seconds (450).
# The status is 0 if all tests passed and all losses agree.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
read -ra tests <<<"${RETORT_CUDA_TESTS:-test_support test_knowledge test_laws test_trainer test_teacher test_optim test_cohort}"

if [ "${1-}" = --build ]; then
    exec cmake --build "${2:?build folder}" --target "${tests[@]}" cuda_steps example_00_readme
fi
build=$(cd "${1:?build folder}" && pwd)
device=${2:-cuda}
seconds=${RETORT_CUDA_SECONDS:-5}
budget=${RETORT_CUDA_BUDGET:-450}
out=$build/cuda-result
rm -rf "$out" && mkdir -p "$out"

# within <seconds> <command>...: ends it after that time, and after the whole budget.
within() {
    local left=$((budget - SECONDS))
    timeout "$(($1 < left ? $1 : left > 1 ? left : 1))" "${@:2}"
}

echo "=== steps on $device"
status=0
within 120 "$build/tests/cuda_steps" "$device" "$seconds" >"$out/steps.json" 2>"$out/steps.txt" || status=$?
echo "steps $status" >>"$out/status"
if python3 -c 'import torch' 2>/dev/null; then
    within 180 python3 "$here/steps.py" "$device" "$seconds" >>"$out/steps.json" 2>"$out/python.txt" ||
        echo "python3: $(tail -n 1 "$out/python.txt")" >&2
else
    echo "no torch for python3 here: steps are not measured in Python" >&2
fi
for program in "${tests[@]}"; do
    echo "=== $program on $device"
    status=0
    RETORT_TEST_DEVICE=$device within 180 "$build/tests/$program" --reporter junit --out "$out/$program.xml" \
        >"$out/$program.txt" 2>&1 || status=$?
    echo "$program $status" >>"$out/status"
done
{
    if [ "$device" != cpu ]; then nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || true; fi
    sed -n 's/^model name[^:]*: */CPU: /p' /proc/cpuinfo | head -n 1
} >"$out/machine"
python3 "$here/report.py" "$out" "$device"
