# SPDX-License-Identifier: MIT
# Fails when weft as a subproject brings anything but its targets: weft::weft, weft::compiled and, where OpenSSL is there,
# weft::tls_compiled. (What it would install is looked at by `run`.)
get_property(targets DIRECTORY "${WEFT_SOURCE}" PROPERTY BUILDSYSTEM_TARGETS)
get_property(folders DIRECTORY "${WEFT_SOURCE}" PROPERTY SUBDIRECTORIES)
get_property(tests DIRECTORY "${WEFT_SOURCE}" PROPERTY TESTS)
list(REMOVE_ITEM targets weft_tls_compiled)
if(NOT targets STREQUAL "weft;weft_compiled" OR folders OR tests)
    message(FATAL_ERROR "as a subproject weft brought targets '${targets}', folders '${folders}', tests '${tests}'")
endif()
