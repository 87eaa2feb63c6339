// SPDX-License-Identifier: MIT
// Tasks that await each other in a circle are named where a loop has nothing else to do.
#include <weft/deadline/wait_for.hpp>
#include <weft/sync/event.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/gather.hpp>
#include <weft/together/race.hpp>
#include <weft/together/shield.hpp>
#include <weft/together/task_group.hpp>
#include <weft/together/wait.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

namespace circles_test {

using namespace std::chrono_literals;
using weft::Coro;
using weft::Task;
using weft::TaskOptions;

namespace {

/// Tasks that find each other here.
struct Tasks {
    Task<void> a, b, c;
};

/// What the hang report of a main that waits for `a` says before the list of tasks.
template <class Start>
std::string report_of(Start start) {
    weft::RunOptions options;
    options.hang_limit = 20ms;
    options.name = "main";
    Tasks tasks;
    auto main = [&]() -> Coro<void> {
        start(tasks);
        co_await tasks.a.wait();
    };
    try {
        weft::run(main, options);
    } catch (const std::runtime_error& error) {
        const std::string text = error.what();
        const std::size_t begin = text.find("ms; ");
        const std::size_t end = text.find("the tasks are:");
        REQUIRE(begin != text.npos);
        REQUIRE(end != text.npos);
        return text.substr(begin + 4, end - begin - 4);
    }
    return "it has ended";
}

Coro<void> awaits(Task<void>& other) {
    co_await weft::yield();
    co_await other;
}
Coro<void> waits(Task<void>& other) {
    co_await weft::yield();
    co_await other.wait();
}
Coro<void> shields(Task<void>& other) {
    co_await weft::yield();
    co_await weft::shield(other);
}
Coro<void> gathers(Task<void>& other) {
    co_await weft::yield();
    co_await weft::gather(other, weft::yield());
}
Coro<void> gathers_coroutines(Task<void>& other) {
    co_await weft::gather(awaits(other), awaits(other));
}
Coro<void> waits_for_all(Task<void>& other) {
    co_await weft::yield();
    std::vector<Task<void>> others{other};
    co_await weft::wait(others);
}
Coro<void> has_a_group(Task<void>& other) {
    auto body = [&other](weft::TaskGroup& group) -> Coro<void> {
        group.create_task(awaits(other), TaskOptions("child"));
        co_return;
    };
    co_await weft::task_group(body);
}
Coro<void> races(Task<void>& other) {
    co_await weft::yield();
    weft::Event never;
    co_await weft::race(other, never.wait());
}

using Awaits = Coro<void> (*)(Task<void>&);

std::string circle_with(Awaits how) {
    return report_of([how](Tasks& tasks) {
        tasks.a = weft::create_task(how(tasks.b), TaskOptions("a"));
        tasks.b = weft::create_task(awaits(tasks.a), TaskOptions("b"));
    });
}

}  // namespace

TEST_CASE("a hang report names tasks that await each other, by whatever they await") {
    for (const Awaits how : {&awaits, &waits, &shields, &gathers, &waits_for_all}) {
        CHECK(circle_with(how) == "task 'a' awaits task 'b', which awaits task 'a'; ");
    }
    CHECK(circle_with(&has_a_group) ==
          "task 'a' awaits task 'child', which awaits task 'b', which awaits task 'a'; ");
    const std::string gathered = circle_with(&gathers_coroutines);
    CHECK(gathered.find("', which awaits task 'b', which awaits task 'a'; ") != gathered.npos);
}

TEST_CASE("a circle of three is named, and who only waits for it is not part of it") {
    const std::string report = report_of([](Tasks& tasks) {
        tasks.a = weft::create_task(awaits(tasks.b), TaskOptions("a"));
        tasks.b = weft::create_task(awaits(tasks.c), TaskOptions("b"));
        tasks.c = weft::create_task(awaits(tasks.b), TaskOptions("c"));
    });
    CHECK(report == "task 'b' awaits task 'c', which awaits task 'b'; ");
    const std::string longer = report_of([](Tasks& tasks) {
        tasks.a = weft::create_task(awaits(tasks.b), TaskOptions("a"));
        tasks.b = weft::create_task(awaits(tasks.c), TaskOptions("b"));
        tasks.c = weft::create_task(awaits(tasks.a), TaskOptions("c"));
    });
    CHECK(longer == "task 'a' awaits task 'b', which awaits task 'c', which awaits task 'a'; ");
}

TEST_CASE("a chain is no circle, and neither is a race that something else may win") {
    CHECK(circle_with(&races) == "");
    const std::string chain = report_of([](Tasks& tasks) {
        auto never = []() -> Coro<void> {
            weft::Event event;
            co_await event.wait();
        };
        tasks.a = weft::create_task(gathers(tasks.b), TaskOptions("a"));
        tasks.b = weft::create_task(awaits(tasks.c), TaskOptions("b"));
        tasks.c = weft::create_task(never, TaskOptions("c"));
    });
    CHECK(chain == "");
}

TEST_CASE("a loop without a limit tells of a circle when it has nothing else to do, once") {
    std::vector<std::string> reports;
    Tasks tasks;
    weft::RunOptions options;
    options.exception_handler = [&](const weft::ExceptionContext& context) {
        reports.emplace_back(context.message);
        tasks.a.cancel();
    };
    auto main = [&]() -> Coro<void> {
        tasks.a = weft::create_task(awaits(tasks.b), TaskOptions("a"));
        tasks.b = weft::create_task(awaits(tasks.a), TaskOptions("b"));
        co_await tasks.a.wait();
        CHECK(tasks.a.cancelled());
    };
    weft::run(main, options);
    REQUIRE(reports.size() == 1);
    CHECK(reports.front() == "deadlock: task 'a' awaits task 'b', which awaits task 'a'");
}

}  // namespace circles_test
