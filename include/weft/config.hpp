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
