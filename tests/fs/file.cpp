// SPDX-License-Identifier: MIT
// labels: threads
// rungs: all
// File: transfers that are whole, their errors, what happens to a file that goes, and locks.
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <string>
#include <vector>

#include <weft/fs/file.hpp>
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include "awaiting.hpp"
#include "descriptors.hpp"

namespace file_test {

using namespace support;
using weft::ConstBuffer;
using weft::create_task;
using weft::File;
using weft::FileLock;
using weft::MutableBuffer;
using weft::open_file;
using weft::OpenMode;
using weft::Seek;

namespace {

constexpr OpenMode fresh = OpenMode::read_write | OpenMode::create | OpenMode::truncate;

weft::Coro<std::string> text_at(File& file, std::uint64_t offset, std::size_t size) {
    std::string text(size, '\0');
    const std::size_t got = co_await file.read_at(text, offset);
    text.resize(got);
    co_return text;
}

std::string pattern(std::size_t size) {
    std::string text(size, '\0');
    for (std::size_t at = 0; at < size; ++at) text[at] = static_cast<char>('a' + at % 23);
    return text;
}

}  // namespace

TEST_CASE("modes are the flags of open(2)", "[file]") {
    CHECK(OpenMode::read.flags() == O_RDONLY);
    CHECK((OpenMode::read | OpenMode::write).flags() == O_RDWR);
    CHECK((OpenMode::read | OpenMode::write) == OpenMode::read_write);
    CHECK(OpenMode::append.flags() == (O_WRONLY | O_APPEND));
    CHECK((OpenMode::write | OpenMode::create_new).flags() == (O_WRONLY | O_CREAT | O_EXCL));
    CHECK(OpenMode(O_RDWR | O_SYNC).flags() == (O_RDWR | O_SYNC));
    CHECK((OpenMode::create | OpenMode::direct).flags() == (O_RDONLY | O_CREAT | O_DIRECT));
}

WEFT_TEST_CASE("a file is read and written at an offset and at its own position", "[file]") {
    Folder folder;
    File file = co_await open_file(folder.file("data"), fresh);
    const std::size_t written = co_await file.write("hello ");
    CHECK(written == 6);
    co_await file.write("world");
    CHECK(file.position() == 11);
    co_await file.write_at("W", 6);
    CHECK(file.position() == 11);
    CHECK(file.seek(-5, Seek::end) == 6);
    std::string word(64, '\0');
    const std::size_t got = co_await file.read(word);
    CHECK(word.substr(0, got) == "World");
    const std::size_t end = co_await file.read(word);
    CHECK(end == 0);
    const std::string whole = co_await text_at(file, 0, 64);
    CHECK(whole == "hello World");
    co_await file.close();
    CHECK_FALSE(file.is_open());
    co_await file.close();

    File more = co_await open_file(folder.path() + "/data", OpenMode::append);
    co_await more.write("!");
    const weft::FileInfo info = co_await more.stat();
    CHECK(info.size() == 12);
    CHECK(info.is_file());
    CHECK(info.links() == 1);
}

WEFT_TEST_CASE("an offset that no file has is refused, and is not the file's own position",
               "[file]") {
    Folder folder;
    File file = co_await open_file(folder.file("data"), fresh);
    co_await file.write("kept");
    file.seek(0);
    std::string text = "lost";
    std::vector<MutableBuffer> pieces{MutableBuffer(text)};
    for (const std::uint64_t far : {~std::uint64_t{0}, std::uint64_t{1} << 63}) {
        std::vector<Failure> failures;
        failures.push_back(co_await failure([&] { return file.write_at(text, far); }));
        failures.push_back(co_await failure([&] { return file.read_at(text, far); }));
        failures.push_back(co_await failure([&] { return file.writev_at(pieces, far); }));
        failures.push_back(co_await failure([&] { return file.readv_at(pieces, far); }));
        failures.push_back(
            co_await failure([&] { return weft::io::write_at(file.fd(), text, far); }));
        failures.push_back(
            co_await failure([&] { return weft::io::read_at(file.fd(), text, far); }));
        for (const Failure& refused : failures) CHECK(refused.error == EINVAL);
    }
    CHECK(file.position() == 0);
    const std::string whole = co_await text_at(file, 0, 64);
    CHECK(whole == "kept");
}

WEFT_TEST_CASE("size, room and metadata of a file are changed and asked for", "[file]") {
    Folder folder;
    File file = co_await open_file(folder.file("data"), fresh, 0640);
    co_await file.write(pattern(1000));
    co_await file.truncate(10);
    weft::FileInfo info = co_await file.stat();
    CHECK(info.size() == 10);
    CHECK(info.permissions() == 0640);
    CHECK(info.modified().count() > 0);
    co_await file.truncate(20);
    const std::string zeros = co_await text_at(file, 8, 64);
    CHECK(zeros == pattern(1000).substr(8, 2) + std::string(10, '\0'));
    co_await file.allocate(0, 100'000);
    info = co_await file.stat();
    CHECK(info.size() == 100'000);
    CHECK(info.allocated() >= 100'000);
    co_await file.datasync();
    co_await file.sync();
}

WEFT_TEST_CASE("several buffers are read and written as one, whatever their number", "[file]") {
    Folder folder;
    File file = co_await open_file(folder.file("data"), fresh);
    // More than one call takes (IOV_MAX), with empty ones in between.
    std::vector<std::string> parts;
    std::string whole;
    for (int number = 0; number < 2500; ++number) {
        parts.push_back(number % 7 ? pattern(static_cast<std::size_t>(number) % 50) : "");
        whole += parts.back();
    }
    const std::size_t written = co_await file.writev(parts);
    CHECK(written == whole.size());
    co_await file.writev_at(parts, whole.size());
    const std::string twice = co_await text_at(file, 0, 3 * whole.size());
    CHECK(twice == whole + whole);

    std::string first(100, '\0');
    std::string second(whole.size(), '\0');
    const std::vector<MutableBuffer> into{MutableBuffer(first), MutableBuffer(second)};
    const std::size_t got = co_await file.readv_at(into, 50);
    CHECK(got == first.size() + second.size());
    CHECK(first + second == twice.substr(50, got));
    file.seek(0);
    co_await file.readv(into);
    const std::size_t rest = co_await file.readv(into);
    CHECK(rest == whole.size() - first.size());
    CHECK(first + second.substr(0, rest - first.size()) ==
          twice.substr(first.size() + second.size()));
    const std::vector<MutableBuffer> none;
    const std::size_t nothing = co_await file.readv_at(none, 0);
    CHECK(nothing == 0);
}

WEFT_TEST_CASE("what was read into is written from, as the same buffer", "[file]") {
    Folder folder;
    File file = co_await open_file(folder.file("data"), fresh);
    co_await file.write("once");
    std::string text(4, '\0');
    const std::vector<MutableBuffer> pieces{MutableBuffer(text)};
    co_await file.readv_at(pieces, 0);
    co_await file.write(pieces[0]);
    co_await file.writev(pieces);
    const std::string whole = co_await text_at(file, 0, 64);
    CHECK(whole == "onceonceonce");
}

WEFT_TEST_CASE("a pipe opened as a file gives what it has, and takes all", "[file]") {
    Pair ends = pipe_pair();
    File reader(std::move(ends.a));
    File writer(std::move(ends.b));
    const std::string text = pattern(200'000);  // more than fits into it
    const std::vector<std::string> halves{text.substr(0, 50'000), text.substr(50'000)};
    auto writing = create_task([&]() -> weft::Coro<std::size_t> {
        const std::size_t count = co_await writer.writev(halves);
        co_await writer.close();
        co_return count;
    });
    std::string all;
    std::string piece(70'000, '\0');
    for (;;) {
        const std::size_t got = co_await reader.read(piece);
        if (got == 0) break;
        all.append(piece, 0, got);
    }
    CHECK(all == text);
    const std::size_t count = co_await writing;
    CHECK(count == text.size());
}

WEFT_TEST_CASE("operations at the file's own position keep their order", "[file]") {
    Folder folder;
    File file = co_await open_file(folder.file("data"), fresh);
    std::string expected;
    std::vector<weft::Task<std::size_t>> writes;
    std::vector<std::string> texts;
    for (int number = 0; number < 200; ++number) texts.push_back(std::to_string(number) + ",");
    for (const std::string& text : texts) {
        expected += text;
        writes.push_back(
            create_task([&]() -> weft::Coro<std::size_t> { co_return co_await file.write(text); }));
    }
    for (auto& write : writes) co_await write;
    const std::string got = co_await text_at(file, 0, 10'000);
    CHECK(got == expected);
    CHECK(file.position() == expected.size());
    // Those that wait in line can be cancelled, or are ended by a close.
    file.seek(0);
    std::vector<weft::Task<void>> reads;
    std::vector<std::string> pieces;  // in the order in which they were asked for
    for (int number = 0; number < 30; ++number) {
        reads.push_back(create_task([&]() -> weft::Coro<void> {
            char piece[10];
            co_await file.write_at("x", 5000);  // so that something is under way
            const std::size_t place = pieces.size();
            pieces.emplace_back();
            const std::size_t count = co_await file.read(piece);
            pieces[place].assign(piece, count);
            co_await file.write("");
        }));
    }
    co_await turns(3);
    for (std::size_t number = 0; number < 30; number += 3) reads[number].cancel();
    co_await turns(2);
    for (std::size_t number = 0; number < 30; number += 3) {
        const End end = co_await ending(std::move(reads[number]));
        CHECK((end == End::value || end == End::cancelled));
    }
    co_await reads[1];
    co_await file.close();
    for (std::size_t number = 2; number < 30; number += number % 3 == 1 ? 1U : 2U) {
        const End end = co_await ending(std::move(reads[number]));
        CHECK((end == End::value || end == End::closed || end == End::failed));
    }
    std::string read;
    for (const std::string& piece : pieces) read += piece;
    CHECK(read == expected.substr(0, read.size()));
}

WEFT_TEST_CASE("an error names the call and the path, and how far it came", "[file]") {
    Folder folder;
    const std::string path = folder.file("data");
    const Failure missing = co_await failure([&] { return open_file(path); });
    CHECK(missing.error == ENOENT);
    CHECK(missing.names("open \"" + path + "\": "));
    const std::string zero("a\0b", 3);
    CHECK_THROWS_AS(open_file(zero), std::system_error);

    File file = co_await open_file(path, OpenMode::write | OpenMode::create);
    char byte[1];
    const Failure unreadable = co_await failure([&] { return file.read_at(byte, 0); });
    CHECK(unreadable.error == EBADF);
    CHECK(unreadable.names("read \"" + path + "\": "));
    const Failure endless = co_await failure([&] { return file.truncate(~std::uint64_t{0}); });
    CHECK(endless.error == EINVAL);
    CHECK(endless.names("ftruncate \"" + path + "\": "));
    co_await file.close();
    const Failure closed = co_await failure([&] { return file.write("x"); });
    CHECK(closed.error == EBADF);
    CHECK(closed.names("write \"" + path + "\" (the file was closed): "));

    File moved = std::move(file);
    CHECK_THROWS_AS(file.write("x"), weft::RuntimeError);
    CHECK(file.fd() == -1);
}

WEFT_TEST_CASE("a disk that is full loses nothing that was written", "[file]") {
    Folder folder;
    const std::string path = folder.file("data");
    File file = co_await open_file(path, fresh);
    // As the limit of a file's size, which ends a write in the middle like a full disk does.
    const auto before = std::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{};
    checked(::getrlimit(RLIMIT_FSIZE, &limit), "getrlimit");
    const rlimit small{10'000, limit.rlim_max};
    checked(::setrlimit(RLIMIT_FSIZE, &small), "setrlimit");
    const std::string text = pattern(8000);
    const std::size_t first = co_await file.write(text);
    const Failure full = co_await failure([&] { return file.write(text); });
    checked(::setrlimit(RLIMIT_FSIZE, &limit), "setrlimit");
    std::signal(SIGXFSZ, before);
    CHECK(first == text.size());
    CHECK(full.error == EFBIG);
    CHECK(full.names("write \"" + path + "\": after 2000 of 8000 bytes: "));
    const std::string got = co_await text_at(file, 0, 20'000);
    const bool kept = got == text + text.substr(0, 2000);
    CHECK(kept);
    CHECK(file.position() == 10'000);

    File device = co_await open_file("/dev/full", OpenMode::write);
    const Failure no_space = co_await failure([&] { return device.write("x"); });
    CHECK(no_space.error == ENOSPC);
    CHECK(no_space.names("write \"/dev/full\": "));
}

WEFT_TEST_CASE("a misaligned transfer with O_DIRECT says what is not aligned", "[file]") {
    Folder folder;
    const std::string path = folder.file("data");
    File plain = co_await open_file(path, fresh);
    co_await plain.write(pattern(10'000));
    File file = co_await open_file(path, OpenMode::read | OpenMode::direct);
    const std::size_t block = file.alignment();
    std::vector<char> memory(3 * 4096 + 1);
    const auto start = reinterpret_cast<std::uintptr_t>(memory.data());
    char* const page = memory.data() + (4096 - start % 4096) % 4096;
    const Failure failed =
        co_await failure([&] { return file.read_at(MutableBuffer(page + 1, 4096), 4096); });
    CHECK(failed.error == EINVAL);
    CHECK(failed.names("read \"" + path +
                       "\": misaligned for O_DIRECT: offset 4096, 4096 bytes, "
                       "memory 1 bytes behind the begin of a page: each has to be a multiple of " +
                       std::to_string(block)));
    // The last part of the file is no whole block, and its end is found all the same.
    const std::size_t got = co_await file.read_at(MutableBuffer(page, 8192), 8192);
    CHECK(got == 10'000 - 8192);
    CHECK(std::string(page, got) == pattern(10'000).substr(8192));
}

WEFT_TEST_CASE("a file that goes while an operation is under way is closed behind it", "[file]") {
    Folder folder;
    const std::string path = folder.file("data");
    for (int ways = 0; ways < 3; ++ways) {
        auto file = std::make_unique<File>(co_await open_file(path, fresh));
        const std::string text = pattern(100'000);
        auto write = create_task([&]() -> weft::Coro<std::size_t> {
            auto awaited = file->write_at(text, 0);
            co_return co_await awaited;
        });
        co_await turns(1);
        if (ways == 0) {
            file.reset();
        } else if (ways == 1) {
            File moved = std::move(*file);
        } else {
            co_await file->close();
        }
        const End end = co_await ending(std::move(write));
        CAPTURE(ways);
        CHECK((end == End::value || (ways == 2 && end == End::closed)));
    }
}

WEFT_TEST_CASE("what is cancelled at any turn happened or did not, and leaks nothing", "[file]") {
    Folder folder;
    const std::string path = folder.file("data");
    const std::string text = pattern(5000);
    const auto use = [&]() -> weft::Coro<int> {
        int done = 0;
        File file = co_await open_file(path, fresh);
        ++done;
        co_await file.write(text);
        co_await file.datasync();
        co_await file.lock();
        std::string back(text.size(), '\0');
        co_await file.read_at(back, 0);
        const weft::FileInfo info = co_await file.stat();
        co_await file.truncate(info.size() / 2);
        co_await file.unlock();
        co_return done;
    };
    int cancelled = 0;
    for (int round = 0; round < 120; ++round) {
        auto first = create_task(use);
        auto second = create_task(use);
        co_await turns(round % 40);
        first.cancel();
        const End end = co_await ending(std::move(first));
        CHECK((end == End::value || end == End::cancelled));
        cancelled += end == End::cancelled;
        const int done = co_await second;
        CHECK(done == 1);
    }
    CHECK(cancelled > 0);
}

WEFT_TEST_CASE("an advisory lock has one holder, or several who share it", "[file]") {
    Folder folder;
    const std::string path = folder.file("data");
    File first = co_await open_file(path, fresh);
    File second = co_await open_file(path, OpenMode::read);
    co_await first.lock(FileLock::shared);
    bool got = co_await second.try_lock(FileLock::shared);
    CHECK(got);
    got = co_await second.try_lock(FileLock::exclusive);
    CHECK_FALSE(got);
    co_await second.unlock();
    co_await first.lock();
    auto waiting = create_task([&]() -> weft::Coro<void> { co_await second.lock(); });
    co_await weft::sleep(std::chrono::milliseconds(50));
    CHECK_FALSE(waiting.done());
    co_await first.unlock();
    co_await waiting;
    got = co_await first.try_lock();
    CHECK_FALSE(got);
    co_await second.close();  // with it goes its lock
    got = co_await first.try_lock();
    CHECK(got);
    auto cancelled = create_task([&]() -> weft::Coro<void> {
        File third = co_await open_file(path, OpenMode::read);
        co_await third.lock();
    });
    co_await weft::sleep(std::chrono::milliseconds(30));
    cancelled.cancel();
    const End end = co_await ending(std::move(cancelled));
    CHECK(end == End::cancelled);
}

WEFT_TEST_CASE("more operations than helper threads are all done, in the midst of closes",
               "[file]") {
    Folder folder;
    const std::string path = folder.file("data");
    const std::string text = pattern(4096);
    std::vector<weft::Task<void>> tasks;
    for (std::uint64_t number = 0; number < 100; ++number) {
        tasks.push_back(create_task([&, number]() -> weft::Coro<void> {
            File file = co_await open_file(path, OpenMode::read_write | OpenMode::create);
            const std::uint64_t at = number * text.size();
            co_await file.write_at(text, at);
            if (number % 3 == 0) co_await file.datasync();
            const std::string back = co_await text_at(file, at, text.size());
            if (back != text) throw std::runtime_error("the file lost a write");
            co_await file.close();
        }));
    }
    for (auto& task : tasks) co_await task;
    File file = co_await open_file(path);
    const weft::FileInfo info = co_await file.stat();
    CHECK(info.size() == 100 * text.size());
}

TEST_CASE("a loop that ends in the midst of file operations leaves no descriptor", "[file]") {
    const weft::testing::DescriptorCensus before;
    Folder folder;
    const std::string path = folder.file("data");
    const auto use = [&]() -> weft::Coro<void> {
        File file = co_await open_file(path, fresh);
        co_await file.lock(FileLock::shared);
        co_await file.write(pattern(50'000));
        co_await file.sync();
        co_await file.truncate(5);
    };
    for (int turns = 0; turns < 25; ++turns) {
        weft::EventLoop loop(weft::testing::options());
        std::vector<weft::Task<void>> tasks;
        for (int number = 0; number < 12; ++number) tasks.push_back(loop.create_task(use));
        for (int turn = 0; turn < turns; ++turn) loop.run_once();
    }
    CHECK(before.leaked() == "");
}

}  // namespace file_test
