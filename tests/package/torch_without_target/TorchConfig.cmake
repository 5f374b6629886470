# SPDX-License-Identifier: BSL-1.0
#
# LibTorch as Conan's CMakeDeps describes it: no target `torch`, only libtorch::libtorch, which TORCH_LIBRARIES names.
add_library(libtorch::libtorch INTERFACE IMPORTED)
set_target_properties(libtorch::libtorch PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${real_torch_includes}")
separate_arguments(flags UNIX_COMMAND "${real_torch_flags}")
set_property(TARGET libtorch::libtorch PROPERTY INTERFACE_COMPILE_OPTIONS "${flags}")
foreach(name IN ITEMS torch torch_cpu c10)
    find_library(real_${name} ${name} REQUIRED HINTS "${real_torch_libraries}")
    # torch has no reference to torch_cpu that the linker sees.
    set_property(TARGET libtorch::libtorch APPEND PROPERTY INTERFACE_LINK_LIBRARIES "-Wl,--no-as-needed" "${real_${name}}")
endforeach()
set(TORCH_LIBRARIES libtorch::libtorch)
set(TORCH_FOUND ON)
