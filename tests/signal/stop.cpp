// SPDX-License-Identifier: MIT
// Runs and signals: Ctrl-C, a graceful stop with a grace period, and processes of their own
// (SEMANTICS 78, 119, 120).
#include <weft/net/connect.hpp>
#include <weft/net/server.hpp>
#include <weft/signal/signal.hpp>
#include <weft/signal/stop.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <exception>
#include <string>

#include "../support/awaiting.hpp"
#include "../support/descriptors.hpp"

namespace stop_test {

using weft::Coro;
using weft::RunOptions;

namespace {

constexpr std::chrono::milliseconds moment{1};
constexpr std::chrono::hours long_time{1};

/// Runs `body` in a child, where signals do what they usually do, and says how it ended: its exit
/// code, or minus the signal.
template <class Body>
int ends_with(Body body) {
    const pid_t child = ::fork();
    if (child == 0) {
        for (const int signal : {SIGINT, SIGTERM, SIGABRT}) ::signal(signal, SIG_DFL);
        ::alarm(20);
        ::_exit(body());
    }
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child) return -1000;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

void raise_later(int signal, std::chrono::milliseconds delay = moment) {
    weft::get_running_loop().call_later(delay, [signal] { ::raise(signal); });
}

[[gnu::noinline]] int run_until_interrupted() {
    auto main = []() -> Coro<int> {
        raise_later(SIGINT);
        co_await weft::sleep(long_time);
        co_return 0;
    };
    return weft::run(main);
}

RunOptions stops_on_sigterm(std::chrono::milliseconds grace) {
    RunOptions options;
    options.stop_signal = SIGTERM;
    options.grace = grace;
    return options;
}

}  // namespace

TEST_CASE("Ctrl-C cancels main, and run ends with KeyboardInterrupt after the clean-up", "[stop]") {
    const int end = ends_with([] {
        bool cleaned_up = false;
        auto main = [&]() -> Coro<void> {
            raise_later(SIGINT);
            std::exception_ptr cancelled;
            try {
                co_await weft::sleep(long_time);
            } catch (const weft::CancelledError&) {
                cancelled = std::current_exception();
            }
            co_await weft::sleep(moment);
            cleaned_up = true;
            std::rethrow_exception(cancelled);
        };
        try {
            weft::run(main);
        } catch (const weft::KeyboardInterrupt& interrupt) {
            return cleaned_up && interrupt.signal() == SIGINT ? 7 : 8;
        }
        return 9;
    });
    CHECK(end == 7);
}

TEST_CASE("tasks that are left are cleaned up before KeyboardInterrupt is thrown", "[stop]") {
    const int end = ends_with([] {
        bool cleaned_up = false;
        auto other = [&]() -> Coro<void> {
            try {
                co_await weft::sleep(long_time);
            } catch (const weft::CancelledError&) {
                cleaned_up = true;
                throw;
            }
        };
        auto main = [&]() -> Coro<void> {
            const weft::Task<void> task = weft::create_task(other);
            raise_later(SIGINT);
            co_await weft::sleep(long_time);
        };
        try {
            weft::run(main);
        } catch (const weft::KeyboardInterrupt&) {
            return cleaned_up ? 7 : 8;
        }
        return 9;
    });
    CHECK(end == 7);
}

TEST_CASE("a KeyboardInterrupt that nobody catches ends the process as the signal does", "[stop]") {
    // (Out of line: g++ lets what it has inlined into a noexcept function end without the
    // exception.)
    const int end = ends_with([]() noexcept { return run_until_interrupted(); });
    CHECK(end == -SIGINT);
}

TEST_CASE("a second Ctrl-C is immediate, also while the loop is stuck in a step", "[stop]") {
    const int in_clean_up = ends_with([] {
        auto main = []() -> Coro<void> {
            raise_later(SIGINT);
            try {
                co_await weft::sleep(long_time);
            } catch (const weft::CancelledError&) {
                raise_later(SIGINT);
            }
            co_await weft::sleep(long_time);
        };
        weft::run(main);
        return 0;
    });
    CHECK(in_clean_up == -SIGINT);
    const int stuck = ends_with([] {
        auto main = []() -> Coro<void> {
            ::raise(SIGINT);
            ::raise(SIGINT);
            co_return;
        };
        weft::run(main);
        return 0;
    });
    CHECK(stuck == -SIGINT);
}

TEST_CASE("a main that catches the cancel of a Ctrl-C and returns has not been interrupted",
          "[stop]") {
    const int end = ends_with([] {
        auto main = []() -> Coro<int> {
            raise_later(SIGINT);
            try {
                co_await weft::sleep(long_time);
            } catch (const weft::CancelledError&) {
            }
            co_return 7;
        };
        return weft::run(main);
    });
    CHECK(end == 7);
}

TEST_CASE("Ctrl-C is left alone where it was decided about, off the main thread, and when told to",
          "[stop]") {
    const auto interrupted = [](auto prepare, RunOptions options) {
        return ends_with([&] {
            prepare();
            auto main = []() -> Coro<int> {
                ::raise(SIGINT);
                co_await weft::sleep(moment);
                co_return 7;
            };
            return weft::run(main, options);
        });
    };
    RunOptions off;
    off.handle_sigint = false;
    CHECK(interrupted([] {}, off) == -SIGINT);
    CHECK(interrupted([] { ::signal(SIGINT, SIG_IGN); }, {}) == 7);

    const int on_a_thread = ends_with([] {
        pthread_t thread;
        const auto body = [](void*) -> void* {
            weft::run([]() -> Coro<void> {
                ::kill(::getpid(), SIGINT);
                co_await weft::sleep(long_time);
            });
            return nullptr;
        };
        ::pthread_create(&thread, nullptr, body, nullptr);
        ::pthread_join(thread, nullptr);
        return 0;
    });
    CHECK(on_a_thread == -SIGINT);
}

TEST_CASE("after the run a Ctrl-C does what it did before", "[stop]") {
    const int end = ends_with([] {
        weft::run([]() -> Coro<void> { co_return; });
        ::raise(SIGINT);
        return 0;
    });
    CHECK(end == -SIGINT);
}

TEST_CASE(
    "a stop signal is told to whoever waits for it, and nothing is cancelled before the grace",
    "[stop]") {
    const int end = ends_with([] {
        auto main = []() -> Coro<int> {
            raise_later(SIGTERM);
            co_await weft::wait_for_stop();
            const bool asked = weft::stop_requested();
            co_await weft::sleep(moment);  // in order, and not cancelled
            co_return asked ? 7 : 8;
        };
        return weft::run(main, stops_on_sigterm(std::chrono::hours(1)));
    });
    CHECK(end == 7);
}

TEST_CASE("after the grace main is cancelled, and run ends with StoppedBySignal", "[stop]") {
    const int end = ends_with([] {
        auto main = []() -> Coro<void> {
            raise_later(SIGTERM);
            co_await weft::sleep(long_time);
        };
        try {
            weft::run(main, stops_on_sigterm(std::chrono::milliseconds(5)));
        } catch (const weft::StoppedBySignal& stopped) {
            return stopped.signal() == SIGTERM ? 7 : 8;
        }
        return 9;
    });
    CHECK(end == 7);
}

TEST_CASE("a second stop signal is hard at once", "[stop]") {
    const int end = ends_with([] {
        auto main = []() -> Coro<void> {
            raise_later(SIGTERM);
            raise_later(SIGTERM, std::chrono::milliseconds(5));
            co_await weft::wait_for_stop();
            co_await weft::sleep(long_time);
        };
        try {
            weft::run(main, stops_on_sigterm(std::chrono::hours(1)));
        } catch (const weft::StoppedBySignal&) {
            return 7;
        }
        return 9;
    });
    CHECK(end == 7);
}

TEST_CASE("a stop signal after the one that has cancelled main is immediate", "[stop]") {
    const auto hangs_in_clean_up = [] {
        auto main = []() -> Coro<void> {
            raise_later(SIGTERM);
            try {
                co_await weft::sleep(long_time);
            } catch (const weft::CancelledError&) {
                raise_later(SIGTERM);
            }
            co_await weft::sleep(long_time);
        };
        // After this grace main is cancelled, so that the second one is one too many.
        weft::run(main, stops_on_sigterm(moment));
        return 0;
    };
    CHECK(ends_with(hangs_in_clean_up) == -SIGTERM);
    const auto stuck_in_a_step = [] {
        auto main = []() -> Coro<int> {
            for (int count = 0; count < 3; ++count) ::raise(SIGTERM);
            co_return 0;
        };
        return weft::run(main, stops_on_sigterm(long_time));
    };
    CHECK(ends_with(stuck_in_a_step) == -SIGTERM);
    const auto with_ctrl_c_as_the_signal = [] {
        auto main = []() -> Coro<int> {
            for (int count = 0; count < 3; ++count) ::raise(SIGINT);
            co_return 0;
        };
        RunOptions options;
        options.stop_signal = SIGINT;
        return weft::run(main, options);
    };
    CHECK(ends_with(with_ctrl_c_as_the_signal) == -SIGINT);
}

TEST_CASE("a stop signal that comes behind a Ctrl-C leaves the clean-up alone", "[stop]") {
    const int end = ends_with([] {
        bool cleaned_up = false;
        auto main = [&]() -> Coro<void> {
            raise_later(SIGINT);
            try {
                co_await weft::sleep(long_time);
            } catch (const weft::CancelledError&) {
                raise_later(SIGTERM);
            }
            co_await weft::wait_for_stop();
            co_await weft::sleep(moment);
            cleaned_up = true;
            throw weft::CancelledError();
        };
        try {
            weft::run(main, stops_on_sigterm(long_time));
        } catch (const weft::KeyboardInterrupt&) {
            return cleaned_up ? 7 : 8;
        }
        return 9;
    });
    CHECK(end == 7);
}

TEST_CASE("whoever waits for SIGINT gets it in the place of the run", "[stop]") {
    const auto by_a_task = [] {
        auto main = []() -> Coro<int> {
            raise_later(SIGINT);
            const int got = co_await weft::signal({SIGINT, SIGTERM});
            co_return got == SIGINT ? 7 : 8;
        };
        return weft::run(main);
    };
    CHECK(ends_with(by_a_task) == 7);
    const auto by_a_stream = [] {
        auto main = []() -> Coro<int> {
            int count = 0;
            {
                weft::SignalStream interrupts(SIGINT);
                for (; count < 3; ++count) ::raise(SIGINT);
                for (int taken = 0; taken < count; ++taken) co_await interrupts.next();
            }
            raise_later(SIGINT);  // the run's again
            try {
                co_await weft::sleep(long_time);
            } catch (const weft::CancelledError&) {
                co_return count + 4;
            }
            co_return 0;
        };
        return weft::run(main);
    };
    CHECK(ends_with(by_a_stream) == 7);
}

TEST_CASE("a stop signal cancels also a main that waits for this very signal", "[stop]") {
    const int end = ends_with([] {
        auto main = []() -> Coro<void> {
            raise_later(SIGTERM);
            const int first = co_await weft::signal(SIGTERM);
            if (first != SIGTERM || !weft::stop_requested()) co_return;
            raise_later(SIGTERM);
            co_await weft::signal(SIGTERM);
        };
        try {
            weft::run(main, stops_on_sigterm(long_time));
        } catch (const weft::StoppedBySignal&) {
            return 7;
        }
        return 9;
    });
    CHECK(end == 7);
}

WEFT_TEST_CASE("a wait for a stop can be cancelled, and is over at once after one", "[stop]") {
    auto body = []() -> Coro<void> { co_await weft::wait_for_stop(); };
    weft::Task<void> cancelled = weft::create_task(body);
    weft::Task<void> told = weft::create_task(body);
    co_await support::turns(2);
    cancelled.cancel();
    co_await cancelled.wait();
    CHECK(cancelled.cancelled());
    CHECK_FALSE(weft::stop_requested());
    weft::request_stop();
    weft::request_stop();
    co_await told;
    co_await weft::wait_for_stop();
    CHECK(weft::stop_requested());
}

WEFT_TEST_CASE("a server stops accepting when its loop is asked to stop, and serves who has come",
               "[stop]") {
    int served = 0;
    auto serve = [&](weft::Stream client) -> Coro<void> {
        while (true) {
            const std::string line = co_await client.read_line();
            if (line.empty()) co_return;
            ++served;
            co_await client.write(line);
        }
    };
    weft::Server server = co_await weft::start_server(serve, support::own_host(), 0);
    weft::Stream idle = co_await weft::open_connection(server.address());
    co_await idle.write("first\n");
    const std::string echoed = co_await idle.read_line();
    CHECK(echoed == "first\n");
    weft::Stream in_backlog = co_await weft::open_connection(server.address());
    co_await in_backlog.write("second\n");
    weft::request_stop();
    CHECK_FALSE(server.is_serving());
    const std::string answer = co_await in_backlog.read_line();
    CHECK(answer == "second\n");
    const std::string end = co_await idle.read_line();
    CHECK(end.empty());
    co_await server.wait_closed();
    CHECK(served == 2);
    bool refused = false;
    try {
        co_await weft::open_connection(server.address());
    } catch (const std::system_error&) {
        refused = true;
    }
    CHECK(refused);
}

TEST_CASE("a forked child has none of its parent's handlers", "[stop]") {
    const int end = ends_with([] {
        auto main = []() -> Coro<int> {
            weft::SignalStream stream(SIGTERM);
            const pid_t grandchild = ::fork();
            if (grandchild == 0) {
                ::raise(SIGTERM);
                ::_exit(0);
            }
            int status = 0;
            ::waitpid(grandchild, &status, 0);
            const bool by_signal = WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM;
            const bool none_here = stream.try_next() == 0;
            ::raise(SIGTERM);
            const int own = co_await stream.next();
            co_return by_signal&& none_here&& own == SIGTERM ? 7 : 8;
        };
        return weft::run(main);
    });
    CHECK(end == 7);
}

}  // namespace stop_test
