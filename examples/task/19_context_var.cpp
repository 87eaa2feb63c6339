// SPDX-License-Identifier: MIT
// Context variables: every request has its number in every log line, and nobody passes it along.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

using namespace std::chrono_literals;

const weft::ContextVar<int> request("request", 0);

void log(std::string_view text) { fmt::print("[{}] {}\n", request.get(), text); }

weft::Coro<void> query(std::string table) {
    log("reads " + table);
    co_await weft::sleep(5ms);
}

weft::Coro<void> handle(int number) {
    request.set(number);  // for this task, and for all that it starts
    log("begins");
    auto prices = weft::create_task(query("prices"));
    co_await query("articles");
    co_await prices;
    weft::get_running_loop().call_soon([] { log("is told by a callback"); });
    co_await weft::yield();
    co_await weft::yield();
    log("ends");
}

weft::Coro<void> serve() {
    log("nobody has asked yet");
    for (int number = 1; number <= 2; ++number) co_await weft::create_task(handle(number));

    // For a while.
    auto before = request.set(99);
    log("maintenance");
    request.reset(before);
    log("open again");
}

int main() { weft::run(serve()); }
