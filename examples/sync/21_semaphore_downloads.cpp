// SPDX-License-Identifier: MIT
// Ten downloads, three at a time.
#include <fmt/format.h>
#include <weft/sync/semaphore.hpp>
#include <weft/weft.hpp>

#include <algorithm>
#include <chrono>
#include <vector>

using namespace std::chrono_literals;

struct Downloads {
    weft::Semaphore at_a_time{3};
    int running = 0;
    int most = 0;
};

weft::Coro<int> download(Downloads& all, int number) {
    auto permit = co_await all.at_a_time.scoped();
    all.most = std::max(all.most, ++all.running);
    co_await weft::sleep(20ms);  // the transfer
    --all.running;
    co_return number * 100;
}

weft::Coro<void> fetch_all() {
    Downloads all;
    std::vector<weft::Task<int>> tasks;
    for (int number = 1; number <= 10; ++number) {
        tasks.push_back(weft::create_task(download(all, number)));
    }
    int bytes = 0;
    for (auto& task : tasks) bytes += co_await task;
    fmt::print("{} bytes, at most {} downloads at a time\n", bytes, all.most);
}

int main() { weft::run(fetch_all()); }
