// SPDX-License-Identifier: MIT
// A loop for each core: one stop, one signal and one failure for all (SEMANTICS 78, 84, 119, 120,
// 124).
// labels: threads
#include <weft/deadline/clean_up.hpp>
#include <weft/net/connect.hpp>
#include <weft/net/server.hpp>
#include <weft/signal/stop.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/testing/catch.hpp>
#include <weft/thread/run_workers.hpp>
#include <weft/thread/thread_channel.hpp>

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "probe.hpp"

namespace run_workers_test {

using namespace std::chrono_literals;
using probe::message_of;
using weft::Coro;
using weft::Remote;
using weft::run_workers;
using weft::Worker;
using weft::WorkersOptions;

namespace {

Coro<void> for_ever() { co_await weft::sleep(1h); }

WorkersOptions stopped_by(int signal) {
    WorkersOptions options;
    options.run.stop_signal = signal;
    return options;
}

/// The handler of before, after the test too: what a signal that comes too late meets.
class Harmless {
public:
    explicit Harmless(int signal) : signal_(signal) {
        before_ = ::signal(signal, [](int) {});
    }
    Harmless(const Harmless&) = delete;
    Harmless& operator=(const Harmless&) = delete;
    ~Harmless() { ::signal(signal_, before_); }

private:
    int signal_;
    void (*before_)(int);
};

}  // namespace

TEST_CASE("each worker has a loop on a thread of its own, and knows which one it is",
          "[run_workers]") {
    struct Seen {
        std::string thread;
        bool own_loop = false;
        int cores = 0;
    };
    std::vector<Seen> seen(3);
    std::vector<const void*> loops(3);
    WorkersOptions options;
    options.name = "w";
    options.pin = true;
    const auto copies = std::make_shared<int>(0);
    run_workers(
        3,
        [&, copies](Worker self) -> Coro<void> {
            const std::size_t at = self.index();
            co_await weft::yield();
            char name[32] = "";
            ::pthread_getname_np(::pthread_self(), name, sizeof name);
            cpu_set_t allowed;
            ::sched_getaffinity(0, sizeof allowed, &allowed);
            seen.at(at) = {name, self.count() == 3, CPU_COUNT(&allowed)};
            loops.at(at) = &weft::get_running_loop();
        },
        options);
    for (std::size_t i = 0; i < 3; ++i) {
        CHECK(seen[i].thread == "w-" + std::to_string(i));
        CHECK(seen[i].own_loop);
        CHECK(seen[i].cores == 1);
    }
    CHECK(copies.use_count() == 1);
    std::atomic<int> count{0};
    run_workers(0, [&count]() -> Coro<void> {
        ++count;
        co_return;
    });
    CHECK(count.load() >= 1);
}

TEST_CASE("the first failure cancels the others, which clean up, and is thrown", "[run_workers]") {
    for (const bool at_once : {true, false}) {
        std::atomic<int> waiting{0}, cleaned_up{0}, reports{0};
        std::atomic<bool> leftover_ended{false};
        WorkersOptions options;
        options.run.exception_handler = [&](const weft::ExceptionContext&) { ++reports; };
        const std::string what = message_of<std::runtime_error>([&] {
            run_workers(
                3,
                [&](Worker self) -> Coro<void> {
                    const bool fails = self.index() == 1;
                    while (fails && !at_once && waiting.load() < 2) co_await weft::sleep(1ms);
                    if (fails) throw std::runtime_error("the second worker fails");
                    const probe::AtExit counts([&] { ++cleaned_up; });
                    auto leftover = [&leftover_ended]() -> Coro<void> {
                        const probe::AtExit ends([&] { leftover_ended = true; });
                        co_await for_ever();
                    };
                    const weft::Task<void> task = weft::create_task(leftover);
                    co_await weft::yield();
                    ++waiting;
                    co_await for_ever();
                },
                options);
        });
        CHECK(what == "the second worker fails");
        // (At once: perhaps before the others have begun.)
        if (!at_once) CHECK(cleaned_up.load() == 2);
        if (!at_once) CHECK(leftover_ended);
        CHECK(reports.load() == 0);
    }
}

TEST_CASE("a failure that comes after the first goes to the exception handler", "[run_workers]") {
    std::atomic<int> reports{0};
    std::string reported;
    WorkersOptions options;
    options.run.exception_handler = [&](const weft::ExceptionContext& context) {
        ++reports;
        reported = context.message;
    };
    std::atomic<bool> begun{false};
    const std::string what = message_of<std::runtime_error>([&] {
        run_workers(
            2,
            [&](Worker self) -> Coro<void> {
                if (self.index() == 0) {
                    while (!begun) co_await weft::sleep(1ms);
                    throw std::runtime_error("first");
                }
                try {
                    begun = true;
                    co_await for_ever();
                } catch (const weft::CancelledError&) {
                    throw std::runtime_error("second");
                }
            },
            options);
    });
    CHECK(what == "first");
    CHECK(reports.load() == 1);
    CHECK(reported == "a worker failed after another one");
}

TEST_CASE("a worker that cancels itself is a failure like any other", "[run_workers]") {
    bool cancelled = false;
    try {
        run_workers(2, [](Worker self) -> Coro<void> {
            if (self.index() == 0) weft::current_task().cancel();
            co_await for_ever();
        });
    } catch (const weft::CancelledError&) {
        cancelled = true;
    }
    CHECK(cancelled);
}

TEST_CASE("a stop that one asks for is one for all, whenever it comes", "[run_workers]") {
    for (int round = 0; round < 30; ++round) {
        std::atomic<int> stopped{0};
        run_workers(3, [&](Worker self) -> Coro<void> {
            if (self.index() == static_cast<std::size_t>(round % 3)) {
                if (round % 2 == 0) co_await weft::yield();
                weft::request_stop();
            }
            co_await weft::wait_for_stop();
            ++stopped;
        });
        REQUIRE(stopped.load() == 3);
    }
}

TEST_CASE("one SIGTERM stops all gracefully, a second one cancels all", "[run_workers]") {
    const Harmless harmless(SIGTERM);
    std::atomic<int> stopped{0};
    const auto raise_when_all_wait = [](Worker self, std::atomic<int>& waiting) -> Coro<void> {
        ++waiting;
        if (self.index() != 0) co_return;
        while (waiting.load() < 2) co_await weft::sleep(1ms);
        waiting = 0;
        ::kill(::getpid(), SIGTERM);
    };
    std::atomic<int> waiting{0};
    run_workers(
        2,
        [&](Worker self) -> Coro<void> {
            co_await raise_when_all_wait(self, waiting);
            co_await weft::wait_for_stop();
            ++stopped;
        },
        stopped_by(SIGTERM));
    CHECK(stopped.load() == 2);

    std::atomic<int> cancelled{0};
    int signal = 0;
    waiting = 0;
    try {
        run_workers(
            2,
            [&](Worker self) -> Coro<void> {
                const probe::AtExit counts([&] { ++cancelled; });
                co_await raise_when_all_wait(self, waiting);
                co_await weft::wait_for_stop();
                co_await raise_when_all_wait(self, waiting);
                co_await for_ever();
            },
            stopped_by(SIGTERM));
    } catch (const weft::StoppedBySignal& stop) {
        signal = stop.signal();
    }
    CHECK(signal == SIGTERM);
    CHECK(cancelled.load() == 2);
}

TEST_CASE("the end of the grace cancels those that do not stop", "[run_workers]") {
    const Harmless harmless(SIGTERM);
    WorkersOptions options = stopped_by(SIGTERM);
    options.run.grace = 1ms;
    std::atomic<bool> begun{false};
    std::atomic<bool> cancelled{false};
    bool thrown = false;
    try {
        run_workers(
            2,
            [&](Worker self) -> Coro<void> {
                if (self.index() == 0) {
                    while (!begun) co_await weft::sleep(1ms);
                    ::kill(::getpid(), SIGTERM);
                    co_await weft::wait_for_stop();
                    co_return;
                }
                try {
                    begun = true;
                    co_await for_ever();
                } catch (const weft::CancelledError&) {
                    cancelled = true;
                    throw;
                }
            },
            options);
    } catch (const weft::StoppedBySignal&) {
        thrown = true;
    }
    CHECK(thrown);
    CHECK(cancelled.load());
}

TEST_CASE("inside of a loop it is refused by name", "[run_workers]") {
    weft::run([]() -> Coro<void> {
        const std::string what = message_of<weft::RuntimeError>(
            [] { run_workers(1, []() -> Coro<void> { co_return; }); });
        CHECK(what.find("run: an event loop is already running on this thread") == 0);
        co_return;
    });
}

TEST_CASE("servers of all workers share a port, and a signal stops them in order",
          "[run_workers]") {
    const Harmless harmless(SIGTERM);
    constexpr int clients = 40;
    const weft::ThreadChannel<std::uint16_t> ports(2);
    std::atomic<int> served[2] = {};
    std::atomic<int> answers{0};
    std::atomic<bool> second_is_there{false};
    run_workers(
        2,
        [&](Worker self) -> Coro<void> {
            const std::size_t at = self.index();
            auto echo = [&served, at](weft::Stream client) -> Coro<void> {
                ++served[at];
                const std::string line = co_await client.read_line();
                co_await client.write(line);
            };
            weft::ServerOptions shared;
            shared.reuse_port = true;
            std::uint16_t port = 0;
            if (at == 1) port = *co_await ports.recv();
            weft::Server server = co_await weft::start_server(echo, "127.0.0.1", port, shared);
            if (at == 0) {
                co_await ports.send(server.port());
                while (!second_is_there) co_await weft::sleep(1ms);
                for (int i = 0; i < clients; ++i) {
                    weft::Stream stream =
                        co_await weft::open_connection("127.0.0.1", server.port());
                    co_await stream.write("hello\n");
                    const std::string line = co_await stream.read_line();
                    answers += line == "hello\n" ? 1 : 0;
                }
                ::kill(::getpid(), SIGTERM);
            } else {
                second_is_there = true;
            }
            co_await weft::wait_for_stop();
            co_await server.shutdown(1s);
        },
        stopped_by(SIGTERM));
    CHECK(answers.load() == clients);
    CHECK(served[0] + served[1] == clients);
    // The kernel chooses by a hash of both addresses: forty of forty on one side is no accident.
    CHECK(served[0].load() > 0);
    CHECK(served[1].load() > 0);
}

}  // namespace run_workers_test
