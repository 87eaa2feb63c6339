// SPDX-License-Identifier: MIT
// Permits, locks and items are returned in the order of arrival: also where several were granted in
// one step and somebody comes for what is left before those have run.
#include <weft/queue/channel.hpp>
#include <weft/queue/queue.hpp>
#include <weft/sync/capacity_limiter.hpp>
#include <weft/sync/notify.hpp>
#include <weft/sync/rw_lock.hpp>
#include <weft/sync/semaphore.hpp>
#include <weft/testing/catch.hpp>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sync.hpp"

namespace sync_order_test {

using support::some_turns;
using weft::Coro;

namespace {

/// `waiters` tasks wait. Then one step calls `grant`, which is enough for them and for `newcomers`
/// more, that come in tasks which run first, in the same turn, or in that very step.
template <class Wait, class Grant>
Coro<std::string> order(Wait& wait, Grant& grant) {
    std::string log;
    auto takes = [&](char name) -> Coro<void> {
        co_await wait(name);
        log += name;
    };
    std::vector<weft::Task<void>> tasks;
    for (const char name : {'a', 'b'}) tasks.push_back(weft::create_task(takes, name));
    co_await some_turns(2);
    // It is in the ready queue before those who will be woken.
    auto early = [&]() -> Coro<void> {
        grant();
        co_await takes('c');
        co_await takes('d');
    };
    tasks.push_back(weft::create_task(early));
    auto late = [&]() -> Coro<void> { co_await takes('e'); };
    tasks.push_back(weft::create_task(late));
    co_await some_turns(5);
    for (auto& task : tasks) task.cancel();
    for (auto& task : tasks) co_await task.wait();
    co_return log;
}

}  // namespace

WEFT_TEST_CASE("108: permits are returned in the order of arrival", "[order]") {
    weft::Semaphore semaphore(0);
    auto wait = [&](char) -> Coro<void> { co_await semaphore.acquire(); };
    auto grant = [&] {
        for (int i = 0; i < 5; ++i) semaphore.release();
    };
    const std::string log = co_await order(wait, grant);
    REQUIRE(log == "abced");
}

WEFT_TEST_CASE("108: tokens of a limiter are returned in the order of arrival", "[order]") {
    weft::CapacityLimiter limiter(0);
    char borrowers[5];
    auto wait = [&](char name) -> Coro<void> {
        co_await limiter.acquire_on_behalf_of(&borrowers[name - 'a']);
    };
    auto grant = [&] { limiter.set_total_tokens(5); };
    const std::string log = co_await order(wait, grant);
    REQUIRE(log == "abced");
}

WEFT_TEST_CASE("108: a lock for reading is returned in the order of arrival", "[order]") {
    weft::RwLock lock;
    REQUIRE(lock.try_acquire_write());
    auto wait = [&](char) -> Coro<void> { co_await lock.acquire_read(); };
    auto grant = [&] { lock.release_write(); };
    const std::string log = co_await order(wait, grant);
    REQUIRE(log == "abced");
}

WEFT_TEST_CASE("108: notifications are returned in the order of arrival", "[order]") {
    weft::Notify notify;
    auto wait = [&](char) -> Coro<void> { co_await notify.notified(); };
    auto grant = [&] {
        for (int i = 0; i < 3; ++i) notify.notify_one();  // one permit is kept
    };
    const std::string log = co_await order(wait, grant);
    REQUIRE(log == "abc");
}

WEFT_TEST_CASE("108: items are returned in the order of arrival", "[order]") {
    weft::Queue<char> queue;
    std::string items;
    auto wait = [&](char) -> Coro<void> {
        const char item = co_await queue.get();
        items += item;
    };
    auto grant = [&] {
        for (const char item : {'1', '2', '3', '4', '5'}) queue.put_nowait(item);
    };
    const std::string log = co_await order(wait, grant);
    REQUIRE(log == "abced");
    REQUIRE(items == "12345");
}

WEFT_TEST_CASE("108: puts return in the order of arrival", "[order]") {
    weft::Queue<char> queue(2);
    queue.put_nowait('1');
    queue.put_nowait('2');
    auto wait = [&](char name) -> Coro<void> { co_await queue.put(name); };
    std::string items;
    auto grant = [&] {
        for (int i = 0; i < 4; ++i) items += queue.get_nowait();
    };
    const std::string log = co_await order(wait, grant);
    REQUIRE(log == "abce");
    REQUIRE(items == "12ab");
    REQUIRE(queue.size() == 2);
    REQUIRE(queue.get_nowait() == 'c');
    REQUIRE(queue.get_nowait() == 'e');
}

WEFT_TEST_CASE("108: what a channel carries is returned in the order of arrival", "[order]") {
    weft::Channel<char> channel(5);
    auto wait = [&](char) -> Coro<void> { (void)co_await channel.receiver.recv(); };
    auto grant = [&] {
        for (const char item : {'1', '2', '3', '4', '5'}) (void)channel.sender.try_send(item);
    };
    const std::string log = co_await order(wait, grant);
    REQUIRE(log == "abced");
}

WEFT_TEST_CASE("108: a queue may go while putters that were let in have not run", "[order]") {
    auto queue = std::make_unique<weft::Queue<std::string>>(1);
    queue->put_nowait("the first, which is too long for a short string");
    auto puts = [&]() -> Coro<void> {
        co_await queue->put("another one, which is too long for a short string");
    };
    auto task = weft::create_task(puts);
    auto waits = weft::create_task(puts);
    co_await weft::yield();
    (void)queue->get_nowait();
    queue.reset();
    co_await some_turns(2);
    REQUIRE(support::end_of(task) == "ok");
    REQUIRE(support::end_of(waits) == "weft: the queue was destroyed while a task waited for it");
}

}  // namespace sync_order_test
