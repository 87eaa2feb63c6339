// SPDX-License-Identifier: MIT
// A producer that is faster than its consumers: the queue holds two jobs, so it has to wait for
// them.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <chrono>
#include <string>
#include <vector>

using namespace std::chrono_literals;

weft::Coro<void> resize_images(weft::Queue<std::string>& jobs, int worker) {
    try {
        for (;;) {
            const std::string image = co_await jobs.get();
            co_await weft::sleep(10ms);  // the work
            fmt::print("worker {} has done {}\n", worker, image);
            jobs.task_done();
        }
    } catch (const weft::QueueShutDown&) {
        fmt::print("worker {} goes home\n", worker);
    }
}

weft::Coro<void> produce_and_consume() {
    weft::Queue<std::string> jobs(2);
    std::vector<weft::Task<void>> workers;
    for (int number = 1; number <= 2; ++number)
        workers.push_back(weft::create_task(resize_images(jobs, number)));

    for (int number = 1; number <= 6; ++number) {
        co_await jobs.put(fmt::format("image-{}.png", number));  // waits while two are in the queue
        fmt::print("put image-{}.png, {} in the queue\n", number, jobs.size());
    }

    co_await jobs.join();  // every job is done, not just taken
    fmt::print("all done\n");
    jobs.shutdown();  // whoever waits for a job learns that there will be none
    for (const weft::Task<void>& worker : workers) co_await worker;
}

int main() { weft::run(produce_and_consume()); }
