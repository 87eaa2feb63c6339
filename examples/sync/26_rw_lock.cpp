// SPDX-License-Identifier: MIT
// Many read a configuration together; a reload has it alone, and is not starved by them.
#include <fmt/format.h>
#include <weft/sync/rw_lock.hpp>
#include <weft/weft.hpp>

#include <chrono>
#include <vector>

using namespace std::chrono_literals;

struct Config {
    weft::RwLock lock;
    int version = 1;
};

weft::Coro<void> handle(Config& config, int request) {
    auto guard = co_await config.lock.read();
    const int before = config.version;
    co_await weft::sleep(10ms);  // still the same version afterwards
    fmt::print("request {}: version {}{}\n", request, before,
               before == config.version ? "" : ", torn");
}

weft::Coro<void> reload(Config& config) {
    auto guard = co_await config.lock.write();
    co_await weft::sleep(5ms);
    fmt::print("reloaded, version {}\n", ++config.version);
}

weft::Coro<void> serve() {
    Config config;
    std::vector<weft::Task<void>> tasks;
    for (int request = 1; request <= 3; ++request) {
        tasks.push_back(weft::create_task(handle(config, request)));
    }
    tasks.push_back(weft::create_task(reload(config)));
    for (int request = 4; request <= 6; ++request) {
        tasks.push_back(weft::create_task(handle(config, request)));
    }
    for (auto& task : tasks) co_await task;
}

int main() { weft::run(serve()); }
