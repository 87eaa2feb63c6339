// SPDX-License-Identifier: MIT
// FdWatch: descriptors of libraries that close them by themselves; and Alarm, their timer.
// rungs: all
#include <weft/adapters.hpp>
#include <weft/weft.hpp>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <weft/testing/catch.hpp>

#include "awaiting.hpp"
#include "descriptors.hpp"

namespace fd_watch_test {

using namespace std::chrono_literals;
using namespace support;
using weft::Alarm;
using weft::Coro;
using weft::FdEvents;
using weft::FdWatch;

namespace {

constexpr auto none = FdEvents::none;
constexpr auto read = FdEvents::read;
constexpr auto write = FdEvents::write;
constexpr auto both = FdEvents::read_write;

/// In turns, not in time: virtual time stands still for as long as something is always ready.
template <class Is>
Coro<void> until(Is is) {
    for (int turn = 0; turn < 1000 && !is(); ++turn) co_await weft::yield();
}

/// Turns that are sure to see what the kernel has by now.
Coro<void> settled() {
    co_await turns(5);
    co_await weft::sleep(1ms);
    co_await turns(5);
}

/// A library with a connection of its own, which it closes and opens again under one number.
struct Library {
    Library() : peer(open()) {}
    Library(const Library&) = delete;
    Library& operator=(const Library&) = delete;
    ~Library() { ::close(number); }

