// expect: weft: the function does not return a Coro
// SPDX-License-Identifier: MIT
// A loop runs coroutines.
#include <weft/task/coro.hpp>
#include <weft/task/run.hpp>

weft::Coro<void> user() {
    using namespace std::chrono_literals;
#ifdef WEFT_EXPECT_OK
    weft::Runner runner;
    runner.run([]() -> weft::Coro<void> { co_return; });
    co_return;
#else
    weft::Runner runner;
    runner.run([] {});
    co_return;
#endif
}
