// SPDX-License-Identifier: MIT
// labels: threads
// File operations from many tasks, cancelled and closed at random: nothing is shared without a
// lock.
#include <weft/net/io.hpp>
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include <sys/stat.h>

#include "awaiting.hpp"
#include "descriptors.hpp"

namespace files_threads_test {

using namespace support;
using weft::create_task;
namespace io = weft::io;

namespace {

weft::Coro<void> use_file(const std::string& path, int number) {
    Fd fd = co_await io::open(path.c_str(), O_RDWR | O_CREAT);
    const std::string text(64, static_cast<char>('a' + number % 26));
    const auto at = static_cast<std::uint64_t>(number) * text.size();
    co_await io::write_at(fd.get(), text, at);
    co_await io::fdatasync(fd.get());
    std::string back(text.size(), '\0');
    const std::size_t got = co_await io::read_at(fd.get(), back, at);
    if (got != text.size() || back != text) throw std::runtime_error("the file lost a write");
    co_await io::close(std::move(fd));
}

}  // namespace

WEFT_TEST_CASE("file operations of many tasks at once are each done", "[files]") {
    Folder folder;
    const std::string path = folder.file("data");
    std::vector<weft::Task<void>> tasks;
    for (int number = 0; number < 50; ++number)
        tasks.push_back(create_task(use_file(path, number)));
    for (auto& task : tasks) co_await task;
}

WEFT_TEST_CASE("file operations cancelled at random end, and leak nothing", "[files]") {
    Folder folder;
    const std::string path = folder.file("data");
    int completed = 0;
    int cancelled = 0;
    for (int round = 0; round < 300; ++round) {
        std::vector<weft::Task<void>> tasks;
        for (int number = 0; number < 8; ++number)
            tasks.push_back(create_task(use_file(path, number)));
        co_await turns(round % 23);
        for (std::size_t index = round % 2 ? 1 : 0; index < tasks.size(); index += 2)
            tasks[index].cancel();
        for (auto& task : tasks) {
            const End end = co_await ending(task);
            CHECK((end == End::value || end == End::cancelled));
            ++(end == End::value ? completed : cancelled);
        }
    }
    CHECK(completed > 0);
    CHECK(cancelled > 0);
}

WEFT_TEST_CASE("a long write cancelled while it runs is done or did not happen", "[files]") {
    const Fd file = nameless_file();
    const std::string text(std::size_t{8} << 20, 'x');
    auto write = [&]() -> weft::Coro<std::size_t> {
        co_return co_await io::write_at(file.get(), text, 0);
    };
    for (int round = 0; round < 10; ++round) {
        checked(::ftruncate(file.get(), 0), "ftruncate");
        auto task = create_task(write);
        // The file grows once another thread has begun.
        struct stat status {};
        while (status.st_size == 0 && !task.done()) {
            co_await weft::yield();
            checked(::fstat(file.get(), &status), "fstat");
        }
        task.cancel();
        const End end = co_await ending(task);
        CHECK((end == End::value || end == End::cancelled));
        checked(::fstat(file.get(), &status), "fstat");
        const std::size_t written = end == End::value ? task.result() : 0;
        CHECK(static_cast<std::size_t>(status.st_size) == written);
    }
}

WEFT_TEST_CASE("writes at a file's own position are done in the order in which they began",
               "[files]") {
    const Fd file = nameless_file();
    const Fd other = nameless_file();
    std::string expected;
    std::vector<std::string> texts;
    std::vector<weft::Task<std::size_t>> writes;
    for (int number = 0; number < 300; ++number) texts.push_back(std::to_string(number) + ",");
    for (const std::string& text : texts) {
        const int fd = file.get();
        const int other_fd = other.get();
        expected += text;
        writes.push_back(create_task(
            [fd, &text]() -> weft::Coro<std::size_t> { co_return co_await io::write(fd, text); }));
        writes.push_back(create_task([other_fd, &text]() -> weft::Coro<std::size_t> {
            co_return co_await io::write_at(other_fd, text, 0);
        }));
    }
    co_await turns(2);
    for (std::size_t index = 101; index < writes.size(); index += 2) writes[index].cancel();
    for (auto& write : writes) {
        const End end = co_await ending(std::move(write));
        CHECK((end == End::value || end == End::cancelled));
    }
    std::string got(2 * expected.size(), '\0');
    got.resize(co_await io::read_at(file.get(), got, 0));
    CHECK(got == expected);
}

WEFT_TEST_CASE("a file closed under its operations ends them", "[files]") {
    for (int round = 0; round < 200; ++round) {
        Fd file = nameless_file("text");
        const int fd = file.get();
        auto write = [fd]() -> weft::Coro<void> { co_await io::write_at(fd, "x", 1); };
        std::vector<weft::Task<void>> tasks;
        for (int index = 0; index < 6; ++index) tasks.push_back(create_task(write));
        co_await turns(1 + round % 4);
        co_await io::close(std::move(file));
        for (auto& task : tasks) {
            const End end = co_await ending(task);
            CHECK((end == End::value || end == End::closed));
        }
    }
}

TEST_CASE("a loop destroyed in the middle of file operations waits for the thread", "[files]") {
    const weft::testing::DescriptorCensus before;
    Folder folder;
    const std::string path = folder.file("data");
    for (int turns = 0; turns < 40; ++turns) {
        weft::EventLoop loop(weft::testing::options());
        std::vector<weft::Task<void>> tasks;
        for (int number = 0; number < 8; ++number)
            tasks.push_back(loop.create_task(use_file(path, number)));
        for (int turn = 0; turn < turns; ++turn) loop.run_once();
    }
    CHECK(before.leaked() == "");
}

}  // namespace files_threads_test
