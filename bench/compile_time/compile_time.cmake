# SPDX-License-Identifier: BSL-1.0
#
# How much longer a translation unit compiles with <retort/retort.hpp> than with <torch/torch.h> alone. Takes the commands
# from the compilation database; prints CPU time (user and system), the median of three.
#
#   cmake -D DATABASE=<build>/compile_commands.json -P compile_time.cmake
file(READ "${DATABASE}" database)
string(JSON last LENGTH "${database}")
math(EXPR last "${last} - 1")
foreach(i RANGE ${last})
    string(JSON file GET "${database}" ${i} file)
    foreach(name IN ITEMS torch_only with_retort)
        if(file MATCHES "/compile_time/${name}\\.cpp$")
            string(JSON command_${name} GET "${database}" ${i} command)
            string(JSON directory_${name} GET "${database}" ${i} directory)
        endif()
    endforeach()
endforeach()

# Milliseconds of CPU time that the compiler takes for <name>.cpp, into `result`.
function(measure name result)
    # Nothing is written, and no compiler cache distorts the measurement.
    string(REGEX REPLACE " -o [^ ]+" " -o /dev/null" command "${command_${name}}")
    string(REGEX REPLACE "^[^ ]*ccache " "" command "${command}")
    string(REGEX REPLACE " -M[DTF]+( [^- ][^ ]*)?" "" command "${command}")
    execute_process(
        COMMAND sh -c "${command} && times"
        WORKING_DIRECTORY "${directory_${name}}"
        OUTPUT_VARIABLE output
        COMMAND_ERROR_IS_FATAL ANY)
    # The second line of `times` is that of the children: 0m9.870s 0m0.640s
    if(NOT output MATCHES "\n([0-9]+)m([0-9]+)\\.([0-9]+)s ([0-9]+)m([0-9]+)\\.([0-9]+)s")
        message(FATAL_ERROR "compile_time: expected the output of `times`, found: ${output}")
    endif()
    set(user_minutes "${CMAKE_MATCH_1}")
    set(user_seconds "${CMAKE_MATCH_2}")
    set(user_rest "${CMAKE_MATCH_3}")
    set(system_minutes "${CMAKE_MATCH_4}")
    set(system_seconds "${CMAKE_MATCH_5}")
    set(system_rest "${CMAKE_MATCH_6}")
    foreach(rest IN ITEMS user_rest system_rest)
        string(SUBSTRING "${${rest}}000" 0 3 ${rest})
        string(REGEX REPLACE "^0+([0-9])" "\\1" ${rest} "${${rest}}")
    endforeach()
    math(EXPR milliseconds
         "(${user_minutes} + ${system_minutes}) * 60000 + (${user_seconds} + ${system_seconds}) * 1000 + ${user_rest} + ${system_rest}")
    set(${result} ${milliseconds} PARENT_SCOPE)
endfunction()

foreach(name IN ITEMS torch_only with_retort)
    if(NOT DEFINED command_${name})
        message(FATAL_ERROR "compile_time: ${name}.cpp is not in ${DATABASE}: configure with RETORT_BUILD_BENCH=ON")
    endif()
endforeach()
foreach(run RANGE 1 3)  # alternating, so that other load on the machine affects both
    foreach(name IN ITEMS torch_only with_retort)
        measure(${name} milliseconds)
        list(APPEND times_${name} ${milliseconds})
    endforeach()
endforeach()
foreach(name IN ITEMS torch_only with_retort)
    list(SORT times_${name} COMPARE NATURAL)
    list(GET times_${name} 1 median_${name})
    string(REPLACE ";" ", " all "${times_${name}}")
    message("${name}.cpp: median ${median_${name}} ms of CPU time (${all})")
endforeach()
math(EXPR difference "${median_with_retort} - ${median_torch_only}")
message("<retort/retort.hpp> adds ${difference} ms to a translation unit with <torch/torch.h>")
