// SPDX-License-Identifier: MIT
// A start gate: the runners wait for one event. A runner that gives up is simply cancelled.
#include <fmt/format.h>
#include <weft/sync/event.hpp>
#include <weft/weft.hpp>

#include <chrono>
#include <string>
#include <vector>

using namespace std::chrono_literals;

weft::Coro<void> runner(weft::Event& gate, std::string name, std::chrono::milliseconds time) {
    co_await gate.wait();
    co_await weft::sleep(time);
    fmt::print("{} is there\n", name);
}

weft::Coro<void> race() {
    weft::Event gate;
    std::vector<weft::Task<void>> runners;
    runners.push_back(weft::create_task(runner(gate, "Ada", 30ms)));
    runners.push_back(weft::create_task(runner(gate, "Ben", 10ms)));
    runners.push_back(weft::create_task(runner(gate, "Cleo", 20ms)));
    co_await weft::sleep(5ms);
    fmt::print("{} wait at the gate\n", gate.statistics().waiters);
    runners[2].cancel("twisted an ankle");
    gate.set();
    for (auto& task : runners) co_await task.wait();
    fmt::print("Cleo {}\n", runners[2].cancelled() ? "did not start" : "ran");
}

int main() { weft::run(race()); }
