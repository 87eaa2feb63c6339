// SPDX-License-Identifier: MIT
// gather: several things at once and all their results; all: everything or nothing.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

weft::Coro<std::string> user(int id) {
    co_await weft::sleep(20ms);
    if (id < 0) throw std::invalid_argument("no such user");
    co_return "user " + std::to_string(id);
}
weft::Coro<int> balance() {
    co_await weft::sleep(30ms);
    co_return 120;
}

weft::Coro<void> gather_them() {
    // Different results: a tuple, in the order of the arguments.
    auto both = co_await weft::gather(user(1), balance());
    auto& [name, amount] = both;
    fmt::print("{} has {}\n", name, amount);

    // Many of a kind: a vector.
    std::vector<weft::Coro<std::string>> users;
    for (int id = 1; id <= 100; ++id) users.push_back(user(id));
    const std::vector<std::string> names = co_await weft::gather(std::move(users));
    fmt::print("{} names, the last is {}\n", names.size(), names.back());

    // Each outcome in its slot, failures included.
    auto slots = co_await weft::gather(weft::return_exceptions, user(2), user(-1));
    fmt::print("{} and {}\n", std::get<0>(slots) ? "a name" : "a failure",
               std::get<1>(slots) ? "a name" : "a failure");

    // All or nothing: the failure cancels the other child before it is thrown.
    try {
        co_await weft::all(user(-1), weft::sleep(1h));
    } catch (const std::invalid_argument& error) {
        fmt::print("nothing: {}\n", error.what());
    }
}

int main() { weft::run(gather_them()); }
