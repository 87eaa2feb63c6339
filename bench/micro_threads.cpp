// SPDX-License-Identifier: MIT
// What it costs to go to another thread and back: between two loops, to a pool, through a channel;
// each beside the same made by hand: an eventfd each way, a condition variable each way.
#include <benchmark/benchmark.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>

#include <weft/weft.hpp>

namespace {

using Body = weft::Coro<void> (*)(benchmark::State&);

void on_a_loop(benchmark::State& state, Body body) {
    weft::run([&state, body] { return body(state); });
}

void by_hand(benchmark::State& state, void (*body)(benchmark::State&)) { body(state); }

// --- two threads that wake each other ---

void eventfd_by_hand(benchmark::State& state) {
    const int there = ::eventfd(0, EFD_CLOEXEC), back = ::eventfd(0, EFD_CLOEXEC);
    const auto ring = [](int fd, std::uint64_t value) {
        if (::write(fd, &value, sizeof value) < 0) std::abort();
    };
    const auto wait = [](int fd) {
        std::uint64_t value = 0;
        if (::read(fd, &value, sizeof value) < 0) std::abort();
        return value;
    };
    std::thread other([&] {
        while (wait(there) == 1) ring(back, 1);
    });
    for (auto _ : state) {
        ring(there, 1);
        wait(back);
    }
    ring(there, 2);
    other.join();
    ::close(there);
    ::close(back);
}

/// A loop on a thread of its own, until it is asked to stop.
class OtherLoop {
public:
    OtherLoop() : thread_([this] { run(); }) { remote_ready_.wait(false); }
    ~OtherLoop() {
        remote_->call_soon_threadsafe([] { weft::request_stop(); });
        thread_.join();
    }
    const weft::Remote& remote() const { return *remote_; }

private:
    void run() {
        weft::run([this]() -> weft::Coro<void> {
            remote_.emplace(weft::get_running_loop().remote());
            remote_ready_ = true;
            remote_ready_.notify_all();
            co_await weft::wait_for_stop();
        });
    }
    std::optional<weft::Remote> remote_;
    std::atomic<bool> remote_ready_{false};
    std::thread thread_;
};

weft::Coro<void> posts_between_loops(benchmark::State& state) {
    const OtherLoop other;
    const weft::Remote here = weft::get_running_loop().remote();
    for (auto _ : state) {
        weft::Future<void> back = weft::create_future<void>();
        other.remote().call_soon_threadsafe(
            [&here, &back] { here.call_soon_threadsafe([&back] { back.set_result(); }); });
        co_await back;
    }
}

weft::Coro<void> nothing() { co_return; }
weft::Coro<void> spawn_on_another_loop(benchmark::State& state) {
    const OtherLoop other;
    for (auto _ : state) co_await other.remote().spawn(nothing());
}

// --- a job for a thread ---

void condition_by_hand(benchmark::State& state) {
    std::mutex mutex;
    std::condition_variable there, back;
    int asked = 0, answered = 0;
    bool stop = false;
    std::thread other([&] {
        std::unique_lock lock(mutex);
        for (;;) {
            there.wait(lock, [&] { return stop || asked > answered; });
            if (stop) return;
            ++answered;
            back.notify_one();
        }
    });
    for (auto _ : state) {
        std::unique_lock lock(mutex);
        ++asked;
        there.notify_one();
        back.wait(lock, [&] { return answered == asked; });
    }
    {
        const std::scoped_lock lock(mutex);
        stop = true;
        there.notify_one();
    }
    other.join();
}

weft::Coro<void> job_of_a_pool(benchmark::State& state) {
    weft::ThreadPoolOptions options;
    options.threads = 1;
    weft::ThreadPool pool(options);
    auto work = [] {};
    for (auto _ : state) co_await pool.run(work);
}

// --- items ---

weft::Coro<void> items_from_a_thread(benchmark::State& state) {
    const weft::ThreadChannel<int> channel(1024);
    std::thread thread([&] {
        try {
            for (int i = 0;; ++i) channel.blocking_send(i);
        } catch (const weft::ChannelClosed&) {
        }
    });
    for (auto _ : state) co_await channel.recv();
    channel.close();
    thread.join();
}

}  // namespace

BENCHMARK_CAPTURE(by_hand, eventfd_by_hand, &eventfd_by_hand)->UseRealTime();
BENCHMARK_CAPTURE(on_a_loop, posts_between_loops, &posts_between_loops)->UseRealTime();
BENCHMARK_CAPTURE(on_a_loop, spawn_on_another_loop, &spawn_on_another_loop)->UseRealTime();
BENCHMARK_CAPTURE(by_hand, condition_by_hand, &condition_by_hand)->UseRealTime();
BENCHMARK_CAPTURE(on_a_loop, job_of_a_pool, &job_of_a_pool)->UseRealTime();
BENCHMARK_CAPTURE(on_a_loop, items_from_a_thread, &items_from_a_thread)->UseRealTime();
BENCHMARK_MAIN();
