// SPDX-License-Identifier: MIT
// race: the first success counts. staggered_race: the next attempt when the last one is slow.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

using namespace std::chrono_literals;

weft::Coro<std::string> ask(const char* mirror, weft::Duration takes) {
    co_await weft::sleep(takes);
    if (takes < 5ms) throw std::runtime_error("refused");
    co_return mirror;
}

weft::Coro<void> race_them() {
    // The slower one is cancelled, and has ended when the race returns.
    auto first = co_await weft::race(ask("far", 80ms), ask("near", 10ms), ask("broken", 1ms));
    fmt::print("{} answered, number {}\n", *first, first.index());

    // Results of several types make a variant: who has won tells its index.
    auto answer = co_await weft::race(ask("far", 80ms), weft::sleep(20ms));
    fmt::print("{}\n", answer.index() == 0 ? std::get<0>(answer) : "nobody in time");

    // Happy eyeballs: one after the other, a new one every 25 ms or when the last has failed.
    std::vector<weft::Coro<std::string>> attempts;
    attempts.push_back(ask("slow", 1h));
    attempts.push_back(ask("broken", 1ms));
    attempts.push_back(ask("good", 10ms));
    auto winner = co_await weft::staggered_race(std::move(attempts), 25ms);
    fmt::print("{} answered\n", *winner);

    try {
        auto none = co_await weft::race(ask("one", 1ms), ask("two", 2ms));
        fmt::print("{}\n", *none);
    } catch (const weft::ExceptionGroup& errors) {
        fmt::print("{}\n", errors.what());
    }
}

int main() { weft::run(race_them()); }
