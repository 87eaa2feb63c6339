# SPDX-License-Identifier: MIT
# weft::tls and weft::tls_compiled: weft::weft and weft::compiled with <weft/net/tls.hpp>, on OpenSSL::SSL.
if(NOT TARGET weft::tls)
    add_library(weft_tls INTERFACE IMPORTED GLOBAL)
    add_library(weft::tls ALIAS weft_tls)
    target_link_libraries(weft_tls INTERFACE weft::weft OpenSSL::SSL)
endif()
if(TARGET weft_compiled AND NOT TARGET weft_tls_compiled)
    file(CONFIGURE OUTPUT "${CMAKE_CURRENT_BINARY_DIR}/weft_tls_compiled.cpp" CONTENT "#include <weft/tls_src.hpp>\n" @ONLY)
    add_library(weft_tls_compiled STATIC EXCLUDE_FROM_ALL "${CMAKE_CURRENT_BINARY_DIR}/weft_tls_compiled.cpp")
    add_library(weft::tls_compiled ALIAS weft_tls_compiled)
    target_link_libraries(weft_tls_compiled PUBLIC weft::compiled OpenSSL::SSL)
    target_compile_options(weft_tls_compiled PRIVATE -ffunction-sections -fdata-sections)
endif()
