// SPDX-License-Identifier: MIT
// retry: which failures, how often, and how long in between.
#include <weft/deadline/timeout.hpp>
#include <weft/deadline/wait_for.hpp>
#include <weft/patterns/retry.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "probe.hpp"

namespace retry_test {

using namespace std::chrono_literals;
using weft::CancelledError;
using weft::Coro;
using weft::EventLoop;
using weft::retry;
using weft::RetryOptions;

namespace {

/// Fails as often as it is told to, and notes when it was called.
struct Service {
    explicit Service(int failures) : left(failures) {}
    Coro<int> ask(int question) {
        calls.push_back(weft::get_running_loop().time());
        co_await weft::yield();
        if (left-- > 0) throw std::runtime_error("not now");
        co_return question + 1;
    }
    std::vector<weft::Duration> pauses() const {
        std::vector<weft::Duration> all;
        for (std::size_t i = 1; i < calls.size(); ++i) all.push_back(calls[i] - calls[i - 1]);
        return all;
    }
    int left;
    std::vector<weft::TimePoint> calls;
};

template <class T>
std::string failure_of(const weft::Task<T>& task) {
    try {
        (void)task.result();
    } catch (const std::exception& error) {
        return error.what();
    }
    return "none";
}

RetryOptions regular(int attempts, weft::Duration first) {
    RetryOptions options(attempts, first);
    options.jitter = 0;
    return options;
}

}  // namespace

WEFT_TEST_CASE("a call is repeated until it succeeds, after pauses that grow", "[retry]") {
    Service service(3);
    auto ask = [&](int question) { return service.ask(question); };
    const int answer = co_await retry(regular(5, 100ms), ask, 41);
    REQUIRE(answer == 42);
    REQUIRE(service.pauses() == std::vector<weft::Duration>{100ms, 200ms, 400ms});
}

WEFT_TEST_CASE("the last failure is thrown, and no pause is longer than allowed", "[retry]") {
    Service service(100);
    auto ask = [&] { return service.ask(1); };
    RetryOptions options = regular(5, 1s);
    options.longest = 3s;
    std::string what;
    try {
        co_await retry(std::move(options), ask);
    } catch (const std::runtime_error& error) {
        what = error.what();
    }
    REQUIRE(what == "not now");
    REQUIRE(service.pauses() == std::vector<weft::Duration>{1s, 2s, 3s, 3s});
}

WEFT_TEST_CASE("pauses are left to chance by the share that was asked for", "[retry]") {
    std::vector<std::vector<weft::Duration>> all;
    for (const std::uint64_t seed : {1U, 2U, 1U}) {
        Service service(8);
        auto ask = [&] { return service.ask(1); };
        RetryOptions options(9, 1s);
        options.factor = 1;
        options.jitter = 0.25;
        options.seed = seed;
        co_await retry(std::move(options), ask);
        for (const weft::Duration pause : service.pauses()) {
            REQUIRE(pause >= 750ms);
            REQUIRE(pause <= 1s);
        }
        all.push_back(service.pauses());
    }
    REQUIRE(all[0] != all[1]);
    REQUIRE(all[0] == all[2]);
    REQUIRE(all[0][0] != all[0][1]);
}

WEFT_TEST_CASE("a predicate decides what is worth another call", "[retry]") {
    int calls = 0;
    auto fails = [&]() -> Coro<void> {
        if (++calls < 3) throw std::system_error(EAGAIN, std::system_category());
        throw std::system_error(EACCES, std::system_category());
        co_return;
    };
    RetryOptions options = regular(9, 1ms);
    int asked = 0;
    options.when = [&](const std::exception_ptr& failure, int made) {
        asked = made;
        try {
            std::rethrow_exception(failure);
        } catch (const std::system_error& error) {
            return error.code().value() == EAGAIN;
        }
    };
    int error_code = 0;
    try {
        co_await retry(std::move(options), fails);
    } catch (const std::system_error& error) {
        error_code = error.code().value();
    }
    REQUIRE(error_code == EACCES);
    REQUIRE(calls == 3);
    REQUIRE(asked == 3);
}

WEFT_TEST_CASE("one set of options serves many calls", "[retry]") {
    int asked = 0;
    RetryOptions prepared = regular(3, 1ms);
    prepared.when = [&](const std::exception_ptr&, int) { return ++asked > 0; };
    const RetryOptions policy = std::move(prepared);
    for (int round = 0; round < 2; ++round) {
        Service service(2);
        auto ask = [&](int question) { return service.ask(question); };
        const int answer = co_await retry(policy, ask, 1);
        REQUIRE(answer == 2);
    }
    REQUIRE(asked == 4);
}

WEFT_TEST_CASE("what is no std::exception is not tried again unless the predicate says so",
               "[retry]") {
    for (const bool wanted : {false, true}) {
        int calls = 0;
        auto fails = [&]() -> Coro<int> {
            if (++calls < 3) throw 5;
            co_return calls;
        };
        RetryOptions options = regular(9, 1ms);
        if (wanted) options.when = [](const std::exception_ptr&, int) { return true; };
        int thrown = 0;
        try {
            co_await retry(std::move(options), fails);
        } catch (const int number) {
            thrown = number;
        }
        REQUIRE(thrown == (wanted ? 0 : 5));
        REQUIRE(calls == (wanted ? 3 : 1));
    }
}

WEFT_TEST_CASE("a cancel is never taken for a failure, in a call or in a pause", "[retry]") {
    for (const weft::Duration when : {weft::Duration(500ms), weft::Duration(1500ms)}) {
        int calls = 0;
        auto body = [&]() -> Coro<void> {
            auto works = [&]() -> Coro<void> {
                ++calls;
                co_await weft::sleep(1s);
                throw std::runtime_error("not now");
            };
            RetryOptions options = regular(9, 1s);
            options.when = [](const std::exception_ptr&, int) { return true; };
            co_await retry(std::move(options), works);
        };
        auto task = weft::create_task(body);
        co_await weft::sleep(when);
        task.cancel();
        co_await task.wait();
        REQUIRE(task.cancelled());
        REQUIRE(calls == 1);
    }
}

WEFT_TEST_CASE("a call whose clean-up failed after a cancel is not made again", "[retry]") {
    int calls = 0;
    auto works = [&]() -> Coro<void> {
        ++calls;
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
        }
        throw std::runtime_error("cannot roll back");
    };
    auto task = weft::create_task(retry(regular(9, 1s), works));
    co_await weft::sleep(1s);
    task.cancel();
    co_await task.wait();
    REQUIRE(calls == 1);
    REQUIRE(failure_of(task) == "cannot roll back");
    calls = 0;
    std::string thrown;
    try {
        co_await weft::wait_for(retry(regular(9, 1s), works), 1s);
    } catch (const std::exception& error) {
        thrown = error.what();
    }
    REQUIRE(thrown == "cannot roll back");
    REQUIRE(calls == 1);
    // An older cancel, which the task has survived, is no reason.
    auto survivor = [&]() -> Coro<int> {
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
        }
        Service service(2);
        co_return co_await retry(regular(9, 1s), [&] { return service.ask(1); });
    };
    auto stubborn = weft::create_task(survivor);
    co_await weft::sleep(1s);
    stubborn.cancel();
    const int answer = co_await stubborn;
    REQUIRE(answer == 2);
}

