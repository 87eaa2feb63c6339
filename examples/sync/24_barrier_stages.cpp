// SPDX-License-Identifier: MIT
// A computation in stages: nobody begins a stage before all have finished the one before.
#include <fmt/format.h>
#include <weft/sync/barrier.hpp>
#include <weft/weft.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <vector>

using namespace std::chrono_literals;

constexpr std::size_t workers = 4;

/// Each stage, every worker replaces its value by the sum of its neighbours' values.
struct Ring {
    std::array<int, workers> now{1, 2, 3, 4};
    std::array<int, workers> next{};
    weft::Barrier barrier{workers};
};

weft::Coro<void> work(Ring& ring, std::size_t self) {
    for (int stage = 0; stage < 3; ++stage) {
        co_await weft::sleep((self + 1) * 2ms);  // they are not equally fast
        const std::size_t left = (self + workers - 1) % workers;
        const std::size_t right = (self + 1) % workers;
        ring.next[self] = ring.now[left] + ring.now[right];
        // One of them, it does not matter which, does what is to be done once a stage.
        const std::size_t place = co_await ring.barrier.wait();
        if (place == 0) {
            ring.now = ring.next;
            fmt::print("stage {}: {} {} {} {}\n", stage + 1, ring.now[0], ring.now[1], ring.now[2],
                       ring.now[3]);
        }
        co_await ring.barrier.wait();
    }
}

weft::Coro<void> compute() {
    Ring ring;
    std::vector<weft::Task<void>> tasks;
    for (std::size_t self = 0; self < workers; ++self) {
        tasks.push_back(weft::create_task(work(ring, self)));
    }
    for (auto& task : tasks) co_await task;
}

int main() { weft::run(compute()); }
