// SPDX-License-Identifier: MIT
// The part of <weft/net/tls.hpp> that is no template, for one file of a program whose files are all
// compiled with WEFT_SEPARATE_COMPILATION; beside the file that includes <weft/src.hpp>.
#pragma once

#if defined(WEFT_TLS_BODIES) && !WEFT_TLS_BODIES
#error "include <weft/tls_src.hpp> before any other header of weft"
#endif

#define WEFT_TLS_SOURCE
#include "base/config.hpp"
#undef WEFT_TLS_SOURCE

#include "net/tls.hpp"
