// expect: weft: the function returns an await of an operation that is gone by then
// SPDX-License-Identifier: MIT
// A function may return an operation, but not a deadline around one of its own.
#include <weft/deadline/wait_for.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>

weft::Coro<void> user() {
    using namespace std::chrono_literals;
#ifdef WEFT_EXPECT_OK
    co_await weft::create_task([] { return weft::wait_for([] { return weft::sleep(1s); }, 2s); });
#else
    co_await weft::create_task([] { return weft::wait_for(weft::sleep(1s), 2s); });
#endif
}
