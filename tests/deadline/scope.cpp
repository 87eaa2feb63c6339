// SPDX-License-Identifier: MIT
// async_with: acquired, used, and released on every way out.
#include <weft/deadline/scope.hpp>
#include <weft/deadline/timeout.hpp>
#include <weft/net/stream.hpp>
#include <weft/task/future.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "awaiting.hpp"
#include "probe.hpp"
#include "stream_pairs.hpp"

namespace scope_test {

using namespace std::chrono_literals;
using weft::async_with;
using weft::CancelledError;
using weft::Coro;
using weft::EventLoop;

namespace {

/// Logs in and out; move-only, like most resources.
struct Session {
    explicit Session(std::string& to) : log(&to), number(std::make_unique<int>(7)) {}
    std::string* log;
    std::unique_ptr<int> number;
};

Coro<Session> log_in(std::string& log) {
    co_await weft::sleep(1s);
    log += "in ";
    co_return Session(log);
}
Coro<void> log_out(Session& session) {
    co_await weft::sleep(1s);
    *session.log += "out ";
}
Coro<void> fails_to_log_out(Session&) {
    co_await weft::sleep(1s);
    throw std::runtime_error("log out failed");
}

}  // namespace

WEFT_TEST_CASE("the resource is acquired, used and released", "[scope]") {
    std::string log;
    auto body = [&](Session& session) -> Coro<int> {
        co_await weft::sleep(1s);
        log += "use ";
        co_return *session.number;
    };
    const int value = co_await async_with(log_in(log), body, &log_out);
    REQUIRE(value == 7);
    REQUIRE(log == "in use out ");
}

WEFT_TEST_CASE("a body that throws is released, and its exception passes", "[scope]") {
    std::string log;
    auto body = [](Session&) -> Coro<int> {
        co_await weft::sleep(1s);
        throw std::runtime_error("expected");
    };
    std::string what;
    try {
        co_await async_with(log_in(log), body, &log_out);
    } catch (const std::runtime_error& error) {
        what = error.what();
    }
    REQUIRE(what == "expected");
    REQUIRE(log == "in out ");
}

WEFT_TEST_CASE("a cancelled body is released, whatever further cancels say", "[scope]") {
    std::string log;
    auto scope = [&]() -> Coro<void> {
        auto body = [](Session&) -> Coro<void> { co_await weft::sleep(1h); };
        co_await async_with(log_in(log), body, &log_out);
    };
    auto task = weft::create_task(scope);
    co_await weft::sleep(2s);
    task.cancel();
    co_await weft::yield();
    co_await weft::yield();
    task.cancel();
    co_await task.wait();
    REQUIRE(task.cancelled());
    REQUIRE(log == "in out ");
}

WEFT_TEST_CASE("a body whose deadline passes is released before TimeoutError", "[scope]") {
    std::string log;
    auto scope = [&]() -> Coro<void> {
        auto body = [](Session&) -> Coro<void> { co_await weft::sleep(1h); };
        co_await async_with(log_in(log), body, &log_out);
    };
    bool timed_out = false;
    try {
        co_await weft::timeout(5s, scope);
    } catch (const weft::TimeoutError&) {
        timed_out = true;
    }
    REQUIRE(timed_out);
    REQUIRE(log == "in out ");
}

WEFT_TEST_CASE("what is not acquired is not released", "[scope]") {
    std::string log;
    auto scope = [&]() -> Coro<void> {
        auto body = [&](Session&) -> Coro<void> {
            log += "use ";
            co_return;
        };
        co_await async_with(log_in(log), body, &log_out);
    };
    auto task = weft::create_task(scope);
    co_await weft::yield();
    task.cancel();
    co_await task.wait();
    REQUIRE(task.cancelled());
    REQUIRE(log.empty());
}

WEFT_TEST_CASE("a resource that won against a cancel is released", "[scope]") {
    std::string log;
    auto future = weft::get_running_loop().create_future<Session>();
    auto scope = [&]() -> Coro<void> {
        auto body = [&](Session&) -> Coro<void> {
            log += "use ";
            co_await weft::yield();
            log += "too far ";
        };
        co_await async_with(std::move(future), body, &log_out);
    };
    auto setter = future;
    auto task = weft::create_task(scope);
    co_await weft::yield();
    setter.set_result(log);
    setter = weft::Future<Session>();
    task.cancel();
    co_await task.wait();
    REQUIRE(task.cancelled());
    REQUIRE(log == "use out ");
}

WEFT_TEST_CASE("a failed release is thrown; after a failed body it is reported", "[scope]") {
    std::string log;
    auto reports = probe::collect_reports(weft::get_running_loop());
    auto fine = [](Session&) -> Coro<void> { co_return; };
    auto fails = [](Session&) -> Coro<void> {
        throw std::logic_error("body failed");
        co_return;
    };
    std::string what;
    try {
        co_await async_with(log_in(log), fine, &fails_to_log_out);
    } catch (const std::runtime_error& error) {
        what = error.what();
    }
    REQUIRE(what == "log out failed");
    REQUIRE(reports->empty());
    try {
        co_await async_with(log_in(log), fails, &fails_to_log_out);
    } catch (const std::logic_error& error) {
        what = error.what();
    }
    REQUIRE(what == "body failed");
    REQUIRE(probe::count_with(reports, "log out failed") == 1);
}

WEFT_TEST_CASE("a release that takes too long is a TimeoutError", "[scope]") {
    EventLoop& loop = weft::get_running_loop();
    std::string log;
    auto body = [](Session&) -> Coro<void> { co_return; };
    auto hangs = [](Session&) -> Coro<void> { co_await weft::sleep(1h); };
    const weft::TimePoint began = loop.time();
    std::string what;
    try {
        co_await async_with(log_in(log), body, hangs, 3s);
    } catch (const weft::TimeoutError& error) {
        what = error.what();
    }
    REQUIRE(what == "releasing a resource took too long");
    REQUIRE(loop.time() - began == 4s);
}

WEFT_TEST_CASE("a resource with a close() needs no release function", "[scope]") {
    support::StreamPair streams = support::stream_pair();
    auto connect = [&]() -> Coro<weft::Stream> { co_return std::move(streams.near); };
    auto body = [](weft::Stream& stream) -> Coro<void> { co_await stream.write("bye"); };
    co_await async_with(connect(), body);
    const std::string text = co_await streams.far.read_exactly(3);
    char byte = 0;
    const std::size_t end = co_await streams.far.read({&byte, 1});
    REQUIRE(text == "bye");
    REQUIRE(end == 0);
}

WEFT_TEST_CASE("a resource that is there already is closed on every way out", "[scope]") {
    std::string log;
    auto items = [&]() -> weft::AsyncGenerator<int> {
        std::exception_ptr end;
        try {
            for (int item = 0;; ++item) co_yield item;
        } catch (const weft::GeneratorExit&) {
            end = std::current_exception();
        }
        co_await weft::sleep(1ms);
        log += "closed ";
        std::rethrow_exception(end);
    };
    auto body = [](weft::AsyncGenerator<int>& generator) -> Coro<int> {
        (void)co_await generator.next();
        const auto item = co_await generator.next();
        co_return *item;
    };
    const int found = co_await async_with(items(), body);
    REQUIRE(found == 1);
    REQUIRE(log == "closed ");
    auto fails = [](weft::AsyncGenerator<int>& generator) -> Coro<void> {
        (void)co_await generator.next();
        throw std::logic_error("body failed");
    };
    std::string what;
    try {
        co_await async_with(items(), fails);
    } catch (const std::logic_error& error) {
        what = error.what();
    }
    REQUIRE(what == "body failed");
    REQUIRE(log == "closed closed ");
}

}  // namespace scope_test
