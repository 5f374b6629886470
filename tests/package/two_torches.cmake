# SPDX-License-Identifier: BSL-1.0
#
# Two LibTorch on one machine, as stand-ins that are laid out as the real ones: Torch_DIR names one of them, and CMake
# finds the other one first. Headers and libraries must be of the same.
#
#   cmake -D source=<checkout> -D root=<folder for the result> -D generator=<generator> -P two_torches.cmake
cmake_minimum_required(VERSION 3.25)

file(REMOVE_RECURSE "${root}")
foreach(name IN ITEMS named other)
    file(WRITE "${root}/${name}/lib/libtorch_cpu.so" "")
    file(WRITE "${root}/${name}/share/cmake/Caffe2/Caffe2Config.cmake"
         "foreach(name torch torch_cpu)\n    add_library(\${name} SHARED IMPORTED)\n    set_target_properties(\${name} PROPERTIES\n"
         "        IMPORTED_CONFIGURATIONS RELEASE IMPORTED_LOCATION_RELEASE \"${root}/${name}/lib/libtorch_cpu.so\")\nendforeach()\n")
    # The order of places is that of LibTorch's file.
    file(WRITE "${root}/${name}/share/cmake/Torch/TorchConfig.cmake"
         "find_package(Caffe2 REQUIRED PATHS \${CMAKE_CURRENT_LIST_DIR}/../Caffe2)\nset(TORCH_LIBRARIES torch)\n")
endforeach()
file(WRITE "${root}/project/CMakeLists.txt"
     "cmake_minimum_required(VERSION 3.25)\nproject(two LANGUAGES NONE)\n"
     "if(with_retort)\n    include(\"${source}/cmake/retort-torch-dir.cmake\")\nendif()\n"
     "find_package(Torch REQUIRED)\ninclude(\"${source}/cmake/retort-torch.cmake\")\n"
     "get_target_property(linked torch_cpu IMPORTED_LOCATION_RELEASE)\nmessage(STATUS \"linked: \${linked}\")\n")

function(configure name)
    execute_process(
        COMMAND "${CMAKE_COMMAND}" -E env --unset=Torch_DIR ${environment} "${CMAKE_COMMAND}" -G "${generator}" -S
                "${root}/project" -B "${root}/${name}" "-DCMAKE_PREFIX_PATH=${root}/other" ${ARGN}
        RESULT_VARIABLE result
        OUTPUT_VARIABLE output
        ERROR_VARIABLE error)
    string(REGEX REPLACE "[ \n]+" " " error "${error}")
    set(result "${result}" PARENT_SCOPE)
    set(output "${output}${error}" PARENT_SCOPE)
endfunction()
function(expect text)
    string(FIND "${output}" "${text}" at)
    if(at EQUAL -1)
        message(FATAL_ERROR "expected \"${text}\", found ${result}: ${output}")
    endif()
endfunction()

configure(argument -Dwith_retort=ON "-DTorch_DIR=${root}/named/share/cmake/Torch")
expect("linked: ${root}/named/lib/libtorch_cpu.so")
set(environment "Torch_DIR=${root}/named/share/cmake/Torch")
configure(environment -Dwith_retort=ON)
expect("linked: ${root}/named/lib/libtorch_cpu.so")
set(environment)
# Who has found LibTorch before may have mixed them.
configure(mixed "-DTorch_DIR=${root}/named/share/cmake/Torch")
expect("expected one LibTorch, found two: the headers of ${root}/named/share/cmake/Torch with the libraries of ${root}/other/lib/libtorch_cpu.so")
if(result EQUAL 0)
    message(FATAL_ERROR "a mixture of two LibTorch is accepted")
endif()
