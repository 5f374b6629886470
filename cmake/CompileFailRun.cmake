# SPDX-License-Identifier: BSL-1.0
#
# Compiles one case of tests/compile_fail and checks that it fails with the message that its source expects.
#
#   cmake -D source=<file> -D case=<name> -D commands=<compile_commands.json> -D compiler_id=<id> [-D said=<folder>] -P <this file>
cmake_minimum_required(VERSION 3.25)

# NOTICE prints the text verbatim; FATAL_ERROR alone would rewrap its lines.
function(fail text)
    message(NOTICE "${text}")
    message(FATAL_ERROR "compile_fail/${case}")
endfunction()

# --- the expected message ------------------------------------------------------------------------------------------

file(READ "${source}" text)
string(FIND "${text}" "#if defined(RETORT_CASE_${case})" begin)
if(begin EQUAL -1)
    fail("${source}: no line `#if defined(RETORT_CASE_${case})`")
endif()
string(SUBSTRING "${text}" ${begin} -1 text)
string(FIND "${text}" "\n#elif !defined(RETORT_CASE)\n" end)
string(FIND "${text}" "\n#endif" closing)
if(end EQUAL -1 OR end GREATER closing)
    fail("${source}: case ${case} has no twin: `#elif !defined(RETORT_CASE)` and code that compiles must follow")
endif()
string(SUBSTRING "${text}" 0 ${end} text)

# Expressions may contain any characters, so they are cut out by position, not through lists.
set(expected_count 0)
set(mark "// expect: ")
string(LENGTH "${mark}" mark_length)
while(TRUE)
    string(FIND "${text}" "${mark}" begin)
    if(begin EQUAL -1)
        break()
    endif()
    math(EXPR begin "${begin} + ${mark_length}")
    string(SUBSTRING "${text}" ${begin} -1 text)
    string(FIND "${text}" "\n" end)
    string(SUBSTRING "${text}" 0 ${end} expected_${expected_count})
    math(EXPR expected_count "${expected_count} + 1")
endwhile()
if(expected_count EQUAL 0)
    fail("${source}: case ${case} has no line `// expect: <regular expression>`")
endif()

# --- the compiler's output for all cases at once (compile_fail_group.py), if it suffices ----------------------------

math(EXPR last "${expected_count} - 1")
if(said AND EXISTS "${said}/${case}.said")
    file(READ "${said}/${case}.said" output)
    set(all_said TRUE)
    foreach(i RANGE ${last})
        if(NOT output MATCHES "${expected_${i}}")
            set(all_said FALSE)
        endif()
    endforeach()
    if(all_said)
        return()
    endif()
endif()

# --- compile it as the control object is compiled, without the other cases' twins ----------------------------------

file(READ "${commands}" database)
string(JSON last LENGTH "${database}")
math(EXPR last "${last} - 1")
foreach(i RANGE ${last})
    string(JSON file GET "${database}" ${i} file)
    if(file STREQUAL source)
        string(JSON command GET "${database}" ${i} command)
        string(JSON directory GET "${database}" ${i} directory)
    endif()
endforeach()
if(NOT command)
    fail("${source} is not in ${commands}")
endif()
separate_arguments(command UNIX_COMMAND "${command}")
# Without source lines: the expected message must come from the compiler, not from a source line that it shows.
if(compiler_id STREQUAL "GNU")
    set(quiet -fno-diagnostics-show-caret -fdiagnostics-color=never)
else()
    set(quiet -fno-caret-diagnostics -fno-color-diagnostics)
endif()
set(ENV{LC_ALL} C)
execute_process(
    COMMAND ${command} -DRETORT_CASE -DRETORT_CASE_${case} -fsyntax-only ${quiet}
    WORKING_DIRECTORY "${directory}"
    RESULT_VARIABLE status
    OUTPUT_VARIABLE output
    ERROR_VARIABLE output)

if(status EQUAL 0)
    fail("case ${case} compiled, but must not")
endif()
if(output MATCHES "internal compiler error")
    fail("case ${case} broke the compiler:\n${output}")
endif()
foreach(i RANGE ${last})
    if(NOT output MATCHES "${expected_${i}}")
        fail("case ${case} failed, but not with\n  ${expected_${i}}\nThe compiler said:\n${output}")
    endif()
endforeach()
