// SPDX-License-Identifier: MIT
// How the backends sleep: not at all for what is nearer than a sleep takes, and without leaving a
// trace on the thread.
#include <sys/prctl.h>

#include <chrono>

#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/testing/catch.hpp>

namespace short_sleeps_test {

TEST_CASE("a sleep that is shorter than falling asleep takes does not enter the ring", "[sleep]") {
    const auto sleeps = []() -> weft::Coro<void> {
        weft::EventLoop& loop = weft::get_running_loop();
        const bool is_ring = loop.backend_info().name == "uring";
        co_await weft::sleep(std::chrono::nanoseconds(100));
        const std::uint64_t before = loop.kernel_entries();
        for (int count = 0; count < 100; ++count)
            co_await weft::sleep(std::chrono::nanoseconds(100));
        if (is_ring) CHECK(loop.kernel_entries() - before < 5);
    };
    weft::run(sleeps);
}

TEST_CASE("a sleep does not end early, however short", "[sleep]") {
    const auto sleeps = []() -> weft::Coro<void> {
        for (const long length : {1L, 100L, 1'999L, 2'000L, 2'001L, 30'000L, 12'000'000L}) {
            CAPTURE(length);
            const auto before = std::chrono::steady_clock::now();
            co_await weft::sleep(std::chrono::nanoseconds(length));
            const auto took = std::chrono::steady_clock::now() - before;
            CHECK(took >= std::chrono::nanoseconds(length));
        }
    };
    weft::run(sleeps);
}

TEST_CASE("after a loop the thread's timer slack is what it was", "[sleep]") {
    const int before = ::prctl(PR_GET_TIMERSLACK);
    for (const int slack : {before, 70'000, 500}) {
        CAPTURE(slack);
        ::prctl(PR_SET_TIMERSLACK, slack);
        const auto sleeps = []() -> weft::Coro<void> {
            co_await weft::sleep(std::chrono::microseconds(10));
        };
        weft::run(sleeps);
        CHECK(::prctl(PR_GET_TIMERSLACK) == slack);
    }
    ::prctl(PR_SET_TIMERSLACK, before);
}

}  // namespace short_sleeps_test
