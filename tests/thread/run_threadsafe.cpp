// SPDX-License-Identifier: MIT
// Coroutines that other threads start on a loop: result, error, time limit and cancel (SEMANTICS
// 80, 81, 121).
// labels: threads
#include <weft/deadline/clean_up.hpp>
#include <weft/deadline/wait_for.hpp>
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
#include <thread>
#include <utility>

#include "../support/awaiting.hpp"
#include "../support/probe.hpp"

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

WEFT_TEST_CASE(
    "debug mode does not take a cancelled coroutine of another thread for a swallowed cancel",
    "[run_threadsafe]") {
    weft::EventLoop& loop = weft::get_running_loop();
    loop.set_debug(true);
    auto reports = probe::collect_reports(loop);
    auto never = []() -> Coro<void> { co_await weft::sleep_forever(); };
    auto waits = [&never]() -> Coro<void> { co_await here().spawn(never); };
    weft::Task<void> task = weft::create_task(waits);
    co_await support::turns(5);
    task.cancel();
    co_await task.wait();
    CHECK(task.cancelled());
    CHECK(reports->empty());
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

WEFT_TEST_CASE("a task awaits a coroutine of another loop: result, error, cancel",
               "[run_threadsafe]") {
    // A loop on a thread of its own, which ends when it is told to.
    std::optional<Remote> there;
    std::atomic<bool> ready{false};
    std::optional<weft::Event> end;
    std::thread other([&] {
        weft::run([&]() -> Coro<void> {
            there = here();
            end.emplace();
            ready = true;
            co_await end->wait();
        });
    });
    while (!ready) co_await weft::sleep(std::chrono::milliseconds(1));
    std::unique_ptr<int> result = co_await there->spawn(&after_a_turn, 5);
    CHECK(*result == 5);
    std::string error;
    try {
        co_await there->spawn(fails());
    } catch (const std::runtime_error& failure) {
        error = failure.what();
    }
    CHECK(error == "no luck");
    // A cancel goes there, and is waited for.
    std::atomic<bool> began{false}, cleaned_up{false};
    auto never = [&]() -> Coro<void> {
        began = true;
        try {
            co_await weft::sleep(std::chrono::hours(1));
        } catch (const weft::CancelledError&) {
        }
        auto slowly = [&]() -> Coro<void> {
            co_await weft::yield();
            cleaned_up = true;
        };
        co_await weft::clean_up(std::chrono::hours(1), slowly);
        throw weft::CancelledError();
    };
    auto waits = [&]() -> Coro<void> { co_await there->spawn(never); };
    weft::Task<void> task = weft::create_task(waits);
    while (!began) co_await weft::sleep(std::chrono::milliseconds(1));
    task.cancel();
    co_await task.wait();
    CHECK(task.cancelled());
    CHECK(cleaned_up);
    // A deadline does the same, without an exception on the way.
    bool timed_out = false;
    try {
        co_await weft::wait_for(there->spawn(never), std::chrono::milliseconds(1));
    } catch (const weft::TimeoutError&) {
        timed_out = true;
    }
    CHECK(timed_out);
    // Several tasks may wait; the result goes to the first.
    ConcurrentFuture<std::unique_ptr<int>> shared = there->spawn(&after_a_turn, 6);
    int got = 0, refused = 0;
    auto takes = [&]() -> Coro<void> {
        try {
            std::unique_ptr<int> mine = co_await shared;
            got += *mine;
        } catch (const weft::InvalidStateError&) {
            ++refused;
        }
    };
    weft::Task<void> one = weft::create_task(takes), two = weft::create_task(takes);
    co_await one;
    co_await two;
    CHECK(got == 6);
    CHECK(refused == 1);
    // The loop goes while somebody waits: it is told.
    weft::Task<void> last = weft::create_task(waits);
    co_await support::turns(2);
    there->call_soon_threadsafe([&] { end->set(); });
    co_await last.wait();
    CHECK(last.cancelled());
    other.join();
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
