// SPDX-License-Identifier: MIT
// Follows a log like `tail -F`: prints the lines that come, and goes on with the next file when the
// log is rotated. Without an argument it follows a log that it writes itself.
#include <fmt/format.h>
#include <weft/fs.hpp>
#include <weft/weft.hpp>

#include <chrono>
#include <cstddef>
#include <string>
#include <utility>

using namespace std::chrono_literals;

class Tail {
public:
    explicit Tail(std::string path) : path_(std::move(path)) {}

    weft::Event follows;  // from here on it misses nothing

    /// Prints whole lines, up to the end of what is there now.
    weft::Coro<void> print_new(weft::File& file) {
        std::string piece(64 * 1024, '\0');
        for (;;) {
            const std::size_t got = co_await file.read(piece);
            if (got == 0) co_return;
            begun_.append(piece, 0, got);
            for (std::size_t end = 0; (end = begun_.find('\n')) != std::string::npos;) {
                fmt::print("{}\n", begun_.substr(0, end));
                lines_ += 1;
                begun_.erase(0, end + 1);
            }
        }
    }

    /// Until `count` lines were printed.
    weft::Coro<void> follow(int count) {
        const std::string directory = path_.substr(0, path_.rfind('/'));
        const std::string name = path_.substr(path_.rfind('/') + 1);
        // The directory, too: that is where the next file appears.
        weft::FileWatch watch = co_await weft::watch(directory);
        weft::File file = co_await weft::open_file(path_);
        follows.set();
        for (;;) {
            co_await print_new(file);
            if (lines_ >= count) co_return;
            auto event = co_await watch.next();
            if (!event) co_return;
            const bool is_next = event->is_created() || event->is_moved_here();
            if (event->name() != name || !is_next) continue;
            co_await print_new(file);  // what was written before it was moved away
            file = co_await weft::open_file(path_);
            fmt::print("-- the log was rotated\n");
        }
    }

private:
    std::string path_;
    std::string begun_;
    int lines_ = 0;
};

weft::Coro<void> write_log(std::string path, weft::Event& may_begin) {
    co_await may_begin.wait();
    for (int number = 1; number <= 6; ++number) {
        if (number == 4) co_await weft::files::rename(path, path + ".1");
        co_await weft::append_file(path, fmt::format("line {}\n", number));
        co_await weft::sleep(5ms);
    }
}

weft::Coro<void> follow_a_log_of_our_own() {
    weft::TemporaryDirectory scratch = co_await weft::temporary_directory();
    const std::string path = scratch.file("service.log");
    co_await weft::write_file(path, "line 0\n");
    Tail tail(path);
    co_await weft::gather(tail.follow(7), write_log(path, tail.follows));
    co_await scratch.close();
}

weft::Coro<void> follow_for_ever(std::string path) {
    Tail tail(std::move(path));
    co_await tail.follow(1 << 30);
}

int main(int argc, char** argv) {
    weft::run(argc > 1 ? follow_for_ever(argv[1]) : follow_a_log_of_our_own());
}
