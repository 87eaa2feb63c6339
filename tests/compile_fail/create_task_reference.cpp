// expect: weft: what create_task is given first is neither a coroutine nor a function that can be
// called SPDX-License-Identifier: MIT The arguments are copied: a function that takes a reference
// gets one by std::ref.
#include <weft/task/coro.hpp>
#include <weft/task/task.hpp>

#include <functional>

weft::Coro<void> increase(int& number) {
    ++number;
    co_return;
}

weft::Coro<void> user() {
    int number = 0;
#ifdef WEFT_EXPECT_OK
    co_await weft::create_task(increase, std::ref(number));
#else
    co_await weft::create_task(increase, number);
#endif
}
