// expect: weft: a race cancels its losers, and that would end the generator
// SPDX-License-Identifier: MIT
// A generator that loses a race would be at its end.
#include <weft/task/async_generator.hpp>
#include <weft/task/task.hpp>
#include <weft/together/race_all.hpp>
#include <weft/together/select.hpp>

weft::Coro<void> user(weft::AsyncGenerator<int>& first, weft::AsyncGenerator<int>& second) {
#ifdef WEFT_EXPECT_OK
    auto one = weft::create_task(first.next());
    auto two = weft::create_task(second.next());
    (void)co_await weft::select(one, two);
#else
    (void)co_await weft::race_all(first.next(), second.next());
#endif
}
