// SPDX-License-Identifier: MIT
// "Ready when all parts are": the front door opens once three services have started.
#include <fmt/format.h>
#include <weft/sync/latch.hpp>
#include <weft/weft.hpp>

#include <chrono>
#include <string>
#include <vector>

using namespace std::chrono_literals;

weft::Coro<void> service(weft::Latch& started, std::string name, std::chrono::milliseconds delay) {
    co_await weft::sleep(delay);
    fmt::print("{} has started\n", name);
    started.count_down();
    co_await weft::sleep(20ms);  // serves
}

weft::Coro<void> start() {
    weft::Latch started(3);
    std::vector<weft::Task<void>> services;
    services.push_back(weft::create_task(service(started, "cache", 10ms)));
    services.push_back(weft::create_task(service(started, "database", 15ms)));
    services.push_back(weft::create_task(service(started, "mail", 5ms)));
    co_await started.wait();
    fmt::print("open\n");
    for (auto& task : services) co_await task;
}

int main() { weft::run(start()); }
