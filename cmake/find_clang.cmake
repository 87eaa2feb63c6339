# SPDX-License-Identifier: MIT
# WEFT_CLANGXX: clang 16, the oldest that is supported, where it is there; else the newest.
find_program(WEFT_CLANGXX NAMES clang++-16 clang++-20 clang++-19 clang++-18 clang++-17 clang++)
mark_as_advanced(WEFT_CLANGXX)
