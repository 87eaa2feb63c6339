// SPDX-License-Identifier: MIT
// rungs: all
// Files as a whole: read, written, by lines, replaced at once, copied.
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <filesystem>
#include <string>
#include <vector>

#include <weft/fs/atomic_write.hpp>
#include <weft/fs/copy_file.hpp>
#include <weft/fs/directory.hpp>
#include <weft/fs/paths.hpp>
#include <weft/fs/temporary.hpp>
#include <weft/fs/whole_file.hpp>
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include "awaiting.hpp"
#include "descriptors.hpp"

namespace whole_file_test {

using namespace support;
using weft::create_task;
namespace files = weft::files;

namespace {

std::string letters(std::size_t size) {
    std::string text(size, '\0');
    for (std::size_t at = 0; at < size; ++at) text[at] = static_cast<char>('a' + at % 23);
    return text;
}

std::string text_now(const std::string& path) {
    const Fd file(checked(::open(path.c_str(), O_RDONLY | O_CLOEXEC), "open"));
    return text_to_end(file.get());
}
void put_now(const std::string& path, std::string_view text) {
    const Fd file(checked(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), "open"));
    put(file.get(), text);
}

weft::Coro<std::vector<std::string>> lines_of(std::string path, std::size_t limit = 1 << 20) {
    std::vector<std::string> lines;
    auto reading = weft::read_lines(path, limit);
    while (auto line = co_await reading.next()) lines.push_back(std::move(*line));
    co_return lines;
}

weft::Coro<std::size_t> number_of_entries(std::string path) {
    std::size_t count = 0;
    auto listing = files::entries(path);
    while (auto entry = co_await listing.next()) ++count;
    co_return count;
}

}  // namespace

WEFT_TEST_CASE("what is written into a file is what is read from it, of any size", "[files]") {
    weft::TemporaryDirectory folder = co_await weft::temporary_directory();
    const std::string path = folder.file("data");
    for (const std::size_t size : {0UL, 1UL, 511UL, 512UL, 513UL, 65'536UL, 300'001UL}) {
        CAPTURE(size);
        const std::string text = letters(size);
        co_await weft::write_file(path, text);
        const std::string back = co_await weft::read_text(path);
        CHECK((back == text));
        const std::vector<std::byte> bytes = co_await weft::read_file(path, size);
        CHECK(bytes.size() == size);
        co_await weft::append_file(path, "more");
        const std::string longer = co_await weft::read_text(path);
        CHECK((longer == text + "more"));
    }
    // Its size is not known before.
    const std::string status = co_await weft::read_text("/proc/self/status");
    CHECK(status.find("VmSize") != std::string::npos);
    bool overrun = false;
    try {
        co_await weft::read_text(path, 10);
    } catch (const weft::LimitOverrunError& error) {
        overrun = std::string_view(error.what()) ==
                  "read \"" + path + "\": no end within the limit of 10 bytes";
    }
    CHECK(overrun);
    co_await folder.close();
}

WEFT_TEST_CASE("lines come without their ends, however they lie in the buffers", "[files]") {
    weft::TemporaryDirectory folder = co_await weft::temporary_directory();
    const std::string path = folder.file("data");
    std::vector<std::string> expected{"", "one", "", letters(70'000), letters(200'000), "two"};
    for (std::size_t size = 0; size < 3000; size += 7) expected.push_back(letters(size));
    std::string text;
    for (const std::string& line : expected) text += line + "\n";
    co_await weft::write_file(path, text);
    std::vector<std::string> lines = co_await lines_of(path);
    CHECK((lines == expected));
    co_await weft::append_file(path, "no end");
    expected.push_back("no end");
    lines = co_await lines_of(path);
    CHECK((lines == expected));
    co_await weft::write_file(path, "");
    lines = co_await lines_of(path);
    CHECK(lines.empty());
    co_await weft::write_file(path, "12345\n123456\n");
    bool overrun = false;
    try {
        co_await lines_of(path, 5);
    } catch (const weft::LimitOverrunError&) {
        overrun = true;
    }
    CHECK(overrun);
}

