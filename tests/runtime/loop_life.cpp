// SPDX-License-Identifier: MIT
// labels: smoke
// EventLoop: failures and the exception handler, misuse and its messages, closing with work left
// over.
#include <weft/runtime/loop.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "probe.hpp"

namespace loop_life_test {

using namespace std::chrono_literals;
using probe::message_of;
using weft::Coro;
using weft::EventLoop;
using weft::Future;
using weft::RuntimeError;
using weft::Task;

namespace {

bool contains(const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
}

Coro<void> sleeps_long(probe::Alive) { co_await weft::sleep(24h); }

/// Ends for nobody.
Coro<void> stubborn(probe::Alive) {
    for (;;) {
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError&) {
        }
    }
}

}  // namespace

// --- the exception handler ---

TEST_CASE("a callback that throws is reported and the rest of the turn runs", "[loop]") {
    EventLoop loop(weft::testing::options());
    auto reports = probe::collect_reports(loop);
    bool ran = false;
    loop.call_soon([] { throw std::runtime_error("bad callback"); });
    loop.call_soon([] { throw 42; });
    loop.call_later(0s, [] { throw std::runtime_error("bad timer"); });
    loop.call_soon_threadsafe([] { throw std::runtime_error("bad post"); });
    loop.call_soon([&] { ran = true; });
    for (int i = 0; i < 3; ++i) loop.run_once();
    REQUIRE(ran);
    REQUIRE(reports->size() == 4);
    REQUIRE(probe::count_with(reports, "bad callback") == 1);
    REQUIRE(probe::count_with(reports, "bad timer") == 1);
    REQUIRE(probe::count_with(reports, "bad post") == 1);
}

TEST_CASE("an exception handler that throws does not stop the loop", "[loop]") {
    EventLoop loop(weft::testing::options());
    int called = 0;
    loop.set_exception_handler([&](const weft::ExceptionContext&) {
        ++called;
        throw std::runtime_error("handler (this line on stderr is expected)");
    });
    loop.call_soon([] { throw std::runtime_error("first (expected)"); });
    loop.call_soon([] { throw std::runtime_error("second (expected)"); });
    loop.run_once();
    REQUIRE(called == 2);
}

TEST_CASE("an exception handler can replace itself", "[loop]") {
    EventLoop loop(weft::testing::options());
    std::string log;
    loop.set_exception_handler([&loop, &log, mark = std::make_unique<std::string>("first")](
                                   const weft::ExceptionContext&) {
        loop.set_exception_handler([&log](const weft::ExceptionContext&) { log += ", second"; });
        log += *mark;
    });
    loop.call_soon([] { throw 1; });
    loop.call_soon([] { throw 2; });
    loop.run_once();
    REQUIRE(log == "first, second");
}

TEST_CASE("an exception handler can schedule more work", "[loop]") {
    EventLoop loop(weft::testing::options());
    bool ran = false;
    loop.set_exception_handler(
        [&](const weft::ExceptionContext&) { loop.call_soon([&] { ran = true; }); });
    loop.call_soon([] { throw 1; });
    loop.run_once();
    REQUIRE_FALSE(ran);
    loop.run_once();
    REQUIRE(ran);
}

// --- misuse, by its message ---

TEST_CASE("a closed loop refuses work by name", "[loop]") {
    EventLoop loop(weft::testing::options());
    loop.close();
    REQUIRE(loop.is_closed());
    loop.close();
    int alive = 0;
    std::vector<std::string> texts;
    texts.push_back(message_of<RuntimeError>([&] { loop.call_soon([] {}); }));
    texts.push_back(message_of<RuntimeError>([&] { loop.call_later(1s, [] {}); }));
    texts.push_back(message_of<RuntimeError>([&] { loop.call_at(loop.time(), [] {}); }));
    texts.push_back(message_of<RuntimeError>([&] { loop.call_soon_threadsafe([] {}); }));
    texts.push_back(message_of<RuntimeError>([&] { loop.remote().call_soon_threadsafe([] {}); }));
    texts.push_back(message_of<RuntimeError>(
        [&] { (void)loop.create_task(sleeps_long(probe::Alive(alive))); }));
    texts.push_back(message_of<RuntimeError>(
        [&] { loop.run_until_complete(sleeps_long(probe::Alive(alive))); }));
    texts.push_back(message_of<RuntimeError>([&] { loop.run_forever(); }));
    texts.push_back(message_of<RuntimeError>([&] { loop.run_once(); }));
    for (const std::string& text : texts) CHECK(contains(text, "the event loop is closed"));
    REQUIRE(alive == 0);
}

