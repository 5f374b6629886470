# SPDX-License-Identifier: BSL-1.0
#
# Mistakes that must not compile, each with the message that a user must see. tests/compile_fail/README.md explains how
# to write a case.
#
#   retort_compile_fail_file(<source> <control target>)
#
# registers a ctest test compile_fail/<case> for every case of the source. The control target compiles the source
# without any case, that is, all twins; a case is compiled with the same command and its macro defined.

find_package(Python3 COMPONENTS Interpreter QUIET)

function(retort_compile_fail_cases source result)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${source}")
    file(STRINGS "${source}" lines REGEX "^#if.*RETORT_CASE_[a-z0-9_]+")
    list(TRANSFORM lines REPLACE ".*RETORT_CASE_([a-z0-9_]+).*" "\\1")
    set(${result} "${lines}" PARENT_SCOPE)
endfunction()

# The optional last argument is a folder with the compiler's output for all cases, compiled at once.
function(retort_compile_fail_test name source case)
    add_test(
        NAME ${name}
        COMMAND
            "${CMAKE_COMMAND}" -D "source=${source}" -D "case=${case}" -D
            "commands=${CMAKE_BINARY_DIR}/compile_commands.json" -D "compiler_id=${CMAKE_CXX_COMPILER_ID}" -D
            "said=${ARGN}" -P "${PROJECT_SOURCE_DIR}/cmake/CompileFailRun.cmake")
    set_tests_properties(${name} PROPERTIES LABELS compile_fail TIMEOUT 300)
endfunction()

function(retort_compile_fail_file source)
    retort_compile_fail_cases("${source}" cases)
    if(NOT cases)
        message(FATAL_ERROR "${source}: no line `#if defined(RETORT_CASE_<name>)` in it")
    endif()
    cmake_path(GET source STEM stem)
    set(said "${CMAKE_CURRENT_BINARY_DIR}/said/${stem}")
    if(Python3_Interpreter_FOUND)
        # One compilation for all cases of a file, instead of one each.
        add_test(
            NAME compile_fail/all_of_${stem}
            COMMAND "${Python3_EXECUTABLE}" "${PROJECT_SOURCE_DIR}/cmake/compile_fail_group.py" "${source}"
                    "${CMAKE_BINARY_DIR}/compile_commands.json" "${said}" ${CMAKE_CXX_COMPILER_ID})
        set_tests_properties(
            compile_fail/all_of_${stem} PROPERTIES LABELS compile_fail TIMEOUT 300 FIXTURES_SETUP compile_fail_${stem})
    endif()
    foreach(case IN LISTS cases)
        retort_compile_fail_test(compile_fail/${case} "${source}" ${case} "${said}")
        if(Python3_Interpreter_FOUND)
            set_tests_properties(compile_fail/${case} PROPERTIES FIXTURES_REQUIRED compile_fail_${stem})
        endif()
    endforeach()
endfunction()
