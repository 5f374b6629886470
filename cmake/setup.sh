#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
#
# Installs everything that retort's build needs on this machine.
#
#   cmake/setup.sh && cmake --workflow --preset test
#
# Debian and Ubuntu: installs what is missing with apt (through sudo if not run by root).
# On other systems, and if CMAKE_PREFIX_PATH or Torch_DIR points to your own LibTorch: prints what is missing and how to
# get it, and changes nothing. Silent if nothing is missing. The exit status is 0 if everything is present at the end.
set -eu

say() { printf 'setup: %s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

# --- the user's own LibTorch ----------------------------------------------------------------------------------------

own_torch=
# shellcheck disable=SC2020 # either character becomes a newline
prefixes=$(printf '%s' "${CMAKE_PREFIX_PATH-}" | tr ':;' '\n\n')
if [ -n "${Torch_DIR-}" ]; then
    if [ ! -f "$Torch_DIR/TorchConfig.cmake" ]; then
        say "Torch_DIR is $Torch_DIR, but there is no TorchConfig.cmake in it."
        say "It must name the folder of that file: .../libtorch/share/cmake/Torch"
        exit 1
    fi
    own_torch=$Torch_DIR
else
    old_ifs=$IFS
    IFS='
'
    for prefix in $prefixes; do
        for folder in "$prefix" "$prefix/Torch" "$prefix/cmake/Torch" "$prefix/share/cmake/Torch" \
            "$prefix/lib/cmake/Torch" "$prefix"/lib/*/cmake/Torch; do
            if [ -z "$own_torch" ] && [ -f "$folder/TorchConfig.cmake" ]; then own_torch=$folder; fi
        done
    done
    IFS=$old_ifs
fi

# PyPI's default wheel is built for CUDA: its CMake files fail without a CUDA toolkit.
if [ -n "$own_torch" ] && [ -e "$own_torch/../../../lib/libtorch_cuda.so" ] && [ -z "${CUDA_HOME-}${CUDACXX-}${CUDAToolkit_ROOT-}" ] &&
    ! have nvcc && [ ! -x /usr/local/cuda/bin/nvcc ]; then
    say "the LibTorch of $own_torch is built for CUDA, and its CMake files need a CUDA toolkit, which is not here. Either"
    say "  - install the toolkit of the CUDA version that torch.version.cuda says, or"
    say "  - install PyTorch's wheel for the CPU (https://pytorch.org), or"
    say "  - use the CPU half of this one: export Torch_DIR=$(cd "$(dirname "$0")" && pwd)/torch_wheel"
    exit 1
fi

# --- what is missing ------------------------------------------------------------------------------------------------

packages= # their Debian names
words=    # their common names
missing() {
    packages="$packages $1"
    words="$words
  - $2"
}

compiler=${CXX:-c++}
have "$compiler" || compiler=g++
have "$compiler" || missing g++ "a C++20 compiler (GCC 12 or later; Clang 16 or later with LibTorch 2.1 or later)"
have cmake || missing cmake "CMake 3.25 or later"
have ninja || missing ninja-build "Ninja"
have gnuplot || missing gnuplot-nox "gnuplot (draws the plots of the examples)"

# One run of the preprocessor finds all headers, or none if there is no compiler yet.
headers=$(
    have "$compiler" || exit 0
    include=$(printf '%s\n' "$prefixes" | sed -n 's|^\(/.*\)$|-I\1/include|p')
    # shellcheck disable=SC2086 # one word per folder; a folder with a space in its name is not searched
    "$compiler" -E -P -x c++ $include - 2>/dev/null <<'HEADERS' || true
#if __has_include(<range/v3/version.hpp>)
range_v3
#endif
#if __has_include(<catch2/catch_all.hpp>) || __has_include(<catch2/catch.hpp>)
catch2
#endif
#if __has_include(<CLI/CLI.hpp>)
cli11
#endif
#if __has_include(<benchmark/benchmark.h>)
google_benchmark
#endif
#if __has_include(<zlib.h>)
zlib
#endif
#if __has_include(<nlohmann/json.hpp>)
nlohmann_json
#endif
#if __has_include(<sqlite3.h>)
sqlite3
#endif
#if __has_include(<nats/nats.h>)
nats
#endif
HEADERS
)
has_header() {
    case "
$headers
" in *"
$1
"*) return 0 ;; esac
    return 1
}
has_header range_v3 || missing librange-v3-dev "range-v3 0.12 or later"
has_header catch2 || missing catch2 "Catch2 2.13 or 3"
has_header cli11 || missing libcli11-dev "CLI11"
has_header google_benchmark || missing libbenchmark-dev "Google Benchmark"
has_header zlib || missing zlib1g-dev "zlib with its headers"
has_header nlohmann_json || missing nlohmann-json3-dev "nlohmann-json"
has_header sqlite3 || missing libsqlite3-dev "SQLite 3.37 or later with its headers"
has_header nats || missing libnats-dev "NATS's C client 3.4 or later with its headers"
have nats-server || [ -x /usr/sbin/nats-server ] || missing nats-server "the NATS server (for the tests of the transport)"

if [ -z "$own_torch" ]; then
    found=
    for folder in /usr/lib/*/cmake/Torch /usr/lib/cmake/Torch /usr/lib64/cmake/Torch /usr/share/cmake/Torch \
        /usr/local/lib/cmake/Torch /usr/local/share/cmake/Torch; do
        if [ -f "$folder/TorchConfig.cmake" ]; then found=$folder; fi
    done
    [ -n "$found" ] || missing libtorch-dev "LibTorch 1.13 or later (https://pytorch.org), with CMAKE_PREFIX_PATH pointing to its folder"
    # Without OpenBLAS, Debian's LibTorch multiplies matrices with the reference BLAS: some 50 times slower.
    if have dpkg-query; then
        [ -n "$(ls /usr/lib/*/openblas-pthread/libblas.so.3 2>/dev/null)" ] || missing libopenblas0-pthread "OpenBLAS"
    fi
fi

# Installed programs that are too old are not replaced without asking.
too_old=
if have cmake; then
    version=$(cmake --version | sed -n '1s/.*version \([0-9]*\.[0-9]*\).*/\1/p')
    if [ "${version%.*}" -lt 3 ] || { [ "${version%.*}" -eq 3 ] && [ "${version#*.}" -lt 25 ]; }; then
        say "CMake 3.25 or later is needed, this one is $version: $(command -v cmake)"
        too_old=1
    fi
fi
if have "$compiler"; then
    case "$("$compiler" --version 2>/dev/null)" in
    *"Free Software Foundation"*)
        version=$("$compiler" -dumpversion)
        if [ "${version%%.*}" -lt 12 ]; then
            say "GCC 12 or later is needed, this one is $version: $(command -v "$compiler")"
            too_old=1
        fi
        ;;
    esac
