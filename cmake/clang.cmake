# SPDX-License-Identifier: MIT
# Toolchain file of the clang preset: clang 16, the oldest supported, where it is there; else the newest.
find_program(WEFT_CLANGXX NAMES clang++-16 clang++-20 clang++-19 clang++-18 clang++-17 clang++ REQUIRED)
set(CMAKE_CXX_COMPILER "${WEFT_CLANGXX}")
string(REPLACE "clang++" "clang" CMAKE_C_COMPILER "${WEFT_CLANGXX}")
