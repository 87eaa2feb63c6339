// SPDX-License-Identifier: MIT
// run, Runner: results come out, leftovers are cancelled and awaited, and closing always ends.
// labels: smoke
#include <weft/runtime/loop.hpp>
#include <weft/sync/event.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "probe.hpp"

namespace runner_test {

using namespace std::chrono_literals;
using probe::message_of;
using weft::Coro;
using weft::EventLoop;
using weft::Runner;
using weft::Task;

namespace {

Coro<int> returns(int value) {
    co_await weft::sleep(1s);
    co_return value;
}

Coro<void> throws(const char* what) {
    co_await weft::sleep(1s);
    throw std::runtime_error(what);
}

}  // namespace

TEST_CASE("run returns what the coroutine returns", "[runner]") {
    const int value = weft::testing::run(returns(4));
    REQUIRE(value == 4);
    auto move_only = weft::testing::run([]() -> Coro<std::unique_ptr<int>> {
        co_await weft::yield();
        co_return std::make_unique<int>(5);
    });
    REQUIRE(*move_only == 5);
    int object = 0;
    int& reference = weft::testing::run([&]() -> Coro<int&> { co_return object; });
    REQUIRE(&reference == &object);
}

TEST_CASE("run throws what the coroutine throws", "[runner]") {
    const std::string text =
        message_of<std::runtime_error>([] { weft::testing::run(throws("from main")); });
    REQUIRE(text == "from main");
}

TEST_CASE("a main that is cancelled ends run with CancelledError", "[runner]") {
    const std::string text = message_of<weft::CancelledError>([] {
        weft::testing::run([]() -> Coro<void> {
            weft::current_task().cancel("by itself");
            co_await weft::yield();
        });
    });
    REQUIRE(text == "by itself");
}

TEST_CASE("the main task has the name from the options", "[runner]") {
    weft::RunOptions named;
    named.name = "service";
    std::string seen;
    const auto look = [&]() -> Coro<void> {
        seen = weft::current_task().name();
        co_return;
    };
    weft::testing::run(look, named);
    REQUIRE(seen == "service");
    weft::testing::run(look);
    REQUIRE(seen == "main");
}

TEST_CASE("a runner runs several mains on one loop, and tasks live on between them", "[runner]") {
    Runner runner(weft::testing::options());
    std::string log;
    EventLoop* first_loop = nullptr;
    runner.run([&]() -> Coro<void> {
        first_loop = &weft::get_running_loop();
        auto background = [&]() -> Coro<void> {
            co_await weft::sleep(1h);
            log += 'b';
        };
        (void)weft::create_task(background);
        co_await weft::sleep(1s);
        log += 'a';
    });
    REQUIRE(log == "a");
    runner.run(
        [&](std::string letter) -> Coro<void> {
            co_await weft::sleep(2h);
            log += letter;
            REQUIRE(&weft::get_running_loop() == first_loop);
        },
        std::string("c"));
    REQUIRE(log == "abc");
}

TEST_CASE("leftover tasks are cancelled and awaited, also when they clean up slowly", "[runner]") {
    std::string log;
    weft::testing::run([&]() -> Coro<void> {
        auto left = [&](char letter) -> Coro<void> {
            try {
                co_await weft::sleep(24h);
            } catch (const weft::CancelledError&) {
                log += letter;
            }
            co_await weft::sleep(1s);
            log += letter;
        };
        (void)weft::create_task(left, 'a');
        (void)weft::create_task(left, 'b');
        co_await weft::yield();
    });
    REQUIRE(log == "abab");
}

TEST_CASE("clean-up of leftovers that takes too long is cut off, and named", "[runner]") {
    int alive = 0;
    bool finished = false;
    weft::RunOptions options = weft::testing::options();
    options.shutdown_timeout = 10s;
    probe::Reports reports;
    {
        Runner runner(options);
        reports = probe::collect_reports(runner.get_loop());
        runner.run([&]() -> Coro<void> {
            auto slow = [&](probe::Alive) -> Coro<void> {
                for (int i = 0; i < 200; ++i) {
                    try {
                        co_await weft::sleep(1h);
                    } catch (const weft::CancelledError&) {
                    }
                }
                finished = true;
            };
            (void)weft::create_task(slow, probe::Alive(alive), weft::TaskOptions("slow"));
            co_await weft::yield();
        });
    }
    REQUIRE(alive == 0);
    REQUIRE_FALSE(finished);
    REQUIRE(probe::count_with(reports, "|slow|") == 1);
}

TEST_CASE("leftovers are cancelled and awaited also when main throws", "[runner]") {
    int alive = 0;
    bool cleaned = false;
    const std::string text = message_of<std::runtime_error>([&] {
        weft::testing::run([&]() -> Coro<void> {
            auto left = [&](probe::Alive) -> Coro<void> {
                try {
                    co_await weft::sleep(24h);
                } catch (const weft::CancelledError&) {
                    cleaned = true;
                    throw;
                }
            };
            (void)weft::create_task(left, probe::Alive(alive));
            co_await weft::yield();
            throw std::runtime_error("main failed");
        });
    });
    REQUIRE(text == "main failed");
    REQUIRE(cleaned);
    REQUIRE(alive == 0);
}

TEST_CASE("the error of a leftover reaches the handler, once", "[runner]") {
    probe::Reports reports;
    {
        Runner runner(weft::testing::options());
        reports = probe::collect_reports(runner.get_loop());
        runner.run([&]() -> Coro<void> {
            auto left = []() -> Coro<void> {
                try {
                    co_await weft::sleep(24h);
                } catch (const weft::CancelledError&) {
                    throw std::runtime_error("clean-up failed");
                }
            };
            auto quiet = []() -> Coro<void> { co_await weft::sleep(24h); };
            (void)weft::create_task(left, weft::TaskOptions("leftover"));
            (void)weft::create_task(quiet);
            co_await weft::yield();
        });
    }
    REQUIRE(reports->size() == 1);
    REQUIRE(probe::count_with(reports, "|leftover|clean-up failed") == 1);
}

TEST_CASE("tasks that leftovers start while they clean up are ended too", "[runner]") {
    int alive = 0;
    int started = 0;
    weft::testing::run([&]() -> Coro<void> {
        auto late = [&](probe::Alive) -> Coro<void> {
            ++started;
            co_await weft::sleep(24h);
        };
        auto left = [&, late](probe::Alive) -> Coro<void> {
            try {
                co_await weft::sleep(24h);
            } catch (const weft::CancelledError&) {
                (void)weft::create_task(late, probe::Alive(alive));
                throw;
            }
        };
        (void)weft::create_task(left, probe::Alive(alive));
        co_await weft::yield();
    });
    REQUIRE(alive == 0);
}

TEST_CASE("a task that swallows every cancel does not hang close", "[runner]") {
    int alive = 0;
    {
        Runner runner(weft::testing::options());
        auto reports = probe::collect_reports(runner.get_loop());
        runner.run([&]() -> Coro<void> {
            auto sleeper = [](probe::Alive) -> Coro<void> {
                for (;;) {
                    try {
                        co_await weft::sleep(1h);
                    } catch (const weft::CancelledError&) {
                    }
                }
            };
            auto spinner = [](probe::Alive) -> Coro<void> {
                for (;;) {
                    try {
                        co_await weft::yield();
                    } catch (const weft::CancelledError&) {
                    }
                }
            };
            (void)weft::create_task(sleeper, probe::Alive(alive), weft::TaskOptions("sleeper"));
            (void)weft::create_task(spinner, probe::Alive(alive), weft::TaskOptions("spinner"));
            co_await weft::yield();
        });
        runner.close();
        REQUIRE(probe::count_with(reports, "|sleeper|") == 1);
        REQUIRE(probe::count_with(reports, "|spinner|") == 1);
    }
    REQUIRE(alive == 0);
}

TEST_CASE("a task that waits for nothing, deaf to cancels, does not hang close", "[runner]") {
    int alive = 0;
    weft::RunOptions options = weft::testing::options();
    options.hang_limit = 50ms;
    {
        Runner runner(options);
        auto reports = probe::collect_reports(runner.get_loop());
        runner.run([&]() -> Coro<void> {
            auto deaf = [](probe::Alive) -> Coro<void> {
                auto never = weft::get_running_loop().create_future<void>();
                for (;;) {
                    try {
                        co_await never.wait();
                    } catch (const weft::CancelledError&) {
                    }
                }
            };
            (void)weft::create_task(deaf, probe::Alive(alive));
            co_await weft::yield();
        });
    }
    REQUIRE(alive == 0);
}

TEST_CASE("close is idempotent, and a closed runner refuses to run", "[runner]") {
    int alive = 0;
    Runner runner(weft::testing::options());
    const int value = runner.run(returns(1));
    REQUIRE(value == 1);
    runner.close();
    runner.close();
    auto body = [](probe::Alive) -> Coro<void> { co_return; };
    const std::string text =
        message_of<weft::RuntimeError>([&] { runner.run(body, probe::Alive(alive)); });
    REQUIRE(text == "run: the event loop is closed");
    REQUIRE(alive == 0);
}

TEST_CASE("a runner that never ran closes quietly", "[runner]") {
    Runner runner(weft::testing::options());
    auto later = runner.get_loop().call_later(1h, [] {});
    runner.close();
    REQUIRE(runner.get_loop().is_closed());
}

TEST_CASE("a nested run is an error, and the outer run goes on", "[runner]") {
    int alive = 0;
    std::string text;
    const int value = weft::testing::run([&]() -> Coro<int> {
        auto inner = [](probe::Alive) -> Coro<void> { co_return; };
        text =
            message_of<weft::RuntimeError>([&] { weft::testing::run(inner(probe::Alive(alive))); });
        co_await weft::sleep(1s);
        co_return 2;
    });
    REQUIRE(value == 2);
    REQUIRE(text.find("already running on this thread") != std::string::npos);
    REQUIRE(alive == 0);
}

TEST_CASE("stop inside run is an error that names it, and main is cleaned up", "[runner]") {
    int alive = 0;
    const std::string text = message_of<weft::RuntimeError>([&] {
        weft::testing::run([&]() -> Coro<void> {
            const probe::Alive counted(alive);
            weft::get_running_loop().stop();
            co_await weft::sleep(1h);
        });
    });
    REQUIRE(text.find("stopped before the task 'main' was done") != std::string::npos);
    REQUIRE(alive == 0);
}

TEST_CASE("1000 loops start and stop in one process and leave no descriptor", "[runner]") {
    const weft::testing::DescriptorCensus before;
    int sum = 0;
    for (int i = 0; i < 1000; ++i) sum += weft::testing::run(returns(1));
    const std::string leaked = before.leaked();
    REQUIRE(sum == 1000);
    REQUIRE(leaked == "");
}

TEST_CASE("the callable given to run lives until its coroutine has ended", "[runner]") {
    int alive = 0;
    const int seen = weft::testing::run([&alive, counted = probe::Alive(alive)]() -> Coro<int> {
        co_await weft::sleep(1s);
        co_return alive;
    });
    REQUIRE(seen >= 1);
    REQUIRE(alive == 0);
}

TEST_CASE("run gives a function its arguments, and takes its options behind them", "[runner]") {
    const auto add = [](int& sum, std::unique_ptr<int> more, int last) -> Coro<std::string> {
        co_await weft::yield();
        sum += *more + last;
        co_return weft::current_task().name();
    };
    int sum = 1;
    CHECK(weft::run(add, std::ref(sum), std::make_unique<int>(2), 3) == "main");
    weft::RunOptions options;
    options.name = "adder";
    CHECK(weft::run(add, std::ref(sum), std::make_unique<int>(4), 5, options) == "adder");
    CHECK(options.name == "adder");
    CHECK(sum == 15);
    const auto one = [](int value) -> Coro<int> { co_return value; };
    CHECK(weft::run(one, 7) == 7);
    CHECK(weft::run(one, 8, weft::RunOptions()) == 8);
    // Options that the function itself takes are its argument.
    const auto name_of = [](const weft::RunOptions& of) -> Coro<std::string> { co_return of.name; };
    CHECK(weft::run(name_of, options) == "adder");
}

namespace {

weft::Coro<void> await_it(weft::Task<void>& other) { co_await other; }

weft::Coro<void> leave_a_circle(weft::Task<void>& a, weft::Task<void>& b) {
    a = weft::create_task(await_it(b));
    b = weft::create_task(await_it(a));
    co_await weft::yield();
}

weft::Coro<void> sleep_often(int times) {
    for (int i = 0; i < times; ++i) co_await weft::sleep(std::chrono::milliseconds(3));
}

}  // namespace

TEST_CASE("tasks that await each other in a circle do not hold up the end of run", "[runner]") {
    weft::RunOptions options;
    options.shutdown_timeout = std::chrono::hours(1);
    weft::Task<void> a;
    weft::Task<void> b;
    weft::run(leave_a_circle(a, b), options);
    REQUIRE(a.cancelled());
    REQUIRE(b.cancelled());
}

TEST_CASE("a loop that only sleeps, but wakes in time, does not reach its hang limit", "[runner]") {
    weft::RunOptions options;
    options.hang_limit = std::chrono::milliseconds(10);
    REQUIRE_NOTHROW(weft::run(sleep_often(10), options));
}

TEST_CASE("a run whose end hangs says so, and its loop comes to an end all the same", "[runner]") {
    std::string reports;
    weft::RunOptions options;
    options.hang_limit = 5ms;
    options.exception_handler = [&](const weft::ExceptionContext& context) {
        reports += std::string(context.message) + "\n";
    };
    int cancels = 0;
    auto deaf = [&]() -> Coro<void> {
        weft::Event never;
        while (cancels < 2) {
            try {
                co_await never.wait();
            } catch (const weft::CancelledError&) {
                ++cancels;
            }
        }
    };
    auto leaves_it = [&]() -> Coro<int> {
        (void)weft::create_task(deaf);
        co_await weft::yield();
        co_return 7;
    };
    const int result = weft::run(leaves_it, options);
    CHECK(result == 7);
    CHECK(cancels == 2);
    CHECK(reports == "a loop did not come to its end\n");
}

TEST_CASE("a last step that takes longer than the hang limit is no hang", "[runner]") {
    weft::RunOptions options;
    options.hang_limit = std::chrono::milliseconds(5);
    const auto computes = []() -> Coro<int> {
        const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
        while (std::chrono::steady_clock::now() < end) {
        }
        co_return 1;
    };
    REQUIRE(weft::run(computes, options) == 1);
}

}  // namespace runner_test
