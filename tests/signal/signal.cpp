// SPDX-License-Identifier: MIT
// Signals as awaits and as handlers of the loop: delivered once, whichever thread they land on, and
// what was there before is back afterwards (SEMANTICS 79, 97, 119).
// labels: threads
// rungs: all
#include <weft/runtime/loop.hpp>
#include <weft/signal/signal.hpp>
#include <weft/task/context_var.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/thread/thread_pool.hpp>

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <optional>
#include <string>
#include <vector>

#include "../support/awaiting.hpp"

namespace signal_test {

using support::turns;
using weft::Coro;
using weft::create_task;
using weft::get_running_loop;
using weft::SignalStream;

namespace {

bool is_default(int signal) {
    struct sigaction now {};
    ::sigaction(signal, nullptr, &now);
    return now.sa_handler == SIG_DFL;
}

/// Of a test's own, to find again.
void mark(int) {}
class Marked {
public:
    explicit Marked(int signal) : signal_(signal) { before_ = ::signal(signal, &mark); }
    Marked(const Marked&) = delete;
    Marked& operator=(const Marked&) = delete;
    ~Marked() { ::signal(signal_, before_); }
    bool is_there() const {
        struct sigaction now {};
        ::sigaction(signal_, nullptr, &now);
        return now.sa_handler == &mark;
    }

private:
    int signal_;
    void (*before_)(int);
};

Coro<int> one_of_both() { co_return co_await weft::signal({SIGUSR1, SIGHUP}); }

const weft::ContextVar<std::string> place("place", "nowhere");

}  // namespace

WEFT_TEST_CASE("a task waits for the first of several signals", "[signal]") {
    weft::Task<int> waits = create_task(one_of_both());
    co_await turns(2);
    ::raise(SIGHUP);
    const int arrived = co_await waits;
    CHECK(arrived == SIGHUP);
    CHECK(is_default(SIGUSR1));
    CHECK(is_default(SIGHUP));
}

WEFT_TEST_CASE("a signal wakes a loop that sleeps, from another thread", "[signal]") {
    weft::Task<int> waits = create_task(one_of_both());
    co_await turns(2);
    auto work = [] { ::kill(::getpid(), SIGUSR1); };
    co_await weft::to_thread(work);
    const int arrived = co_await waits;
    CHECK(arrived == SIGUSR1);
}

WEFT_TEST_CASE("what a signal did before is back when nobody waits any more", "[signal]") {
    const Marked marked(SIGUSR1);
    {
        weft::Task<int> first = create_task(one_of_both());
        weft::Task<int> second = create_task(one_of_both());
        co_await turns(2);
        CHECK_FALSE(marked.is_there());
        first.cancel();
        co_await first.wait();
        CHECK(first.cancelled());
        CHECK_FALSE(marked.is_there());
        ::raise(SIGUSR1);
        const int arrived = co_await second;
        CHECK(arrived == SIGUSR1);
    }
    CHECK(marked.is_there());
}

WEFT_TEST_CASE("a handler that somebody has set meanwhile is left alone", "[signal]") {
    {
        const SignalStream stream({SIGUSR2});
        ::signal(SIGUSR2, &mark);
    }
    struct sigaction now {};
    ::sigaction(SIGUSR2, nullptr, &now);
    CHECK(now.sa_handler == &mark);
    ::signal(SIGUSR2, SIG_DFL);
    co_return;
}

WEFT_TEST_CASE("several tasks that wait for a signal are all told of one", "[signal]") {
    std::vector<weft::Task<int>> tasks;
    for (int index = 0; index < 3; ++index) tasks.push_back(create_task(one_of_both()));
    co_await turns(2);
    ::raise(SIGUSR1);
    for (weft::Task<int>& task : tasks) {
        const int arrived = co_await task;
        CHECK(arrived == SIGUSR1);
    }
}

WEFT_TEST_CASE("a cancel that races a signal loses nothing", "[signal]") {
    for (int before = 0; before < 4; ++before) {
        SignalStream all({SIGUSR1, SIGHUP});  // (a raise must not end the process)
        weft::Task<int> waits = create_task(one_of_both());
        co_await turns(2);
        ::raise(SIGUSR1);
        co_await turns(before);
        waits.cancel();
        co_await waits.wait();
        // What the loop has not seen yet, the wait has not got; the stream has it in any case.
        if (before == 0) CHECK(waits.cancelled());
        if (before == 3) CHECK_FALSE(waits.cancelled());
        const int counted = co_await all.next();
        CHECK(counted == SIGUSR1);
    }
}

WEFT_TEST_CASE("what is no signal, or cannot be handled, is refused by number", "[signal]") {
    for (const int wrong : {0, -1, 65, SIGKILL, SIGSTOP}) {
        int error = 0;
        std::string what;
        try {
            co_await weft::signal(wrong);
        } catch (const std::system_error& thrown) {
            error = thrown.code().value();
            what = thrown.what();
        }
        CHECK(error == EINVAL);
        CHECK(what.find("signal " + std::to_string(wrong)) != std::string::npos);
    }
    for (const bool as_stream : {false, true}) {
        int error = 0;
        try {
            if (as_stream) const weft::SignalStream stream{weft::SignalSet()};
            if (!as_stream) co_await weft::signal(weft::SignalSet());
        } catch (const std::system_error& thrown) {
            error = thrown.code().value();
        }
        CHECK(error == EINVAL);
    }
    CHECK(is_default(SIGUSR1));
}

WEFT_TEST_CASE("a stream counts what arrives while nobody waits", "[signal]") {
    SignalStream stream({SIGUSR1, SIGUSR2});
    for (int round = 0; round < 5; ++round) ::raise(SIGUSR1);
    ::raise(SIGUSR2);
    co_await turns(1);
    int first = 0;
    for (int round = 0; round < 5; ++round) first += co_await stream.next() == SIGUSR1 ? 1 : 0;
    CHECK(first == 5);
    CHECK(stream.try_next() == SIGUSR2);
    CHECK(stream.try_next() == 0);
}

WEFT_TEST_CASE("a stream that goes ends the wait on it by name; a second waiter is refused",
               "[signal]") {
    std::optional<SignalStream> stream(std::in_place, SIGUSR1);
    auto next = [&]() -> Coro<std::string> {
        try {
            co_await stream->next();
        } catch (const weft::RuntimeError& error) {
            co_return error.what();
        }
        co_return "";
    };
    weft::Task<std::string> waits = create_task(next);
    co_await turns(2);
    const std::string second = co_await next();
    CHECK(second == "SignalStream: another task waits for the next signal");
    stream.reset();
    const std::string first = co_await waits;
    CHECK(first == "SignalStream: it was destroyed while a task waited in next()");
}

WEFT_TEST_CASE(
    "a handler runs in the loop, once for each signal, in the context that it was set in",
    "[signal]") {
    int count = 0;
    std::string where;
    place.set("here");
    get_running_loop().add_signal_handler(SIGUSR1, [&] {
        ++count;
        where = place.get();
    });
    place.set("there");
    ::raise(SIGUSR1);
    CHECK(count == 0);
    co_await turns(3);
    CHECK(count == 1);
    CHECK(where == "here");
    get_running_loop().add_signal_handler(SIGUSR1, [&] { count += 100; });
    ::raise(SIGUSR1);
    co_await turns(3);
    CHECK(count == 101);
    CHECK(get_running_loop().remove_signal_handler(SIGUSR1));
    CHECK_FALSE(get_running_loop().remove_signal_handler(SIGUSR1));
    CHECK(is_default(SIGUSR1));
}

WEFT_TEST_CASE("a handler may remove itself, and what it throws is reported", "[signal]") {
    int reports = 0;
    get_running_loop().set_exception_handler([&](const weft::ExceptionContext&) { ++reports; });
    int count = 0;
    get_running_loop().add_signal_handler(SIGUSR1, [&] {
        ++count;
        get_running_loop().remove_signal_handler(SIGUSR1);
        throw std::runtime_error("in a handler");
    });
    ::raise(SIGUSR1);
    co_await turns(3);
    CHECK(count == 1);
    CHECK(reports == 1);
    CHECK(is_default(SIGUSR1));
}

WEFT_TEST_CASE("a storm of signals from several threads loses none that the kernel delivers",
               "[signal]") {
    // Each thread raises its signal at itself, so that the kernel merges none.
    SignalStream stream(SIGUSR1);
    constexpr int threads = 3;
    constexpr int each = 1000;
    auto storm = [] {
        sigset_t open;
        sigemptyset(&open);
        sigaddset(&open, SIGUSR1);
        ::pthread_sigmask(SIG_UNBLOCK, &open, nullptr);
        for (int round = 0; round < each; ++round) ::pthread_kill(::pthread_self(), SIGUSR1);
        ::pthread_sigmask(SIG_BLOCK, &open, nullptr);
    };
    auto body = [&]() -> Coro<void> { co_await weft::to_thread(storm); };
    std::vector<weft::Task<void>> tasks;
    for (int index = 0; index < threads; ++index) tasks.push_back(create_task(body));
    int arrived = 0;
    while (arrived < threads * each) arrived += co_await stream.next() == SIGUSR1 ? 1 : 0;
    for (weft::Task<void>& task : tasks) co_await task;
    co_await turns(3);
    CHECK(stream.try_next() == 0);
}

TEST_CASE("119: a signal in every state of the loop is delivered once", "[signal]") {
    static std::atomic<int> told_before;  // whoever was there before the loop
    const Marked marked(SIGUSR1);
    struct sigaction counting {};
    counting.sa_handler = [](int) { ++told_before; };
    const char* const states[] = {"before it runs", "in a step", "in a callback",
                                  "asleep",         "ending",    "closed"};
    for (const std::string state : states) {
        INFO(state);
        struct sigaction before {};
        ::sigaction(SIGUSR1, &counting, &before);
        told_before = 0;
        int told = 0;
        const auto raise_in = [&](const char* at) {
            if (state == at) ::raise(SIGUSR1);
        };
        const pthread_t here = ::pthread_self();
        {
            weft::RunOptions options;
            options.hang_limit = std::chrono::seconds(10);
            weft::EventLoop loop(options);
            loop.add_signal_handler(SIGUSR1, [&told] { ++told; });
            raise_in("before it runs");
            loop.call_soon([&] { raise_in("in a callback"); });
            auto left = [&]() -> Coro<void> {
                try {
                    co_await weft::sleep(std::chrono::hours(1));
                } catch (...) {
                    raise_in("ending");
                    throw;
                }
            };
            auto body = [&]() -> Coro<void> {
                const weft::Task<void> task = create_task(left);
                co_await weft::yield();
                raise_in("in a step");
                auto raise_there = [here] { ::pthread_kill(here, SIGUSR1); };
                if (state == "asleep") co_await weft::to_thread(raise_there);
                while (told == 0 && state != "ending" && state != "closed")
                    co_await weft::sleep(std::chrono::milliseconds(1));
            };
            loop.run_until_complete(loop.create_task(body));
            loop.close();
            raise_in("closed");
        }
        // What the loop was not told of is for whoever was there before.
        CHECK(told + told_before.load() == 1);
        CHECK((told == 1) == (state != "ending" && state != "closed"));
        ::sigaction(SIGUSR1, &before, nullptr);
    }
    CHECK(marked.is_there());
}

TEST_CASE("a handler of a loop goes with the loop, in whatever state it is", "[signal]") {
    const Marked marked(SIGUSR1);
    int count = 0;
    {
        weft::EventLoop loop;
        loop.add_signal_handler(SIGUSR1, [&count] { ++count; });
        ::raise(SIGUSR1);  // before it runs
        for (int turn = 0; turn < 4; ++turn) loop.run_once();
        CHECK(count == 1);
    }
    CHECK(marked.is_there());
}

}  // namespace signal_test
