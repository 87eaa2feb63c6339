// SPDX-License-Identifier: MIT
// copy between sockets, by way of the kernel: what it moves, and what it does when it cannot.
// program: own
#include <weft/testing/catch.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <system_error>
#include <utility>

#include <weft/weft.hpp>
#include "../support/stream_pairs.hpp"

namespace splice_test {
namespace {

/// What the next calls of splice(2) meet.
struct {
    int calls = 0;
    int fail_at = 0;  // this call, counted from 1; 0: none
    int error = 0;
    std::function<void()> at_call;
} splices;

}  // namespace
}  // namespace splice_test

// In place of libc's.
extern "C" ssize_t splice(int in, loff_t* in_offset, int out, loff_t* out_offset, std::size_t size,
                          unsigned flags) {
    using splice_test::splices;
    ++splices.calls;
    if (splices.at_call) splices.at_call();
    if (splices.calls == splices.fail_at) {
        errno = splices.error;
        return -1;
    }
    return ::syscall(SYS_splice, in, in_offset, out, out_offset, size, flags);
}

namespace splice_test {
namespace {

using namespace std::chrono_literals;
using support::stream_pair;
using support::Transport;
using weft::Coro;
using weft::Stream;

class Splices {
public:
    Splices() { splices = {}; }
    Splices(const Splices&) = delete;
    Splices& operator=(const Splices&) = delete;
    ~Splices() { splices = {}; }
};

constexpr std::size_t bulk = 3 << 20;

/// No piece of it is like another one.
std::string numbered(std::size_t size) {
    std::string text(size, ' ');
    for (std::size_t at = 0; at < size; ++at)
        text[at] = static_cast<char>((at * 2654435761U + at / 251) >> 8);
    return text;
}
Coro<void> write_and_end(Stream& to, const std::string& text) {
    co_await to.write(text);
    co_await to.write_eof();
}
Coro<std::string> read_all(Stream& from) { co_return co_await from.read_all(bulk * 4); }
Coro<int> error_of_copy(Stream& from, Stream& to) {
    try {
        co_await weft::copy(from, to);
    } catch (const std::system_error& error) {
        co_return error.code().value();
    }
    co_return 0;
}

WEFT_TEST_CASE(
    "what comes in large pieces goes through the kernel and arrives, both ways at once") {
    const Splices count;
    const std::string there = numbered(bulk);
    const std::string back = numbered(bulk / 2);
    for (const Transport transport : support::every_transport) {
        splices.calls = 0;
        auto client = stream_pair(transport);
        auto server = stream_pair(transport);
        auto copying = weft::create_task(weft::copy_bidirectional, std::ref(client.far),
                                         std::ref(server.near));
        auto asking = weft::create_task(write_and_end, std::ref(client.near), std::cref(there));
        auto answering = weft::create_task(write_and_end, std::ref(server.far), std::cref(back));
        auto question = weft::create_task(read_all, std::ref(server.far));
        const std::string answer = co_await read_all(client.near);
        const std::string asked = co_await question;
        const weft::CopiedBytes copied = co_await copying;
        CHECK((asked == there));
        CHECK((answer == back));
        CHECK(copied.there == there.size());
        CHECK(copied.back == back.size());
        CHECK(server.near.written() == there.size());
        CHECK(splices.calls > 4);
    }
}

WEFT_TEST_CASE("small messages, and what is no socket, are copied as ever") {
    const Splices count;
    auto in = stream_pair(Transport::tcp);
    auto out = stream_pair(Transport::tcp);
    auto copying = weft::create_task(weft::copy, std::ref(in.far), std::ref(out.near));
    for (int message = 0; message < 100; ++message) {
        co_await in.near.write(std::string(64, 'm'));
        (void)co_await out.far.read_exactly(64);
    }
    co_await in.near.write_eof();
    co_await copying;
    weft::StreamPair memory = weft::memory_stream(1 << 16);
    const std::string text = numbered(bulk / 4);
    auto from_memory = weft::create_task(weft::copy, std::ref(memory.far), std::ref(out.near));
    auto writing = weft::create_task(write_and_end, std::ref(memory.near), std::cref(text));
    const std::string got = co_await out.far.read_exactly(text.size());
    co_await writing;
    co_await from_memory;
    CHECK((got == text));
    CHECK(splices.calls == 0);
}

WEFT_TEST_CASE("what the kernel refuses to move is copied, and what it has is not lost") {
    const Splices count;
    const std::string text = numbered(bulk);
    // (The first call takes out of the source, the second puts into the target.)
    for (const int at : {1, 2}) {
        for (const int error : {EINVAL, EOPNOTSUPP, ENOSYS, EPERM}) {
            splices = {0, at, error, {}};
            auto in = stream_pair(Transport::tcp);
            auto out = stream_pair(Transport::tcp);
            auto copying = weft::create_task(weft::copy, std::ref(in.far), std::ref(out.near));
            auto writing = weft::create_task(write_and_end, std::ref(in.near), std::cref(text));
            const std::string got = co_await out.far.read_exactly(text.size());
            CHECK((got == text));
            const auto copied = co_await copying;
            co_await writing;
            CHECK(copied == text.size());
            CHECK(splices.calls == at);
        }
    }
}

WEFT_TEST_CASE("a copy that is cancelled at any step of the kernel's way has lost nothing") {
    const Splices count;
    const std::string text = numbered(bulk);
    for (const Transport transport : support::every_transport) {
        for (int step = 1; step <= 12; ++step) {
            auto in = stream_pair(transport);
            auto out = stream_pair(transport);
            auto copying = weft::create_task(weft::copy, std::ref(in.far), std::ref(out.near));
            splices = {};
            splices.at_call = [&] {
                if (splices.calls >= step) copying.cancel();
            };
            auto writing = weft::create_task(write_and_end, std::ref(in.near), std::cref(text));
            // (Nobody reads: the target is full soon, and the copy waits with what it has taken.)
            std::string first;
            for (int turn = 0; !copying.done(); ++turn) {
                co_await weft::sleep(1ms);
                if (turn >= 5 && !copying.done()) first += co_await out.far.read_exactly(50'000);
            }
            CHECK(copying.cancelled());
            const std::string rest = co_await read_all(in.far);
            co_await writing;
            co_await out.near.close();
            first += co_await read_all(out.far);
            CHECK((first + rest == text));
        }
    }
}

WEFT_TEST_CASE("a target whose peer is gone is an error and no signal") {
    const Splices count;
    for (const Transport transport : support::every_transport) {
        auto in = stream_pair(transport);
        auto out = stream_pair(transport);
        auto before = ::signal(SIGPIPE, SIG_DFL);
        splices = {};
        auto copying = weft::create_task(error_of_copy, std::ref(in.far), std::ref(out.near));
        const std::string text = numbered(bulk);
        auto writing = weft::create_task(write_and_end, std::ref(in.near), std::cref(text));
        std::string buffer(50'000, ' ');
        while (splices.calls < 3) (void)co_await out.far.read(buffer);
        out.far.abort();
        const int error = co_await copying;
        ::signal(SIGPIPE, before);
        CHECK((error == EPIPE || error == ECONNRESET));
        writing.cancel();
        co_await writing.wait();
    }
}

WEFT_TEST_CASE("a source that is reset, or closed by others, ends the copy with an error") {
    const Splices count;
    const std::string text = numbered(bulk);
    for (const bool reset : {true, false}) {
        auto in = stream_pair(Transport::tcp);
        auto out = stream_pair(Transport::tcp);
        splices = {};
        auto copying = weft::create_task(error_of_copy, std::ref(in.far), std::ref(out.near));
        auto writing = weft::create_task([&]() -> Coro<void> { co_await in.near.write(text); });
        (void)co_await out.far.read_exactly(text.size());
        co_await writing;
        co_await weft::sleep(1ms);
        CHECK(splices.calls > 0);
        if (reset) {
            in.near.abort();
        } else {
            co_await in.far.close();
        }
        const int error = co_await copying;
        CHECK(error == (reset ? ECONNRESET : ECANCELED));
    }
}

WEFT_TEST_CASE("what others write to the target meanwhile goes out whole") {
    const Splices count;
    const std::string text(bulk, 'a');
    const std::string message(700'000, 'b');
    for (const Transport transport : support::every_transport) {
        auto in = stream_pair(transport);
        auto out = stream_pair(transport);
        auto copying = weft::create_task(weft::copy, std::ref(in.far), std::ref(out.near));
        auto writing = weft::create_task(write_and_end, std::ref(in.near), std::cref(text));
        std::string got = co_await out.far.read_exactly(1'000'000);
        auto message_goes =
            weft::create_task([&]() -> Coro<void> { co_await out.near.write(message); });
        got += co_await out.far.read_exactly(text.size() + message.size() - got.size());
        co_await message_goes;
        co_await copying;
        co_await writing;
        const std::size_t begin = got.find('b');
        CHECK((got.substr(begin, message.size()) == message));
        CHECK(got.find('b', begin + message.size()) == std::string::npos);
    }
}

WEFT_TEST_CASE(
    "urgent data, at which a splice stops for good, neither ends the copy nor keeps it busy") {
    const Splices count;
    const std::string text = numbered(bulk);
    const std::string after = numbered(bulk / 2);
    for (const bool ends : {false, true}) {
        auto in = stream_pair(Transport::tcp);
        auto out = stream_pair(Transport::tcp);
        splices = {};
        auto copying = weft::create_task(weft::copy, std::ref(in.far), std::ref(out.near));
        auto writing = weft::create_task([&]() -> Coro<void> { co_await in.near.write(text); });
        (void)co_await out.far.read_exactly(text.size());
        co_await writing;
        co_await weft::sleep(1ms);
        CHECK(splices.calls > 0);
        CHECK(::send(in.near.fd(), "!", 1, MSG_OOB) == 1);
        auto more = weft::create_task([&]() -> Coro<void> {
            co_await in.near.write(after);
            if (ends) co_await in.near.write_eof();
        });
        const std::string got = co_await out.far.read_exactly(after.size());
        co_await more;
        CHECK((got == after));
        // (For a message and its end at once the splice would find nothing but the end.)
        if (!ends) {
            co_await weft::sleep(1ms);
            const int calls = splices.calls;
            CHECK(::send(in.near.fd(), "!", 1, MSG_OOB) == 1);
            co_await in.near.write("last");
            co_await in.near.write_eof();
            const std::string last = co_await out.far.read_exactly(4);
            CHECK(last == "last");
            CHECK(splices.calls < calls + 8);
        }
        const std::uint64_t copied = co_await copying;
        CHECK(copied >= text.size() + after.size());
    }
}

WEFT_TEST_CASE("a second reader that comes before the kernel's way is refused, or the copy is") {
    const Splices count;
    auto in = stream_pair(Transport::tcp);
    auto out = stream_pair(Transport::tcp);
    auto copied = [&]() -> Coro<std::string> {
        try {
            co_await weft::copy(in.far, out.near);
        } catch (const weft::RuntimeError& error) {
            co_return error.what();
        }
        co_return "copied";
    };
    auto copying = weft::create_task(copied);
    // Pieces of one chunk each, of which the last one cannot be written at once.
    const std::string piece = numbered(16 * 1024);
    for (int pieces = 0; pieces < 7; ++pieces) {
        co_await in.near.write(piece);
        (void)co_await out.far.read_exactly(piece.size());
    }
    char full[4096] = {};
    while (::send(out.near.fd(), full, sizeof full, MSG_DONTWAIT) > 0) {
    }
    co_await in.near.write(piece);
    co_await weft::sleep(1ms);
    auto reading = weft::create_task([&]() -> Coro<void> { (void)co_await in.far.read_chunk(); },
                                     weft::TaskOptions("reading"));
    co_await weft::sleep(1ms);
    for (std::string buffer(1 << 20, ' '); !copying.done();) {
        (void)out.far.try_read(buffer);
        co_await weft::sleep(1ms);
    }
    const std::string answer = co_await copying;
    const std::string refused =
        "recv fd " + std::to_string(in.far.fd()) + ": two tasks read from one stream";
    CHECK(answer == refused + "; 'reading' waits already");
    reading.cancel();
    co_await reading.wait();
}

WEFT_TEST_CASE("a second reader beside the kernel's way is refused by name") {
    const Splices count;
    auto in = stream_pair(Transport::tcp);
    auto out = stream_pair(Transport::tcp);
    auto copying = weft::create_task(weft::copy, std::ref(in.far), std::ref(out.near));
    const std::string text = numbered(bulk);
    auto writing = weft::create_task([&]() -> Coro<void> { co_await in.near.write(text); });
    (void)co_await out.far.read_exactly(text.size());
    co_await weft::sleep(1ms);
    std::string refusal;
    try {
        (void)co_await in.far.read_chunk();
    } catch (const weft::RuntimeError& error) {
        refusal = error.what();
    }
    CHECK(refusal.find("recv fd " + std::to_string(in.far.fd()) +
                       ": two tasks read from one stream") == 0);
    co_await writing;
    co_await in.near.write_eof();
    co_await copying;
}

}  // namespace
}  // namespace splice_test
