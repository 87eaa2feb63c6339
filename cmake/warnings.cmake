# SPDX-License-Identifier: MIT
# Strict warnings for the project's own C++ targets; users of weft::weft never see these flags.
set(weft_warning_flags
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wdouble-promotion
    -Wold-style-cast -Wcast-qual -Wcast-align -Wnon-virtual-dtor -Woverloaded-virtual
    -Wextra-semi -Wformat=2 -Wundef -Wvla)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    list(APPEND weft_warning_flags -Wduplicated-cond -Wlogical-op)
    if(WEFT_SANITIZE)
        # Instrumented code confuses g++'s flow analysis: it reports what the plain build does not.
        list(APPEND weft_warning_flags -Wno-maybe-uninitialized)
    endif()
elseif(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    # Not -Wunreachable-code: a coroutine that only throws needs its co_return all the same.
    list(APPEND weft_warning_flags -Wshadow-uncaptured-local -Wloop-analysis)
endif()
if(WEFT_WERROR)
    list(APPEND weft_warning_flags -Werror)
endif()

function(weft_warnings target)
    target_compile_options(${target} PRIVATE ${weft_warning_flags})
endfunction()
