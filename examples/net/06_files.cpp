// SPDX-License-Identifier: MIT
// Files by their descriptors, one system call a time: natively on io_uring, through helper threads
// on epoll. (`weft::File`, in examples/fs, is what programs normally use.)
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <weft/weft.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

// `weft::io` has the system calls, one operation each: a write may be short, as in C.
weft::Coro<void> write_all(int file, std::string_view text, std::uint64_t offset) {
    while (!text.empty()) {
        const std::size_t count = co_await weft::io::write_at(file, text, offset);
        text.remove_prefix(count);
        offset += count;
    }
}

weft::Coro<std::string> read_all(int file) {
    std::string text;
    char piece[16];
    for (;;) {
        const std::size_t count = co_await weft::io::read_at(file, piece, text.size());
        if (count == 0) co_return text;
        text.append(piece, count);
    }
}

weft::Coro<void> write_and_read() {
    const std::string path = fmt::format("/tmp/weft-example-{}", ::getpid());
    weft::Fd file = co_await weft::io::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
    ::unlink(path.c_str());  // the file lives on until it is closed

    // Two places of one file at the same time.
    const auto first = weft::create_task(write_all(file.get(), "Two tasks wrote ", 0));
    const auto second = weft::create_task(write_all(file.get(), "this sentence.", 16));
    co_await first;
    co_await second;
    co_await weft::io::fsync(file.get());
    const std::string text = co_await read_all(file.get());
    fmt::print("{}\n", text);
    co_await weft::io::close(std::move(file));
}

int main() { weft::run(write_and_read()); }
