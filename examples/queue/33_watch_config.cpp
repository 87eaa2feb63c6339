// SPDX-License-Identifier: MIT
// A configuration that changes while servers run: each follows the latest one at its own speed.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <chrono>
#include <string>
#include <utility>

using namespace std::chrono_literals;

struct Config {
    Config(int version_number, std::string text)
        : version(version_number), greeting(std::move(text)) {}
    int version;
    std::string greeting;
};

weft::Coro<void> serve(std::string name, weft::Duration restart,
                       weft::Watch<Config>::Receiver updates) {
    fmt::print("{}: starts with version {}\n", name, updates.get().version);
    while (auto config = co_await updates.next()) {
        fmt::print("{}: takes version {}, '{}'\n", name, config->version, config->greeting);
        co_await weft::sleep(restart);
    }
    fmt::print("{}: the configuration is gone\n", name);
}

weft::Coro<void> change_configuration() {
    weft::Watch<Config> config(Config(1, "hello"));
    const auto quick = weft::create_task(serve("quick", 1ms, config.subscribe()));
    const auto slow = weft::create_task(serve("slow", 120ms, config.subscribe()));
    co_await weft::sleep(10ms);
    config.set(Config(2, "good morning"));
    co_await weft::sleep(30ms);
    config.set(Config(3, "good day"));  // the slow one is busy, and goes from 2 to 4
    co_await weft::sleep(30ms);
    config.update([](Config& value) {
        value.version = 4;
        value.greeting = "good evening";
    });
    co_await weft::sleep(100ms);
    {
        const weft::Watch<Config> last = std::move(config);
    }  // who follows it learns that it is gone
    co_await quick;
    co_await slow;
}

int main() { weft::run(change_configuration()); }
