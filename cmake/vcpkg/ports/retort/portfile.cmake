# SPDX-License-Identifier: BSL-1.0
#
# An overlay port that installs the checkout that contains it:
#
#   vcpkg install retort --overlay-ports=<checkout>/cmake/vcpkg/ports

set(VCPKG_BUILD_TYPE release) # header-only

get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../../../.." ABSOLUTE)

vcpkg_check_features(OUT_FEATURE_OPTIONS FEATURE_OPTIONS FEATURES json RETORT_WITH_JSON nats RETORT_WITH_NATS sqlite RETORT_WITH_SQLITE zlib RETORT_WITH_ZLIB)

vcpkg_cmake_configure(
    SOURCE_PATH "${SOURCE_PATH}"
    OPTIONS
        ${FEATURE_OPTIONS}
        -DRETORT_BUILD_TESTS=OFF
        -DRETORT_BUILD_EXAMPLES=OFF
        -DRETORT_BUILD_BENCH=OFF
        -DRETORT_INSTALL=ON
        "-DRETORT_INSTALL_CMAKEDIR=share/${PORT}")
vcpkg_cmake_install()
vcpkg_cmake_config_fixup()

file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/debug" "${CURRENT_PACKAGES_DIR}/lib" "${CURRENT_PACKAGES_DIR}/share/licenses")
file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
