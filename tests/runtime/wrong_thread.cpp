// SPDX-License-Identifier: MIT
// Debug mode: a primitive that another thread touches while tasks wait for it ends the program with
// a named error. What the loop itself refuses stands in inbox.cpp. (Not for ThreadSanitizer, which
// has no threads in a forked child.)
#include <weft/testing/catch.hpp>
#include <weft/weft.hpp>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "descriptors.hpp"
#include "sync.hpp"

namespace wrong_thread_test {

using weft::Coro;

namespace {

/// What a child prints that `act` ends by SIGABRT; "lives" when it does not.
std::string last_words(const std::function<void()>& act) {
    support::Pair pipe = support::pipe_pair();
    const pid_t child = support::checked(::fork(), "fork");
    if (child == 0) {
        const rlimit no_core{0, 0};
        ::setrlimit(RLIMIT_CORE, &no_core);
        ::signal(SIGABRT, SIG_DFL);
        ::dup2(pipe.b.get(), STDERR_FILENO);
        try {
            act();
        } catch (...) {
            ::_exit(2);
        }
        ::_exit(0);
    }
    pipe.b.reset();
    const std::string text = support::text_to_end(pipe.a.get());
    int status = 0;
    support::checked(::waitpid(child, &status, 0), "waitpid");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return "lives";
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT ? text : "no abort: " + text;
}

/// `use` on another thread, in debug mode, while a task waits in `wait`.
template <class Wait, class Use>
std::string used_elsewhere(Wait wait, Use use) {
    return last_words([&] {
        weft::RunOptions options;
        options.debug = true;
        weft::EventLoop loop(options);
        auto task = loop.create_task(wait());
        loop.run_once();
        std::thread(use).join();
    });
}

bool names(const std::string& text, const char* what) {
    const std::string expected = std::string(what) + ": this event loop belongs to another thread";
    return text.find(expected) != std::string::npos;
}

}  // namespace

TEST_CASE("debug mode names a primitive that another thread touches", "[threads]") {
    weft::Event event;
    const std::string of_event =
        used_elsewhere([&]() -> Coro<void> { co_await event.wait(); }, [&] { event.set(); });
    CHECK(names(of_event, "event"));

    weft::Lock lock;
    CHECK(lock.try_acquire());
    const std::string of_lock =
        used_elsewhere([&]() -> Coro<void> { co_await lock.acquire(); }, [&] { lock.release(); });
    CHECK(names(of_lock, "lock"));

    weft::Semaphore semaphore(0);
    const std::string of_semaphore = used_elsewhere(
        [&]() -> Coro<void> { co_await semaphore.acquire(); }, [&] { semaphore.release(); });
    CHECK(names(of_semaphore, "semaphore"));

    auto gone = std::make_unique<weft::Event>();
    const std::string of_gone =
        used_elsewhere([&]() -> Coro<void> { co_await gone->wait(); }, [&] { gone.reset(); });
    CHECK(names(of_gone, "event"));

    weft::Queue<int> queue;
    const std::string of_queue = used_elsewhere([&]() -> Coro<void> { (void)co_await queue.get(); },
                                                [&] { queue.put_nowait(1); });
    CHECK(names(of_queue, "queue get"));
}

TEST_CASE("82: debug mode names the call on a loop or a future that another thread makes",
          "[threads]") {
    weft::RunOptions options;
    options.debug = true;
    weft::EventLoop loop(options);
    auto future = loop.create_future<int>();
    const auto refusal = [](const std::function<void()>& use) {
        std::string text;
        std::thread([&] {
            try {
                use();
            } catch (const weft::RuntimeError& error) {
                text = error.what();
            }
        }).join();
        return text;
    };
    CHECK(names(refusal([&] { (void)loop.create_future<int>(); }), "create_future"));
    const std::string end =
        ": the event loop of the future belongs to another thread (use call_soon_threadsafe)";
    CHECK(refusal([&] { future.set_result(1); }) == "set_result" + end);
    CHECK(refusal([&] { future.set_exception(std::make_exception_ptr(1)); }) ==
          "set_exception" + end);
    const auto tell = [&] { (void)future.add_done_callback([](weft::Future<int>) {}); };
    CHECK(refusal(tell) == "add_done_callback" + end);
    CHECK_FALSE(future.done());
}

TEST_CASE("121: debug mode names a handle whose copy dies on another thread", "[threads]") {
    const auto drops = [](auto make) {
        return last_words([&] {
            weft::RunOptions options;
            options.debug = true;
            weft::EventLoop loop(options);
            auto handle = make(loop);
            loop.run_once();
            std::thread([copy = handle]() mutable { copy = {}; }).join();
        });
    };
    const std::string of_task = drops([](weft::EventLoop& loop) {
        auto body = []() -> Coro<int> { co_return 1; };
        return loop.create_task(body());
    });
    CHECK(of_task.find("was let go: its event loop belongs to another thread") !=
          std::string::npos);
    const std::string of_future =
        drops([](weft::EventLoop& loop) { return loop.create_future<int>(); });
    CHECK(of_future.find("a handle of a future was let go: its event loop belongs to another") !=
          std::string::npos);
    // What is moved there and back is no copy; one that outlives its loop may go anywhere.
    const std::string moved = last_words([] {
        weft::RunOptions options;
        options.debug = true;
        weft::Future<int> outlives;
        {
            weft::EventLoop loop(options);
            outlives = loop.create_future<int>();
            auto travels = loop.create_future<int>();
            std::thread([there = std::move(travels), remote = loop.remote()]() mutable {
                remote.call_soon_threadsafe(
                    [back = std::move(there)]() mutable { back.set_result(1); });
            }).join();
            loop.run_once();
            loop.run_once();
        }
        std::thread([&] { outlives = {}; }).join();
    });
    CHECK(moved == "lives");
}

TEST_CASE("debug mode leaves the loop's own thread alone", "[threads]") {
    weft::RunOptions options;
    options.debug = true;
    int woken = 0;
    weft::run(
        [&]() -> Coro<void> {
            weft::Event event;
            weft::Lock lock;
            co_await lock.acquire();
            auto waits = [&]() -> Coro<void> {
                co_await event.wait();
                const auto guard = co_await lock.scoped();
                ++woken;
            };
            auto one = weft::create_task(waits);
            auto two = weft::create_task(waits);
            co_await weft::yield();
            event.set();
            co_await weft::yield();
            lock.release();
            co_await one;
            co_await two;
        },
        options);
    CHECK(woken == 2);
}

TEST_CASE("a loop that goes on another thread while its own runs ends the program, by name") {
    const std::string words = last_words([] {
        auto loop = std::make_unique<weft::EventLoop>();
        std::thread([&] { loop.reset(); }).join();
    });
    CHECK(support::contains(
        words, "weft: an event loop was destroyed on another thread, and its own still runs"));
}

TEST_CASE("a loop whose thread has ended goes on any other, also in a forked child") {
    std::unique_ptr<weft::EventLoop> loop;
    std::thread([&] { loop = std::make_unique<weft::EventLoop>(); }).join();
    loop.reset();
    // The child has none of the parent's other threads, and their loops are not its own.
    std::atomic<bool> made{false};
    std::atomic<bool> over{false};
    std::thread other([&] {
        loop = std::make_unique<weft::EventLoop>();
        made = true;
        while (!over) std::this_thread::yield();
        loop.reset();
    });
    while (!made) std::this_thread::yield();
    CHECK(last_words([&] { loop.reset(); }) == "lives");
    over = true;
    other.join();
}

}  // namespace wrong_thread_test
