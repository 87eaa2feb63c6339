// SPDX-License-Identifier: MIT
// Done-callbacks: through the loop, in order, and safe to add and remove while they run.
// labels: smoke
#include <weft/task/future.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <optional>
#include <stdexcept>
#include <string>

#include "probe.hpp"

namespace future_callbacks_test {

using weft::Coro;
using weft::EventLoop;
using weft::Future;

namespace {

std::exception_ptr failure(const char* what) {
    return std::make_exception_ptr(std::runtime_error(what));
}

bool contains(const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
}

}  // namespace

WEFT_TEST_CASE("done-callbacks run in registration order, never inside set_result", "[future]") {
    auto future = weft::get_running_loop().create_future<int>();
    std::string log;
    future.add_done_callback([&](Future<int>) { log += 'a'; });
    future.add_done_callback([&](Future<int> done) { log += std::to_string(done.result()); });
    future.add_done_callback([&](Future<int>) { log += 'c'; });
    future.set_result(7);
    REQUIRE(log.empty());
    co_await weft::yield();
    REQUIRE(log == "a7c");
}

WEFT_TEST_CASE("a done-callback keeps its place among tasks that await the future", "[future]") {
    auto future = weft::get_running_loop().create_future<void>();
    std::string log;
    auto waits = [&](char letter) -> Coro<void> {
        co_await future;
        log += letter;
    };
    auto first = weft::create_task(waits, 'a');
    co_await weft::yield();
    future.add_done_callback([&](Future<void>) { log += 'b'; });
    auto third = weft::create_task(waits, 'c');
    co_await weft::yield();
    future.set_result();
    co_await third;
    REQUIRE(log == "abc");
}

WEFT_TEST_CASE("a callback added to a done future runs in the next turn", "[future]") {
    auto future = weft::get_running_loop().create_future<void>();
    future.set_result();
    bool ran = false;
    future.add_done_callback([&](Future<void>) { ran = true; });
    REQUIRE_FALSE(ran);
    co_await weft::yield();
    REQUIRE(ran);
}

WEFT_TEST_CASE("done-callbacks run on a cancel and on a failure too", "[future]") {
    EventLoop& loop = weft::get_running_loop();
    auto cancelled = loop.create_future<void>();
    auto failed = loop.create_future<void>();
    int ran = 0;
    cancelled.add_done_callback([&](Future<void> done) { ran += done.cancelled() ? 1 : 100; });
    failed.add_done_callback([&](Future<void> done) { ran += done.exception() ? 10 : 100; });
    cancelled.cancel();
    failed.set_exception(failure("x"));
    REQUIRE(ran == 0);
    co_await weft::yield();
    REQUIRE(ran == 11);
}

WEFT_TEST_CASE("a removed done-callback does not run and lets go of its captures", "[future]") {
    auto future = weft::get_running_loop().create_future<void>();
    int alive = 0;
    bool ran = false;
    const probe::Alive counted(alive);
    auto handle = future.add_done_callback([&ran, counted](Future<void>) { ran = true; });
    REQUIRE(alive == 2);
    REQUIRE(future.remove_done_callback(handle) == 1);
    REQUIRE(alive == 1);
    REQUIRE(future.remove_done_callback(handle) == 0);
    future.set_result();
    co_await weft::yield();
    REQUIRE_FALSE(ran);
}

WEFT_TEST_CASE("a done-callback can remove a later one of the same run", "[future]") {
    auto future = weft::get_running_loop().create_future<void>();
    std::string log;
    weft::DoneHandle last;
    REQUIRE(future.remove_done_callback(last) == 0);  // it is none
    future.add_done_callback([&](Future<void> done) {
        log += 'a';
        log += std::to_string(done.remove_done_callback(last));
        log += std::to_string(done.remove_done_callback(last));
    });
    future.add_done_callback([&](Future<void>) { log += 'b'; });
    last = future.add_done_callback([&](Future<void>) { log += 'c'; });
    future.set_result();
    co_await weft::yield();
    co_await weft::yield();
    REQUIRE(log == "a10b");
}

WEFT_TEST_CASE("a done-callback can remove itself and one that has run", "[future]") {
    auto future = weft::get_running_loop().create_future<void>();
    std::string log;
    std::optional<weft::DoneHandle> first;
    std::optional<weft::DoneHandle> second;
    first.emplace(future.add_done_callback([&](Future<void>) { log += 'a'; }));
    second.emplace(future.add_done_callback([&](Future<void> done) {
        log += std::to_string(done.remove_done_callback(*first));
        log += std::to_string(done.remove_done_callback(*second));
    }));
    future.set_result();
    co_await weft::yield();
    REQUIRE(log == "a00");
}

WEFT_TEST_CASE("a done-callback added inside a done-callback runs one turn later", "[future]") {
    auto future = weft::get_running_loop().create_future<void>();
    std::string log;
    future.add_done_callback([&log](Future<void> done) {
        log += 'a';
        done.add_done_callback([&log](Future<void>) { log += 'c'; });
    });
    future.add_done_callback([&log](Future<void>) { log += 'b'; });
    future.set_result();
    co_await weft::yield();
    REQUIRE(log == "ab");
    co_await weft::yield();
    REQUIRE(log == "abc");
}

WEFT_TEST_CASE("a handle of another future removes nothing", "[future]") {
    EventLoop& loop = weft::get_running_loop();
    auto one = loop.create_future<void>();
    auto two = loop.create_future<void>();
    bool ran = false;
    auto handle = one.add_done_callback([&](Future<void>) { ran = true; });
    REQUIRE(two.remove_done_callback(handle) == 0);
    one.set_result();
    co_await weft::yield();
    REQUIRE(ran);
}

WEFT_TEST_CASE("a done-callback that throws is reported and the next one runs", "[future]") {
    EventLoop& loop = weft::get_running_loop();
    auto reports = probe::collect_reports(loop);
    auto future = loop.create_future<void>();
    bool ran = false;
    future.add_done_callback([](Future<void>) { throw std::runtime_error("from the callback"); });
    future.add_done_callback([&](Future<void>) { ran = true; });
    future.set_result();
    co_await weft::yield();
    REQUIRE(ran);
    REQUIRE(reports->size() == 1);
    REQUIRE(contains(reports->front(), "from the callback"));
}

WEFT_TEST_CASE("a done-callback can drop the last handle of its own future", "[future]") {
    std::optional<Future<int>> only(weft::get_running_loop().create_future<int>());
    int seen = 0;
    only->add_done_callback([&](Future<int> done) {
        only.reset();
        seen = done.result();
    });
    only->set_result(3);
    co_await weft::yield();
    REQUIRE(seen == 3);
}

WEFT_TEST_CASE("a future dropped before it is done destroys its callbacks unrun", "[future]") {
    int alive = 0;
    bool ran = false;
    {
        auto future = weft::get_running_loop().create_future<void>();
        const probe::Alive counted(alive);
        future.add_done_callback([&ran, counted](Future<void>) { ran = true; });
    }
    REQUIRE(alive == 0);
    co_await weft::yield();
    REQUIRE_FALSE(ran);
}

WEFT_TEST_CASE(
    "a done-callback that throws is reported with its task, and the type of what it threw",
    "[future]") {
    struct Odd {};
    auto reports = probe::collect_reports(weft::get_running_loop());
    auto body = []() -> Coro<void> { co_return; };
    auto task = weft::create_task(body, weft::TaskOptions("fetch"));
    auto told = task.add_done_callback([](weft::Future<void>) { throw Odd(); });
    co_await task;
    co_await weft::yield();
    REQUIRE(reports->size() == 1);
    const std::string& report = reports->front();
    REQUIRE(report.find("exception in a done-callback|fetch|an exception of type ") == 0);
    REQUIRE(report.find("Odd") != std::string::npos);
}

}  // namespace future_callbacks_test
