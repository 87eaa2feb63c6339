# SPDX-License-Identifier: MIT
# Fails when weft as a subproject brings anything but its targets: weft::weft, weft::compiled, and those of TLS and
# the adapters where their libraries are. (What it would install is looked at by `run`.)
get_property(targets DIRECTORY "${WEFT_SOURCE}" PROPERTY BUILDSYSTEM_TARGETS)
get_property(folders DIRECTORY "${WEFT_SOURCE}" PROPERTY SUBDIRECTORIES)
get_property(tests DIRECTORY "${WEFT_SOURCE}" PROPERTY TESTS)
list(FILTER targets EXCLUDE REGEX "^weft_(tls|http|redis|postgres|mysql|sqlite|curl)_compiled$|^weft_llhttp$")
if(NOT targets STREQUAL "weft;weft_compiled" OR folders OR tests)
    message(FATAL_ERROR "as a subproject weft brought targets '${targets}', folders '${folders}', tests '${tests}'")
endif()
