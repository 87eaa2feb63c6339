// expect: weft: a coroutine returns an over-aligned type
// SPDX-License-Identifier: MIT
// The frame that awaits it would not be aligned for it.
#include <weft/task/coro.hpp>

#include <memory>

struct alignas(64) Line {
    int number = 1;
};

#ifdef WEFT_EXPECT_OK
weft::Coro<std::unique_ptr<Line>> load() { co_return std::make_unique<Line>(); }
#else
weft::Coro<Line> load() { co_return Line(); }
#endif
