# SPDX-License-Identifier: MIT
# weft::compiled: weft::weft with all that is no template compiled once, in a static library of the project that uses
# it (with that project's flags), and left out of every file that links to it. Built only when something does.
if(CMAKE_CXX_COMPILER_LOADED AND NOT TARGET weft_compiled)
    file(CONFIGURE OUTPUT "${CMAKE_CURRENT_BINARY_DIR}/weft_compiled.cpp" CONTENT "#include <weft/src.hpp>\n" @ONLY)
    add_library(weft_compiled STATIC EXCLUDE_FROM_ALL "${CMAKE_CURRENT_BINARY_DIR}/weft_compiled.cpp")
    add_library(weft::compiled ALIAS weft_compiled)
    target_link_libraries(weft_compiled PUBLIC weft::weft)
    target_compile_definitions(weft_compiled PUBLIC WEFT_SEPARATE_COMPILATION=1)
    # All of it is one object file. The linker leaves out what a program does not use: the echo server is 159 KB so, and 233
    # with everything; it is 155 KB when it is compiled header-only.
    target_compile_options(weft_compiled PRIVATE -ffunction-sections -fdata-sections)
    target_link_options(weft_compiled INTERFACE "LINKER:--gc-sections")
endif()