WEFT_TEST_CASE("a deadline around retry bounds it as a whole", "[retry]") {
    EventLoop& loop = weft::get_running_loop();
    const weft::TimePoint began = loop.time();
    Service service(1000);
    auto ask = [&] { return service.ask(1); };
    auto body = [&]() -> Coro<int> { return retry(regular(1000, 1s), ask); };
    bool timed_out = false;
    try {
        co_await weft::timeout(10s, body);
    } catch (const weft::TimeoutError&) {
        timed_out = true;
    }
    REQUIRE(timed_out);
    REQUIRE(loop.time() - began == 10s);
}

WEFT_TEST_CASE("options that make no sense are refused by name, before the first call", "[retry]") {
    int calls = 0;
    auto counts = [&]() -> Coro<void> {
        ++calls;
        co_return;
    };
    const char* const names[] = {"attempts", "factor", "jitter", "first", "longest"};
    for (int kind = 0; kind < 5; ++kind) {
        RetryOptions options;
        if (kind == 0) options.attempts = 0;
        if (kind == 1) options.factor = 0.5;
        if (kind == 2) options.jitter = 1.5;
        if (kind == 3) options.first = weft::Duration(-1);
        if (kind == 4) options.longest = weft::Duration(-1);
        std::string refusal;
        try {
            co_await retry(std::move(options), counts);
        } catch (const std::invalid_argument& error) {
            refusal = error.what();
        }
        CAPTURE(refusal);
        REQUIRE(refusal.find(std::string("weft: retry: ") + names[kind] + " is ") == 0);
    }
    REQUIRE(calls == 0);
}

}  // namespace retry_test
