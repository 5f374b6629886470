# SPDX-License-Identifier: BSL-1.0
#
# LibTorch as Conan's CMakeDeps describes it: no target `torch`, only libtorch::libtorch, which TORCH_LIBRARIES names.
add_library(libtorch::libtorch INTERFACE IMPORTED)
set_target_properties(libtorch::libtorch PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${real_torch_includes}")
separate_arguments(flags UNIX_COMMAND "${real_torch_flags}")
set_property(TARGET libtorch::libtorch PROPERTY INTERFACE_COMPILE_OPTIONS "${flags}")
set_property(TARGET libtorch::libtorch PROPERTY INTERFACE_LINK_OPTIONS "${real_torch_link_options}")
foreach(name IN ITEMS torch_cpu c10)
    find_library(real_${name} ${name} REQUIRED PATHS "${real_torch_libraries}" NO_DEFAULT_PATH)
    set_property(TARGET libtorch::libtorch APPEND PROPERTY INTERFACE_LINK_LIBRARIES "${real_${name}}")
endforeach()
set(TORCH_LIBRARIES libtorch::libtorch)
set(TORCH_FOUND ON)
