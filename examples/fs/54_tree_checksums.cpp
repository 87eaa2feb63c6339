// SPDX-License-Identifier: MIT
// A parallel checksum of a tree: the files below a directory, eight at a time, on one thread.
// Without an argument it makes a small tree of its own.
#include <fmt/format.h>
#include <weft/fs.hpp>
#include <weft/weft.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

struct Summed {
    Summed(std::string file, std::uint64_t bytes, std::uint32_t checksum)
        : path(std::move(file)), size(bytes), sum(checksum) {}
    std::string path;
    std::uint64_t size;
    std::uint32_t sum;
};

std::uint32_t add(std::uint32_t sum, std::string_view bytes) {  // FNV-1a
    for (const char each : bytes) sum = (sum ^ static_cast<unsigned char>(each)) * 16777619U;
    return sum;
}

weft::Coro<Summed> checksum(const std::string& path) {
    weft::File file = co_await weft::open_file(path);
    std::string piece(128 * 1024, '\0');
    std::uint32_t sum = 2166136261U;
    std::uint64_t size = 0;
    for (;;) {
        const std::size_t got = co_await file.read(piece);
        if (got == 0) break;
        sum = add(sum, std::string_view(piece).substr(0, got));
        size += got;
    }
    co_return Summed(path, size, sum);
}

weft::Coro<void> sum_tree(std::string root) {
    std::vector<std::string> paths;
    auto below = weft::files::walk(root);
    while (auto entry = co_await below.next()) {
        if (entry->is_file()) paths.push_back(entry->path());
    }
    std::sort(paths.begin(), paths.end());
    const std::vector<Summed> sums = co_await weft::map_limit(paths, 8, &checksum);
    std::uint64_t total = 0;
    for (const Summed& each : sums) {
        fmt::print("{:08x} {:>8} {}\n", each.sum, each.size, each.path.substr(root.size() + 1));
        total += each.size;
    }
    fmt::print("{} files, {} bytes\n", sums.size(), total);
}

weft::Coro<void> sum_a_tree_of_our_own() {
    weft::TemporaryDirectory scratch = co_await weft::temporary_directory();
    co_await weft::files::mkdir_all(scratch.file("docs/old"));
    co_await weft::write_file(scratch.file("README"), "read me\n");
    co_await weft::write_file(scratch.file("docs/old/big"), std::string(1'000'000, 'x'));
    co_await weft::files::link(scratch.file("README"), scratch.file("docs/again"));
    co_await sum_tree(scratch.path());
    co_await scratch.close();
}

int main(int argc, char** argv) {
    weft::run(argc > 1 ? sum_tree(argv[1]) : sum_a_tree_of_our_own());
}