WEFT_TEST_CASE("running a loop inside a loop is an error", "[loop]") {
    EventLoop& loop = weft::get_running_loop();
    EventLoop other(weft::testing::options());
    int alive = 0;
    const char* const already = "already running on this thread";
    const std::string nested =
        message_of<RuntimeError>([&] { weft::run(sleeps_long(probe::Alive(alive))); });
    REQUIRE(contains(nested, already));
    REQUIRE(alive == 0);
    REQUIRE(contains(message_of<RuntimeError>([&] { other.run_once(); }), already));
    REQUIRE(contains(message_of<RuntimeError>([&] { loop.run_forever(); }), already));
    REQUIRE(contains(message_of<RuntimeError>([&] { loop.close(); }), "the event loop is running"));
    // And this loop goes on.
    REQUIRE(EventLoop::running() == &loop);
    co_await weft::sleep(1s);
}

TEST_CASE("without a running loop the free functions say so", "[loop]") {
    int alive = 0;
    const char* const none = "no running event loop";
    REQUIRE(contains(message_of<RuntimeError>([&] { (void)weft::get_running_loop(); }), none));
    REQUIRE(contains(message_of<RuntimeError>(
                         [&] { (void)weft::create_task(sleeps_long(probe::Alive(alive))); }),
                     none));
    REQUIRE(contains(message_of<RuntimeError>([&] { (void)weft::all_tasks(); }), none));
    REQUIRE(alive == 0);
}

// --- closing with something pending ---

TEST_CASE("destroying a loop unwinds every frame, wherever it stands", "[loop]") {
    int alive = 0;
    {
        EventLoop loop(weft::testing::options());
        std::vector<Task<void>> tasks;
        auto waits = [](Future<void> future, probe::Alive) -> Coro<void> { co_await future; };
        auto joins = [&](probe::Alive) -> Coro<void> { co_await tasks[0]; };
        auto yields = [](probe::Alive) -> Coro<void> {
            for (;;) co_await weft::yield();
        };
        tasks.push_back(loop.create_task(sleeps_long(probe::Alive(alive))));
        tasks.push_back(loop.create_task(waits(loop.create_future<void>(), probe::Alive(alive))));
        tasks.push_back(loop.create_task(joins(probe::Alive(alive))));
        tasks.push_back(loop.create_task(yields(probe::Alive(alive))));
        loop.run_once();
        loop.run_once();
        tasks.push_back(loop.create_task(sleeps_long(probe::Alive(alive))));
        loop.call_soon([counted = probe::Alive(alive)] {});
        loop.call_later(1h, [counted = probe::Alive(alive)] {});
        loop.call_soon_threadsafe([counted = probe::Alive(alive)] {});
        loop.close();
        for (const auto& task : tasks) CHECK(task.cancelled());
    }
    REQUIRE(alive == 0);
}

TEST_CASE("close lets tasks clean up with awaits and callbacks", "[loop]") {
    std::string log;
    {
        EventLoop loop(weft::testing::options());
        auto body = [&]() -> Coro<void> {
            try {
                co_await weft::sleep(1h);
            } catch (const weft::CancelledError&) {
                log += 'a';
            }
            co_await weft::yield();
            log += 'b';
            auto child_body = [&]() -> Coro<void> {
                co_await weft::yield();
                log += 'c';
            };
            co_await weft::create_task(child_body);
            log += 'd';
        };
        (void)loop.create_task(body());
        loop.run_once();
    }
    REQUIRE(log == "abcd");
}

TEST_CASE("a task that refuses to end is destroyed where it stands, and named", "[loop]") {
    int alive = 0;
    probe::Reports reports;
    Task<void> task;
    {
        EventLoop loop(weft::testing::options());
        reports = probe::collect_reports(loop);
        task = loop.create_task(stubborn(probe::Alive(alive)), weft::TaskOptions("mule"));
        loop.run_once();
    }
    REQUIRE(alive == 0);
    REQUIRE(task.done());
    REQUIRE(probe::count_with(reports, "refused to end and was destroyed|mule") == 1);
}

