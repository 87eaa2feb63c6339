// SPDX-License-Identifier: MIT
// What threads wait for: no notification is lost, and each wait may have a limit.
// labels: threads
#include <weft/testing/catch.hpp>

#include <cstddef>
#include <thread>
#include <vector>

#include <weft/base/clock.hpp>
#include <weft/base/thread.hpp>

namespace thread_condition_test {
namespace {

using weft::detail::Locked;
using weft::detail::monotonic_now;
using weft::detail::Mutex;
using weft::detail::ThreadCondition;

/// Tokens that are handed out one by one, with one notification for each.
class Tokens {
public:
    void put() {
        const Locked lock(mutex_);
        ++count_;
        changed_.notify_one();
    }
    void take() {
        const Locked lock(mutex_);
        while (count_ == 0) changed_.wait(mutex_);
        --count_;
    }

private:
    Mutex mutex_;
    ThreadCondition changed_;
    int count_ = 0;
};

}  // namespace

TEST_CASE("of many threads that wait each notification wakes one, and none is lost") {
    // Round and round: a token that nobody takes would stop them all.
    constexpr std::size_t places = 4;
    constexpr int rounds = 5'000;
    Tokens free;
    Tokens full;
    for (std::size_t place = 0; place < places; ++place) free.put();
    std::vector<std::thread> threads;
    for (int pair = 0; pair < 3; ++pair) {
        threads.emplace_back([&] {
            for (int round = 0; round < rounds; ++round) {
                free.take();
                full.put();
            }
        });
        threads.emplace_back([&] {
            for (int round = 0; round < rounds; ++round) {
                full.take();
                free.put();
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    for (std::size_t place = 0; place < places; ++place) free.take();
    SUCCEED("all have come round");
}

TEST_CASE("a notification of all ends every wait, and a limit ends one that nobody is told of") {
    Mutex mutex;
    ThreadCondition changed;
    bool over = false;
    int waiting = 0;
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&] {
            const Locked lock(mutex);
            ++waiting;
            while (!over) changed.wait(mutex);
            --waiting;
        });
    }
    mutex.lock();
    while (waiting < 4) {
        const weft::detail::Nanoseconds limit = monotonic_now() + 1'000'000;
        changed.wait_until(mutex, limit);
    }
    over = true;
    changed.notify_all();
    mutex.unlock();
    for (std::thread& thread : threads) thread.join();
    CHECK(waiting == 0);
    const Locked lock(mutex);
    changed.wait_until(mutex, monotonic_now());
    changed.wait_until(mutex, 0);
}

}  // namespace thread_condition_test
