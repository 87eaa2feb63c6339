// SPDX-License-Identifier: MIT
// Version, and the few switches that the build or the compiler decides for every header.
#pragma once

#define WEFT_VERSION_MAJOR 0
#define WEFT_VERSION_MINOR 1
#define WEFT_VERSION_PATCH 0

/// 1 when the io_uring backend is compiled in. The build defines WEFT_NO_URING where liburing's
/// headers are missing; a plain `-Iinclude` user gets what the headers on the machine allow.
#if defined(WEFT_NO_URING) || !__has_include(<liburing.h>)
#define WEFT_HAS_URING 0
#else
#define WEFT_HAS_URING 1
#endif

/// weft is header-only. A program of many files may compile once what is no template, instead of in
/// each of them that runs a loop: it defines WEFT_SEPARATE_COMPILATION for all of its files, and
/// one includes <weft/src.hpp> first (CMake: link to weft::compiled, which sees to both).
#if !defined(WEFT_SEPARATE_COMPILATION)
#define WEFT_BODIES 1
#define WEFT_INLINE inline
#elif defined(WEFT_SOURCE)
#define WEFT_BODIES 1
#define WEFT_INLINE
#else
#define WEFT_BODIES 0
#define WEFT_INLINE
#endif

/// The same for <weft/net/tls.hpp>, which needs OpenSSL and so is no part of <weft/src.hpp>: one
/// file includes <weft/tls_src.hpp> (CMake: link to weft::tls_compiled).
#if WEFT_BODIES || defined(WEFT_TLS_SOURCE)
#define WEFT_TLS_BODIES 1
#else
#define WEFT_TLS_BODIES 0
#endif

/// 1 under AddressSanitizer. Frames are then not recycled, so that a touch of a dead frame, by us
/// or by the kernel's completion path, is a report and not a silent hit on the next frame.
#if defined(__SANITIZE_ADDRESS__)
#define WEFT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEFT_ASAN 1
#endif
#endif
#ifndef WEFT_ASAN
#define WEFT_ASAN 0
#endif
