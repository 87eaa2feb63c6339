// SPDX-License-Identifier: MIT
// shield: the one who waits gives up, what was waited for goes on.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <chrono>

using namespace std::chrono_literals;

weft::Coro<int> save() {
    co_await weft::sleep(30ms);
    fmt::print("saved\n");
    co_return 1;
}

weft::Coro<void> click(weft::Task<int> saving) {
    const int documents = co_await weft::shield(saving);
    fmt::print("{} documents\n", documents);
}

weft::Coro<void> impatient() {
    weft::Task<int> saving = weft::create_task(save());
    weft::Task<void> clicking = weft::create_task(click(saving));
    co_await weft::sleep(10ms);
    clicking.cancel();
    co_await clicking.wait();
    fmt::print("cancelled: {}\n", clicking.cancelled());
    const int documents = co_await saving;  // wait for it at last, or the loop's end cancels it
    fmt::print("{} documents\n", documents);
}

int main() { weft::run(impatient()); }
