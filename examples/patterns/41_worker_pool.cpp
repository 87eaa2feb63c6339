// SPDX-License-Identifier: MIT
// Three workers and a short queue: who submits faster than they work has to wait.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>

using namespace std::chrono_literals;

struct Picture {
    Picture(std::string file_name, int wanted_width)
        : name(std::move(file_name)), width(wanted_width) {}
    std::string name;
    int width;
};

weft::Coro<void> resize(Picture picture) {
    co_await weft::sleep(10ms);
    if (picture.width <= 0) throw std::runtime_error("cannot resize " + picture.name);
    fmt::print("{} is {} pixels wide\n", picture.name, picture.width);
}

weft::Coro<int> submit_all(weft::WorkerPool<Picture>& pool) {
    for (int i = 1; i <= 8; ++i) {
        co_await pool.submit(Picture(fmt::format("picture-{}", i), i == 5 ? 0 : 100 * i));
    }
    co_await pool.drain();  // no more jobs; those in the queue are done
    co_return 8;
}

weft::Coro<void> use_worker_pool() {
    // One bad picture does not end the others. Without `collect` it would.
    const weft::WorkerPoolOptions options(3, 2, weft::OnFailure::collect);
    try {
        co_await weft::worker_pool<Picture>(options, &resize, &submit_all);
    } catch (const std::runtime_error& error) {
        fmt::print("failed: {}\n", error.what());
    }
}

int main() { weft::run(use_worker_pool()); }
