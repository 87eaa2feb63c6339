// SPDX-License-Identifier: MIT
// When a scope has ended, no task goes on that was started in it: whoever is ready in that moment,
// or becomes so in spite of the cancel, takes no ordinary step any more, since what it refers to
// has gone.
#include <weft/testing/catch.hpp>
#include <weft/testing/run.hpp>
#include <weft/weft.hpp>

#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "probe.hpp"
#include "ways_to_wait.hpp"

namespace scope_ends_test {

using namespace std::chrono_literals;
using ways::Stage;
using ways::Way;
using weft::Coro;
using weft::TaskGroup;

namespace {

struct Seen {
    bool gone = false;  // what the tasks refer to
    int late = 0;       // ordinary steps after that
    int begun = 0;
    int ended = 0;
    int unfinished = 0;  // tasks that had not ended when it went
};

/// What is needed to make a task that uses a local of the scope.
struct Job {
    const Way& way;
    Stage& on;
    Seen& seen;
    weft::Event& trigger;
    std::string* local = nullptr;
};

Coro<void> uses(Job job) {
    ++job.seen.begun;
    auto ends = [&] { ++job.seen.ended; };
    const probe::AtExit at_exit(ends);
    co_await job.way.wait(job.on);
    if (job.seen.gone) {
        ++job.seen.late;
    } else {
        *job.local += 'x';
    }
}
Coro<void> wins(Job job) { co_await job.trigger.wait(); }
Coro<void> fails(Job job) {
    co_await job.trigger.wait();
    throw std::runtime_error("a sibling failed");
}

/// What stands between the scope and the task that uses its local.
struct Shape {
    const char* name;
    Coro<void> (*run)(Job);
};

// What a task waits in for others joins by one line.
const Shape shapes[] = {
    {"itself", &uses},
    {"a coroutine", [](Job job) -> Coro<void> { co_await uses(job); }},
    {"a task that is awaited",
     [](Job job) -> Coro<void> {
         auto task = weft::create_task(uses(job));
         co_await task;
     }},
    {"gather", [](Job job) -> Coro<void> { co_await weft::gather(uses(job), uses(job)); }},
    {"gather of a range",
     [](Job job) -> Coro<void> {
         std::vector<Coro<void>> all;
         for (int i = 0; i < 2; ++i) all.push_back(uses(job));
         co_await weft::gather(std::move(all));
     }},
    {"all, one of which fails",
     [](Job job) -> Coro<void> { co_await weft::all(uses(job), fails(job)); }},
    {"race, one of which wins",
     [](Job job) -> Coro<void> { co_await weft::race(uses(job), wins(job)); }},
    {"race in a race, one of which wins",
     [](Job job) -> Coro<void> {
         auto inner = [job]() -> Coro<void> { co_await weft::race(uses(job), weft::sleep(1h)); };
         co_await weft::race(inner, wins(job));
     }},
    {"wait_for", [](Job job) -> Coro<void> { co_await weft::wait_for(uses(job), 1h); }},
    {"move_on_after", [](Job job) -> Coro<void> { co_await weft::move_on_after(1h, uses(job)); }},
    {"timeout", [](Job job) -> Coro<void> { co_await weft::timeout(1h, uses(job)); }},
    {"task_group",
     [](Job job) -> Coro<void> {
         co_await weft::task_group([&](TaskGroup& group) -> Coro<void> {
             group.create_task(uses(job));
             co_await uses(job);
         });
     }},
    {"task_group, whose child waits before its body",
     [](Job job) -> Coro<void> {
         co_await weft::task_group([&](TaskGroup& group) -> Coro<void> {
             group.create_task(uses(job));
             for (int turn = 0; turn < 2; ++turn) co_await weft::yield();
             co_await uses(job);
         });
     }},
    {"task_group in a task_group, both in their bodies",
     [](Job job) -> Coro<void> {
         auto inner = [job](TaskGroup& group) -> Coro<void> {
             group.create_task(uses(job));
             co_await weft::sleep(1h);
         };
         auto middle = [inner]() -> Coro<void> { co_await weft::task_group(inner); };
         co_await weft::task_group([&](TaskGroup& group) -> Coro<void> {
             group.create_task(middle);
             co_await weft::sleep(1h);
         });
     }},
    {"task_group, one of which fails",
     [](Job job) -> Coro<void> {
         try {
             co_await weft::task_group([&](TaskGroup& group) -> Coro<void> {
                 group.create_task(uses(job));
                 group.create_task(fails(job));
                 co_return;
             });
         } catch (const weft::ExceptionGroup&) {
         }
     }},
    {"a task group in an ending one",
     [](Job job) -> Coro<void> {
         auto inner = [job](TaskGroup& group) -> Coro<void> {
             group.create_task(uses(job));
             co_return;
         };
         auto outer = [inner]() -> Coro<void> { co_await weft::task_group(inner); };
         co_await weft::race(outer, wins(job));
     }},
};

/// How the body ends, and who sees to it.
enum class End { throws, cancels_and_returns, cancelled, sibling_fails };

Coro<void> group_with(const Shape& shape, Job job, End end) {
    auto body = [&](TaskGroup& group) -> Coro<void> {
        std::string local(100, 'x');
        auto over = [&] { job.seen.gone = true; };
        const probe::AtExit at_exit(over);
        Job inside = job;
        inside.local = &local;
        group.create_task(shape.run(inside));
        if (end == End::sibling_fails) group.create_task(fails(job));
        if (end == End::cancelled || end == End::sibling_fails) co_await weft::sleep(1h);
        for (int turn = 0; turn < 6; ++turn) co_await weft::yield();
        job.way.release(job.on);
        if (end == End::throws) throw std::runtime_error("the body failed");
        group.cancel();
    };
    try {
        co_await weft::task_group(body);
    } catch (const weft::ExceptionGroup&) {
    }
}

/// Ends it `turns` after what was to win inside has won.
Coro<void> ends_a_group(const Shape& shape, Job job, End end, int turns, bool release_first) {
    job.on.future = weft::create_future<int>();
    job.way.prepare(job.on);
    auto task = weft::create_task(group_with(shape, job, end));
    for (int turn = 0; turn < 6; ++turn) co_await weft::yield();
    if (end == End::cancelled || end == End::sibling_fails) {
        job.trigger.set();
        for (int turn = 0; turn < turns; ++turn) co_await weft::yield();
        if (release_first) job.way.release(job.on);
        if (end == End::cancelled) task.cancel();
        if (!release_first) job.way.release(job.on);
    }
    co_await task.wait();
    if (!task.cancelled()) (void)task.exception();
    if (job.on.future->done() && !job.on.future->cancelled()) (void)job.on.future->exception();
    job.on.future.reset();
}

void check_a_group(const Shape& shape, End end, int turns = 0, bool release_first = false) {
    for (const Way& way : ways::all) {
        for (const bool debug : {false, true}) {
            Stage on;
            Seen seen;
            weft::Event trigger;
            weft::RunOptions options = weft::testing::options();
            options.debug = debug;
            weft::Runner runner(options);
            probe::collect_reports(runner.get_loop());
            runner.run(ends_a_group(shape, Job{way, on, seen, trigger}, end, turns, release_first));
            INFO(shape.name << " of " << way.name << ", turns: " << turns
                            << ", released first: " << release_first << ", debug: " << debug);
            CHECK(seen.gone);
            CHECK(seen.late == 0);
            CHECK(seen.begun > 0);
            CHECK(seen.ended == seen.begun);
        }
    }
}

// --- calls that start tasks for their caller, and end after them ---

struct Call {
    const char* name;
    Coro<void> (*run)(Job);
    bool holds_cancels = false;
};

weft::AsyncGenerator<int> items_of(Job job) {
    co_await uses(job);
    co_yield 1;
}

// A new one joins by one line.
const Call calls[] = {
    {"race", [](Job job) -> Coro<void> { co_await weft::race(uses(job), uses(job), wins(job)); }},
    {"race of a range",
     [](Job job) -> Coro<void> {
         std::vector<Coro<void>> all;
         all.push_back(uses(job));
         all.push_back(wins(job));
         co_await weft::race(std::move(all));
     }},
    {"race_all", [](Job job) -> Coro<void> { co_await weft::race_all(uses(job), wins(job)); }},
    {"staggered_race",
     [](Job job) -> Coro<void> {
         std::vector<std::function<Coro<void>()>> all{[job] { return uses(job); },
                                                      [job] { return wins(job); }};
         co_await weft::staggered_race(std::move(all), 1ns);
     }},
    {"all", [](Job job) -> Coro<void> { co_await weft::all(uses(job), fails(job)); }},
    {"gather, cancelled",
     [](Job job) -> Coro<void> { co_await weft::gather(uses(job), uses(job)); }},
    {"gather(return_exceptions)",
     [](Job job) -> Coro<void> {
         co_await weft::gather(weft::return_exceptions, uses(job), fails(job));
     }},
    {"task_group",
     [](Job job) -> Coro<void> {
         co_await weft::task_group([&](TaskGroup& group) -> Coro<void> {
             group.create_task(uses(job));
             group.create_task(fails(job));
             co_return;
         });
     }},
    {"TaskGroup::start",
     [](Job job) -> Coro<void> {
         auto child = [job](weft::TaskStatus<void> status) -> Coro<void> {
             co_await uses(job);
             status.started();
         };
         co_await weft::task_group([&](TaskGroup& group) -> Coro<void> {
             auto named = child;
             co_await group.start<void>(std::move(named));
         });
     }},
    {"wait_for", [](Job job) -> Coro<void> { co_await weft::wait_for(uses(job), 1h); }},
    {"wait_for a task",
     [](Job job) -> Coro<void> { co_await weft::wait_for(weft::create_task(uses(job)), 1h); }},
    {"move_on_after", [](Job job) -> Coro<void> { co_await weft::move_on_after(1h, uses(job)); }},
    {"timeout", [](Job job) -> Coro<void> { co_await weft::timeout(1h, uses(job)); }},
    {"timeout around a gather",
     [](Job job) -> Coro<void> {
         auto both = [job]() -> Coro<void> { co_await weft::gather(uses(job), uses(job)); };
         co_await weft::timeout(1h, both);
     }},
    {"clean_up", [](Job job) -> Coro<void> { co_await weft::clean_up(1h, &uses, job); }, true},
    {"async_with",
     [](Job job) -> Coro<void> {
         auto acquire = [job]() -> Coro<int> {
             co_await uses(job);
             co_return 1;
         };
         auto body = [job](int&) -> Coro<void> { co_await weft::all(uses(job), fails(job)); };
         auto release = [job](int&) -> Coro<void> { co_await uses(job); };
         co_await weft::async_with(acquire, body, release, 1h);
     },
     true},
    {"retry",
     [](Job job) -> Coro<void> { co_await weft::retry(weft::RetryOptions(2), &uses, job); }},
    {"map_limit",
     [](Job job) -> Coro<void> {
         auto each = [job](int item) { return item == 3 ? fails(job) : uses(job); };
         std::vector<int> items{1, 2, 3};
         co_await weft::map_limit(std::move(items), 3, each);
     }},
    {"worker_pool",
     [](Job job) -> Coro<void> {
         auto handler = [job](int item) { return item == 2 ? fails(job) : uses(job); };
         auto body = [](weft::WorkerPool<int>& pool) -> Coro<void> {
             co_await pool.submit(1);
             co_await pool.submit(2);
         };
         co_await weft::worker_pool<int>(weft::WorkerPoolOptions(2), handler, body);
     }},
    {"Singleflight",
     [](Job job) -> Coro<void> {
         weft::Singleflight<int, int> flights;
         auto call = [job]() -> Coro<int> {
             co_await uses(job);
             co_return 1;
         };
         (void)co_await flights.run(1, call);
     }},
    {"OnceCell",
     [](Job job) -> Coro<void> {
         weft::OnceCell<int> cell;
         auto make = [job]() -> Coro<int> {
             co_await uses(job);
             co_return 1;
         };
         (void)co_await cell.get_or_init(make);
     }},
    {"Pool",
     [](Job job) -> Coro<void> {
         auto make = [job]() -> Coro<int> {
             co_await uses(job);
             co_return 1;
         };
         weft::Pool<int> pool(make);
         auto lease = co_await pool.acquire();
     }},
    {"an AsyncGenerator",
     [](Job job) -> Coro<void> {
         auto items = items_of(job);
         while (auto item = co_await items.next()) co_await weft::yield();
     }},
};

Coro<void> calls_with_a_local(const Call& call, Job job) {
    std::string local(100, 'x');
    auto over = [&] {
        job.seen.gone = true;
        job.seen.unfinished = job.seen.begun - job.seen.ended;
    };
    const probe::AtExit at_exit(over);
    job.local = &local;
    co_await call.run(job);
}

/// What happens while the call waits, besides `Way::release`.
enum class Event { trigger, cancel, both, time };

Coro<void> ends_a_call(const Call& call, Job job, Event event, bool release_first) {
    job.on.future = weft::create_future<int>();
    job.way.prepare(job.on);
    auto task = weft::create_task(calls_with_a_local(call, job));
    for (int turn = 0; turn < 6; ++turn) co_await weft::yield();
    if (event == Event::time) co_await weft::sleep(1h - 1ns);
    if (release_first) job.way.release(job.on);
    if (event == Event::trigger || event == Event::both) job.trigger.set();
    if (event == Event::cancel || event == Event::both) task.cancel();
    if (event == Event::time) co_await weft::sleep(1ns);
    if (!release_first) job.way.release(job.on);
    for (int turn = 0; turn < 6; ++turn) co_await weft::yield();
    task.cancel();  // some wait for ever
    co_await task.wait();
    if (!task.cancelled()) (void)task.exception();
    if (job.on.future->done() && !job.on.future->cancelled()) (void)job.on.future->exception();
    job.on.future.reset();
}

}  // namespace

TEST_CASE("a task group whose body throws: no child takes an ordinary step after it",
          "[scope_ends]") {
    for (const Shape& shape : shapes) check_a_group(shape, End::throws);
}

TEST_CASE("a task group whose body cancels it and returns: the same", "[scope_ends]") {
    for (const Shape& shape : shapes) check_a_group(shape, End::cancels_and_returns);
}

TEST_CASE("a task group that is cancelled: the same", "[scope_ends]") {
    for (const Shape& shape : shapes) {
        for (int turns = 0; turns < 4; ++turns) {
            for (const bool first : {true, false})
                check_a_group(shape, End::cancelled, turns, first);
        }
    }
}

TEST_CASE("a task group of which a child fails: the same", "[scope_ends]") {
    for (const Shape& shape : shapes) {
        for (int turns = 0; turns < 4; ++turns) check_a_group(shape, End::sibling_fails, turns);
    }
}

TEST_CASE("what starts tasks for its caller returns when they have ended", "[scope_ends]") {
    for (const Call& call : calls) {
        for (const Way& way : ways::all) {
            for (const Event event : {Event::trigger, Event::cancel, Event::both, Event::time}) {
                // (What goes on for ever would do that until the limit, in steps of a nanosecond.)
                if ((event == Event::time || call.holds_cancels) && !way.ends_by_itself) continue;
                for (const bool first : {true, false}) {
                    Stage on;
                    Seen seen;
                    weft::Event trigger;
                    weft::Runner runner(weft::testing::options());
                    probe::collect_reports(runner.get_loop());
                    runner.run(ends_a_call(call, Job{way, on, seen, trigger}, event, first));
                    INFO(call.name << " of " << way.name << ", event: " << static_cast<int>(event)
                                   << ", released first: " << first);
                    CHECK(seen.gone);
                    CHECK(seen.late == 0);
                    CHECK(seen.begun > 0);
                    CHECK(seen.unfinished == 0);
                    CHECK(seen.ended == seen.begun);
                }
            }
        }
    }
}

}  // namespace scope_ends_test
