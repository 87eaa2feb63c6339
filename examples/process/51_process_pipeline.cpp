// SPDX-License-Identifier: MIT
// A pipeline of processes, `this program | sort | uniq -c`: the programs are connected with each
// other by a pipe that this one does not touch, and with this one by streams.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <weft/process.hpp>
#include <weft/weft.hpp>

#include <cerrno>
#include <string>
#include <system_error>
#include <vector>

weft::Coro<void> write_words(weft::Stream& to) {
    for (const char* const word : {"weft\n", "warp\n", "weft\n", "loom\n", "weft\n"})
        co_await to.write(word);
    co_await to.close();  // or `sort` would wait for more
}

weft::Coro<void> count_words() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0)
        throw std::system_error(errno, std::system_category(), "pipe2");
    weft::Fd reading(ends[0]), writing(ends[1]);

    weft::ProcessOptions first;
    first.in = weft::Stdio::pipe();
    first.out = weft::Stdio::descriptor(writing.get());
    weft::Process sort = co_await weft::create_subprocess_exec("sort", first);
    weft::ProcessOptions second;
    second.in = weft::Stdio::descriptor(reading.get());
    second.out = weft::Stdio::pipe();
    weft::Process count = co_await weft::create_subprocess_exec("uniq", "-c", second);
    // Each has its own; with ours open, `uniq` would never see the end.
    reading.reset();
    writing.reset();

    const auto writer = weft::create_task(write_words(sort.in()));
    while (true) {
        const std::string line = co_await count.out().read_line();
        if (line.empty()) break;
        fmt::print("{}", line);
    }
    co_await writer;
    const weft::ExitStatus sorted = co_await sort.wait();
    const weft::ExitStatus counted = co_await count.wait();
    fmt::print("sort: {}, uniq: {}\n", sorted.to_string(), counted.to_string());
}

int main() { weft::run(count_words()); }