WEFT_TEST_CASE("a file that is replaced keeps its permissions, and readers what they had",
               "[files]") {
    weft::TemporaryDirectory folder = co_await weft::temporary_directory();
    const std::string path = folder.file("data");
    co_await weft::atomic_write(path, "old");
    checked(::chmod(path.c_str(), 0600), "chmod");
    weft::File reader = co_await weft::open_file(path);
    const std::string text = letters(100'000);
    co_await weft::atomic_write(path, text);
    const std::string now = co_await weft::read_text(path);
    CHECK((now == text));
    char old[8];
    const std::size_t got = co_await reader.read(old);
    CHECK(std::string(old, got) == "old");
    weft::FileInfo info = co_await files::stat(path);
    CHECK(info.permissions() == 0600);
    weft::AtomicWriteOptions options;
    options.permissions = 0640;
    options.sync = false;
    co_await weft::atomic_write(path, "new", options);
    info = co_await files::stat(path);
    CHECK(info.permissions() == 0640);
    const std::size_t count = co_await number_of_entries(folder.path());
    CHECK(count == 1);
    // In the working directory, and where there is no directory or only one.
    const Failure missing =
        co_await failure([&] { return weft::atomic_write(folder.file("none/data"), "x"); });
    CHECK(missing.error == ENOENT);
    CHECK(missing.names("open \"" + folder.file("none/") + "\""));
    const Failure slash = co_await failure([&] { return weft::atomic_write("/tmp/", "x"); });
    CHECK(slash.error == EISDIR);
}

WEFT_TEST_CASE("an atomic_write that is cancelled or fails leaves the old content and nothing else",
               "[files]") {
    weft::TemporaryDirectory folder = co_await weft::temporary_directory();
    const std::string path = folder.file("data");
    const std::string text = letters(50'000);
    bool always_new = false;
    int cancelled = 0;
    for (int before = 0; before < 200 && !always_new; ++before) {
        put_now(path, "old");
        auto writing =
            create_task([&]() -> weft::Coro<void> { co_await weft::atomic_write(path, text); });
        co_await turns(before);
        always_new = writing.done();
        writing.cancel();
        const End end = co_await ending(std::move(writing));
        cancelled += end == End::cancelled;
        CHECK((end == End::value || end == End::cancelled));
        const std::string now = text_now(path);
        CHECK((now == text || (end == End::cancelled && now == "old")));
        const std::size_t count = co_await number_of_entries(folder.path());
        CHECK(count == 1);
    }
    CHECK(cancelled > 5);
    // (A directory is in the way of the rename.)
    co_await files::mkdir(folder.file("full"));
    co_await weft::write_file(folder.file("full/x"), "");
    const Failure failed =
        co_await failure([&] { return weft::atomic_write(folder.file("full"), "x"); });
    CHECK(failed.error == EISDIR);
    CHECK(failed.names("rename to \"" + folder.file("full") + "\""));
    // (What others have open under a name, a device for instance, is not taken from them.)
    checked(::mkfifo(folder.file("fifo").c_str(), 0600), "mkfifo");
    const Failure special =
        co_await failure([&] { return weft::atomic_write(folder.file("fifo"), "x"); });
    CHECK(special.error == EINVAL);
    CHECK(special.names("rename to \"" + folder.file("fifo") + "\": no regular file"));
    struct stat still {};
    checked(::stat(folder.file("fifo").c_str(), &still), "stat");
    CHECK(S_ISFIFO(still.st_mode));
    const std::size_t count = co_await number_of_entries(folder.path());
    CHECK(count == 3);
    co_await files::symlink("fifo", folder.file("link"));
    co_await weft::atomic_write(folder.file("link"), "x");
    const std::string linked = co_await weft::read_text(folder.file("link"));
    CHECK(linked == "x");
}

TEST_CASE("the temporary file of an atomic_write goes with a loop that goes at any step",
          "[files]") {
    Folder folder;
    const std::string path = folder.file("data");
    const std::string text = letters(50'000);
    const auto nothing_else = [&] {
        std::size_t count = 0;
        for (const auto& each : std::filesystem::directory_iterator(folder.path()))
            count += each.path() != path;
        return count == 0;
    };
    int left_behind = 0;
    weft::testing::kill_at_every_step([&]() -> weft::Coro<void> {
        left_behind += !nothing_else();
        put_now(path, "old");
        co_await weft::atomic_write(path, text);
    });
    left_behind += !nothing_else();
    CHECK(left_behind == 0);
}

TEST_CASE("an atomic_write that is killed at any step leaves the old or the new content",
          "[files]") {
    Folder folder;
    const std::string path = folder.file("data");
    const std::string text = letters(50'000);
    bool reached_end = false;
    int old = 0;
    for (std::uint64_t ways = 0; !reached_end && ways < 300; ++ways) {
        put_now(path, "old");
        const pid_t child = checked(::fork(), "fork");
        if (child == 0) {
            weft::EventLoop loop(weft::testing::options());
            auto writing = loop.create_task(
                [&]() -> weft::Coro<void> { co_await weft::atomic_write(path, text); });
            // After each step of the task, and while what it has begun is under way.
            const std::uint64_t last = loop.step() + ways / 3;
            while (loop.step() < last && !writing.done()) loop.run_once();
            for (std::uint64_t turn = 0; turn < ways % 3; ++turn) loop.run_once();
            if (writing.done()) ::_exit(0);
            ::kill(::getpid(), SIGKILL);
        }
        int status = 0;
        checked(::waitpid(child, &status, 0), "waitpid");
        reached_end = WIFEXITED(status);
        const std::string now = text_now(path);
        CHECK((now == "old" || now == text));
        old += now == "old";
    }
    CHECK(reached_end);
    CHECK(old > 3);
    // What the killed ones have left.
    weft::testing::run([&]() -> weft::Coro<void> {
        auto listing = files::entries(folder.path());
        while (auto entry = co_await listing.next()) {
            const std::string name = entry->name();
            CHECK((name == "data" || (name.substr(0, 6) == ".data." && name.size() == 26)));
            if (name != "data") co_await files::remove(entry->path());
        }
    });
}

WEFT_TEST_CASE("a copy has the content and permissions, also of what has no size before",
               "[files]") {
    weft::TemporaryDirectory folder = co_await weft::temporary_directory();
    const std::string from = folder.file("from");
    const std::string to = folder.file("to");
    const std::string text = letters(9'000'000);
    co_await weft::write_file(from, text, 0640);
    std::uint64_t count = co_await files::copy(from, to);
    CHECK(count == text.size());
    std::string copied = co_await weft::read_text(to);
    CHECK((copied == text));
    const weft::FileInfo info = co_await files::stat(to);
    CHECK(info.permissions() == 0640);
    // Also where there was a file for others to read; and a device is written.
    const std::string other = folder.file("other");
    co_await weft::write_file(other, "for everybody", 0666);
    count = co_await files::copy(from, other);
    const weft::FileInfo replaced = co_await files::stat(other);
    CHECK(replaced.permissions() == 0640);
    count = co_await files::copy(from, "/dev/null");
    CHECK(count == text.size());
    const Failure itself = co_await failure([&] { return files::copy(to, to); });
    CHECK(itself.error == EINVAL);
    count = co_await files::copy("/proc/version", to);
    copied = co_await weft::read_text(to);
    CHECK(count == copied.size());
    CHECK(copied.find("Linux") == 0);
}

}  // namespace whole_file_test
