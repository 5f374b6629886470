# SPDX-License-Identifier: BSL-1.0
#
# Keeps vcpkg from building LibTorch if it is already installed:
#
#   export CMAKE_PREFIX_PATH=/path/to/libtorch    # not needed for that of Debian or Ubuntu
#   vcpkg install retort --overlay-ports=<checkout>/cmake/vcpkg/ports --overlay-ports=<checkout>/cmake/vcpkg/system-libtorch
set(VCPKG_POLICY_EMPTY_PACKAGE enabled)
