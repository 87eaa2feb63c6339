// SPDX-License-Identifier: MIT
// A call for every item of a list, a few at a time; the first failure ends it.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

using namespace std::chrono_literals;

weft::Coro<std::size_t> download(const std::string& name) {
    co_await weft::sleep(std::chrono::milliseconds(5 * name.size()));
    if (name == "missing") throw std::runtime_error("404: " + name);
    co_return name.size() * 1000;
}

weft::Coro<void> use_map_limit() {
    std::vector<std::string> names{"index", "style", "logo", "about", "a", "contact"};
    // Two at a time. The results come in the order of the names, whichever download ends first.
    const std::vector<std::size_t> sizes = co_await weft::map_limit(names, 2, &download);
    for (std::size_t i = 0; i < names.size(); ++i) {
        fmt::print("{}: {} bytes\n", names[i], sizes[i]);
    }

    names.insert(names.begin() + 1, "missing");
    try {
        co_await weft::map_limit(names, 2, &download);
    } catch (const std::runtime_error& error) {
        fmt::print("failed: {}\n", error.what());  // the others have been cancelled by now
    }
}

int main() { weft::run(use_map_limit()); }
