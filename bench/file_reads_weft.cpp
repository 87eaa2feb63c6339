// SPDX-License-Identifier: MIT
// 4 KiB reads at random offsets of a file, by tasks that read one after the other: what
// baseline/file_reads.c does by hand.
#include <fcntl.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <system_error>
#include <vector>

#include <weft/fs/aligned_buffer.hpp>
#include <weft/fs/file.hpp>
#include <weft/task/run.hpp>
#include <weft/task/task.hpp>

#include "measure.hpp"

namespace {

constexpr std::size_t block = 4096;

struct Reads {
    std::uint64_t next_offset() noexcept {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state % blocks * block;
    }
    std::uint64_t state = 88172645463325252ULL;
    std::uint64_t blocks = 0;
    long left = 0;
    bool pins = false;
};

weft::Coro<void> read_blocks(weft::File& file, Reads& reads) {
    weft::AlignedBuffer buffer(block);
    if (reads.pins) buffer.pin();
    while (reads.left > 0) {
        --reads.left;
        const std::size_t got = co_await file.read_at(buffer, reads.next_offset());
        if (got != block) throw std::system_error(EIO, std::system_category(), "read");
    }
}

weft::Coro<void> measure(int argc, char** argv) {
    const std::string path(bench::option(argc, argv, "--file", ""));
    const long depth = bench::number_option(argc, argv, "--depth", 1);
    const long count = bench::number_option(argc, argv, "--reads", 100'000);
    const bool direct = bench::option(argc, argv, "--direct", "no") == "yes";
    weft::OpenMode mode = weft::OpenMode::read;
    if (direct) mode = mode | weft::OpenMode::direct;
    weft::File file = co_await weft::open_file(path, mode);
    Reads reads;
    reads.blocks = file.size_hint() / block;
    reads.left = count;
    reads.pins = bench::option(argc, argv, "--pinned", "no") == "yes";
    if (reads.blocks == 0) throw std::system_error(EINVAL, std::system_category(), path);
    const auto begin = std::chrono::steady_clock::now();
    const std::int64_t cpu_begin = bench::cpu_us();
    std::vector<weft::Task<void>> tasks;
    for (long index = 0; index < depth; ++index)
        tasks.push_back(weft::create_task(read_blocks(file, reads)));
    for (auto& task : tasks) co_await task;
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
    const auto cpu = static_cast<double>(bench::cpu_us() - cpu_begin);
    std::printf("iops=%.0f ns_per_read=%.0f cpu_ns_per_read=%.0f\n",
                static_cast<double>(count) / time.count(),
                time.count() * 1e9 / static_cast<double>(count),
                cpu * 1e3 / static_cast<double>(count));
}

}  // namespace

int main(int argc, char** argv) {
    try {
        weft::run([&] { return measure(argc, argv); });
    } catch (const std::system_error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 3;
    }
}
