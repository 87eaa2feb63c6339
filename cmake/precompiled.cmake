# SPDX-License-Identifier: MIT
# Precompiled headers for the project's own programs: parsing weft, Catch2 and the standard library is what most of them
# would spend their compile time on.

# CMake would begin the file of them with `#pragma GCC system_header`, and our own headers would lose their warnings.
set(CMAKE_PCH_PROLOGUE "")

# Adds target `name`, which has HEADERS precompiled for programs that link to LIBRARIES and are compiled with OPTIONS.
function(weft_precompiled name)
    cmake_parse_arguments(arg "" "" "HEADERS;LIBRARIES;OPTIONS" ${ARGN})
    set(source "${CMAKE_CURRENT_BINARY_DIR}/${name}.cpp")
    file(CONFIGURE OUTPUT "${source}" CONTENT "// A target needs a source.\n" @ONLY)
    add_library(${name} OBJECT "${source}")
    target_link_libraries(${name} PRIVATE ${arg_LIBRARIES})
    weft_warnings(${name})
    weft_sanitize(${name})
    target_compile_options(${name} PRIVATE ${arg_OPTIONS})
    target_precompile_headers(${name} PRIVATE ${arg_HEADERS})
endfunction()
