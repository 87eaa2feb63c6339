# SPDX-License-Identifier: MIT
# weft::compiled: weft::weft with all that is no template compiled once, in a static library of the project that uses
# it (with that project's flags), and left out of every file that links to it. Built only when something does.
if(CMAKE_CXX_COMPILER_LOADED AND NOT TARGET weft_compiled)
    file(CONFIGURE OUTPUT "${CMAKE_CURRENT_BINARY_DIR}/weft_compiled.cpp" CONTENT "#include <weft/src.hpp>\n" @ONLY)
    add_library(weft_compiled STATIC EXCLUDE_FROM_ALL "${CMAKE_CURRENT_BINARY_DIR}/weft_compiled.cpp")
    add_library(weft::compiled ALIAS weft_compiled)
    target_link_libraries(weft_compiled PUBLIC weft::weft)
    target_compile_definitions(weft_compiled PUBLIC WEFT_SEPARATE_COMPILATION=1)
endif()
