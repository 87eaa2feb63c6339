// SPDX-License-Identifier: MIT
// A worker that looks at its work whenever it is told to: however often it is told while it is
// busy, it looks once more, and it misses nothing.
#include <fmt/format.h>
#include <weft/sync/notify.hpp>
#include <weft/weft.hpp>

#include <chrono>
#include <utility>

using namespace std::chrono_literals;

struct Log {
    weft::Notify changed;
    int pending = 0;
    bool closed = false;
};

weft::Coro<void> write_log(Log& log) {
    while (!log.closed || log.pending > 0) {
        co_await log.changed.notified();
        const int batch = std::exchange(log.pending, 0);
        if (batch == 0) continue;
        fmt::print("writing {} lines\n", batch);
        co_await weft::sleep(20ms);
    }
}

weft::Coro<void> produce() {
    Log log;
    auto writer = weft::create_task(write_log(log));
    for (int line = 0; line < 10; ++line) {
        ++log.pending;
        log.changed.notify_one();
        if (line % 5 == 0) co_await weft::sleep(5ms);
    }
    log.closed = true;
    log.changed.notify_one();
    co_await writer;
    fmt::print("all is written\n");
}

int main() { weft::run(produce()); }
