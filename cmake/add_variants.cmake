# SPDX-License-Identifier: MIT
# One executable, several ctest tests: the same program under different environments.

# Put before the name of every test, so that several builds can be run as one suite.
set(WEFT_TEST_PREFIX "" CACHE STRING "Prefix of the names of all ctest tests, such as release/")

# A program that runs its arguments where the kernel grants io_uring, and else prints the reason and
# exits with 77, which ctest shows as skipped.
add_executable(weft_need_uring "${PROJECT_SOURCE_DIR}/tests/support/need_uring.cpp")
weft_warnings(weft_need_uring)
target_compile_features(weft_need_uring PRIVATE cxx_std_20)

# ThreadSanitizer does not see the kernel's writes into a ring's memory, so it gets epoll only.
if(have_uring AND NOT WEFT_SANITIZE STREQUAL "thread")
    set(run_uring ON)
else()
    set(run_uring OFF)
endif()

# Sets `out` to the words after `// key:` in one of the first ten lines of `file`.
function(weft_directive out file key)
    file(STRINGS "${file}" lines LIMIT_COUNT 10)
    set(${out} "" PARENT_SCOPE)
    foreach(line IN LISTS lines)
        if(line MATCHES "^// ${key}: *(.*)$")
            separate_arguments(words UNIX_COMMAND "${CMAKE_MATCH_1}")
            set(${out} "${words}" PARENT_SCOPE)
            return()
        endif()
    endforeach()
endfunction()

# A program that takes too long is first told so with SIGABRT, on which Catch2 names the test case that hangs; where ctest
# ends it, nobody learns more than the program's name.
find_program(WEFT_TIMEOUT_PROGRAM timeout)

# Who is asked is on this machine: whatever proxy leads out of it has no part in a test.
function(weft_add_variant name target)
    cmake_parse_arguments(arg "NEEDS_URING" "TIMEOUT" "ENVIRONMENT;ARGUMENTS;LABELS" ${ARGN})
    set(command "${target}")
    if(TARGET ${target})
        set(command "$<TARGET_FILE:${target}>")
    endif()
    if(arg_NEEDS_URING)
        list(PREPEND command "$<TARGET_FILE:weft_need_uring>")
    endif()
    if(WEFT_SANITIZE)
        math(EXPR arg_TIMEOUT "${arg_TIMEOUT} * 4")
    endif()
    if(WEFT_TIMEOUT_PROGRAM)
        list(PREPEND command "${WEFT_TIMEOUT_PROGRAM}" --foreground --signal=ABRT "${arg_TIMEOUT}")
        math(EXPR arg_TIMEOUT "${arg_TIMEOUT} + 30")
    endif()
    set(name "${WEFT_TEST_PREFIX}${name}")
    add_test(NAME "${name}" COMMAND ${command} ${arg_ARGUMENTS})
    set_tests_properties("${name}" PROPERTIES
        TIMEOUT "${arg_TIMEOUT}"
        SKIP_RETURN_CODE 77
        ENVIRONMENT "${arg_ENVIRONMENT};no_proxy=*;${weft_sanitize_environment}"
        LABELS "${arg_LABELS}")
endfunction()

option(WEFT_LOW_RUNGS "What both backends promise is also tested on a small ring, and without newer features of the kernel" ON)

# Both backends; with CONTRACT also a ring of two entries (every batch overflows it) and the lowest
# rung of the ladder of kernel features.
function(weft_add_variants name target)
    cmake_parse_arguments(arg "CONTRACT" "TIMEOUT" "ARGUMENTS;LABELS" ${ARGN})
    set(common TIMEOUT "${arg_TIMEOUT}" ARGUMENTS ${arg_ARGUMENTS} LABELS ${arg_LABELS})
    weft_add_variant("${name}.epoll" "${target}" ENVIRONMENT WEFT_BACKEND=epoll ${common})
    if(run_uring)
        weft_add_variant("${name}.uring" "${target}" NEEDS_URING ENVIRONMENT WEFT_BACKEND=uring ${common})
        if(arg_CONTRACT AND WEFT_LOW_RUNGS)
            weft_add_variant("${name}.ring2" "${target}" NEEDS_URING
                ENVIRONMENT WEFT_BACKEND=uring WEFT_URING_ENTRIES=2 ${common})
            weft_add_variant("${name}.plain" "${target}" NEEDS_URING
                ENVIRONMENT WEFT_BACKEND=uring "WEFT_URING_DISABLE=defer_taskrun,single_issuer,\
coop_taskrun,registered_ring,multishot,ext_arg,cqe_skip,poll_first,nosignal,file_calls,registered_buffers" ${common})
        endif()
    endif()
endfunction()
