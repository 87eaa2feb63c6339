// SPDX-License-Identifier: MIT
#include <weft/testing/catch.hpp>

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <string>
#include <utility>

#include <weft/weft.hpp>
#include "../support/stream_pairs.hpp"

namespace send_file_test {
namespace {

using namespace std::chrono_literals;
using weft::Coro;
using weft::Fd;
using weft::Stream;
using weft::StreamPair;

StreamPair pair_of(int kind) {
    if (kind == 0) return weft::memory_stream();
    support::StreamPair pair =
        support::stream_pair(kind == 1 ? support::Transport::tcp : support::Transport::unix_pair);
    return StreamPair(std::move(pair.near), std::move(pair.far));
}
/// A file without a name that holds `text`.
Fd file_of(const std::string& text) {
    char path[] = "/tmp/weft-test-XXXXXX";
    Fd file(::mkstemp(path));
    ::unlink(path);
    REQUIRE(::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    return file;
}
Coro<std::string> read_count(Stream& from, std::size_t count) {
    co_return co_await from.read_exactly(count);
}

WEFT_TEST_CASE("a file goes out from an offset, as much as is asked for or there, in order") {
    std::string text;
    for (int index = 0; text.size() < 3'000'000; ++index) text += std::to_string(index) + ' ';
    const Fd file = file_of(text);
    for (int kind = 0; kind < 3; ++kind) {
        StreamPair pair = pair_of(kind);
        const std::string whole = "before" + text.substr(1000) + text.substr(10, 500);
        weft::Task<std::string> reading =
            weft::create_task(read_count, std::ref(pair.far), whole.size());
        const int flags = ::fcntl(pair.near.fd(), F_GETFL);
        co_await pair.near.write("before");
        const auto all = co_await weft::send_file(pair.near, file.get(), 1000);
        const auto some = co_await weft::send_file(pair.near, file.get(), 10, 500);
        const auto none = co_await weft::send_file(pair.near, file.get(), text.size());
        const std::string got = co_await reading;
        CHECK(all == text.size() - 1000);
        CHECK(some == 500);
        CHECK(none == 0);
        CHECK(pair.near.written() == whole.size());
        const bool is_whole = got == whole;
        CHECK(is_whole);
        CHECK(::fcntl(pair.near.fd(), F_GETFL) == flags);
    }
}

WEFT_TEST_CASE("a file that is cut off says how much of it was sent") {
    const std::string text(12'000'000, 'x');
    const Fd file = file_of(text);
    for (int kind = 0; kind < 3; ++kind) {
        StreamPair pair = pair_of(kind);
        const auto nothing =
            co_await weft::move_on_after(1s, weft::send_file(pair.near, file.get()));
        const auto sent = static_cast<std::size_t>(pair.near.written());
        CHECK(!nothing);
        CHECK(sent < text.size());
        co_await pair.near.close();
        const std::string got = co_await pair.far.read_all(text.size());
        CHECK(got.size() == sent);
    }
}

}  // namespace
}  // namespace send_file_test
