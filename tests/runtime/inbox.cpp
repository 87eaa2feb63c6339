// SPDX-License-Identifier: MIT
// labels: threads
// call_soon_threadsafe: wakes a sleeping loop, loses nothing, and is exact against a concurrent
// close.
#include <weft/runtime/loop.hpp>
#include <weft/task/future.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "probe.hpp"

namespace inbox_test {

using namespace std::chrono_literals;
using probe::message_of;
using weft::Coro;
using weft::EventLoop;
using weft::Future;
using weft::Remote;
using weft::RuntimeError;

namespace {

/// A post that says whether it ran or was destroyed unrun; moving it changes nothing.
class Fate {
public:
    struct Counts {
        std::atomic<int> ran{0};
        std::atomic<int> dropped{0};
    };
    explicit Fate(Counts& counts) noexcept : counts_(&counts) {}
    Fate(Fate&& other) noexcept : counts_(std::exchange(other.counts_, nullptr)) {}
    Fate& operator=(Fate&&) = delete;
    ~Fate() {
        if (counts_) ++counts_->dropped;
    }
    void operator()() { ++std::exchange(counts_, nullptr)->ran; }

private:
    Counts* counts_;
};

Coro<void> waits_for(Future<void> future) { co_await future; }

weft::RunOptions with_hang_limit() {
    weft::RunOptions options;
    options.hang_limit = 10s;
    return options;
}

/// Posts that are made without end stay near the loop that runs them: one that is not scheduled for
/// a second would else find gigabytes.
class Backlog {
public:
    void post_one() {
        while (posted_.load() - ended_.load() > 4'096) std::this_thread::yield();
        ++posted_;
    }
    void end_one() { ++ended_; }

private:
    std::atomic<int> posted_{0};
    std::atomic<int> ended_{0};
};

// Under sanitizers a post takes a hundred times as long.
#if defined(NDEBUG) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
constexpr int storm_posts = 1'000'000;
#else
constexpr int storm_posts = 8'000;
#endif

}  // namespace

TEST_CASE("a post wakes a loop that sleeps without a deadline", "[inbox]") {
    for (int round = 0; round < 200; ++round) {
        EventLoop loop(with_hang_limit());
        auto future = loop.create_future<void>();
        std::thread poster([remote = loop.remote(), &future] {
            remote.call_soon_threadsafe([&future] { future.set_result(); });
        });
        loop.run_until_complete(waits_for(future));
        poster.join();
        REQUIRE(future.done());
    }
}

TEST_CASE("each of many posts wakes the loop anew", "[inbox]") {
    EventLoop loop(with_hang_limit());
    const int rounds = 2000;
    std::atomic<int> seen{0};
    auto done = loop.create_future<void>();
    std::thread poster([&, remote = loop.remote()] {
        for (int i = 1; i <= rounds; ++i) {
            remote.call_soon_threadsafe([&, i] {
                seen.store(i);
                if (i == rounds) done.set_result();
            });
            while (seen.load() < i) std::this_thread::yield();
        }
    });
    loop.run_until_complete(waits_for(done));
    poster.join();
    REQUIRE(seen.load() == rounds);
}

TEST_CASE("many producers lose nothing, and each one's posts stay in order", "[inbox]") {
    constexpr int producers = 4;
    constexpr int posts = 5000;
    EventLoop loop(with_hang_limit());
    auto done = loop.create_future<void>();
    std::array<int, producers> next{};
    int out_of_order = 0;
    int total = 0;
    std::vector<std::thread> threads;
    for (int p = 0; p < producers; ++p) {
        threads.emplace_back([&, p, remote = loop.remote()] {
            for (int i = 0; i < posts; ++i) {
                const auto index = static_cast<std::size_t>(p);
                const auto arrived = [&, index, i] {
                    out_of_order += next[index] == i ? 0 : 1;
                    next[index] = i + 1;
                    if (++total == producers * posts) done.set_result();
                };
                // Small and large callables take different paths.
                if (i % 2 == 0) {
                    remote.call_soon_threadsafe(arrived);
                } else {
                    remote.call_soon_threadsafe([arrived, padding = std::array<char, 100>()] {
                        (void)padding;
                        arrived();
                    });
                }
            }
        });
    }
    loop.run_until_complete(waits_for(done));
    for (std::thread& thread : threads) thread.join();
    REQUIRE(total == producers * posts);
    REQUIRE(out_of_order == 0);
}

TEST_CASE("a post that races close runs, throws or is destroyed unrun, exactly once", "[inbox]") {
    constexpr int producers = 3;
    for (int round = 0; round < 100; ++round) {
        Fate::Counts counts;
        std::atomic<int> posted{0};
        std::atomic<int> refused{0};
        std::atomic<int> at_work{0};
        std::vector<std::thread> threads;
        {
            EventLoop loop(with_hang_limit());
            for (int p = 0; p < producers; ++p) {
                threads.emplace_back([&, remote = loop.remote()] {
                    ++at_work;
                    for (;;) {
                        while (posted.load() - counts.ran.load() - counts.dropped.load() > 4'096)
                            std::this_thread::yield();
                        ++posted;
                        try {
                            remote.call_soon_threadsafe(Fate(counts));
                        } catch (const RuntimeError&) {
                            ++refused;
                            return;
                        }
                    }
                });
            }
            while (at_work.load() < producers) loop.run_once();
            for (int i = 0; i < round % 5; ++i) loop.run_once();
        }
        for (std::thread& thread : threads) thread.join();
        REQUIRE(refused.load() == producers);
        REQUIRE(counts.ran.load() + counts.dropped.load() == posted.load());
        REQUIRE(counts.dropped.load() >= refused.load());
    }
}

TEST_CASE("a storm of posts, sleeps, wake-ups and closes loses nothing", "[inbox]") {
    // Bursts of all lengths: the loop sleeps between some, and is about to between others.
    constexpr int producers = 2;
    constexpr int loops = 20;
    for (int round = 0; round < loops; ++round) {
        EventLoop loop(with_hang_limit());
        auto all = loop.create_future<void>();
        int arrived = 0;
        constexpr int each = storm_posts / (loops * producers);
        std::atomic<int> refused{0};
        Backlog backlog;
        std::vector<std::thread> threads;
        for (int p = 0; p < producers; ++p) {
            threads.emplace_back([&, p, remote = loop.remote()] {
                for (int i = 0; i < each; ++i) {
                    remote.call_soon_threadsafe([&] {
                        if (++arrived == each * producers) all.set_result();
                    });
                    if ((i * (p + 3)) % 61 == 0) std::this_thread::yield();
                }
                try {
                    for (;;) {
                        backlog.post_one();
                        remote.call_soon_threadsafe([&] { backlog.end_one(); });
                    }
                } catch (const RuntimeError&) {
                    ++refused;
                }
            });
        }
        loop.run_until_complete(waits_for(all));
        loop.close();
        for (std::thread& thread : threads) thread.join();
        REQUIRE(arrived == each * producers);
        REQUIRE(refused.load() == producers);
    }
}

TEST_CASE("80: what was posted before the loop closed has run when it is closed", "[inbox]") {
    int ran = 0;
    std::string refused;
    {
        EventLoop loop;
        auto reports = probe::collect_reports(loop);
        loop.run_once();
        loop.call_soon_threadsafe([&] {
            ++ran;
            // The loop takes nothing more.
            refused = message_of<RuntimeError>([&] { loop.call_soon([] {}); });
            refused += message_of<RuntimeError>([&] { loop.call_soon_threadsafe([] {}); });
        });
        loop.call_soon_threadsafe([&]() -> void { throw std::runtime_error("thrown by a post"); });
        loop.call_soon_threadsafe([&] { ++ran; });
        loop.close();
        REQUIRE(probe::count_with(reports, "thrown by a post") == 1);
    }
    REQUIRE(ran == 2);
    REQUIRE(refused ==
            "call_soon: the event loop is closed"
            "call_soon_threadsafe: the event loop is closed");
}

TEST_CASE("a remote may outlive its loop; a post is then an error and destroyed unrun", "[inbox]") {
    Fate::Counts counts;
    std::optional<Remote> remote;
    {
        EventLoop loop;
        remote.emplace(loop.remote());
    }
    std::string text;
    std::thread other([&, copy = *remote] {
        text = message_of<RuntimeError>([&] { copy.call_soon_threadsafe(Fate(counts)); });
    });
    other.join();
    REQUIRE(text.find("the event loop is closed") != std::string::npos);
    REQUIRE(counts.ran.load() == 0);
    REQUIRE(counts.dropped.load() == 1);
    REQUIRE_THROWS_AS(remote->call_soon_threadsafe([] {}), RuntimeError);
}

TEST_CASE("posts made before the loop ran are run by it, in order", "[inbox]") {
    EventLoop loop;
    std::string log;
    std::thread other([&] {
        for (const char letter : {'a', 'b', 'c'}) {
            loop.call_soon_threadsafe([&log, letter] { log += letter; });
        }
    });
    other.join();
    loop.run_once();
    loop.run_once();
    REQUIRE(log == "abc");
}

TEST_CASE("a thread's posts to several loops stay in order, also those made while one is copied",
          "[inbox]") {
    EventLoop one;
    EventLoop other;
    std::vector<int> in_one, in_other, expected_in_one, expected_in_other;
    int posted = 0;
    int copies_run = 0;
    const auto post = [&](EventLoop& to, std::vector<int>& order, std::vector<int>& expected) {
        expected.push_back(posted);
        to.call_soon_threadsafe([&order, number = posted++] { order.push_back(number); });
    };
    struct PostsWhenCopied {
        explicit PostsWhenCopied(std::function<void()> what, int& count) noexcept
            : posts(std::move(what)), runs(&count) {}
        PostsWhenCopied(const PostsWhenCopied& from) : posts(from.posts), runs(from.runs) {
            posts();
        }
        void operator()() { ++*runs; }
        std::function<void()> posts;
        int* runs;
    };
    // More than a slab holds, in runs of all lengths.
    constexpr int rounds = 60;
    for (int round = 0; round < rounds; ++round) {
        for (int i = 0; i < round % 7; ++i) post(one, in_one, expected_in_one);
        const PostsWhenCopied posts([&] { post(other, in_other, expected_in_other); }, copies_run);
        one.call_soon_threadsafe(posts);
        for (int i = 0; i < round % 3; ++i) post(other, in_other, expected_in_other);
    }
    one.run_once();
    one.run_once();
    other.run_once();
    other.run_once();
    REQUIRE(in_one == expected_in_one);
    REQUIRE(in_other == expected_in_other);
    REQUIRE(copies_run == rounds);
}

TEST_CASE("what a thread posts while its own objects go arrives, too", "[inbox]") {
    struct PostsAtEnd {
        ~PostsAtEnd() {
            if (counts) remote->call_soon_threadsafe([this_one = counts] { ++*this_one; });
        }
        std::optional<weft::Remote> remote;
        int* counts = nullptr;
    };
    weft::EventLoop loop;
    std::atomic<bool> may_end{false};
    int first = 0;
    int last = 0;
    std::thread ending([&, remote = loop.remote()] {
        static thread_local PostsAtEnd at_end;  // made before the first post, so it goes after
        at_end.remote = remote;
        at_end.counts = &last;
        remote.call_soon_threadsafe([&] { ++first; });
        while (!may_end) std::this_thread::yield();
    });
    while (first == 0) loop.run_once();
    may_end = true;
    ending.join();
    int others = 0;
    std::thread posting([&, remote = loop.remote()] {
        for (int count = 0; count < 100; ++count) remote.call_soon_threadsafe([&] { ++others; });
    });
    posting.join();
    loop.run_once();
    loop.run_once();
    CHECK(last == 1);
    CHECK(others == 100);
}

TEST_CASE("a post made by a post runs in a later turn", "[inbox]") {
    EventLoop loop;
    int depth = 0;
    auto done = loop.create_future<void>();
    struct Again {
        EventLoop* loop;
        int* depth;
        Future<void> done;
        void operator()() {
            if (++*depth == 100) return done.set_result();
            loop->call_soon_threadsafe(Again(*this));
        }
    };
    loop.call_soon_threadsafe(Again{&loop, &depth, done});
    loop.run_once();
    REQUIRE(depth <= 1);
    loop.run_until_complete(waits_for(done));
    REQUIRE(depth == 100);
}

TEST_CASE("a post that throws is reported and the posts behind it run", "[inbox]") {
    EventLoop loop;
    auto reports = probe::collect_reports(loop);
    bool ran = false;
    loop.call_soon_threadsafe([] { throw std::runtime_error("bad post"); });
    loop.call_soon_threadsafe([&] { ran = true; });
    loop.run_once();
    loop.run_once();
    REQUIRE(ran);
    REQUIRE(reports->size() == 1);
    REQUIRE(probe::count_with(reports, "bad post") == 1);
}

TEST_CASE("a callable whose move throws is refused and the loop stays sound", "[inbox]") {
    struct Bad {
        Bad() = default;
        Bad(Bad&&) { throw std::runtime_error("cannot be moved"); }
        Bad& operator=(Bad&&) = delete;
        ~Bad() = default;
        void operator()() const {}
    };
    EventLoop loop;
    bool ran = false;
    REQUIRE_THROWS_AS(loop.call_soon_threadsafe(Bad()), std::runtime_error);
    loop.call_soon_threadsafe([&] { ran = true; });
    loop.run_once();
    loop.run_once();
    REQUIRE(ran);
}

TEST_CASE("a loop on virtual time is woken by other threads too", "[inbox]") {
    EventLoop loop(weft::testing::options());
    auto future = loop.create_future<void>();
    std::thread poster([remote = loop.remote(), &future] {
        remote.call_soon_threadsafe([&future] { future.set_result(); });
    });
    loop.run_until_complete(waits_for(future));
    poster.join();
    REQUIRE(future.done());
}

TEST_CASE("two loops on two threads post to each other", "[inbox]") {
    constexpr int rallies = 2000;
    struct Side {
        std::optional<Remote> remote;
        int hits = 0;
    };
    std::array<Side, 2> sides;
    std::atomic<int> ready{0};
    const auto play = [&](std::size_t own) {
        EventLoop loop(with_hang_limit());
        sides[own].remote.emplace(loop.remote());
        ++ready;
        while (ready.load() < 2) std::this_thread::yield();
        auto done = loop.create_future<void>();
        struct Ball {
            std::array<Side, 2>* sides;
            std::array<Future<void>*, 2>* ends;
            std::size_t at;
            void operator()() {
                Side& here = (*sides)[at];
                if (++here.hits == rallies) (*ends)[at]->set_result();
                if (here.hits > rallies || (at == 1 && here.hits == rallies)) return;
                const std::size_t next = 1 - at;
                (*sides)[next].remote->call_soon_threadsafe(Ball{sides, ends, next});
            }
        };
        static std::array<Future<void>*, 2> ends;
        ends[own] = &done;
        ++ready;
        while (ready.load() < 4) std::this_thread::yield();
        if (own == 0) loop.call_soon_threadsafe(Ball{&sides, &ends, 0});
        loop.run_until_complete(waits_for(done));
        ++ready;
        while (ready.load() < 6) std::this_thread::yield();
    };
    std::thread other([&] { play(1); });
    play(0);
    other.join();
    REQUIRE(sides[0].hits == rallies);
    REQUIRE(sides[1].hits == rallies);
}

TEST_CASE("debug mode names the wrong thread", "[inbox]") {
    weft::RunOptions base;
    base.debug = true;
    EventLoop loop(weft::testing::options(base));
    auto nothing = []() -> Coro<void> { co_return; };
    auto sleeps = []() -> Coro<void> { co_await weft::sleep(1h); };
    auto task = loop.create_task(sleeps());
    auto future = loop.create_future<void>();
    loop.run_once();
    std::vector<std::pair<const char*, std::string>> texts;
    std::thread other([&] {
        const auto note = [&](const char* call, auto&& fn) {
            texts.emplace_back(call, message_of<RuntimeError>(fn));
        };
        note("call_soon", [&] { loop.call_soon([] {}); });
        note("call_later", [&] { loop.call_later(1s, [] {}); });
        note("cancel", [&] { task.cancel(); });
        note("create_task", [&] { (void)loop.create_task(nothing()); });
        note("set_result", [&] { future.set_result(); });
        note("run_once", [&] { loop.run_once(); });
    });
    other.join();
    for (const auto& [call, text] : texts) {
        INFO(call);
        CHECK(text.find("another thread") != std::string::npos);
    }
    REQUIRE(texts.size() == 6);
    REQUIRE_FALSE(future.done());
    REQUIRE(task.cancelling() == 0);
}

TEST_CASE("each thread has a running loop of its own", "[inbox]") {
    EventLoop loop;
    auto body = []() -> Coro<bool> {
        bool none = false;
        bool ran = false;
        std::thread other([&] {
            none = EventLoop::running() == nullptr && !weft::current_task();
            weft::run([&]() -> Coro<void> {
                ran = true;
                co_return;
            });
        });
        other.join();
        co_return none&& ran;
    };
    const bool good = loop.run_until_complete(body());
    REQUIRE(good);
}

}  // namespace inbox_test
