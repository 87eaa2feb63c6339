// expect: weft: an operation lives as long as the co_await it is written in
// SPDX-License-Identifier: MIT
// A task would outlive the operation: it is made inside of the task.
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>

weft::Coro<void> user() {
    using namespace std::chrono_literals;
#ifdef WEFT_EXPECT_OK
    co_await weft::create_task([] { return weft::sleep(1s); });
#else
    co_await weft::create_task(weft::sleep(1s));
#endif
}
