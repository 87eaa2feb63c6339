// expect: weft: a generator yields an over-aligned type
// SPDX-License-Identifier: MIT
// The frame that awaits it would not be aligned for it.
#include <weft/task/async_generator.hpp>

struct alignas(64) Line {
    int number = 1;
};

// A reference is of no size.
#ifdef WEFT_EXPECT_OK
weft::AsyncGenerator<const Line&> load(const Line& line) { co_yield line; }
#else
weft::AsyncGenerator<Line> load(const Line& line) { co_yield line; }
#endif
