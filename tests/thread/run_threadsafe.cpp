// SPDX-License-Identifier: MIT
// Coroutines that other threads start on a loop: result, error, time limit and cancel (SEMANTICS
// 80, 81, 121).
// labels: threads
#include <weft/sync/event.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/testing/catch.hpp>
#include <weft/thread/run_threadsafe.hpp>
#include <weft/thread/thread_pool.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "../support/awaiting.hpp"

namespace run_threadsafe_test {

using weft::ConcurrentFuture;
using weft::Coro;
using weft::Remote;
using weft::run_coroutine_threadsafe;
using weft::to_thread;

namespace {

Remote here() { return weft::get_running_loop().remote(); }

Coro<std::unique_ptr<int>> after_a_turn(int number) {
    co_await weft::yield();
    co_return std::make_unique<int>(number);
}

Coro<void> fails() {
    co_await weft::yield();
    throw std::runtime_error("no luck");
}

/// What a waiting thread got.
template <class Fn>
std::string words_of(Fn get) {
    try {
        get();
    } catch (const weft::CancelledError&) {
        return "cancelled";
    } catch (const std::exception& error) {
        return error.what();
    }
    return "";
}

}  // namespace

WEFT_TEST_CASE("a thread gets the result of a coroutine that it has started", "[run_threadsafe]") {
    auto ask = [loop = here()] {
        ConcurrentFuture<std::unique_ptr<int>> future =
            run_coroutine_threadsafe(loop, after_a_turn(42));
        return *future.get();
    };
    const int answer = co_await to_thread(ask);
    CHECK(answer == 42);
}

WEFT_TEST_CASE("a callable and its arguments go along, and live as long as the coroutine",
               "[run_threadsafe]") {
    auto ask = [loop = here()] {
        auto body = [text = std::string(100, 'x')](std::string more) -> Coro<std::size_t> {
            co_await weft::yield();
            co_return text.size() + more.size();
        };
        auto future = run_coroutine_threadsafe(loop, std::move(body), std::string(50, 'y'));
        return future.get();
    };
    const std::size_t size = co_await to_thread(ask);
    CHECK(size == 150);
}

WEFT_TEST_CASE("a thread gets the coroutine's exception", "[run_threadsafe]") {
    auto ask = [loop = here()] {
        return words_of([&] { run_coroutine_threadsafe(loop, fails()).get(); });
    };
    const std::string what = co_await to_thread(ask);
    CHECK(what == "no luck");
}

WEFT_TEST_CASE("a thread that waits for a limited time leaves the coroutine alone",
               "[run_threadsafe]") {
    weft::Event go;
    auto waits = [&go]() -> Coro<int> {
        co_await go.wait();
        co_return 7;
    };
    std::optional<ConcurrentFuture<int>> future;
    auto ask = [&, loop = here()] {
        future = run_coroutine_threadsafe(loop, waits);
        return future->wait_for(std::chrono::microseconds(100));
    };
    const bool in_time = co_await to_thread(ask);
    CHECK_FALSE(in_time);
    CHECK_FALSE(future->done());
    go.set();
    auto wait_on = [&] { return future->get(); };
    const int result = co_await to_thread(wait_on);
    CHECK(result == 7);
    CHECK_FALSE(future->cancel());
}

WEFT_TEST_CASE("a thread cancels what it has started, at any moment", "[run_threadsafe]") {
    for (int moment = 0; moment < 3; ++moment) {
        weft::Event never;
        std::atomic<bool> began{false};
        bool cleaned_up = false;
        auto body = [&]() -> Coro<void> {
            began = true;
            try {
                co_await never.wait();
            } catch (const weft::CancelledError&) {
                cleaned_up = true;
                throw;
            }
        };
        auto ask = [&, loop = here()] {
            auto future = run_coroutine_threadsafe(loop, body);
            if (moment == 1) {
                while (!began) ::sched_yield();
            }
            const bool asked = future.cancel();
            if (moment == 2) future.cancel();
            return words_of([&] { future.get(); }) + (asked ? "" : " too late");
        };
        const std::string what = co_await to_thread(ask);
        CHECK(what == "cancelled");
        CHECK(cleaned_up == began.load());
    }
}

WEFT_TEST_CASE("waiting on the loop's own thread is refused by name", "[run_threadsafe]") {
    ConcurrentFuture<std::unique_ptr<int>> future =
        run_coroutine_threadsafe(here(), after_a_turn(1));
    const std::string what = words_of([&] { future.get(); });
    CHECK(what ==
          "ConcurrentFuture: waited for on the thread of the loop that is to give the result");
    co_await support::turns(5);
    CHECK(*future.get() == 1);
    const std::string again = words_of([&] { future.get(); });
    CHECK(again == "ConcurrentFuture: the result was taken already");
}

TEST_CASE("a closed loop refuses, and what it had not begun is told", "[run_threadsafe]") {
    std::optional<Remote> remote;
    std::optional<ConcurrentFuture<std::unique_ptr<int>>> unbegun;
    std::optional<ConcurrentFuture<void>> cut_off;
    {
        weft::EventLoop loop;
        remote = loop.remote();
        cut_off = run_coroutine_threadsafe(
            *remote, [&]() -> Coro<void> { co_await weft::sleep(std::chrono::hours(1)); });
        loop.run_once();
        loop.run_once();
        unbegun = run_coroutine_threadsafe(*remote, after_a_turn(1));
    }
    CHECK(words_of([&] { cut_off->get(); }) == "cancelled");
    CHECK(unbegun->done());
    CHECK(words_of([&] { unbegun->get(); }) != "");
    CHECK(words_of([&] { run_coroutine_threadsafe(*remote, after_a_turn(1)); }).find("closed") !=
          std::string::npos);
}

}  // namespace run_threadsafe_test
