// SPDX-License-Identifier: MIT
// Two printers for five documents. A printer that is given back twice is a mistake, and is named.
#include <fmt/format.h>
#include <weft/sync/semaphore.hpp>
#include <weft/weft.hpp>

#include <chrono>

using namespace std::chrono_literals;

weft::Coro<void> print(weft::BoundedSemaphore& printers, int number) {
    co_await printers.acquire();
    fmt::print("document {} is printed\n", number);
    co_await weft::sleep(10ms);
    printers.release();
}

weft::Coro<void> office() {
    weft::BoundedSemaphore printers(2);
    auto all_documents = [&](weft::TaskGroup& group) -> weft::Coro<void> {
        for (int number = 1; number <= 5; ++number) group.create_task(print(printers, number));
        co_return;
    };
    co_await weft::task_group(all_documents);
    try {
        printers.release();
    } catch (const std::exception& error) {
        fmt::print("{}\n", error.what());
    }
}

int main() { weft::run(office()); }
