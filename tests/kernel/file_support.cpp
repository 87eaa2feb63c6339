// SPDX-License-Identifier: MIT
// program: own
// What programs that use no files leave out.
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include <weft/net/io.hpp>
#include <weft/net/stream.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>
#include <weft/testing/catch.hpp>

namespace file_support_test {

bool is_known() { return weft::detail::known_file_support.load() != nullptr; }

// (In one case, since the first operation on a file decides for the rest of the program.)
TEST_CASE("the helper threads come with the first operation on a file, and not with sockets",
          "[files]") {
    const auto talks = []() -> weft::Coro<void> {
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
        weft::Stream here{weft::Fd(ends[0])};
        weft::Stream there{weft::Fd(ends[1])};
        std::array<char, 8> buffer{};
        co_await here.write(weft::ConstBuffer("hello", 5));
        const std::size_t count = co_await there.read(buffer);
        CHECK(count == 5);
        co_await weft::sleep(std::chrono::milliseconds(1));
        co_await here.close();
        const std::size_t at_end = co_await there.read(buffer);
        CHECK(at_end == 0);
        co_await there.close();
    };
    weft::run(talks);
    CHECK(!is_known());

    const auto reads = []() -> weft::Coro<void> {
        std::array<char, 1> buffer{};
        weft::Fd file = co_await weft::io::open("/proc/self/stat", O_RDONLY);
        const std::size_t count = co_await weft::io::read(file.get(), buffer);
        CHECK(count == 1);
        co_await weft::io::close(std::move(file));
    };
    weft::run(reads);
    CHECK(is_known());
}

}  // namespace file_support_test
