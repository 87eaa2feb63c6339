// SPDX-License-Identifier: MIT
// Deadlines, clean-up, scopes and generators, cut off after every turn.
#include <weft/deadline/clean_up.hpp>
#include <weft/deadline/move_on_after.hpp>
#include <weft/deadline/scope.hpp>
#include <weft/deadline/timeout.hpp>
#include <weft/deadline/wait_for.hpp>
#include <weft/net/io.hpp>
#include <weft/net/stream.hpp>
#include <weft/task/async_generator.hpp>
#include <weft/task/future.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "cut_everywhere.hpp"
#include "descriptors.hpp"
#include "probe.hpp"
#include "stream_pairs.hpp"

namespace step_kill_deadlines_test {

using namespace std::chrono_literals;
using probe::Alive;
using support::cut_everywhere;
using weft::CancelledError;
using weft::Coro;
using weft::TimeoutError;

namespace {

Coro<int> works(Alive, weft::Duration time) {
    co_await weft::yield();
    co_await weft::sleep(time);
    co_return 1;
}

/// Works for an hour; when it is struck it takes two seconds to go.
Coro<int> goes_slowly(Alive counted) {
    std::exception_ptr failure;
    try {
        co_await works(counted, 1h);
    } catch (const CancelledError&) {
        failure = std::current_exception();
    }
    co_await works(counted, 2s);
    if (failure) std::rethrow_exception(failure);
    co_return 0;
}

/// Awaits what `start()` returns and takes its TimeoutError.
template <class Start>
Coro<void> timed(Start start) {
    try {
        co_await start();
    } catch (const TimeoutError&) {
    }
}

Coro<void> in_time_and_too_late(int& alive) {
    const Alive counted(alive);
    for (const weft::Duration limit : {1s, 3s}) {
        auto coroutine = [&] { return weft::wait_for(works(counted, 2s), limit); };
        co_await timed(coroutine);
        auto task = [&] { return weft::wait_for(weft::create_task(works(counted, 2s)), limit); };
        co_await timed(task);
        auto future = weft::get_running_loop().create_future<std::unique_ptr<Alive>>();
        weft::get_running_loop().call_later(2s, [future, &alive]() mutable {
            if (!future.done()) future.set_result(std::make_unique<Alive>(alive));
        });
        auto value = [&] { return weft::wait_for(future, limit); };
        co_await timed(value);
        co_await weft::move_on_after(limit, weft::sleep(2s));
        co_await weft::move_on_after(0s, works(counted, 2s));
    }
}

Coro<void> nested_deadlines(int& alive) {
    const Alive counted(alive);
    auto inner = [&](weft::Timeout& timeout) -> Coro<int> {
        co_await works(counted, 1s);
        timeout.reschedule(weft::get_running_loop().time() + 1s);
        co_return co_await goes_slowly(counted);
    };
    auto middle = [&] { return weft::timeout(5s, inner); };
    auto outer = [&]() -> Coro<void> { co_await timed(middle); };
    auto short_outer = [&] { return weft::timeout(3s, outer); };
    co_await timed(short_outer);
    auto long_outer = [&] { return weft::timeout(1h, outer); };
    co_await timed(long_outer);
}

Coro<void> slow_clean_up_of_tasks(int& alive) {
    const Alive counted(alive);
    auto task = weft::create_task(goes_slowly(counted));
    auto start = [&] { return weft::wait_for(task, 1s); };
    co_await timed(start);
    auto body = [&]() -> Coro<int> { co_return co_await weft::create_task(goes_slowly(counted)); };
    auto scope = [&] { return weft::timeout(1s, body); };
    co_await timed(scope);
}

Coro<void> receives_with_deadlines(int& alive) {
    const Alive counted(alive);
    support::StreamPair streams = support::stream_pair();
    char byte = 0;
    co_await weft::move_on_after(1s, streams.near.read({&byte, 1}));
    co_await streams.far.write("abc");
    co_await weft::move_on_after(1s, streams.near.read({&byte, 1}));
    auto rest = [&] { return weft::wait_for(streams.near.read_exactly(5), 1s); };
    co_await timed(rest);
    co_await weft::move_on_after(0s, streams.near.read({&byte, 1}));
}

Coro<void> accepts_with_deadlines(int& alive) {
    const Alive counted(alive);
    support::Listener listener = support::tcp_listener();
    auto connect = [&]() -> Coro<void> {
        const weft::Fd client = support::new_socket(AF_INET);
        co_await weft::sleep(1s);
        try {
            co_await weft::wait_for(weft::io::connect(client.get(), listener.address), 1s);
        } catch (const std::system_error&) {  // the listener is gone
        }
    };
    auto client = weft::create_task(connect);
    for (int round = 0; round < 2; ++round) {
        auto connection = co_await weft::move_on_after(700ms, weft::io::accept(listener.fd.get()));
        co_await weft::yield();
    }
    co_await client.wait();
}

Coro<void> clean_up_that_is_shielded(int& alive) {
    const Alive counted(alive);
    auto body = [&]() -> Coro<void> {
        std::exception_ptr failure;
        try {
            co_await works(counted, 1h);
        } catch (const CancelledError&) {
            failure = std::current_exception();
        }
        auto goodbye = [&]() -> Coro<int> { co_return co_await works(counted, 2s); };
        const auto done = co_await weft::clean_up(5s, goodbye);
        auto hangs = [&]() -> Coro<void> { co_await works(counted, 1h); };
        const bool cut = co_await weft::clean_up(1s, hangs);
        if (!done || cut) throw std::logic_error("clean-up went wrong");
        if (failure) std::rethrow_exception(failure);
    };
    auto scope = [&] { return weft::timeout(1s, body); };
    co_await timed(scope);
}

Coro<void> scopes_in_scopes(int& alive) {
    const Alive counted(alive);
    auto acquire = [&]() -> Coro<std::unique_ptr<Alive>> {
        co_await works(counted, 1s);
        co_return std::make_unique<Alive>(alive);
    };
    auto release = [&](std::unique_ptr<Alive>&) -> Coro<void> { co_await works(counted, 1s); };
    auto use = [&](std::unique_ptr<Alive>&) -> Coro<int> { co_return co_await works(counted, 1h); };
    auto both = [&](std::unique_ptr<Alive>&) -> Coro<int> {
        co_return co_await weft::async_with(acquire(), use, release);
    };
    auto scope = [&]() -> Coro<int> {
        co_return co_await weft::async_with(acquire(), both, release);
    };
    auto start = [&] { return weft::timeout(10s, scope); };
    co_await timed(start);
}

weft::AsyncGenerator<std::unique_ptr<Alive>> items(int& alive) {
    const Alive counted(alive);
    bool closed = false;
    try {
        for (int number = 0; number < 3; ++number) {
            co_await works(counted, 1s);
            co_yield std::make_unique<Alive>(alive);
            co_yield std::make_unique<Alive>(alive);
        }
    } catch (const weft::GeneratorExit&) {
        closed = true;
    }
    if (closed) co_await works(counted, 1s);
}

Coro<void> generators(int& alive) {
    auto all = items(alive);
    while (auto item = co_await all.next()) co_await weft::yield();
    auto some = items(alive);
    co_await some.next();
    co_await some.aclose();
    auto left = items(alive);
    co_await left.next();
}

Coro<void> generators_with_deadlines(int& alive) {
    auto make = [&]() -> Coro<weft::AsyncGenerator<std::unique_ptr<Alive>>> {
        co_return items(alive);
    };
    auto use = [](weft::AsyncGenerator<std::unique_ptr<Alive>>& generator) -> Coro<void> {
        for (;;) {
            auto item = co_await weft::wait_for(generator.next(), 2s);
            if (!item) break;
            co_await weft::wait_for(weft::sleep(1s), 2s);
        }
    };
    auto scope = [&]() -> Coro<void> { co_await weft::async_with(make(), use); };
    auto in_time = [&] { return weft::timeout(1h, scope); };
    auto too_late = [&] { return weft::timeout(2500ms, scope); };
    co_await timed(in_time);
    co_await timed(too_late);
    auto cut = items(alive);
    auto next = [&] { return weft::wait_for(cut.next(), 500ms); };
    co_await timed(next);
}

}  // namespace

TEST_CASE("deadlines in time and too late can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(in_time_and_too_late) > 15);
}
TEST_CASE("nested deadlines can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(nested_deadlines) > 10);
}
TEST_CASE("tasks that go slowly at a deadline can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(slow_clean_up_of_tasks) > 8);
}
TEST_CASE("receives with deadlines can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(receives_with_deadlines) > 4);
}
TEST_CASE("accepts with deadlines can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(accepts_with_deadlines) > 4);
}
TEST_CASE("clean-up can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(clean_up_that_is_shielded) > 6);
}
TEST_CASE("scopes in scopes can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(scopes_in_scopes) > 8);
}
TEST_CASE("generators can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(generators) > 10);
}
TEST_CASE("generators with deadlines can be cut off after every turn", "[step_kill]") {
    REQUIRE(cut_everywhere(generators_with_deadlines) > 20);
}

}  // namespace step_kill_deadlines_test
