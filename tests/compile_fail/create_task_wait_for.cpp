// expect: weft: an operation lives as long as the co_await it is written in
// SPDX-License-Identifier: MIT
// The same for one under a deadline.
#include <weft/deadline/wait_for.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>

weft::Coro<void> user() {
    using namespace std::chrono_literals;
#ifdef WEFT_EXPECT_OK
    co_await weft::create_task([] { return weft::wait_for([] { return weft::sleep(1s); }, 2s); });
#else
    co_await weft::create_task(weft::wait_for(weft::sleep(1s), 2s));
#endif
}
