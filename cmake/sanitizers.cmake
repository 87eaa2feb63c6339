# SPDX-License-Identifier: MIT
# WEFT_SANITIZE for the project's own targets, and the run-time options that go with it.
set(sanitize_link_flags "")
if(WEFT_SANITIZE STREQUAL "address")
    set(sanitize_flags -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
        # A call for each access, instead of a check that is written out: it finds the same, and a sixth less is to compile.
        list(APPEND sanitize_flags "SHELL:--param asan-instrumentation-with-call-threshold=0")
    endif()
    # Half of the linker's time, which under sanitizers counts.
    include(CheckLinkerFlag)
    check_linker_flag(CXX -fuse-ld=gold weft_have_gold)
    if(weft_have_gold)
        list(APPEND sanitize_link_flags -fuse-ld=gold)
    endif()
    # Of programs that run once, on a library which has every check: AddressSanitizer finds what is null, or gone, and used.
    # A report then names functions, not lines: debug information is a seventh of what their compilation takes, and half of
    # the linker's time.
    set(sanitize_plainly -g0 -fno-sanitize=null,alignment,vptr,object-size,pointer-overflow)
    set(weft_sanitize_environment
        "ASAN_OPTIONS=strict_string_checks=1:detect_leaks=1:check_initialization_order=1"
        "UBSAN_OPTIONS=print_stacktrace=1")
elseif(WEFT_SANITIZE STREQUAL "thread")
    set(sanitize_flags -fsanitize=thread -fno-omit-frame-pointer)
    set(sanitize_plainly "")
    set(weft_sanitize_environment "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1")
elseif(NOT WEFT_SANITIZE)
    set(sanitize_flags "")
    set(sanitize_plainly "")
    set(weft_sanitize_environment "")
else()
    message(FATAL_ERROR "weft: WEFT_SANITIZE is address, thread or empty, not '${WEFT_SANITIZE}'")
endif()

function(weft_sanitize target)
    target_compile_options(${target} PRIVATE ${sanitize_flags})
    target_link_options(${target} PRIVATE ${sanitize_flags} ${sanitize_link_flags})
endfunction()
