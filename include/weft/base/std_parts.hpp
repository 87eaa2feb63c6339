// SPDX-License-Identifier: MIT
// The few parts of <memory>, <algorithm> and <chrono> that headers of ours need: construct_at
// and allocator, min and max, durations and clocks.
#pragma once

#include <utility>

// Whole, these headers cost every user's compile a quarter of a second in C++20 (shared_ptr, the
// parallel and ranges algorithms, streams and calendars), which is more than the loop itself does.
// libstdc++ has the parts under these names since version 11.
#if defined(__GLIBCXX__) && __has_include(<bits/chrono.h>)
#include <bits/allocator.h>
#include <bits/chrono.h>
#include <bits/stl_algobase.h>
#include <bits/stl_construct.h>
#else
#include <algorithm>
#include <chrono>
#include <memory>
#endif
