# SPDX-License-Identifier: MIT
# Toolchain file of the clang preset.
include("${CMAKE_CURRENT_LIST_DIR}/find_clang.cmake")
if(NOT WEFT_CLANGXX)
    message(FATAL_ERROR "weft: there is no clang (Debian: clang-16)")
endif()
set(CMAKE_CXX_COMPILER "${WEFT_CLANGXX}")
string(REPLACE "clang++" "clang" CMAKE_C_COMPILER "${WEFT_CLANGXX}")
