// SPDX-License-Identifier: MIT
// Ends, handles and guards that are destroyed, moved, assigned to or closed while nobody waits,
// while a task waits, and while one was woken and has not run: a table over all types that have
// them.
#include <weft/patterns/pool.hpp>
#include <weft/queue/broadcast.hpp>
#include <weft/queue/channel.hpp>
#include <weft/queue/oneshot.hpp>
#include <weft/queue/watch.hpp>
#include <weft/sync/capacity_limiter.hpp>
#include <weft/sync/condition.hpp>
#include <weft/sync/lock.hpp>
#include <weft/sync/rw_lock.hpp>
#include <weft/sync/semaphore.hpp>
#include <weft/task/async_generator.hpp>
#include <weft/testing/catch.hpp>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sync.hpp"

namespace ends_gone_test {

using support::contains;
using support::end_of;
using support::some_turns;
using weft::Coro;

namespace {

// A row has `End`; `end` and `other`, two of them; `wait(end)`, which awaits what the end gives or
// takes; `grant()`, which ends such a wait of either end; and perhaps `close(end)`.

struct OneshotReceiver {
    using End = weft::Oneshot<std::string>::Receiver;
    static constexpr const char* name = "oneshot receiver";
    static Coro<void> wait(End& end) { (void)co_await end.recv(); }
    static void close(End& end) { end.close(); }
    void grant() { (void)first.sender.try_send("a value that is too long for a short string"); }
    weft::Oneshot<std::string> first;
    weft::Oneshot<std::string> second;
    std::unique_ptr<End> end = std::make_unique<End>(std::move(first.receiver));
    std::unique_ptr<End> other = std::make_unique<End>(std::move(second.receiver));
};

template <bool copies>
struct WatchReceiver {
    using End = weft::Watch<std::string>::Receiver;
    static constexpr const char* name = copies ? "watch receiver, next" : "watch receiver, changed";
    static Coro<void> wait(End& end) {
        if constexpr (copies) {
            const auto value = co_await end.next();
            if (!value) throw weft::RuntimeError("over");
        } else {
            const bool news = co_await end.changed();
            if (!news) throw weft::RuntimeError("over");
        }
    }
    void grant() { watch.set("another value that is too long for a short string"); }
    weft::Watch<std::string> watch{std::string("a value")};
    std::unique_ptr<End> end = std::make_unique<End>(watch.subscribe());
    std::unique_ptr<End> other = std::make_unique<End>(watch.subscribe());
};

struct BroadcastReceiver {
    using End = weft::Broadcast<std::string>::Receiver;
    static constexpr const char* name = "broadcast receiver";
    static Coro<void> wait(End& end) {
        const auto value = co_await end.recv();
        if (!value) throw weft::RuntimeError("over");
    }
    void grant() { broadcast.send("a message that is too long for a short string"); }
    weft::Broadcast<std::string> broadcast{2};
    std::unique_ptr<End> end = std::make_unique<End>(broadcast.subscribe());
    std::unique_ptr<End> other = std::make_unique<End>(broadcast.subscribe());
};

struct ChannelReceiver {
    using End = weft::Channel<std::string>::Receiver;
    static constexpr const char* name = "channel receiver";
    static Coro<void> wait(End& end) {
        const auto item = co_await end.recv();
        if (!item) throw weft::RuntimeError("over");
    }
    static void close(End& end) { end.close(); }
    void grant() { (void)channel.sender.try_send("an item that is too long for a short string"); }
    weft::Channel<std::string> channel{2};
    weft::Channel<std::string> second{2};
    std::unique_ptr<End> end = std::make_unique<End>(std::move(channel.receiver));
    std::unique_ptr<End> other = std::make_unique<End>(std::move(second.receiver));
};

/// Another receiver stays.
struct CopiedReceiver : ChannelReceiver {
    static constexpr const char* name = "channel receiver, one of two";
    End copy{*end};
};

struct ChannelSender {
    using End = weft::Channel<std::string>::Sender;
    static constexpr const char* name = "channel sender";
    static Coro<void> wait(End& end) {
        const std::string text = "an item that is too long for a short string";
        (void)end.try_send(text);
        co_await end.send(text);
    }
    static void close(End& end) { end.close(); }
    void grant() { (void)channel.receiver.try_recv(); }
    weft::Channel<std::string> channel{1};
    weft::Channel<std::string> second{1};
    std::unique_ptr<End> end = std::make_unique<End>(std::move(channel.sender));
    std::unique_ptr<End> other = std::make_unique<End>(std::move(second.sender));
};

struct CopiedSender : ChannelSender {
    static constexpr const char* name = "channel sender, one of two";
    End copy{*end};
};

struct Generator {
    using End = weft::AsyncGenerator<std::string>;
    static constexpr const char* name = "async generator";
    static End items(weft::Channel<std::string>::Receiver receiver) {
        for (;;) {
            auto item = co_await receiver.recv();
            if (!item) co_return;
            co_yield std::move(*item);
        }
    }
    static Coro<void> wait(End& end) {
        const auto item = co_await end.next();
        if (!item) throw weft::RuntimeError("over");
    }
    // A generator goes when the task that waits for its item has it.
    static constexpr bool outlives_its_end = true;
    void grant() { (void)channel.sender.try_send("an item that is too long for a short string"); }
    weft::Channel<std::string> channel{2};
    weft::Channel<std::string> second{2};
    std::unique_ptr<End> end = std::make_unique<End>(items(std::move(channel.receiver)));
    std::unique_ptr<End> other = std::make_unique<End>(items(std::move(second.receiver)));
};

enum class Moment { waiting, granted };
enum class Act { destroyed, moved, move_assigned, assigned_to, closed };
constexpr const char* names[] = {"destroyed", "moved", "move-assigned", "assigned to", "closed"};

/// The end as it is afterwards is `row.end`, where there is one.
template <class Row>
void do_to(Row& row, Act act) {
    using End = typename Row::End;
    std::unique_ptr<End> before = std::move(row.end);
    if (act == Act::moved) row.end = std::make_unique<End>(std::move(*before));
    if (act == Act::move_assigned) {
        *row.other = std::move(*before);
        row.end = std::move(row.other);
    }
    if (act == Act::assigned_to) {
        *before = std::move(*row.other);
        row.end = std::move(before);
    }
    if constexpr (requires { Row::close(*before); }) {
        if (act == Act::closed) {
            Row::close(*before);
            row.end = std::move(before);
        }
    }
}

template <class Row>
Coro<std::string> look(Act act, Moment moment) {
    Row row;
    auto task = weft::create_task(&Row::wait, std::ref(*row.end));
    co_await some_turns(2);
    if (task.done()) co_return "does not wait";
    if (moment == Moment::granted) row.grant();
    do_to(row, act);
    co_await some_turns(3);
    constexpr bool outlives = requires { Row::outlives_its_end; };
    if (!task.done() && (outlives || act == Act::moved || act == Act::move_assigned)) {
        if (moment == Moment::granted) co_return "lost what it was granted";
        row.grant();
        co_await some_turns(3);
        co_return end_of(task) == "ok" ? "" : "gets nothing: " + end_of(task);
    }
    const std::string end = end_of(task);
    if (!task.done()) {
        task.cancel();
        co_await task.wait();
    }
    if (moment == Moment::granted) co_return end == "ok" ? "" : "has lost its grant: " + end;
    const bool told = contains(end, "closed") || contains(end, "destroyed") || end == "over";
    co_return told ? "" : "ends with: " + end;
}

template <class Row>
Coro<std::string> use_moved_from() {
    Row row;
    const auto moved = std::make_unique<typename Row::End>(std::move(*row.end));
    auto task = weft::create_task(&Row::wait, std::ref(*row.end));
    co_await task.wait();
    const std::string end = end_of(task);
    co_return contains(end, "empty") ? "" : "ends with: " + end;
}

template <class Row>
Coro<void> try_out(std::string& failures) {
    for (const Act act :
         {Act::destroyed, Act::moved, Act::move_assigned, Act::assigned_to, Act::closed}) {
        for (const Moment moment : {Moment::waiting, Moment::granted}) {
            constexpr bool closes = requires(typename Row::End & end) { Row::close(end); };
            if (act == Act::closed && !closes) continue;
            const std::string failure = co_await look<Row>(act, moment);
            if (failure.empty()) continue;
            failures += std::string(Row::name) + ", " + names[static_cast<int>(act)] +
                        (moment == Moment::granted ? " when granted: " : " while it waits: ") +
                        failure + "\n";
        }
    }
    const std::string empty = co_await use_moved_from<Row>();
    if (!empty.empty()) failures += std::string(Row::name) + ", moved from: " + empty + "\n";
}

// A guard's row has `take()`, which waits and gives the guard.

struct LockGuard {
    static constexpr const char* name = "lock guard";
    Coro<weft::Lock::Guard> take() { co_return co_await lock.scoped(); }
    weft::Lock lock;
};
struct ConditionGuard {
    static constexpr const char* name = "condition guard";
    Coro<weft::Lock::Guard> take() { co_return co_await condition.scoped(); }
    weft::Condition condition;
};
struct SemaphoreGuard {
    static constexpr const char* name = "semaphore guard";
    Coro<weft::Semaphore::Guard> take() { co_return co_await semaphore.scoped(); }
    weft::Semaphore semaphore;
};
struct ReadAfterWriteGuard {
    static constexpr const char* name = "write guard";
    Coro<weft::RwLock::WriteGuard> take() { co_return co_await lock.write(); }
    weft::RwLock lock;
};
struct LimiterGuard {
    static constexpr const char* name = "limiter guard";
    Coro<weft::CapacityLimiter::Guard> take() { co_return co_await limiter.scoped(); }
    weft::CapacityLimiter limiter{1};
};
struct Lease {
    static constexpr const char* name = "pool lease";
    static Coro<int> make() { co_return 1; }
    Coro<weft::PoolLease<int>> take() { return pool.acquire(); }
    weft::Pool<int> pool{&make, weft::PoolOptions(1)};
};

template <class Row>
Coro<void> try_out_guard(std::string& failures) {
    for (const Act act :
         {Act::destroyed, Act::moved, Act::move_assigned, Act::assigned_to, Act::closed}) {
        Row row;
        auto first = co_await row.take();
        using Guard = decltype(first);
        auto guard = std::make_unique<Guard>(std::move(first));
        auto takes = [&]() -> Coro<Guard> { return row.take(); };
        auto waits = weft::create_task(takes);
        co_await some_turns(2);
        const std::string what = std::string(Row::name) + ", " + names[static_cast<int>(act)];
        if (waits.done()) failures += what + ": the next one does not wait\n";
        if (first) failures += what + ": a moved-from one is not empty\n";
        first.release();  // does nothing
        Guard next;
        if (act == Act::moved) next = Guard(std::move(*guard));
        if (act == Act::move_assigned) next = std::move(*guard);
        if (act == Act::assigned_to) *guard = Guard();
        if (act == Act::closed) guard->release();
        guard.reset();
        co_await some_turns(2);
        if (act == Act::moved || act == Act::move_assigned) {
            if (waits.done()) failures += what + ": was given away twice\n";
            next.release();
        }
        co_await some_turns(2);
        if (end_of(waits) != "ok") failures += what + ": the next one: " + end_of(waits) + "\n";
        waits.cancel();
        co_await waits.wait();
    }
}

}  // namespace

WEFT_TEST_CASE("97: an end may go or move while its own wait is pending or granted", "[ends]") {
    std::string failures;
    co_await try_out<OneshotReceiver>(failures);
    co_await try_out<WatchReceiver<true>>(failures);
    co_await try_out<WatchReceiver<false>>(failures);
    co_await try_out<BroadcastReceiver>(failures);
    co_await try_out<ChannelReceiver>(failures);
    co_await try_out<CopiedReceiver>(failures);
    co_await try_out<ChannelSender>(failures);
    co_await try_out<CopiedSender>(failures);
    co_await try_out<Generator>(failures);
    REQUIRE(failures == "");
}

WEFT_TEST_CASE("97: a guard may go or move while others wait for what it holds", "[ends]") {
    std::string failures;
    co_await try_out_guard<LockGuard>(failures);
    co_await try_out_guard<ConditionGuard>(failures);
    co_await try_out_guard<SemaphoreGuard>(failures);
    co_await try_out_guard<ReadAfterWriteGuard>(failures);
    co_await try_out_guard<LimiterGuard>(failures);
    co_await try_out_guard<Lease>(failures);
    REQUIRE(failures == "");
}

WEFT_TEST_CASE("97: a receiver and its watch may both go before the woken task has run", "[ends]") {
    auto watch = std::make_unique<weft::Watch<std::string>>(std::string("a"));
    auto receiver = std::make_unique<weft::Watch<std::string>::Receiver>(watch->subscribe());
    std::string got;
    auto waits = [&]() -> Coro<void> {
        const auto value = co_await receiver->next();
        got = value.value_or("nothing");
    };
    auto task = weft::create_task(waits);
    co_await weft::yield();
    watch->set("a value that is too long for a short string");
    watch.reset();
    receiver.reset();
    co_await task;
    REQUIRE(got == "a value that is too long for a short string");
}

WEFT_TEST_CASE("97: an await that was made before its end went is told when it begins", "[ends]") {
    weft::Channel<int> channel(1);
    weft::Watch<int> watch(1);
    weft::Broadcast<int> broadcast(1);
    weft::Oneshot<int> oneshot;
    auto receiver = std::make_unique<weft::Watch<int>::Receiver>(watch.subscribe());
    auto listener = std::make_unique<weft::Broadcast<int>::Receiver>(broadcast.subscribe());
    auto recv = channel.receiver.recv();
    auto reply = oneshot.receiver.recv();
    auto next = receiver->next();
    auto message = listener->recv();
    auto items = []() -> weft::AsyncGenerator<int> { co_yield 1; };
    std::optional<weft::AsyncGenerator<int>> generator(items());
    auto asked = generator->next();
    channel.receiver.close();
    oneshot.receiver.close();
    receiver.reset();
    listener.reset();
    generator.reset();
    const auto item = co_await recv;
    REQUIRE_FALSE(item);
    std::string told;
    try {
        co_await reply;
    } catch (const weft::ChannelClosed&) {
        told += 'o';
    }
    try {
        co_await next;
    } catch (const weft::ChannelClosed&) {
        told += 'w';
    }
    try {
        co_await message;
    } catch (const weft::ChannelClosed&) {
        told += 'b';
    }
    try {
        co_await asked;
    } catch (const weft::RuntimeError&) {
        told += 'g';
    }
    REQUIRE(told == "owbg");
}

WEFT_TEST_CASE("97: what needs an end that was moved from says that it is empty", "[ends]") {
    weft::Channel<int> channel(1);
    weft::Watch<int> watch(1);
    weft::Broadcast<int> broadcast(1);
    auto receiver = watch.subscribe();
    auto listener = broadcast.subscribe();
    const auto s = std::move(channel.sender);
    const auto r = std::move(channel.receiver);
    const auto w = std::move(receiver);
    const auto l = std::move(listener);
    const auto watch_moved = std::move(watch);
    const auto broadcast_moved = std::move(broadcast);
    REQUIRE_THROWS_AS(channel.sender.try_send(1), weft::RuntimeError);
    REQUIRE_THROWS_AS(channel.sender.statistics(), weft::RuntimeError);
    REQUIRE_THROWS_AS(channel.receiver.try_recv(), weft::RuntimeError);
    REQUIRE_THROWS_AS(channel.receiver.size(), weft::RuntimeError);
    REQUIRE_THROWS_AS(receiver.get(), weft::RuntimeError);
    REQUIRE_THROWS_AS(receiver.get_and_mark(), weft::RuntimeError);
    REQUIRE_THROWS_AS(receiver.has_changed(), weft::RuntimeError);
    REQUIRE_THROWS_AS(listener.try_recv(), weft::RuntimeError);
    REQUIRE_THROWS_AS(listener.behind(), weft::RuntimeError);
    REQUIRE_THROWS_AS(watch.set(2), weft::RuntimeError);
    REQUIRE_THROWS_AS(watch.get(), weft::RuntimeError);
    REQUIRE_THROWS_AS(watch.subscribe(), weft::RuntimeError);
    REQUIRE_THROWS_AS(broadcast.send(2), weft::RuntimeError);
    REQUIRE_THROWS_AS(broadcast.subscribe(), weft::RuntimeError);
    const weft::PoolLease<int> lease;
    REQUIRE_THROWS_AS(*lease, weft::RuntimeError);
    REQUIRE(channel.sender.closed());
    REQUIRE(channel.receiver.closed());
    REQUIRE(receiver.closed());
    REQUIRE(listener.closed());
    REQUIRE(broadcast.closed());
    co_return;
}

}  // namespace ends_gone_test
