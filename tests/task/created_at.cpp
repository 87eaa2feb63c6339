// SPDX-License-Identifier: MIT
// In debug mode a task says where it was created: in the report of a failure that nobody has
// retrieved, and in dumps.
#include <weft/runtime/loop.hpp>
#include <weft/runtime/report.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/gather.hpp>
#include <weft/together/task_group.hpp>

#include <source_location>
#include <stdexcept>
#include <string>
#include <vector>

namespace created_at_test {

using weft::Coro;
using weft::EventLoop;
using weft::TaskOptions;

namespace {

Coro<void> fails() {
    throw std::runtime_error("lost");
    co_return;
}
Coro<void> waits(int) { co_await weft::sleep(std::chrono::hours(1)); }

std::string line_before(std::source_location here = std::source_location::current()) {
    return "created_at.cpp:" + std::to_string(here.line() - 1);
}
bool ends_with(const std::string& text, const std::string& end) {
    return text.size() >= end.size() &&
           text.compare(text.size() - end.size(), end.size(), end) == 0;
}
bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

/// Where the failures were created that the handler was told of.
struct Places {
    explicit Places(EventLoop& loop) {
        loop.slow_callback_duration =
            std::chrono::hours(1);  // (not told of a slow machine's steps)
        loop.set_exception_handler(
            [this](const weft::ExceptionContext& context) { found.push_back(context.created_at); });
    }
    std::vector<std::string> found;
};

}  // namespace

WEFT_TEST_CASE("a failure that nobody retrieved says where the task was created, in debug mode",
               "[created_at]") {
    EventLoop& loop = weft::get_running_loop();
    Places places(loop);
    loop.set_debug(true);
    std::vector<std::string> right;
    { auto task = weft::create_task(fails()); }
    right.push_back(line_before());
    { auto task = weft::create_task(fails(), TaskOptions("with a name")); }
    right.push_back(line_before());
    { auto task = weft::create_task(fails); }
    right.push_back(line_before());
    { auto task = loop.create_task(fails()); }
    right.push_back(line_before());
    { auto task = loop.create_task(fails); }
    right.push_back(line_before());
    { auto task = weft::create_task(fails(), TaskOptions().eager(false)); }
    right.push_back(line_before());
    auto with_argument = [](int) { return fails(); };
    { auto task = weft::create_task(with_argument, 1, TaskOptions()); }
    right.push_back(line_before());
    co_await weft::yield();
    co_await weft::yield();
    loop.set_debug(false);
    REQUIRE(places.found.size() == right.size());
    for (std::size_t i = 0; i < right.size(); ++i) {
        CAPTURE(places.found[i], right[i]);
        REQUIRE(ends_with(places.found[i], "tests/task/" + right[i]));
    }
}

WEFT_TEST_CASE("without debug mode nothing is kept of where a task was created", "[created_at]") {
    EventLoop& loop = weft::get_running_loop();
    Places places(loop);
    loop.set_debug(false);
    { auto task = weft::create_task(fails()); }
    { auto named = weft::create_task(fails(), weft::TaskOptions("named")); }
    co_await weft::yield();
    co_await weft::yield();
    REQUIRE(places.found == std::vector<std::string>{"", ""});
}

WEFT_TEST_CASE("a call with arguments alone cannot say where it stands, and says nothing",
               "[created_at]") {
    EventLoop& loop = weft::get_running_loop();
    Places places(loop);
    loop.set_debug(true);
    auto with_argument = [](int) { return fails(); };
    { auto task = weft::create_task(with_argument, 1); }
    co_await weft::yield();
    co_await weft::yield();
    loop.set_debug(false);
    REQUIRE(places.found == std::vector<std::string>{""});
}

WEFT_TEST_CASE("in debug mode a dump says where each task was created, a group's child too",
               "[created_at]") {
    EventLoop& loop = weft::get_running_loop();
    loop.set_debug(true);
    std::string dump;
    std::string bare;
    std::string child;
    std::string called;
    auto body = [&](weft::TaskGroup& group) -> Coro<void> {
        group.create_task(waits(1));
        child = line_before();
        auto fn = [] { return waits(2); };
        group.create_task(fn);
        called = line_before();
        auto task = weft::create_task(waits(3));
        bare = line_before();
        co_await weft::yield();
        dump = loop.dump();
        task.cancel();
        group.cancel();
    };
    co_await weft::task_group(body);
    co_await weft::yield();
    loop.set_debug(false);
    CAPTURE(dump, bare, child, called);
    REQUIRE(contains(dump, bare + "\n"));
    REQUIRE(contains(dump, child + "\n"));
    REQUIRE(contains(dump, called + "\n"));
    REQUIRE(contains(dump, ", created at "));
}

WEFT_TEST_CASE("a task that was there before debug mode creates tasks that say where",
               "[created_at]") {
    EventLoop& loop = weft::get_running_loop();
    loop.set_debug(false);
    Places places(loop);
    std::string right;
    auto body = [&]() -> Coro<void> {
        co_await weft::yield();
        { auto task = weft::create_task(fails()); }
        right = line_before();
    };
    auto older = weft::create_task(body);
    loop.set_debug(true);
    co_await older;
    co_await weft::yield();
    co_await weft::yield();
    loop.set_debug(false);
    REQUIRE(places.found.size() == 1);
    REQUIRE(ends_with(places.found[0], right));
}

WEFT_TEST_CASE("a source_location may be an argument of what is called", "[created_at]") {
    auto tells = [](std::source_location at) -> Coro<unsigned> { co_return at.line(); };
    const std::source_location here = std::source_location::current();
    const unsigned line = co_await weft::create_task(tells, here);
    REQUIRE(line == here.line());
}

}  // namespace created_at_test
