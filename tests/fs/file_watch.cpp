// SPDX-License-Identifier: MIT
// FileWatch: what happens is told, once, in order, and a wait ends when its watch does.
// program: own
#include <dlfcn.h>
#include <poll.h>
#include <sys/stat.h>

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include <weft/fs/file.hpp>
#include <weft/fs/file_watch.hpp>
#include <weft/fs/paths.hpp>
#include <weft/fs/temporary.hpp>
#include <weft/fs/whole_file.hpp>
#include <weft/testing/catch.hpp>

#include "awaiting.hpp"
#include "descriptors.hpp"

namespace file_watch_test {
namespace {
// What happens right after a path was added, before its number is known to the loop.
std::atomic<void (*)(int fd)> after_adding{nullptr};
}  // namespace
}  // namespace file_watch_test

// In place of libc's.
extern "C" int inotify_add_watch(int fd, const char* path, std::uint32_t mask) noexcept {
    using Add = int (*)(int, const char*, std::uint32_t);
    static const auto libc = reinterpret_cast<Add>(::dlsym(RTLD_NEXT, "inotify_add_watch"));
    const int number = libc(fd, path, mask);
    if (auto* const then = file_watch_test::after_adding.exchange(nullptr)) then(fd);
    return number;
}

namespace file_watch_test {

using namespace support;
using weft::create_task;
using weft::FileEvent;
using weft::FileWatch;
namespace files = weft::files;

namespace {

weft::Coro<FileEvent> event_of(FileWatch& watch) {
    std::optional<FileEvent> event = co_await watch.next();
    if (!event) throw std::runtime_error("the watch is at its end");
    co_return std::move(*event);
}

}  // namespace

WEFT_TEST_CASE("what happens in a directory and to a file is told in order", "[watch]") {
    weft::TemporaryDirectory scratch = co_await weft::temporary_directory();
    const std::string file = scratch.file("data");
    FileWatch watch = co_await weft::watch(scratch.path());
    auto waiting = create_task([&]() -> weft::Coro<FileEvent> { return event_of(watch); });
    co_await turns(3);
    CHECK_FALSE(waiting.done());
    co_await weft::write_file(file, "text");
    FileEvent event = co_await waiting;
    CHECK(event.is_created());
    CHECK(event.name() == "data");
    CHECK(event.path() == scratch.path());
    CHECK_FALSE(event.is_directory());
    event = co_await event_of(watch);
    CHECK(event.is_modified());
    event = co_await event_of(watch);
    CHECK(event.is_written());

    co_await watch.add(file);
    co_await files::rename(file, scratch.file("other"));
    event = co_await event_of(watch);
    CHECK(event.is_moved_away());
    CHECK(event.name() == "data");
    const FileEvent second = co_await event_of(watch);
    CHECK(second.is_moved_here());
    CHECK(second.name() == "other");
    CHECK(second.pair() == event.pair());
    CHECK(second.pair() != 0);
    event = co_await event_of(watch);
    CHECK(event.path() == file);
    CHECK(event.is_moved_away());
    CHECK(event.name().empty());

    CHECK(watch.remove(file));
    CHECK_FALSE(watch.remove(file));
    co_await files::mkdir(scratch.file("sub"));
    event = co_await event_of(watch);
    CHECK((event.is_created() && event.is_directory() && event.name() == "sub"));

    const Failure missing = co_await failure([&] { return weft::watch(scratch.file("none")); });
    CHECK(missing.error == ENOENT);
    CHECK(missing.names("watch \"" + scratch.file("none") + "\": "));
}

std::string made_meanwhile;  // by the thread that adds

WEFT_TEST_CASE("what happens while a path is being added is told", "[watch]") {
    weft::TemporaryDirectory scratch = co_await weft::temporary_directory();
    const std::string second = scratch.file("second");
    co_await files::mkdir(second);
    FileWatch watch = co_await weft::watch(scratch.path(), IN_CREATE);
    auto waiting = create_task([&]() -> weft::Coro<FileEvent> { return event_of(watch); });
    co_await turns(3);
    made_meanwhile = second + "/made";
    after_adding = [](int fd) {
        Fd(::open(made_meanwhile.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)).reset();
        // Until the loop has taken the event, and nobody has told it whose that is.
        pollfd events{fd, POLLIN, 0};
        for (int looks = 0; looks < 5'000 && ::poll(&events, 1, 0) > 0; ++looks)
            ::poll(nullptr, 0, 1);
    };
    co_await watch.add(second, IN_CREATE);
    const FileEvent event = co_await waiting;
    CHECK(event.name() == "made");
    CHECK(event.path() == second);
}

WEFT_TEST_CASE("events that were not taken yet are not lost by a cancel", "[watch]") {
    weft::TemporaryDirectory scratch = co_await weft::temporary_directory();
    FileWatch watch = co_await weft::watch(scratch.path(), IN_CREATE);
    for (int round = 0; round < 40; ++round) {
        const std::string name = std::to_string(round);
        auto waiting = create_task([&]() -> weft::Coro<FileEvent> { return event_of(watch); });
        co_await turns(round % 4);
        const Fd file(checked(
            ::open(scratch.file(name).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600), "open"));
        if (round % 3 == 0) co_await weft::yield();
        waiting.cancel();
        co_await waiting.wait();
        if (waiting.cancelled()) {
            const FileEvent event = co_await event_of(watch);
            CHECK(event.name() == name);
        } else {
            CHECK(waiting.result().name() == name);
        }
    }
}

WEFT_TEST_CASE("a wait ends without an event when its watch is closed, moved over or destroyed",
               "[watch]") {
    weft::TemporaryDirectory scratch = co_await weft::temporary_directory();
    for (int ways = 0; ways < 3; ++ways) {
        CAPTURE(ways);
        std::optional<FileWatch> watch = co_await weft::watch(scratch.path());
        auto waiting = create_task([&]() -> weft::Coro<bool> {
            auto next = watch->next();
            const std::optional<FileEvent> event = co_await std::move(next);
            co_return event.has_value();
        });
        co_await turns(2);
        bool second_refused = false;
        try {
            co_await watch->next();
        } catch (const weft::RuntimeError&) {
            second_refused = true;
        }
        CHECK(second_refused);
        if (ways == 0) watch->close();
        if (ways == 1) *watch = FileWatch();
        if (ways == 2) watch.reset();
        const bool got = co_await waiting;
        CHECK_FALSE(got);
        if (ways != 0) continue;
        const std::optional<FileEvent> none = co_await watch->next();
        CHECK_FALSE(none.has_value());
    }
}

}  // namespace file_watch_test
