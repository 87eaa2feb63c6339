// SPDX-License-Identifier: MIT
// Every entry point that takes a callable keeps it, and its arguments, as long as the coroutine
// that came out of it, also when the whole await is returned from a function.
#include <weft/testing/catch.hpp>
#include <weft/testing/run.hpp>
#include <weft/weft.hpp>

#include <signal.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "probe.hpp"

namespace callables_test {

using namespace std::chrono_literals;
using weft::Coro;

namespace {

using Tasks = std::vector<std::function<Coro<int>()>>;

// What each entry point returns, as a number.
int number(int value) { return value; }
template <class T>
int number(const std::optional<T>& value) {
    return value ? *value : -1;
}
template <class T>
int number(const weft::Winner<T>& winner) {
    return *winner;
}
template <class T>
int number(const weft::Settled<T>& settled) {
    return settled.value();
}
template <class... T>
int number(const std::tuple<T...>& values) {
    return number(std::get<0>(values));
}
int number(const std::vector<int>& values) { return values.at(0); }
template <class T>
inline constexpr bool is_coro = false;
template <class T>
inline constexpr bool is_coro<Coro<T>> = true;

/// Overwrites what is left of frames on the stack.
[[gnu::noinline]] void trample() {
    volatile char rubbish[4096];
    for (std::size_t i = 0; i < sizeof rubbish; ++i) rubbish[i] = 0x5a;
}

/// Awaits what `make(text)` has returned, after everything of that call has gone.
template <class Make>
Coro<int> awaited_elsewhere(Make make) {
    auto handed_on = make(std::string(100, 'x') + "!");
    trample();
    if constexpr (is_coro<decltype(handed_on)> || weft::detail::BecomesCoro<decltype(handed_on)>) {
        auto value = co_await std::move(handed_on);
        co_return number(value);
    } else {
        auto value = co_await handed_on;
        co_return number(value);
    }
}

/// A lambda that captures and is a coroutine; its frame refers to the lambda.
auto size_of(std::string text) {
    return [text]() -> Coro<int> {
        co_await weft::sleep(1ms);
        co_return static_cast<int>(text.size());
    };
}
auto size_of_given(std::string text) {
    return [text](auto&&...) -> Coro<int> {
        co_await weft::sleep(1ms);
        co_return static_cast<int>(text.size());
    };
}

weft::Singleflight<int, int>& flights() {
    static weft::Singleflight<int, int> all;
    return all;
}

Coro<int> from_a_server(std::string text) {
    auto handler = [text](weft::Stream client) -> Coro<void> {
        co_await weft::sleep(1ms);
        co_await client.write(text);
    };
    weft::Server server = co_await weft::start_server(std::move(handler), "127.0.0.1", 0);
    trample();
    weft::Stream stream = co_await weft::open_connection("127.0.0.1", server.port());
    const std::string all = co_await stream.read_exactly(text.size());
    server.close();
    co_await server.wait_closed();
    co_return static_cast<int>(all.size());
}

Coro<int> from_a_unix_server(std::string text) {
    auto handler = [text](weft::Stream client) -> Coro<void> {
        co_await weft::sleep(1ms);
        co_await client.write(text);
    };
    std::string path(1, '\0');  // an abstract name
    path.append("weft-callables-").append(std::to_string(::getpid()));
    weft::Server server = co_await weft::start_unix_server(std::move(handler), path);
    trample();
    weft::Stream stream = co_await weft::open_unix_connection(path);
    const std::string all = co_await stream.read_exactly(text.size());
    server.close();
    co_await server.wait_closed();
    co_return static_cast<int>(all.size());
}

Coro<int> from_a_serve(std::string text) {
    auto handler = [text](weft::Stream client) -> Coro<void> {
        co_await weft::sleep(1ms);
        co_await client.write(text);
    };
    auto body = [text](weft::Server& server, std::string more) -> Coro<int> {
        trample();
        weft::Stream stream = co_await weft::open_connection(server.address());
        const std::string all = co_await stream.read_exactly(text.size());
        co_return static_cast<int>(more == text ? all.size() : 0);
    };
    const int size =
        co_await weft::serve(std::move(handler), "127.0.0.1", 0, std::move(body), text);
    co_return size;
}

weft::ThreadPool& threads() {
    static weft::ThreadPool all;
    return all;
}
auto length_of(std::string text) {
    return [text] { return static_cast<int>(text.size()); };
}

Coro<int> from_another_thread(std::string text) {
    auto ask = [text, loop = weft::get_running_loop().remote()] {
        auto future = weft::run_coroutine_threadsafe(loop, size_of(text));
        trample();
        return future.get();
    };
    const int size = co_await weft::to_thread(std::move(ask));
    co_return size;
}

Coro<int> from_a_signal(std::string text) {
    weft::Future<int> future = weft::create_future<int>();
    weft::get_running_loop().add_signal_handler(
        SIGUSR1, [text, future]() mutable { future.set_result(static_cast<int>(text.size())); });
    trample();
    ::raise(SIGUSR1);
    const int size = co_await future;
    weft::get_running_loop().remove_signal_handler(SIGUSR1);
    co_return size;
}

Coro<int> from_a_pool(std::string text) {
    weft::Pool<int> pool(size_of(text));
    trample();
    auto lease = co_await pool.acquire();
    const int size = *lease;
    lease.release();
    co_await pool.close();
    co_return size;
}

Coro<int> from_workers(std::string text) {
    int size = 0;
    auto handler = [text, &size](int) -> Coro<void> {
        co_await weft::sleep(1ms);
        size = static_cast<int>(text.size());
    };
    auto body = [](weft::WorkerPool<int>& pool) -> Coro<void> { co_await pool.submit(1); };
    co_await weft::worker_pool<int>(weft::WorkerPoolOptions(1), std::move(handler), body);
    co_return size;
}

Coro<int> from_as_completed(Tasks tasks) {
    auto completed = weft::as_completed(std::move(tasks));
    trample();
    auto task = co_await completed.next();
    co_return task.result();
}

}  // namespace

// A new entry point joins by one line: what it is called, and a function that returns its await.
#define ENTRY(name, ...)                                                                         \
    do {                                                                                         \
        const int got =                                                                          \
            weft::testing::run(awaited_elsewhere([](std::string text) { return __VA_ARGS__; })); \
        INFO(name);                                                                              \
        CHECK(got == 101);                                                                       \
    } while (false)

TEST_CASE("who takes a callable keeps it as long as its coroutine: tasks", "[callables]") {
    ENTRY("create_task", weft::create_task(size_of(text)));
    ENTRY("create_task, options", weft::create_task(size_of(text), weft::TaskOptions("named")));
    ENTRY("create_task, eager", weft::create_task(size_of(text), weft::TaskOptions("", true)));
    ENTRY("ensure_future", weft::ensure_future(size_of(text)));
    ENTRY("shield", weft::shield(size_of(text)));
    ENTRY("as_completed", from_as_completed(Tasks{size_of(text)}));
    ENTRY("task_group", weft::task_group(size_of_given(text)));
    ENTRY("TaskGroup::create_task", weft::task_group([text](weft::TaskGroup& group) -> Coro<int> {
              auto child = group.create_task(size_of(text));
              trample();
              co_return co_await child;
          }));
    ENTRY("TaskGroup::start", weft::task_group([text](weft::TaskGroup& group) -> Coro<int> {
              auto child = [text](weft::TaskStatus<int> status) -> Coro<void> {
                  co_await weft::sleep(1ms);
                  status.started(static_cast<int>(text.size()));
              };
              co_return co_await group.start<int>(std::move(child));
          }));
}

TEST_CASE("who takes a callable keeps it as long as its coroutine: combinators", "[callables]") {
    ENTRY("gather", weft::gather(size_of(text), size_of(text)));
    ENTRY("gather of a range", weft::gather(Tasks{size_of(text)}));
    ENTRY("gather(return_exceptions)", weft::gather(weft::return_exceptions, size_of(text)));
    ENTRY("gather(eager)", weft::gather(weft::eager, size_of(text)));
    ENTRY("all(eager)", weft::all(weft::eager, size_of(text)));
    ENTRY("all", weft::all(size_of(text), size_of(text)));
    ENTRY("race", weft::race(size_of(text), size_of(text)));
    ENTRY("race of a range", weft::race(Tasks{size_of(text)}));
    ENTRY("race_all", weft::race_all(size_of(text)));
    ENTRY("staggered_race", weft::staggered_race(Tasks{size_of(text)}, 1ms));
}

TEST_CASE("who takes a callable keeps it as long as its coroutine: deadlines", "[callables]") {
    ENTRY("wait_for", weft::wait_for(size_of(text), 1s));
    ENTRY("wait_for of an operation",
          weft::wait_for([text] { return weft::sleep(1ms, static_cast<int>(text.size())); }, 1s));
    ENTRY("wait_for of a wait_for",
          weft::wait_for([text] { return weft::wait_for(size_of(text), 1s); }, 1s));
    ENTRY("move_on_after", weft::move_on_after(1s, size_of(text)));
    ENTRY("timeout", weft::timeout(1s, size_of(text)));
    ENTRY("timeout with a Timeout", weft::timeout(1s, size_of_given(text)));
    ENTRY("timeout without a deadline", weft::timeout(std::nullopt, size_of(text)));
    ENTRY("timeout_at", weft::timeout_at(weft::get_running_loop().time() + 1s, size_of(text)));
    ENTRY("clean_up", weft::clean_up(1s, size_of(text)));
    ENTRY("async_with", weft::async_with(
                            size_of(text), [](int& n) -> Coro<int> { co_return n; },
                            [](int&) -> Coro<void> { co_return; }));
    ENTRY("async_with, body",
          weft::async_with([] { return weft::sleep(1ms, 1); }, size_of_given(text),
                           [](int&) -> Coro<void> { co_return; }));
}

TEST_CASE("who takes a callable keeps it as long as its coroutine: patterns", "[callables]") {
    ENTRY("retry", weft::retry(weft::RetryOptions(2), size_of(text)));
    ENTRY("map_limit", weft::map_limit(std::vector<int>{1}, 1, size_of_given(text)));
    ENTRY("Singleflight::run", flights().run(1, size_of(text)));
    ENTRY("Pool", from_a_pool(text));
    ENTRY("worker_pool", from_workers(text));
    auto cell = std::make_shared<weft::OnceCell<int>>();
    const int got = weft::testing::run(
        awaited_elsewhere([cell](std::string text) { return cell->get_or_init(size_of(text)); }));
    CHECK(got == 101);
}

TEST_CASE("who takes a callable keeps it as long as its coroutine: servers and callbacks",
          "[callables]") {
    ENTRY("start_server", from_a_server(text));
    ENTRY("start_unix_server", from_a_unix_server(text));
    ENTRY("serve", from_a_serve(text));
    ENTRY("to_thread", weft::to_thread(length_of(text)));
    ENTRY("ThreadPool::run", threads().run(length_of(text)));
    ENTRY("run_coroutine_threadsafe", from_another_thread(text));
    ENTRY("add_signal_handler", from_a_signal(text));
    ENTRY("call_soon", [&] {
        auto future = weft::get_running_loop().create_future<int>();
        weft::get_running_loop().call_soon(
            [text, future]() mutable { future.set_result(static_cast<int>(text.size())); });
        return future;
    }());
    ENTRY("call_later", [&] {
        auto future = weft::get_running_loop().create_future<int>();
        weft::get_running_loop().call_later(
            1ms, [text, future]() mutable { future.set_result(static_cast<int>(text.size())); });
        return future;
    }());
    ENTRY("call_soon_threadsafe", [&] {
        auto future = weft::get_running_loop().create_future<int>();
        weft::get_running_loop().call_soon_threadsafe(
            [text, future]() mutable { future.set_result(static_cast<int>(text.size())); });
        return future;
    }());
    ENTRY("add_done_callback", [&] {
        auto future = weft::get_running_loop().create_future<int>();
        auto first = weft::get_running_loop().create_future<void>();
        first.add_done_callback(
            [text, future](auto) mutable { future.set_result(static_cast<int>(text.size())); });
        first.set_result();
        return future;
    }());
    const auto make = [](std::string text) { return weft::testing::run(size_of(text)); };
    CHECK(make(std::string(101, 'x')) == 101);
    weft::Runner runner(weft::testing::options());
    CHECK(runner.run(size_of(std::string(101, 'x'))) == 101);
}

#undef ENTRY

// The same for `fn(args...)`: how many copies of an argument live in the middle of the coroutine,
// and after it.
namespace {

struct Counts {
    int alive = 0;
    int in_the_middle = 0;
};
Coro<int> looks(probe::Alive, Counts* counts) {
    co_await weft::sleep(1ms);
    counts->in_the_middle = counts->alive;
    co_return 1;
}
Coro<int> looks_again(weft::Timeout&, probe::Alive alive, Counts* counts) {
    return looks(alive, counts);
}
Coro<int> looks_in(weft::TaskGroup&, probe::Alive alive, Counts* counts) {
    return looks(alive, counts);
}
Coro<void> starts(weft::TaskStatus<int> status, probe::Alive, Counts* counts) {
    co_await weft::sleep(1ms);
    counts->in_the_middle = counts->alive;
    status.started(1);
}
Coro<int> looks_at(int, probe::Alive alive, Counts* counts) { return looks(alive, counts); }

template <class Make>
Coro<void> awaits_and_drops(Make make, Counts* counts) {
    {
        auto handed_on = make(counts);
        trample();
        if constexpr (is_coro<decltype(handed_on)> ||
                      weft::detail::BecomesCoro<decltype(handed_on)>) {
            (void)co_await std::move(handed_on);
        } else {
            (void)co_await handed_on;
        }
    }
    co_await weft::yield();
}

}  // namespace

#define ENTRY(name, ...)                                            \
    do {                                                            \
        Counts counts;                                              \
        const auto make = [](Counts* look) { return __VA_ARGS__; }; \
        weft::testing::run(awaits_and_drops(make, &counts));        \
        INFO(name);                                                 \
        CHECK(counts.in_the_middle > 0);                            \
        CHECK(counts.alive == 0);                                   \
    } while (false)

TEST_CASE("who takes arguments for a callable keeps them as long as its coroutine", "[callables]") {
    ENTRY("create_task", weft::create_task(&looks, probe::Alive(look->alive), look));
    ENTRY("timeout", weft::timeout(1s, &looks, probe::Alive(look->alive), look));
    ENTRY("timeout with a Timeout",
          weft::timeout(1s, &looks_again, probe::Alive(look->alive), look));
    ENTRY("clean_up", weft::clean_up(1s, &looks, probe::Alive(look->alive), look));
    ENTRY("task_group", weft::task_group(&looks_in, probe::Alive(look->alive), look));
    ENTRY("TaskGroup::start", weft::task_group([look](weft::TaskGroup& group) -> Coro<int> {
              co_return co_await group.start<int>(&starts, probe::Alive(look->alive), look);
          }));
    ENTRY("retry", weft::retry(
                       weft::RetryOptions(2),
                       [](probe::Alive& kept, Counts* its) { return looks(kept, its); },
                       probe::Alive(look->alive), look));
    ENTRY("map_limit",
          weft::map_limit(std::vector<int>{1}, 1, &looks_at, probe::Alive(look->alive), look));
    ENTRY("Singleflight::run", flights().run(2, &looks, probe::Alive(look->alive), look));
}

#undef ENTRY

}  // namespace callables_test
