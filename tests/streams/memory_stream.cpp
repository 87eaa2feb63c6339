// SPDX-License-Identifier: MIT
#include <weft/testing/catch.hpp>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include <weft/weft.hpp>

namespace memory_stream_test {
namespace {

using weft::Coro;
using weft::Stream;
using weft::StreamPair;

Coro<int> error_of(Coro<void> coro) {
    try {
        co_await std::move(coro);
    } catch (const std::system_error& error) {
        co_return error.code().value();
    }
    co_return 0;
}
Coro<void> write(Stream& to, std::string text) { co_await to.write(text); }
Coro<void> read_line(Stream& from) { (void)co_await from.read_line(); }

WEFT_TEST_CASE(
    "a memory stream holds what its capacity allows, and its writer waits for the rest") {
    StreamPair pair = weft::memory_stream(4);
    weft::Task<void> writing = weft::create_task(write, std::ref(pair.near), "123456789\n");
    for (int turn = 0; turn < 5; ++turn) co_await weft::yield();
    char two[2];
    const auto first = pair.far.try_read(two);
    CHECK(first == 2);
    CHECK(!writing.done());
    const std::string rest = co_await pair.far.read_line();
    co_await writing;
    CHECK(std::string(two, 2) + rest == "123456789\n");
    const auto nothing = pair.far.try_read(two);
    CHECK(!nothing);
}

WEFT_TEST_CASE("a memory stream that was closed is read to its end, and refuses with EPIPE") {
    StreamPair pair = weft::memory_stream();
    co_await pair.near.write("last words\n");
    co_await pair.near.close();
    const std::string line = co_await pair.far.read_line();
    const std::string end = co_await pair.far.read_line();
    const int error = co_await error_of(write(pair.far, "x"));
    CHECK(line == "last words\n");
    CHECK(end.empty());
    CHECK(error == EPIPE);
}

WEFT_TEST_CASE("an aborted memory stream is ECONNRESET for its peer, behind what was written") {
    StreamPair pair = weft::memory_stream();
    co_await pair.near.write("last words\n");
    pair.near.abort();
    const std::string line = co_await pair.far.read_line();
    const int read_error = co_await error_of(read_line(pair.far));
    const int write_error = co_await error_of(write(pair.far, "x"));
    CHECK(line == "last words\n");
    CHECK(read_error == ECONNRESET);
    CHECK(write_error == ECONNRESET);
}

WEFT_TEST_CASE("a memory stream that goes while somebody reads it is at its end for its peer") {
    StreamPair pair = weft::memory_stream();
    weft::Task<std::string> reading;
    {
        Stream gone = std::move(pair.near);
        reading = weft::create_task(
            [](Stream& stream) -> Coro<std::string> { return stream.read_line(); }, std::ref(gone));
        for (int turn = 0; turn < 3; ++turn) co_await weft::yield();
    }
    const int error = co_await error_of(
        [](weft::Task<std::string> task) -> Coro<void> { co_await task; }(reading));
    const std::string end = co_await pair.far.read_line();
    CHECK(error == ECANCELED);
    CHECK(end.empty());
}

WEFT_TEST_CASE("a memory stream has no descriptor and names itself in its errors") {
    StreamPair pair = weft::memory_stream();
    CHECK(pair.near.fd() == -1);
    co_await pair.far.close();
    std::string text;
    try {
        co_await pair.near.write("x");
    } catch (const std::system_error& error) {
        text = error.what();
    }
    CHECK(text.starts_with("write memory stream"));
}

}  // namespace
}  // namespace memory_stream_test
