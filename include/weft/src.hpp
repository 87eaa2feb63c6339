// SPDX-License-Identifier: MIT
// The part of weft that is no template, for one file of a program whose files are all compiled with
// WEFT_SEPARATE_COMPILATION. Without that it adds nothing: weft is header-only.
#pragma once

#if defined(WEFT_BODIES) && !WEFT_BODIES
#error "include <weft/src.hpp> before any other header of weft"
#endif

#define WEFT_SOURCE
#include "base/config.hpp"
#undef WEFT_SOURCE

// g++ warns of lambdas in the frames of coroutines that stand in headers: other files might compile
// them into another type. Their bodies are compiled here and nowhere else.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsubobject-linkage"
#endif
#include "fs.hpp"
#include "process.hpp"
#include "weft.hpp"
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
