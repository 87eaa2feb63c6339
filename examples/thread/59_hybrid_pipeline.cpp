// SPDX-License-Identifier: MIT
// Waiting and computing in one pipeline: lines arrive over a socket, batches of them are worked on
// by all cores, and a plain thread that knows nothing of loops writes the results.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

// Ordinary code that keeps a processor busy. It is called by several threads at once.
std::uint32_t collatz_steps(const std::string& line) {
    std::uint64_t number = std::stoull(line);
    std::uint32_t steps = 0;
    for (; number != 1; ++steps) number = number % 2 == 0 ? number / 2 : number * 3 + 1;
    return steps;
}

// The source: a peer that sends numbers, one a line.
weft::Coro<void> send_numbers(weft::Stream peer) {
    for (int number = 1; number <= 10'000; ++number) {
        co_await peer.write(std::to_string(number) + "\n");
    }
}

weft::Coro<void> compute() {
    weft::Server server = co_await weft::start_server(&send_numbers, "127.0.0.1", 0);
    weft::Stream stream = co_await weft::open_connection(server.address());

    // The sink: a library's own thread, say. The channel is bounded, so a slow one slows down the
    // source.
    const weft::ThreadChannel<std::uint32_t> results(256);
    std::uint32_t longest = 0;
    std::jthread sink([&longest, results] {
        while (const auto steps = results.blocking_recv()) longest = std::max(longest, *steps);
    });

    // Whatever happens here, the thread hears of the end.
    struct Closing {
        ~Closing() { channel.close(); }
        const weft::ThreadChannel<std::uint32_t>& channel;
    } const closing{results};

    std::vector<std::string> batch;
    while (true) {
        std::string line = co_await stream.read_line();
        const bool end = line.empty();
        if (!end) batch.push_back(std::move(line));
        if (batch.size() < 1000 && !end) continue;
        // The loop goes on meanwhile: other connections are served while all cores compute.
        const std::vector<std::uint32_t> steps =
            co_await weft::parallel_map(std::move(batch), &collatz_steps);
        for (const std::uint32_t each : steps) co_await results.send(each);
        batch.clear();
        if (end) break;
    }
    results.close();
    sink.join();
    fmt::print("the longest way below 10,000 has {} steps\n", longest);
}

int main() { weft::run(compute()); }