TEST_CASE("tasks that refuse to end and wait for each other are destroyed too", "[loop]") {
    int alive = 0;
    {
        EventLoop loop(weft::testing::options());
        probe::collect_reports(loop);
        auto first = loop.create_task(stubborn(probe::Alive(alive)));
        auto waits = [&](probe::Alive) -> Coro<void> {
            for (;;) {
                try {
                    co_await first.wait();
                } catch (const weft::CancelledError&) {
                }
            }
        };
        auto joins = [&](probe::Alive) -> Coro<void> {
            for (;;) {
                try {
                    co_await first;
                } catch (const weft::CancelledError&) {
                }
            }
        };
        auto second = loop.create_task(waits(probe::Alive(alive)));
        auto third = loop.create_task(joins(probe::Alive(alive)));
        first.add_done_callback([counted = probe::Alive(alive)](Future<void>) {});
        loop.run_once();
    }
    REQUIRE(alive == 0);
}

TEST_CASE("destructors that start work while the loop closes leave nothing behind", "[loop]") {
    int alive = 0;
    int runs = 0;
    {
        EventLoop loop(weft::testing::options());
        probe::collect_reports(loop);
        const auto start_work = [&] {
            ++runs;
            try {
                (void)loop.create_task(sleeps_long(probe::Alive(alive)));
                loop.call_soon([counted = probe::Alive(alive)] {});
                loop.call_later(1h, [counted = probe::Alive(alive)] {});
            } catch (const RuntimeError&) {
            }
        };
        using Guard = probe::AtExit<decltype(start_work)>;
        auto cancelled = [&](std::unique_ptr<Guard>) -> Coro<void> { co_await weft::sleep(1h); };
        auto refuses = [&](std::unique_ptr<Guard>) -> Coro<void> {
            for (;;) {
                try {
                    co_await weft::sleep(1h);
                } catch (const weft::CancelledError&) {
                }
            }
        };
        auto one = loop.create_task(cancelled(std::make_unique<Guard>(start_work)));
        auto two = loop.create_task(refuses(std::make_unique<Guard>(start_work)));
        loop.run_once();
        loop.call_soon([guard = std::make_unique<Guard>(start_work)] {});
        loop.call_later(1h, [guard = std::make_unique<Guard>(start_work)] {});
        loop.call_soon_threadsafe([guard = std::make_unique<Guard>(start_work)] {});
    }
    REQUIRE(runs == 5);
    REQUIRE(alive == 0);
}

TEST_CASE("closing a loop leaves another one of the thread alone", "[loop]") {
    EventLoop first(weft::testing::options());
    auto second = std::make_unique<EventLoop>(weft::testing::options());
    auto body = []() -> Coro<int> {
        co_await weft::sleep(1h);
        co_return 1;
    };
    (void)second->create_task(body());
    second->run_once();
    auto task = first.create_task(body());
    first.run_once();
    second.reset();
    const int value = first.run_until_complete(static_cast<Future<int>&>(task));
    REQUIRE(value == 1);
}

TEST_CASE("a loop closed inside another loop's task keeps that loop running", "[loop]") {
    weft::testing::run([]() -> Coro<void> {
        EventLoop& outer = weft::get_running_loop();
        const weft::AnyTask self = weft::current_task();
        int alive = 0;
        {
            EventLoop inner(weft::testing::options());
            (void)inner.create_task(sleeps_long(probe::Alive(alive)));
        }
        REQUIRE(alive == 0);
        REQUIRE(EventLoop::running() == &outer);
        REQUIRE(weft::current_task() == self);
        co_await weft::sleep(1s);
    });
}

TEST_CASE("1000 rounds of pending work close without a leftover", "[loop]") {
    int alive = 0;
    for (int round = 0; round < 1000; ++round) {
        EventLoop loop(weft::testing::options());
        auto task = loop.create_task(sleeps_long(probe::Alive(alive)));
        loop.call_later(1h, [counted = probe::Alive(alive)] {});
        for (int i = 0; i < round % 3; ++i) loop.run_once();
    }
    REQUIRE(alive == 0);
}

}  // namespace loop_life_test
