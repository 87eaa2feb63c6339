// SPDX-License-Identifier: MIT
// Condition: the lock around a wait, notifications that are passed on, and a cancel at every
// moment.
#include <weft/deadline/move_on_after.hpp>
#include <weft/sync/condition.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/testing/catch.hpp>
#include <weft/testing/run.hpp>

#include <chrono>
#include <coroutine>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "probe.hpp"
#include "sync.hpp"

namespace condition_test {

using support::end_of;
using support::some_turns;
using weft::CancelledError;
using weft::Condition;
using weft::Coro;
using weft::Lock;

namespace {

/// What happened to the tasks, one letter each.
struct Scene {
    Condition condition;
    std::string log;
};

/// Waits once with the lock; logs its name, in upper case when the wait threw. Notes a missing
/// lock.
Coro<void> waits(Scene& scene, char name) {
    auto guard = co_await scene.condition.scoped();
    try {
        co_await scene.condition.wait();
        scene.log += scene.condition.locked() ? name : '!';
    } catch (const CancelledError&) {
        scene.log += scene.condition.locked() ? static_cast<char>(name - 'a' + 'A') : '!';
        throw;
    }
}

Coro<std::vector<weft::Task<void>>> waiting(Scene& scene, const std::string& names) {
    std::vector<weft::Task<void>> tasks;
    for (const char name : names) tasks.push_back(weft::create_task(waits, std::ref(scene), name));
    co_await some_turns(2);
    co_return tasks;
}

Coro<void> all(std::vector<weft::Task<void>>& tasks) {
    for (auto& task : tasks) co_await task.wait();
}

}  // namespace

WEFT_TEST_CASE("67: wait re-acquires the lock before it returns or throws", "[condition]") {
    Scene scene;
    auto tasks = co_await waiting(scene, "ab");
    REQUIRE_FALSE(scene.condition.locked());
    REQUIRE(scene.condition.statistics().waiters == 2);
    auto guard = co_await scene.condition.scoped();
    scene.condition.notify();
    tasks[1].cancel();
    co_await some_turns(3);
    REQUIRE(scene.log.empty());  // both want the lock, which is ours
    guard.release();
    co_await all(tasks);
    REQUIRE(scene.log == "aB");
    REQUIRE_FALSE(scene.condition.locked());
}

WEFT_TEST_CASE("67: a cancel while a notified task waits for the lock is held until it is locked",
               "[condition]") {
    Scene scene;
    auto tasks = co_await waiting(scene, "a");
    auto guard = co_await scene.condition.scoped();
    scene.condition.notify();
    tasks[0].cancel();
    tasks[0].cancel();
    co_await some_turns(3);
    REQUIRE_FALSE(tasks[0].done());
    guard.release();
    co_await all(tasks);
    REQUIRE(scene.log == "A");
    REQUIRE(tasks[0].cancelled());
    REQUIRE_FALSE(scene.condition.locked());
}

WEFT_TEST_CASE("67: a notification given to a task that is cancelled goes to the next one",
               "[condition]") {
    Scene scene;
    auto tasks = co_await waiting(scene, "abc");
    {
        auto guard = co_await scene.condition.scoped();
        scene.condition.notify();
        tasks[0].cancel();
    }
    co_await some_turns(4);
    REQUIRE(scene.log == "Ab");
    REQUIRE(scene.condition.statistics().waiters == 1);
    tasks[2].cancel();
    co_await all(tasks);
}

WEFT_TEST_CASE("67: once the lock is granted a cancel comes too late: wait returns",
               "[condition]") {
    Scene scene;
    auto tasks = co_await waiting(scene, "ab");
    {
        auto guard = co_await scene.condition.scoped();
        scene.condition.notify();
    }
    tasks[0].cancel();
    co_await some_turns(3);
    REQUIRE(scene.log == "a");
    REQUIRE(end_of(tasks[0]) == "ok");
    tasks[1].cancel();
    co_await all(tasks);
    REQUIRE(scene.log == "aB");
}

WEFT_TEST_CASE("67: a cancelled wait takes a free lock at once", "[condition]") {
    Scene scene;
    auto tasks = co_await waiting(scene, "a");
    tasks[0].cancel();
    REQUIRE(scene.condition.locked());
    co_await all(tasks);
    REQUIRE(scene.log == "A");
    REQUIRE_FALSE(scene.condition.locked());
}

WEFT_TEST_CASE("67: a cancel that is pending strikes before the lock is released", "[condition]") {
    Scene scene;
    bool free_meanwhile = false;
    auto body = [&]() -> Coro<void> {
        auto guard = co_await scene.condition.scoped();
        weft::current_task().cancel();
        co_await scene.condition.wait();
    };
    auto looks = [&]() -> Coro<void> {
        free_meanwhile = !scene.condition.locked();
        co_return;
    };
    auto task = weft::create_task(body);
    auto look = weft::create_task(looks);
    co_await task.wait();
    co_await look;
    REQUIRE(task.cancelled());
    REQUIRE_FALSE(free_meanwhile);
    REQUIRE_FALSE(scene.condition.locked());
}

WEFT_TEST_CASE("67: wait and notify without the lock are errors", "[condition]") {
    Condition condition;
    std::string message;
    try {
        co_await condition.wait();
    } catch (const weft::RuntimeError& error) {
        message = error.what();
    }
    REQUIRE(message == "Condition::wait: the lock is not locked");
    const std::string expected = "Condition::notify: the lock is not locked";
    REQUIRE(probe::message_of<weft::RuntimeError>([&] { condition.notify(); }) == expected);
    REQUIRE(probe::message_of<weft::RuntimeError>([&] { condition.notify_all(); }) == expected);
}

WEFT_TEST_CASE("notify wakes so many, in the order of arrival, and notify_all the rest",
               "[condition]") {
    Scene scene;
    auto tasks = co_await waiting(scene, "abcde");
    {
        auto guard = co_await scene.condition.scoped();
        scene.condition.notify(2);
        REQUIRE(scene.condition.statistics().waiters == 3);
        REQUIRE(scene.condition.statistics().lock.waiters == 2);
    }
    co_await some_turns(4);
    REQUIRE(scene.log == "ab");
    {
        auto guard = co_await scene.condition.scoped();
        scene.condition.notify_all();
        scene.condition.notify_all();
    }
    co_await all(tasks);
    REQUIRE(scene.log == "abcde");
}

WEFT_TEST_CASE("a notification finds who waits now, and is not kept", "[condition]") {
    Scene scene;
    {
        auto guard = co_await scene.condition.scoped();
        scene.condition.notify(10);
    }
    auto tasks = co_await waiting(scene, "a");
    REQUIRE(scene.condition.statistics().waiters == 1);
    tasks[0].cancel();
    co_await all(tasks);
}

WEFT_TEST_CASE("a notified task stands in the lock's order from its notification", "[condition]") {
    Scene scene;
    auto tasks = co_await waiting(scene, "a");
    auto takes = [&]() -> Coro<void> {
        auto guard = co_await scene.condition.scoped();
        scene.log += 'z';
    };
    auto guard = co_await scene.condition.scoped();
    scene.condition.notify();
    tasks.push_back(weft::create_task(takes));
    co_await weft::yield();
    guard.release();
    co_await all(tasks);
    REQUIRE(scene.log == "az");
}

WEFT_TEST_CASE("wait_for returns what the predicate returned, asked with the lock", "[condition]") {
    Condition condition;
    int value = 0;
    int asked = 0;
    auto positive = [&](int least) {
        ++asked;
        return condition.locked() && value >= least ? value : 0;
    };
    auto waits_for = [&]() -> Coro<int> {
        auto guard = co_await condition.scoped();
        co_return co_await condition.wait_for(positive, 3);
    };
    auto task = weft::create_task(waits_for);
    for (value = 1; value < 5; ++value) {
        co_await weft::yield();
        auto guard = co_await condition.scoped();
        condition.notify();
    }
    const int got = co_await task;
    REQUIRE(got >= 3);
    REQUIRE(asked >= 3);

    auto fails = [&](int) -> bool { throw std::logic_error("no"); };
    auto guard = co_await condition.scoped();
    std::string message;
    try {
        (void)co_await condition.wait_for(fails, 1);
    } catch (const std::logic_error& error) {
        message = error.what();
    }
    REQUIRE(message == "no");
    REQUIRE(condition.locked());
}

WEFT_TEST_CASE("two conditions share a lock", "[condition]") {
    Lock lock;
    Condition one(lock);
    Condition two(lock);
    std::string log;
    auto on = [&](Condition& condition, char name) -> Coro<void> {
        auto guard = co_await lock.scoped();
        co_await condition.wait();
        log += name;
    };
    auto a = weft::create_task(on, std::ref(one), 'a');
    auto b = weft::create_task(on, std::ref(two), 'b');
    co_await some_turns(2);
    {
        auto guard = co_await two.scoped();
        two.notify_all();
    }
    co_await b;
    REQUIRE(log == "b");
    REQUIRE(one.statistics().waiters == 1);
    REQUIRE(one.try_acquire());
    one.notify_all();
    one.release();
    co_await a;
    REQUIRE(log == "ba");
}

namespace {

/// What a timeout does: asks the awaiter for an end, and looks at the answer in place of a throw.
class Ended {
public:
    explicit Ended(Condition& condition) : wait_(condition.wait()) {}
    void end() { wait_.cancel(); }
    bool await_ready() const { return wait_.await_ready(); }
    void await_suspend(std::coroutine_handle<> handle) { wait_.await_suspend(handle); }
    bool await_resume() {
        if (wait_.await_cancelled()) return false;
        wait_.await_resume();
        return true;
    }

private:
    decltype(std::declval<Condition&>().wait()) wait_;
};

}  // namespace

WEFT_TEST_CASE("67: a wait that was ended without an exception has the lock as well",
               "[condition]") {
    Scene scene;
    Ended* ended = nullptr;
    bool returned = true;
    bool locked = false;
    auto body = [&]() -> Coro<void> {
        auto guard = co_await scene.condition.scoped();
        {
            Ended wait(scene.condition);
            ended = &wait;
            returned = co_await wait;
        }
        locked = scene.condition.locked();
    };
    auto task = weft::create_task(body);
    co_await weft::yield();
    ended->end();
    co_await task;
    REQUIRE_FALSE(returned);
    REQUIRE(locked);
    REQUIRE_FALSE(scene.condition.locked());
}

// --- the end of run ---

namespace {

struct Shared {
    Condition condition;
    std::string log;
};
template <class Wait>
Coro<void> left_waiting(std::shared_ptr<Shared> shared, Wait wait) {
    auto guard = co_await shared->condition.scoped();
    try {
        co_await wait(shared->condition);
    } catch (const CancelledError&) {
        shared->log += shared->condition.locked() ? 'L' : '!';
        throw;
    }
}
/// Three tasks are left that wait; `end` is what main does with the lock at last.
template <class Wait>
Coro<void> leaves_three(std::shared_ptr<Shared> shared, Wait wait, int end) {
    for (int count = 0; count < 3; ++count) {
        const weft::Task<void> task = weft::create_task(left_waiting<Wait>, shared, wait);
    }
    co_await weft::sleep(std::chrono::milliseconds(1));
    if (end == 0) co_return;
    auto guard = co_await shared->condition.scoped();
    if (end == 2) shared->condition.notify(1);
    if (end == 3) shared->condition.notify_all();
    if (end == 4) {
        shared->condition.notify(1);
        guard.release();
        co_await weft::yield();
    }
}

}  // namespace

TEST_CASE("who is left waiting for a condition has the lock when it is struck, and its guard too") {
    const auto plain = [](Condition& condition) { return condition.wait(); };
    const auto timed = [](Condition& condition) {
        return weft::move_on_after(std::chrono::hours(1), [&] { return condition.wait(); });
    };
    std::vector<std::string> reports;
    weft::RunOptions options = weft::testing::options();
    options.exception_handler = [&](const weft::ExceptionContext& context) {
        reports.push_back(std::string(context.message));
    };
    for (int end = 0; end <= 4; ++end) {
        CAPTURE(end);
        for (const bool is_timed : {false, true}) {
            const auto shared = std::make_shared<Shared>();
            if (is_timed) {
                weft::run(leaves_three(shared, timed, end), options);
            } else {
                weft::run(leaves_three(shared, plain, end), options);
            }
            CHECK(shared->log == (end == 4 ? "LL" : "LLL"));
            CHECK_FALSE(shared->condition.locked());
            CHECK(reports.empty());
        }
    }
}

}  // namespace condition_test
