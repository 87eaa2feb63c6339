// SPDX-License-Identifier: MIT
// Virtual time, and what does not happen in it: the work of threads, of children, of peers.
// labels: threads
#include <weft/deadline/wait_for.hpp>
#include <weft/streams/pipe.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/thread/run_threadsafe.hpp>
#include <weft/thread/thread_channel.hpp>
#include <weft/thread/thread_pool.hpp>

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <future>
#include <optional>
#include <span>
#include <thread>
#include <utility>

#include "../support/descriptors.hpp"

namespace virtual_time_test {

using namespace std::chrono_literals;
using weft::Coro;
using weft::to_thread;

namespace {

// Many times as long as virtual time once waited for anybody.
constexpr auto a_while = 30ms;

void takes_a_while() { std::this_thread::sleep_for(a_while); }

weft::TimePoint now() { return weft::get_running_loop().time(); }

}  // namespace

WEFT_TEST_CASE("a limit of an hour does not strike while a thread works", "[virtual_time]") {
    const auto before = now();
    co_await weft::wait_for(to_thread(&takes_a_while), 1h);
    // And nothing has happened meanwhile that would have taken time.
    CHECK(now() == before);
    // Among others that sleep, too.
    bool slept = false;
    auto sleeps = [&]() -> Coro<void> {
        co_await weft::sleep(1h);
        slept = true;
    };
    const weft::Task<void> other = weft::create_task(sleeps);
    co_await to_thread(&takes_a_while);
    CHECK_FALSE(slept);
    co_await other;
    CHECK(now() == before + 1h);
}

WEFT_TEST_CASE("a limit that is short strikes while a thread works", "[virtual_time]") {
    std::atomic<bool> stopped{false};
    auto works = [&](weft::StopToken stop) {
        while (!stop.stop_requested()) std::this_thread::yield();
        stopped = true;
    };
    auto job = [&]() -> Coro<void> { co_await to_thread(works); };
    const auto before = now();
    co_await weft::wait_for(job(), 5ms);  // (it has ended, so that is no timeout)
    CHECK(stopped);
    CHECK(now() >= before + 5ms);
}

WEFT_TEST_CASE("a deadline that is set while a thread works counts from then", "[virtual_time]") {
    std::atomic<bool> go_on{false};
    auto works = [&] { go_on.wait(false); };
    auto job = [&]() -> Coro<void> { co_await to_thread(works); };
    weft::Task<void> task = weft::create_task(job);
    const weft::Remote here = weft::get_running_loop().remote();
    weft::Future<void> told = weft::create_future<void>();
    std::thread tells([&] {
        takes_a_while();
        here.call_soon_threadsafe([&] { told.set_result(); });
    });
    auto sleeps = []() -> Coro<void> { co_await weft::sleep(40ms); };
    const weft::Task<void> watchdog = weft::create_task(sleeps);
    co_await told;
    const auto before = now();
    co_await weft::sleep(25ms);
    CHECK(now() >= before + 25ms);
    CHECK(watchdog.done());  // 40 of at least 55
    go_on = true;
    go_on.notify_all();
    co_await task;
    tells.join();
}

TEST_CASE("a coroutine of another loop is waited for like a thread's work", "[virtual_time]") {
    std::promise<weft::Remote> remote;
    std::promise<void> over;
    std::thread there([&] {
        auto serve = [&]() -> Coro<void> {
            remote.set_value(weft::get_running_loop().remote());
            co_await to_thread([&] { over.get_future().wait(); });
        };
        weft::run(serve);
    });
    const weft::Remote other = remote.get_future().get();
    auto sleeps = []() -> Coro<void> { co_await weft::sleep(a_while); };
    auto body = [&]() -> Coro<void> {
        const auto before = now();
        co_await weft::wait_for(other.spawn(sleeps), 1h);
        CHECK(now() == before);
    };
    weft::testing::run(body);
    over.set_value();
    there.join();
}

TEST_CASE("virtual_grace: how long channels and descriptors are waited for", "[virtual_time]") {
    weft::RunOptions options;
    options.virtual_grace = 10s;
    auto body = []() -> Coro<void> {
        const auto before = now();
        const weft::ThreadChannel<int> channel(1);
        std::thread sends([&channel] {
            takes_a_while();
            channel.blocking_send(1);
        });
        const std::optional<int> item = co_await weft::wait_for(channel.recv(), 1h);
        sends.join();
        CHECK(item == 1);
        auto [reads, writes] = weft::pipe();
        std::thread writer([fd = writes.fd()] {
            takes_a_while();
            support::checked(static_cast<int>(::write(fd, "x", 1)), "write");
        });
        char byte = 0;
        const std::size_t got = co_await weft::wait_for(reads.read(std::span(&byte, 1)), 1h);
        writer.join();
        CHECK(got == 1);
        CHECK(now() == before);
    };
    weft::testing::run(body, options);
}

TEST_CASE("a limit of Duration::max() never strikes while something may come", "[virtual_time]") {
    weft::RunOptions options;
    options.virtual_grace = weft::Duration::zero();
    auto body = []() -> Coro<void> {
        const auto before = now();
        auto [reads, writes] = weft::pipe();
        const std::jthread writer([fd = writes.fd()] {
            takes_a_while();
            support::checked(static_cast<int>(::write(fd, "x", 1)), "write");
        });
        char byte = 0;
        const std::size_t got =
            co_await weft::wait_for(reads.read(std::span(&byte, 1)), weft::Duration::max());
        CHECK(got == 1);
        CHECK(now() == before);
    };
    weft::testing::run(body, options);
}

}  // namespace virtual_time_test
