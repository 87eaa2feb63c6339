// SPDX-License-Identifier: MIT
// Work for a thread of its own, whose answer comes back into the loop.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <chrono>
#include <thread>
#include <utility>

using namespace std::chrono_literals;

int count_primes(int below) {
    int count = 0;
    for (int number = 2; number < below; ++number) {
        bool prime = true;
        for (int divisor = 2; prime && divisor * divisor <= number; ++divisor) {
            prime = number % divisor != 0;
        }
        count += prime;
    }
    return count;
}

weft::Coro<int> count_primes_elsewhere(int below) {
    weft::EventLoop& loop = weft::get_running_loop();
    weft::Future<int> answer = loop.create_future<int>();

    // A future belongs to the loop's thread. The worker only carries this handle to and fro, and
    // never looks at it: what it posts runs in the loop.
    const std::jthread worker([below, answer, remote = loop.remote()]() mutable {
        const int count = count_primes(below);
        remote.call_soon_threadsafe([count, answer = std::move(answer)]() mutable {
            if (!answer.done()) answer.set_result(count);  // done: somebody cancelled it
        });
    });
    co_return co_await answer;
}

weft::Coro<void> tick() {
    for (;;) {
        fmt::print("the loop goes on\n");
        co_await weft::sleep(20ms);
    }
}

weft::Coro<void> run_both() {
    // Tasks that are still there when the main one ends are cancelled: this one just goes away.
    const weft::Task<void> ticking = weft::create_task(tick());
    const int count = co_await count_primes_elsewhere(1'000'000);
    fmt::print("there are {} primes below a million\n", count);
}

int main() { weft::run(run_both()); }
