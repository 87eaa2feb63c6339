// SPDX-License-Identifier: MIT
// Notify: one permit, whom it wakes, and a cancel at every moment.
#include <weft/sync/notify.hpp>
#include <weft/task/sleep.hpp>
#include <weft/testing/catch.hpp>

#include <functional>
#include <string>
#include <vector>

#include "sync.hpp"

namespace notify_test {

using support::some_turns;
using weft::Coro;
using weft::Notify;

namespace {

struct Scene {
    Notify notify;
    std::string log;
};

Coro<void> waits(Scene& scene, char name) {
    co_await scene.notify.notified();
    scene.log += name;
    co_await weft::yield();
}

std::vector<weft::Task<void>> waiting(Scene& scene, const std::string& names) {
    std::vector<weft::Task<void>> tasks;
    for (const char name : names) tasks.push_back(weft::create_task(waits, std::ref(scene), name));
    return tasks;
}

}  // namespace

WEFT_TEST_CASE("a notification of one that finds nobody is kept, once", "[notify]") {
    Scene scene;
    scene.notify.notify_one();
    scene.notify.notify_one();
    REQUIRE(scene.notify.statistics().permit);
    auto tasks = waiting(scene, "ab");
    co_await some_turns(3);
    REQUIRE(scene.log == "a");
    REQUIRE_FALSE(scene.notify.try_notified());
    scene.notify.notify_one();
    for (auto& task : tasks) co_await task;
    REQUIRE(scene.log == "ab");
    scene.notify.notify_one();
    REQUIRE(scene.notify.try_notified());
    REQUIRE_FALSE(scene.notify.try_notified());
}

WEFT_TEST_CASE("notify_one wakes the task that waits longest", "[notify]") {
    Scene scene;
    auto tasks = waiting(scene, "abc");
    co_await weft::yield();
    scene.notify.notify_one();
    scene.notify.notify_one();
    co_await some_turns(2);
    REQUIRE(scene.log == "ab");
    REQUIRE_FALSE(scene.notify.statistics().permit);
    scene.notify.notify_one();
    for (auto& task : tasks) co_await task;
}

WEFT_TEST_CASE("notify_waiters wakes all who wait, and keeps nothing", "[notify]") {
    Scene scene;
    scene.notify.notify_waiters();
    auto tasks = waiting(scene, "abc");
    co_await weft::yield();
    REQUIRE(scene.notify.statistics().waiters == 3);
    scene.notify.notify_waiters();
    for (auto& task : tasks) co_await task;
    REQUIRE(scene.log == "abc");
    REQUIRE_FALSE(scene.notify.statistics().permit);
}

WEFT_TEST_CASE("28: cancelled before the notification: the next one gets it", "[notify]") {
    Scene scene;
    auto tasks = waiting(scene, "ab");
    co_await weft::yield();
    tasks[0].cancel();
    scene.notify.notify_one();
    co_await tasks[1];
    REQUIRE(tasks[0].done());
    REQUIRE(scene.log == "b");
}

WEFT_TEST_CASE("28: notified before the cancel: it returns, and the cancel strikes later",
               "[notify]") {
    Scene scene;
    auto tasks = waiting(scene, "ab");
    co_await weft::yield();
    scene.notify.notify_one();
    tasks[0].cancel();
    co_await tasks[0].wait();
    REQUIRE(tasks[0].cancelled());
    REQUIRE(scene.log == "a");
    REQUIRE_FALSE(tasks[1].done());
    tasks[1].cancel();
    co_await tasks[1].wait();
}

WEFT_TEST_CASE("28: a pending cancel takes a permit that is there, and strikes a wait",
               "[notify]") {
    Scene scene;
    bool passed = false;
    auto body = [&]() -> Coro<void> {
        weft::current_task().cancel();
        co_await scene.notify.notified();
        passed = true;
        co_await scene.notify.notified();
    };
    scene.notify.notify_one();
    auto task = weft::create_task(body);
    co_await task.wait();
    REQUIRE(passed);
    REQUIRE(task.cancelled());
    REQUIRE(scene.notify.statistics().waiters == 0);
}

}  // namespace notify_test
