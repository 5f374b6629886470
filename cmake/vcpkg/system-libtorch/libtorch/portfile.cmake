# SPDX-License-Identifier: BSL-1.0
#
# Keeps vcpkg from building LibTorch, where there is one already:
#
#   export CMAKE_PREFIX_PATH=/where/libtorch/is    # not needed for the one of Debian or Ubuntu
#   vcpkg install retort --overlay-ports=<checkout>/cmake/vcpkg/ports --overlay-ports=<checkout>/cmake/vcpkg/system-libtorch
set(VCPKG_POLICY_EMPTY_PACKAGE enabled)
