# SPDX-License-Identifier: BSL-1.0
#
# Installs the headers and a CMake package. Nothing installed contains an absolute path, so the prefix can be moved.
include(CMakePackageConfigHelpers)

install(TARGETS retort EXPORT retortTargets FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(
    EXPORT retortTargets
    NAMESPACE retort::
    DESTINATION "${RETORT_INSTALL_CMAKEDIR}")

configure_package_config_file(
    "${CMAKE_CURRENT_LIST_DIR}/retortConfig.cmake.in" "${PROJECT_BINARY_DIR}/retortConfig.cmake"
    INSTALL_DESTINATION "${RETORT_INSTALL_CMAKEDIR}"
    NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
# Before 1.0 a new minor version may break compatibility.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/retortConfigVersion.cmake" COMPATIBILITY SameMinorVersion
                                 ARCH_INDEPENDENT)
install(FILES "${PROJECT_BINARY_DIR}/retortConfig.cmake" "${PROJECT_BINARY_DIR}/retortConfigVersion.cmake"
              "${CMAKE_CURRENT_LIST_DIR}/retort-torch-dir.cmake" "${CMAKE_CURRENT_LIST_DIR}/retort-torch.cmake"
              "${CMAKE_CURRENT_LIST_DIR}/retort-nats.cmake"
        DESTINATION "${RETORT_INSTALL_CMAKEDIR}")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DATADIR}/licenses/retort")