fi
[ -z "$too_old" ] || exit 1

[ -n "$packages" ] || exit 0

# --- install it, or print how ---------------------------------------------------------------------------------------

if [ -n "$own_torch" ] || ! have apt-get; then
    [ -z "$own_torch" ] || say "using the LibTorch of $own_torch; nothing is installed beside it by itself."
    say "missing:$words"
    if have apt-get; then
        say "to install it: apt-get install --no-install-recommends$packages"
    else
        say "install these with this system's package manager, then run this again."
    fi
    exit 1
fi

as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! have sudo; then
        say "missing:$words"
        say "neither root nor sudo here; as root, run: apt-get install --no-install-recommends$packages"
        exit 1
    fi
    as_root="sudo"
fi

apt() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@"; }

say "installing$packages"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! apt update >"$log" 2>&1 </dev/null; then
    # A broken third-party package list must not block the other lists.
    cat "$log" >&2
    say "apt-get update failed; trying with the package lists that are there."
fi
for package in $packages; do
    if [ -z "$(apt-cache policy "$package" 2>/dev/null | sed -n 's/.*Candidate: \([^(].*\)/\1/p')" ]; then
        say "this system has no package $package."
        if [ "$package" = libtorch-dev ]; then
            say "Get LibTorch from https://pytorch.org, set CMAKE_PREFIX_PATH to its folder and run this again."
        fi
        exit 1
    fi
done
# shellcheck disable=SC2086 # a list of words
if ! apt install -y --no-install-recommends $packages >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    say "apt-get could not install$packages; its words are above."
    exit 1
fi
