// SPDX-License-Identifier: MIT
// What is left when a main coroutine ends: it takes no ordinary step any more, whatever it waited
// for.
#include <weft/testing/catch.hpp>
#include <weft/testing/run.hpp>
#include <weft/weft.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "probe.hpp"
#include "ways_to_wait.hpp"

namespace leftovers_test {

using namespace std::chrono_literals;
using ways::number_from;
using ways::Stage;
using ways::Way;
using weft::Coro;
using weft::EventLoop;
using weft::Runner;
using weft::Task;

namespace {

struct Seen {
    bool main_is_over = false;
    int ordinary = 0;
    int cancelled = 0;
};

Coro<void> leftover(const Way& way, Stage& on, Seen& seen) {
    try {
        co_await way.wait(on);
    } catch (const weft::CancelledError&) {
        ++seen.cancelled;
        throw;
    } catch (...) {
        ++seen.ordinary;
        throw;
    }
    ++seen.ordinary;
}

/// Ends with the leftovers ready: in the turn after its last one, or behind it in the same turn.
Coro<void> main_that_leaves(const Way& way, Stage& on, Seen& seen, bool behind) {
    auto over = [&] { seen.main_is_over = true; };
    const probe::AtExit at_exit(over);
    EventLoop& loop = weft::get_running_loop();
    on.future = loop.create_future<int>();
    way.prepare(on);
    (void)weft::create_task(leftover(way, on, seen));
    for (int turn = 0; turn < 5; ++turn) co_await weft::yield();
    if (behind) {
        auto go = loop.create_future<void>();
        loop.call_soon([&] {
            go.set_result();
            way.release(on);
        });
        co_await go;
    } else {
        way.release(on);
    }
}

/// Its failure is nobody's business here.
void forget_what_was_started(Stage& on) {
    if (on.future->done() && !on.future->cancelled()) (void)on.future->exception();
    on.future.reset();
}

}  // namespace

TEST_CASE("a task that is left when run ends sees CancelledError at its await and nothing else",
          "[leftovers]") {
    for (const Way& way : ways::all) {
        for (const bool behind : {false, true}) {
            for (const bool debug : {false, true}) {
                Stage on;
                Seen seen;
                weft::RunOptions options = weft::testing::options();
                options.debug = debug;
                {
                    Runner runner(options);
                    probe::collect_reports(runner.get_loop());
                    runner.run(main_that_leaves(way, on, seen, behind));
                    // Nothing runs between main's end and the next run, or the close.
                    CHECK(seen.cancelled == 0);
                    CHECK(seen.ordinary == 0);
                }
                INFO(way.name << ", behind main: " << behind << ", debug: " << debug);
                CHECK(seen.cancelled == 1);
                CHECK(seen.ordinary == 0);
                forget_what_was_started(on);
            }
        }
    }
}

TEST_CASE("the same where a bare loop is closed after run_until_complete", "[leftovers]") {
    for (const Way& way : ways::all) {
        for (const bool behind : {false, true}) {
            Stage on;
            Seen seen;
            {
                EventLoop loop(weft::testing::options());
                probe::collect_reports(loop);
                loop.run_until_complete(main_that_leaves(way, on, seen, behind));
                CHECK(seen.ordinary == 0);
            }
            INFO(way.name << ", behind main: " << behind);
            CHECK(seen.cancelled == 1);
            CHECK(seen.ordinary == 0);
            forget_what_was_started(on);
        }
    }
}

TEST_CASE("between two mains of a runner nothing runs, and in the second everything goes on",
          "[leftovers]") {
    for (const Way& way : ways::all) {
        if (!way.ends_by_itself) continue;
        for (const bool behind : {false, true}) {
            Stage on;
            Seen seen;
            Runner runner(weft::testing::options());
            probe::collect_reports(runner.get_loop());
            runner.run(main_that_leaves(way, on, seen, behind));
            REQUIRE(seen.ordinary == 0);
            runner.run([]() -> Coro<void> { co_await weft::sleep(10s); });
            INFO(way.name << ", behind main: " << behind);
            CHECK(seen.cancelled == 0);
            CHECK(seen.ordinary == 1);
            forget_what_was_started(on);
        }
    }
}

TEST_CASE("a ticker that counts in a local of main never counts after main's end", "[leftovers]") {
    auto tick = [](int& count) -> Coro<void> {
        for (;;) {
            co_await weft::sleep(1ms);
            ++count;
        }
    };
    auto ticks = [&]() -> Coro<int> {
        int count = 0;
        for (int tasks = 0; tasks < 10; ++tasks) (void)weft::create_task(tick(count));
        co_await weft::sleep(20ms);
        co_return count;
    };
    for (int round = 0; round < 20; ++round) CHECK(weft::run(ticks) >= 0);
}

TEST_CASE("a main that fails or is cancelled leaves its tasks in the same way", "[leftovers]") {
    for (const bool fails : {true, false}) {
        Stage on;
        Seen seen;
        auto body = [&]() -> Coro<void> {
            (void)weft::create_task(leftover(ways::all[2], on, seen));
            co_await weft::yield();
            on.event.set();
            if (fails) throw std::runtime_error("main failed");
            weft::current_task().cancel();
            co_await weft::sleep(1h);
        };
        bool threw = false;
        try {
            weft::testing::run(body);
        } catch (...) {
            threw = true;
        }
        CHECK(threw);
        CHECK(seen.cancelled == (fails ? 1 : 0));
        CHECK(seen.ordinary == (fails ? 0 : 1));  // main has waited a turn more
    }
}

TEST_CASE("callbacks that are queued when main ends do not run, and what they hold goes",
          "[leftovers]") {
    for (const bool runner_closes : {true, false}) {
        int alive = 0;
        int ran = 0;
        auto call = [&](probe::Alive) { ++ran; };
        auto body = [&]() -> Coro<void> {
            EventLoop& loop = weft::get_running_loop();
            loop.call_soon([&, held = probe::Alive(alive)] { call(held); });
            loop.call_later(0s, [&, held = probe::Alive(alive)] { call(held); });
            loop.call_later(1s, [&, held = probe::Alive(alive)] { call(held); });
            auto done = loop.create_future<void>();
            done.add_done_callback([&, held = probe::Alive(alive)](auto) { call(held); });
            done.set_result();
            auto left = []() -> Coro<void> {
                bool go_on = false;
                try {
                    co_await weft::sleep(1h);
                } catch (const weft::CancelledError&) {
                    go_on = true;
                }
                if (go_on) co_await weft::sleep(5s);  // longer than the timer above
            };
            auto task = weft::create_task(left);
            task.add_done_callback([&, held = probe::Alive(alive)](auto) { call(held); });
            co_await weft::yield();
            ran = 0;
            loop.call_soon([&, held = probe::Alive(alive)] { call(held); });
            auto again = loop.create_future<void>();
            again.add_done_callback([&, held = probe::Alive(alive)](auto) { call(held); });
            again.set_result();
        };
        if (runner_closes) {
            weft::testing::run(body);
        } else {
            EventLoop loop(weft::testing::options());
            loop.run_until_complete(body());
        }
        CHECK(ran == 0);
        CHECK(alive == 0);
    }
}

TEST_CASE("callbacks that a clean-up schedules at the end run", "[leftovers]") {
    int ran = 0;
    weft::testing::run([&]() -> Coro<void> {
        auto left = [&]() -> Coro<void> {
            try {
                co_await weft::sleep(1h);
            } catch (const weft::CancelledError&) {
                EventLoop& loop = weft::get_running_loop();
                loop.call_soon([&] { ++ran; });
                loop.call_later(1s, [&] { ++ran; });
                auto done = loop.create_future<void>();
                done.add_done_callback([&](auto) { ++ran; });
                done.set_result();
            }
            co_await weft::sleep(2s);
        };
        (void)weft::create_task(left);
        co_await weft::yield();
    });
    CHECK(ran == 3);
}

TEST_CASE("what a leftover was granted at the end goes back", "[leftovers]") {
    Stage on;
    (void)on.lock.try_acquire();
    Seen seen;
    weft::testing::run([&]() -> Coro<void> {
        (void)weft::create_task(leftover(ways::all[6], on, seen));
        (void)weft::create_task(leftover(ways::all[4], on, seen));
        co_await weft::yield();
        on.queue.put_nowait(7);
        on.lock.release();
    });
    CHECK(seen.cancelled == 2);
    CHECK(on.queue.size() == 1);
    CHECK_FALSE(on.lock.locked());
}

TEST_CASE("a leftover's clean-up awaits like any other", "[leftovers]") {
    std::string log;
    weft::testing::run([&]() -> Coro<void> {
        auto left = [&]() -> Coro<void> {
            weft::Event event;
            try {
                co_await weft::sleep(1h);
            } catch (const weft::CancelledError&) {
                log += 'a';
            }
            event.set();
            co_await event.wait();
            auto one = weft::create_task([]() -> Coro<int> {
                co_await weft::sleep(1s);
                co_return 1;
            });
            auto two = weft::create_task([]() -> Coro<int> {
                co_await weft::sleep(2s);
                co_return 2;
            });
            const int first = co_await one;
            const int second = co_await two;
            log += first + second == 3 ? 'b' : '?';
            auto both = co_await weft::gather(weft::sleep(1s, 1), weft::sleep(2s, 2));
            log += std::get<0>(both) + std::get<1>(both) == 3 ? 'c' : '?';
            const auto late = co_await weft::move_on_after(1s, weft::sleep(1h, 1));
            log += late ? '?' : 'd';
        };
        (void)weft::create_task(left);
        co_await weft::yield();
    });
    CHECK(log == "abcd");
}

TEST_CASE("a leftover that was not started never runs", "[leftovers]") {
    int alive = 0;
    bool ran = false;
    weft::testing::run([&]() -> Coro<void> {
        auto left = [&](probe::Alive) -> Coro<void> {
            ran = true;
            co_return;
        };
        (void)weft::create_task(left, probe::Alive(alive));
        co_return;
    });
    CHECK_FALSE(ran);
    CHECK(alive == 0);
}

TEST_CASE("the failure of a child that a leftover has just awaited is not lost", "[leftovers]") {
    probe::Reports reports;
    {
        Runner runner(weft::testing::options());
        reports = probe::collect_reports(runner.get_loop());
        runner.run([]() -> Coro<void> {
            EventLoop& loop = weft::get_running_loop();
            auto future = loop.create_future<int>();
            auto grouped = [](weft::Future<int> from) -> Coro<void> {
                co_await weft::task_group([&](weft::TaskGroup& group) -> Coro<void> {
                    group.create_task(number_from(from));
                    co_return;
                });
            };
            (void)weft::create_task(grouped(future), weft::TaskOptions("grouped"));
            for (int turn = 0; turn < 4; ++turn) co_await weft::yield();
            future.set_exception(std::make_exception_ptr(std::runtime_error("the child failed")));
            co_await weft::yield();  // now the child has failed, and its parent is about to run
        });
    }
    CHECK(probe::count_with(reports, "the child failed") == 1);
}

TEST_CASE("the failures of all children of a leftover's race are not lost", "[leftovers]") {
    probe::Reports reports;
    {
        Runner runner(weft::testing::options());
        reports = probe::collect_reports(runner.get_loop());
        runner.run([]() -> Coro<void> {
            auto fails = []() -> Coro<int> {
                co_await weft::yield();
                throw std::runtime_error("the child failed");
            };
            auto races = [=]() -> Coro<void> { co_await weft::race(fails, fails); };
            (void)weft::create_task(races, weft::TaskOptions("races"));
            for (int turn = 0; turn < 3; ++turn) co_await weft::yield();
        });
    }
    CHECK(probe::count_with(reports, "every child of a race failed") == 1);
}

TEST_CASE("a task that a clean-up starts at the end and forgets does not hold up the end",
          "[leftovers]") {
    for (const bool held : {false, true}) {
        std::optional<Task<void>> kept;
        int alive = 0;
        weft::Duration took{};
        {
            Runner runner(weft::testing::options());
            EventLoop& loop = runner.get_loop();
            runner.run([&]() -> Coro<void> {
                auto forever = [](probe::Alive) -> Coro<void> { co_await weft::sleep(1h); };
                auto left = [&, forever]() -> Coro<void> {
                    try {
                        co_await weft::sleep(24h);
                    } catch (const weft::CancelledError&) {
                        auto task = weft::create_task(forever, probe::Alive(alive));
                        if (held) kept = task;
                        throw;
                    }
                };
                (void)weft::create_task(left);
                co_await weft::yield();
            });
            // (Virtual time: it passes only where the end waits for something.)
            const auto began = loop.time();
            weft::TimePoint ended = began;
            auto note = [&] { ended = loop.time(); };
            {
                const probe::AtExit at_exit(note);
                runner.close();
            }
            took = ended - began;
        }
        CHECK(took < 100ms);
        CHECK(alive == 0);
    }
}

TEST_CASE("chains of tasks that clean-ups start end too, without the limit", "[leftovers]") {
    int started = 0;
    Runner runner(weft::testing::options());
    EventLoop& loop = runner.get_loop();
    std::function<Coro<void>(int)> chain = [&](int left) -> Coro<void> {
        ++started;
        try {
            co_await weft::sleep(24h);
        } catch (const weft::CancelledError&) {
            if (left > 0) (void)weft::create_task(chain, left - 1);
            throw;
        }
    };
    runner.run([&]() -> Coro<void> {
        (void)weft::create_task(chain, 500);
        co_await weft::yield();
    });
    const auto began = loop.time();
    runner.close();
    CHECK(started == 501);
    CHECK(loop.time() - began < 100ms);
}

TEST_CASE("what a clean_up has started and forgotten is cancelled at the end as well",
          "[leftovers]") {
    Runner runner(weft::testing::options());
    EventLoop& loop = runner.get_loop();
    bool cleaned = false;
    runner.run([&]() -> Coro<void> {
        auto forever = []() -> Coro<void> { co_await weft::sleep(1h); };
        auto body = [&, forever]() -> Coro<void> {
            (void)weft::create_task(forever);
            co_await weft::sleep(1s);
            cleaned = true;
        };
        auto left = [&, body]() -> Coro<void> { co_await weft::clean_up(1min, body); };
        (void)weft::create_task(left);
        co_await weft::yield();
    });
    const auto began = loop.time();
    runner.close();
    CHECK(cleaned);
    CHECK(loop.time() - began < 2s);
}

TEST_CASE("while a loop closes nobody goes before the children whose clean-up awaits",
          "[leftovers]") {
    int children = 0;
    int outlived = -1;
    auto waits = []() -> Coro<void> { co_await weft::sleep(1h); };
    auto cleans_up = [&]() -> Coro<void> {
        ++children;
        auto ends = [&] { --children; };
        const probe::AtExit at_exit(ends);
        try {
            co_await waits();
        } catch (const weft::CancelledError&) {
        }
        co_await weft::gather(waits(), waits());  // is struck as well, and ends turns later
    };
    auto parent = [&]() -> Coro<void> {
        auto look = [&] { outlived = children; };  // what they refer to would go now
        const probe::AtExit at_exit(look);
        co_await weft::race(cleans_up, cleans_up);
    };
    EventLoop loop(weft::testing::options());
    const auto task = loop.create_task(parent());
    for (int turn = 0; turn < 5; ++turn) loop.run_once();
    REQUIRE(children == 2);
    loop.close();
    CHECK(task.cancelled());
    CHECK(children == 0);
    CHECK(outlived == 0);
}

TEST_CASE("a task that refuses to end is destroyed before the one that waits for it",
          "[leftovers]") {
    bool is_there = false;
    bool outlived = false;
    auto refuses = [&]() -> Coro<void> {
        auto look = [&] { outlived = !is_there; };
        const probe::AtExit at_exit(look);
        for (;;) {
            try {
                co_await weft::sleep(1h);
            } catch (const weft::CancelledError&) {
            }
        }
    };
    auto parent = [&]() -> Coro<void> {
        is_there = true;
        auto go = [&] { is_there = false; };
        const probe::AtExit at_exit(go);
        co_await weft::race(refuses, refuses);
    };
    EventLoop loop(weft::testing::options());
    loop.set_exception_handler([](const weft::ExceptionContext&) {});
    (void)loop.create_task(parent());
    for (int turn = 0; turn < 5; ++turn) loop.run_once();
    REQUIRE(is_there);
    loop.close();
    CHECK_FALSE(is_there);
    CHECK_FALSE(outlived);
}

TEST_CASE("a leftover goes on behind a cancel scope only where that has held the cancel",
          "[leftovers]") {
    for (const bool shielded : {false, true}) {
        int steps = 0;
        auto swallows = []() -> Coro<void> {
            try {
                co_await weft::sleep(1s);
            } catch (const weft::CancelledError&) {
            }
        };
        auto uses_scope = [&]() -> Coro<void> {
            weft::CancelScope scope;
            scope.set_shield(shielded);
            co_await scope.run(swallows);
            ++steps;
            co_await weft::task_group([&](weft::TaskGroup&) -> Coro<void> {
                ++steps;
                co_return;
            });
            ++steps;  // nothing has suspended since
            co_await weft::yield();
            ++steps;
        };
        weft::testing::run([&]() -> Coro<void> {
            (void)weft::create_task(uses_scope);
            for (int turn = 0; turn < 4; ++turn) co_await weft::yield();
        });
        CAPTURE(shielded);
        CHECK(steps == (shielded ? 3 : 0));
    }
}

}  // namespace leftovers_test