    Fd open() {
        Pair ends = unix_pair(SOCK_STREAM | SOCK_NONBLOCK);
        checked(::dup3(ends.a.get(), number, O_CLOEXEC), "dup3");
        ::close(ends.a.release());
        return std::move(ends.b);
    }
    void close() const { ::close(number); }
    /// What has arrived, by the byte.
    std::optional<char> take() const {
        char byte = 0;
        if (::read(number, &byte, 1) != 1) return std::nullopt;
        return byte;
    }
    const int number = 300;
    Fd peer;
};

}  // namespace

WEFT_TEST_CASE("a watch is called for what is wanted, for as long as that is there", "[watch]") {
    Library library;
    std::vector<FdEvents> calls;
    FdWatch watch(library.number, [&](FdEvents events) { calls.push_back(events); });
    put(library.peer.get(), "xy");
    co_await settled();
    CHECK(calls.empty());  // nothing was wanted
    watch.want(read);
    co_await until([&] { return calls.size() >= 3; });
    CHECK(calls[0] == read);
    CHECK(calls[2] == read);
    calls.clear();
    watch.want(both);
    co_await until([&] { return calls.size() >= 3; });
    CHECK(calls.back() == both);
    watch.want(write);
    calls.clear();
    co_await until([&] { return calls.size() >= 3; });
    CHECK(calls.back() == write);
    watch.want(read);
    library.take();
    library.take();
    co_await turns(3);
    calls.clear();
    co_await settled();
    CHECK(calls.empty());
    put(library.peer.get(), "z");
    co_await until([&] { return !calls.empty(); });
    CHECK(calls[0] == read);
    watch.want(none);
    co_await turns(1);
    calls.clear();
    co_await settled();
    CHECK(calls.empty());
    CHECK(watch.wanted() == none);
    CHECK(watch.fd() == library.number);
}

WEFT_TEST_CASE("the end of the other side is told as readable and broken, also where it comes late",
               "[watch]") {
    Library library;
    FdEvents told = none;
    FdWatch watch(library.number, [&](FdEvents events) {
        told = events;
        watch.stop();
    });
    watch.want(read);
    co_await settled();
    library.peer.reset();
    co_await until([&] { return told != none; });
    CHECK((told & read) == read);
    CHECK((told & FdEvents::broken) == FdEvents::broken);
}

WEFT_TEST_CASE("a number that the library closes and opens again is watched as what it is now",
               "[watch]") {
    for (const bool in_callback : {false, true}) {
        for (const bool was_armed : {false, true}) {
            CAPTURE(in_callback, was_armed);
            Library library;
            Fd old_peer;
            std::string got;
            const auto reopen = [&] {
                library.close();
                old_peer = std::exchange(library.peer, library.open());
            };
            FdWatch watch(library.number, [&](FdEvents) {
                const std::optional<char> byte = library.take();
                if (!byte) return;
                got += *byte;
                if (*byte != 'c') return;
                reopen();
                watch.want(read);
            });
            watch.want(read);
            if (was_armed) co_await settled();
            if (in_callback) {
                put(library.peer.get(), "c");
                co_await until([&] { return got == "c"; });
            } else {
                reopen();
                watch.want(read);
            }
            co_await settled();
            put(library.peer.get(), "new");
            const std::string expected = in_callback ? "cnew" : "new";
            co_await until([&] { return got == expected; });
            CHECK(got == expected);
            // The old file has gone, although a poll was armed on it.
            co_await settled();
            char byte = 0;
            CHECK(::recv(old_peer.get(), &byte, 1, MSG_DONTWAIT) == 0);
        }
    }
}

WEFT_TEST_CASE("a number that was closed and now is somebody else's file is never called for",
               "[watch]") {
    for (const bool was_ready : {false, true}) {
        CAPTURE(was_ready);
        Library library;
        const Pair other = unix_pair();
        int calls = 0;
        bool replaced = false;
        FdWatch watch(library.number, [&](FdEvents) {
            if (replaced) ++calls;
        });
        watch.want(both);
        if (was_ready) {
            co_await turns(2);
        } else {
            watch.want(read);
            co_await settled();
        }
        replaced = true;
        library.close();
        put(other.b.get(), "x");
        checked(::dup3(other.a.get(), library.number, O_CLOEXEC), "dup3");
        if (!was_ready) library.peer.reset();
        co_await settled();
        CHECK(calls == 0);
        watch.want(read);
        co_await until([&] { return calls > 0; });
        CHECK(calls > 0);
    }
}

WEFT_TEST_CASE("a stopped watch keeps no file open, and another's watch of the number is its own",
               "[watch]") {
    Library library;
    FdWatch first(library.number, [](FdEvents) {});
    first.want(read);
    co_await settled();
    const Fd old_peer = std::move(library.peer);
    library.close();
    library.peer = library.open();
    int calls = 0;
    FdWatch second(library.number, [&](FdEvents) { ++calls; });
    second.want(read);
    first.stop();
    put(library.peer.get(), "x");
    co_await until([&] { return calls > 1; });
    CHECK(calls > 1);
    char byte = 0;
    CHECK(::recv(old_peer.get(), &byte, 1, MSG_DONTWAIT) == 0);
}

WEFT_TEST_CASE("a watch that wants room does not spin while the other end only reads no more",
               "[watch]") {
    Library library;
    fill(library.number);
    ::shutdown(library.peer.get(), SHUT_WR);
    int calls = 0;
    FdWatch watch(library.number, [&](FdEvents) {
        ++calls;
        watch.stop();
    });
    watch.want(write);
    weft::EventLoop& loop = weft::get_running_loop();
    const std::uint64_t before = loop.kernel_entries();
    co_await weft::sleep(20ms);
    CHECK(calls == 0);
    CHECK(loop.kernel_entries() - before < 100);
    drain(library.peer.get());
    for (int turn = 0; turn < 100 && calls == 0; ++turn) co_await weft::sleep(5ms);
    CHECK(calls == 1);
}

WEFT_TEST_CASE("a watch and an alarm may be destroyed, moved and replaced in their own call",
               "[watch]") {
    Library library;
    put(library.peer.get(), "x");
    auto alive = std::make_shared<int>(0);
    std::vector<FdWatch> watches;
    watches.emplace_back(library.number, [&, alive](FdEvents) {
        watches.clear();
        ++*alive;  // it lives on until it returns
    });
    watches[0].want(read);
    co_await until([&] { return *alive == 1; });
    co_await settled();
    CHECK(*alive == 1);
    CHECK(alive.use_count() == 1);

    Alarm alarm;
    alarm = Alarm([&, alive] {
        alarm = Alarm([&, alive] { *alive += 10; });
        alarm.set_after(1ms);
        ++*alive;
    });
    alarm.set_after(1ms);
    co_await weft::sleep(10ms);
    CHECK(*alive == 12);
    Alarm moved = std::move(alarm);
    moved.set_after(1ms);
    co_await weft::sleep(10ms);
    CHECK(*alive == 22);
    CHECK_FALSE(alarm.is_set());
    CHECK_FALSE(static_cast<bool>(FdWatch()));
}

WEFT_TEST_CASE("an alarm rings once each time it is set, at the time that was set last",
               "[watch]") {
    weft::EventLoop& loop = weft::get_running_loop();
    const weft::TimePoint begin = loop.time();
    std::vector<long> rang;
    Alarm alarm([&] {
        rang.push_back(static_cast<long>((loop.time() - begin) / 1ms));
        if (rang.size() == 2) alarm.set_after(0ms);
        if (rang.size() == 3) throw std::runtime_error("reported");
    });
    int reports = 0;
    loop.set_exception_handler([&](const weft::ExceptionContext&) { ++reports; });
    alarm.set_after(10ms);
    alarm.set_after(20ms);
    CHECK(alarm.is_set());
    co_await weft::sleep(30ms);
    alarm.set_after(10ms);
    co_await weft::sleep(20ms);
    CHECK(rang == std::vector<long>({20, 40, 40}));
    CHECK(reports == 1);
    alarm.set_after(10ms);
    alarm.cancel();
    CHECK_FALSE(alarm.is_set());
    co_await weft::sleep(20ms);
    CHECK(rang.size() == 3);
}

WEFT_TEST_CASE("what a watch's callback throws is reported, and a bad number refused by name",
               "[watch]") {
    Library library;
    put(library.peer.get(), "x");
    int calls = 0;
    int reports = 0;
    weft::get_running_loop().set_exception_handler([&](const weft::ExceptionContext& context) {
        if (std::string(context.message) == "exception in a descriptor's callback") ++reports;
    });
    FdWatch watch(library.number, [&](FdEvents) {
        if (++calls == 2) watch.stop();
        throw std::runtime_error("from a callback");
    });
    watch.want(read);
    co_await until([&] { return calls == 2; });
    CHECK(reports == 2);
    FdWatch bad(987'654, [](FdEvents) {});
    const Failure failed = co_await failure([&]() -> Coro<void> {
        bad.want(write);
        co_return;
    });
    CHECK(failed.error == EBADF);
    CHECK(failed.names("watch fd 987654"));
}

TEST_CASE("watches and alarms serve clean-ups while run ends, and may outlive their loop",
          "[watch]") {
    Library library;
    FdWatch watch;
    Alarm alarm;
    int calls = 0;
    int rings = 0;
    weft::testing::run([&]() -> Coro<void> {
        watch = FdWatch(library.number, [&](FdEvents) {
            ++calls;
            library.take();
        });
        watch.want(read);
        alarm = Alarm([&] { ++rings; });
        auto cleans_up = [&]() -> Coro<void> {
            try {
                co_await weft::sleep(1h);
            } catch (const weft::CancelledError&) {
            }
            put(library.peer.get(), "x");
            alarm.set_after(1ms);
            for (int turn = 0; turn < 100 && (calls == 0 || rings == 0); ++turn)
                co_await weft::sleep(1ms);
        };
        auto task = weft::create_task(cleans_up);
        co_await turns(3);
    });
    CHECK(calls == 1);
    CHECK(rings == 1);
    watch.stop();
    alarm.cancel();
    CHECK_THROWS_AS(watch.want(read), weft::RuntimeError);
    CHECK_THROWS_AS(alarm.set_after(1ms), weft::RuntimeError);
}

TEST_CASE("an alarm serves one loop after the other", "[alarm]") {
    std::optional<Alarm> alarm;
    int rings = 0;
    auto sets = [&](weft::Duration after) -> Coro<void> {
        if (!alarm) alarm.emplace([&] { ++rings; });
        alarm->set_after(after);
        co_return;
    };
    auto hears = [&]() -> Coro<void> {
        co_await sets(1ms);
        while (alarm->is_set()) co_await weft::sleep(1ms);
    };
    auto first = std::make_unique<weft::EventLoop>();
    weft::EventLoop second;
    first->run_until_complete(hears());
    CHECK(rings == 1);
    // It is set in a loop that lives, then in one that goes.
    first->run_until_complete(sets(1h));
    second.run_until_complete(hears());
    CHECK(rings == 2);
    first->run_until_complete(sets(1h));
    CHECK(alarm->is_set());
    first.reset();
    CHECK_FALSE(alarm->is_set());
    second.run_until_complete(hears());
    CHECK(rings == 3);
}

}  // namespace fd_watch_test
