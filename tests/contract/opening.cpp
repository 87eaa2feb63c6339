// SPDX-License-Identifier: MIT
// Opening what makes an open wait: a FIFO without its other end, a file under lease.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include <weft/deadline/move_on_after.hpp>
#include <weft/net/io.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include "awaiting.hpp"
#include "descriptors.hpp"

namespace opening_test {

using namespace support;
using weft::create_task;
namespace io = weft::io;

namespace {

std::string fifo_in(Folder& folder, const std::string& name = "fifo") {
    std::string path = folder.file(name);
    checked(::mkfifo(path.c_str(), 0600), "mkfifo");
    return path;
}

weft::Coro<int> open_flags(std::string path, int flags) {
    const weft::Fd fd = co_await io::open(path, flags);
    co_return ::fcntl(fd.get(), F_GETFL);
}
weft::Coro<weft::Fd> open_it(std::string path, int flags) {
    co_return co_await io::open(path, flags);
}

constexpr int ways_to_write[] = {O_WRONLY, O_WRONLY | O_CREAT, O_WRONLY | O_TRUNC,
                                 O_WRONLY | O_CREAT | O_TRUNC | O_APPEND};

}  // namespace

WEFT_TEST_CASE("an open of a FIFO for writing waits for a reader", "[opening]") {
    for (const int flags : ways_to_write) {
        CAPTURE(flags);
        Folder folder;
        const std::string path = fifo_in(folder);
        auto writer = create_task(open_it, path, flags);
        co_await weft::sleep(std::chrono::milliseconds(30));
        CHECK_FALSE(writer.done());
        const weft::Fd reader = co_await io::open(path, O_RDONLY);
        const weft::Fd written = co_await std::move(writer);
        CHECK((::fcntl(written.get(), F_GETFL) & O_NONBLOCK) == 0);
        CHECK((::fcntl(reader.get(), F_GETFL) & O_NONBLOCK) == 0);
        co_await write_all(written.get(), "through");
        const std::string text = co_await read_some(reader.get(), 64);
        CHECK(text == "through");
    }
}

WEFT_TEST_CASE("an open that waits can be cancelled and leaves no descriptor", "[opening]") {
    Folder folder;
    const std::string path = fifo_in(folder);
    for (const int flags : ways_to_write) {
        for (int before = 0; before < 4; ++before) {
            CAPTURE(flags, before);
            auto writer = create_task(open_it, path, flags);
            co_await turns(before);
            writer.cancel();
            const End end = co_await ending(std::move(writer));
            CHECK(end == End::cancelled);
        }
        CAPTURE(flags);
        const auto nothing =
            co_await weft::move_on_after(std::chrono::milliseconds(20), io::open(path, flags));
        CHECK_FALSE(nothing);
    }
}

WEFT_TEST_CASE("opens that wait hold up no other operation on files", "[opening]") {
    Folder folder;
    std::vector<weft::Task<weft::Fd>> waiting;
    for (int index = 0; index < 40; ++index) {
        const std::string path = fifo_in(folder, "fifo" + std::to_string(index));
        waiting.push_back(create_task(open_it, path, O_WRONLY | O_CREAT | O_TRUNC));
    }
    co_await turns(5);
    const std::string path = folder.file("plain");
    const weft::Fd file = co_await io::open(path, O_RDWR | O_CREAT | O_TRUNC);
    co_await write_all(file.get(), "text");
    co_await io::fsync(file.get());
    for (auto& task : waiting) CHECK_FALSE(task.done());
    for (auto& task : waiting) task.cancel();
    for (auto& task : waiting) {
        const End end = co_await ending(std::move(task));
        CHECK(end == End::cancelled);
    }
}

WEFT_TEST_CASE("an open that asks not to wait does not", "[opening]") {
    Folder folder;
    const std::string path = fifo_in(folder);
    for (const int flags : ways_to_write) {
        CAPTURE(flags);
        const Failure failed = co_await failure([&] { return io::open(path, flags | O_NONBLOCK); });
        CHECK(failed.error == ENXIO);
    }
    const int flags = co_await open_flags(path, O_RDONLY | O_NONBLOCK);
    CHECK((flags & O_NONBLOCK) != 0);
}

WEFT_TEST_CASE("what is no FIFO and has nobody behind it is ENXIO at once", "[opening]") {
    Folder folder;
    const std::string path = folder.file("socket");
    const weft::Fd socket = new_socket(AF_UNIX);
    const Address at = Address::unix_path(path);
    checked(::bind(socket.get(), at.data(), at.size()), "bind");
    const Failure failed = co_await failure([&] { return io::open(path, O_WRONLY); });
    CHECK(failed.error == ENXIO);
}

WEFT_TEST_CASE("an open leaves no flag on the file that was not asked for", "[opening]") {
    Folder folder;
    const std::string path = folder.file("plain");
    for (const int flags : {O_RDWR | O_CREAT | O_TRUNC, O_RDWR | O_CREAT | O_APPEND, O_RDONLY}) {
        CAPTURE(flags);
        const int got = co_await open_flags(path, flags);
        CHECK((got & O_NONBLOCK) == 0);
        CHECK((got & O_APPEND) == (flags & O_APPEND));
    }
}

WEFT_TEST_CASE("an open of a file whose lease is being broken waits for it, and holds up nobody",
               "[opening]") {
    const auto before = ::signal(SIGIO, SIG_IGN);  // tells the holder to let go
    Folder folder;
    const std::string path = folder.file("leased");
    const weft::Fd holder(
        checked(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600), "open"));
    checked(::fcntl(holder.get(), F_SETLEASE, F_WRLCK), "fcntl F_SETLEASE");
    auto opening = create_task(open_it, path, O_RDONLY);
    co_await weft::sleep(std::chrono::milliseconds(20));
    CHECK_FALSE(opening.done());
    const std::string other = folder.file("other");
    const weft::Fd file = co_await io::open(other, O_RDWR | O_CREAT);
    co_await io::fsync(file.get());
    checked(::fcntl(holder.get(), F_SETLEASE, F_UNLCK), "fcntl F_SETLEASE");
    const weft::Fd opened = co_await std::move(opening);
    CHECK(opened.get() >= 0);
    ::signal(SIGIO, before);
}

}  // namespace opening_test
