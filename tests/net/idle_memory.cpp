// SPDX-License-Identifier: MIT
// What a connection that waits holds.
// sanitizers: no, their heap does not say how much is in use
#include <weft/net/stream.hpp>
#include <weft/testing/catch.hpp>

#include <malloc.h>

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include <weft/weft.hpp>

#include "../support/stream_pairs.hpp"

namespace idle_memory_test {

namespace {

using namespace std::chrono_literals;
using support::StreamPair;
using weft::Coro;
using weft::Stream;

// One of each for a connection; docs/performance.md has the rest of what it takes.
static_assert(sizeof(weft::detail::StreamState) <= 72);
static_assert(sizeof(weft::detail::ChunkSource) <= 136);

std::size_t heap() { return ::mallinfo2().uordblks; }

Coro<void> echo_lines(Stream& stream) {
    for (;;) {
        const std::string line = co_await stream.read_line();
        if (line.empty()) co_return;
        co_await stream.write(line);
    }
}
Coro<void> echo_words(Stream& stream) {
    for (;;) co_await stream.write(co_await stream.read_exactly(6));
}

using Echo = Coro<void> (*)(Stream&);

/// What each of the connections holds on the heap that have echoed `sent` and wait, beyond what it
/// had when it was made.
Coro<std::size_t> held_by_each(Echo echo, std::string sent) {
    constexpr std::size_t count = 64;
    std::vector<StreamPair> pairs;
    for (std::size_t index = 0; index < count; ++index)
        pairs.push_back(support::stream_pair(support::Transport::tcp));
    std::vector<weft::Task<void>> echoes;
    echoes.reserve(count);
    const std::size_t before = heap();
    for (StreamPair& pair : pairs) {
        echoes.push_back(weft::create_task(echo(pair.near)));
        co_await pair.far.write(sent);
        std::string back(sent.size(), '\0');
        for (std::size_t got = 0; got < back.size();)
            got += co_await pair.far.read(weft::MutableBuffer(back.data() + got, 6));
    }
    co_await weft::sleep(1ms);
    const std::size_t held = (heap() - before) / count;
    for (weft::Task<void>& task : echoes) task.cancel();
    for (const weft::Task<void>& task : echoes) co_await task.wait();
    co_return held;
}

/// The ring can do without since Linux 5.19.
std::size_t allowed() {
    const weft::BackendInfo& info = weft::get_running_loop().backend_info();
    const bool lends =
        info.name == "epoll" || info.features.find("buffer_ring") != std::string::npos;
    return lends ? 1024 : 1024 + 4096 + 64;
}

}  // namespace

WEFT_TEST_CASE("a connection that waits for a line, or for so many bytes, holds no buffer") {
    for (const Echo echo : {&echo_lines, &echo_words}) {
        co_await held_by_each(echo, "hello\n");  // what the loop has once
        const std::size_t after_one = co_await held_by_each(echo, "hello\n");
        CHECK(after_one <= allowed());
        // The buffer that had the second one when the first was taken has gone too.
        const std::size_t after_two = co_await held_by_each(echo, "hello\nhallo\n");
        CHECK(after_two <= allowed());
    }
}

}  // namespace idle_memory_test
