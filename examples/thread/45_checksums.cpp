// SPDX-License-Identifier: MIT
// Computing beside the loop: checksums of blocks on the process's threads, a few at a time, which
// stop when they are no longer wanted.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

using namespace std::chrono_literals;

// Ordinary code: it knows of no loop. Asked to stop, it gives up between two pieces.
std::uint32_t adler32(weft::StopToken stop, const std::string& text) {
    std::uint32_t low = 1, high = 0;
    for (std::size_t at = 0; at < text.size() && !stop.stop_requested(); ++at) {
        low = (low + static_cast<unsigned char>(text[at])) % 65521;
        high = (high + low) % 65521;
    }
    return high << 16 | low;
}

weft::Coro<std::uint32_t> checksum(const std::string& text) {
    // `text` may be used by reference: a call that runs is waited for, also after a cancel.
    const std::uint32_t sum = co_await weft::to_thread(&adler32, std::cref(text));
    co_return sum;
}

weft::Coro<void> compute() {
    std::vector<std::string> blocks;
    for (const char letter : {'a', 'b', 'c', 'd'}) blocks.emplace_back(1'000'000, letter);
    const std::vector<std::uint32_t> sums = co_await weft::map_limit(blocks, 2, &checksum);
    for (std::size_t i = 0; i < blocks.size(); ++i) {
        fmt::print("{}...: {:08x}\n", blocks[i].substr(0, 3), sums[i]);
    }

    // A pool of its own for what must not take the others' threads.
    weft::ThreadPoolOptions options;
    options.threads = 1;
    options.name = "slow";
    weft::ThreadPool pool(options);
    auto work_until_stopped = [](weft::StopToken stop) {
        long rounds = 0;
        while (!stop.stop_requested()) ++rounds;
        return rounds > 0;
    };
    // The deadline asks it to stop, and its answer comes all the same. (Empty: it had not begun.)
    const std::optional<bool> worked =
        co_await weft::move_on_after(20ms, pool.run(work_until_stopped));
    fmt::print("stopped when asked to: {}\n", worked.value_or(false));
}

int main() { weft::run(compute()); }
