// SPDX-License-Identifier: MIT
// Stream writes whose socket takes a few bytes a call: many parts, one await, and no others
// between.
// program: own
// rungs: all
#include <weft/testing/catch.hpp>

#include <dlfcn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <weft/weft.hpp>
#include "../support/awaiting.hpp"
#include "../support/stream_pairs.hpp"

#if WEFT_HAS_URING && __has_include(<liburing.h>)
#include <liburing.h>
#endif

namespace write_parts_test {

namespace {

/// Bytes that a call takes.
std::size_t most = 1;

}  // namespace

// In the place of libc's: the epoll backend's sends come through here.
extern "C" ssize_t send(int fd, const void* data, std::size_t size, int flags) {
    return ::syscall(SYS_sendto, fd, data, std::min(size, most), flags, nullptr, 0);
}

#if WEFT_HAS_URING && __has_include(<liburing.h>)
namespace {

/// The ring's sends, cut before the kernel sees them, and with nobody to complete them.
void cut_sends(io_uring* ring) {
    for (unsigned at = *ring->sq.khead; at != ring->sq.sqe_tail; ++at) {
        io_uring_sqe& entry = ring->sq.sqes[at & ring->sq.ring_mask];
        if (entry.opcode != IORING_OP_SEND) continue;
        entry.len = static_cast<unsigned>(std::min<std::size_t>(entry.len, most));
        entry.msg_flags &= ~static_cast<unsigned>(MSG_WAITALL);
    }
}

template <class Call>
Call* libs(const char* name) {
    return reinterpret_cast<Call*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

// In the place of liburing's.
extern "C" int io_uring_submit(io_uring* ring) {
    static const auto call = libs<decltype(io_uring_submit)>("io_uring_submit");
    cut_sends(ring);
    return call(ring);
}
extern "C" int io_uring_submit_and_get_events(io_uring* ring) {
    static const auto call =
        libs<decltype(io_uring_submit_and_get_events)>("io_uring_submit_and_get_events");
    cut_sends(ring);
    return call(ring);
}
extern "C" int io_uring_submit_and_wait(io_uring* ring, unsigned count) {
    static const auto call = libs<decltype(io_uring_submit_and_wait)>("io_uring_submit_and_wait");
    cut_sends(ring);
    return call(ring, count);
}
extern "C" int io_uring_submit_and_wait_timeout(io_uring* ring, io_uring_cqe** first,
                                                unsigned count, __kernel_timespec* limit,
                                                sigset_t* mask) {
    static const auto call =
        libs<decltype(io_uring_submit_and_wait_timeout)>("io_uring_submit_and_wait_timeout");
    cut_sends(ring);
    return call(ring, first, count, limit, mask);
}
#endif

namespace {

using namespace std::chrono_literals;
using support::stream_pair;
using support::StreamPair;
using weft::Coro;
using weft::Stream;

/// How much one send call takes, for a scope.
struct Taking {
    explicit Taking(std::size_t bytes) { most = bytes; }
    Taking(const Taking&) = delete;
    Taking& operator=(const Taking&) = delete;
    ~Taking() { most = 1; }
};

Coro<void> count_turns(const bool& stop, long& turns) {
    while (!stop) {
        ++turns;
        co_await weft::yield();
    }
}

Coro<void> read_all(Stream& stream, std::size_t size) {
    const std::string text = co_await stream.read_exactly(size);
    if (text != std::string(size, 'x')) throw weft::RuntimeError("the bytes are wrong");
}

Coro<void> write_all(Stream& to, std::string_view text) { co_await to.write(text); }

/// Everything up to the end.
Coro<std::string> read_to_end(Stream& from) {
    std::string all;
    char buffer[1024];
    while (const std::size_t count = co_await from.read(buffer)) all.append(buffer, count);
    co_return all;
}

void send_little(Stream& stream, int bytes) {
    support::must(::setsockopt(stream.fd(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes),
                  "setsockopt");
}

}  // namespace

WEFT_TEST_CASE("a write in 20,000 parts uses no stack and starves nobody", "[stream]") {
    constexpr std::size_t size = 20'000;
    StreamPair pair = stream_pair();
    bool stop = false;
    long turns = 0;
    weft::Task<void> other = weft::create_task(count_turns(stop, turns));
    weft::Task<void> reading = weft::create_task(read_all(pair.far, size));

    const std::string text(size, 'x');
    co_await pair.near.write(text);
    co_await reading;
    stop = true;
    co_await other;

    REQUIRE(pair.near.written() == size);
    // A socket that has not taken everything is asked again in another turn.
    REQUIRE(turns >= static_cast<long>(size / 65));
}

WEFT_TEST_CASE("writes of several tasks go out whole, in the order in which they began",
               "[stream]") {
    for (const std::size_t bytes : {std::size_t{1}, std::size_t{7}, std::size_t{4096}}) {
        const Taking taking(bytes);
        StreamPair pair = stream_pair();
        send_little(pair.near, 4096);
        const std::size_t size = 100 * bytes;
        std::vector<std::string> texts;
        for (char letter = 'a'; letter < 'f'; ++letter) texts.emplace_back(size, letter);
        std::string expected;
        std::vector<weft::Task<void>> writing;
        for (const std::string& text : texts) {
            expected += text;
            writing.push_back(weft::create_task(write_all(pair.near, text)));
        }
        const std::string got = co_await pair.far.read_exactly(expected.size());
        REQUIRE((got == expected));
        for (auto& task : writing) co_await task;
        REQUIRE(pair.near.written() == expected.size());
    }
}

WEFT_TEST_CASE("a task that writes whenever it can gets in between no other's parts", "[stream]") {
    const Taking taking(512);
    std::minstd_rand random(7);
    for (int round = 0; round < 20; ++round) {
        StreamPair pair = stream_pair();
        send_little(pair.near, 4096);
        constexpr int writers = 4;
        constexpr int messages = 30;
        std::size_t total = 0;
        std::vector<std::vector<std::string>> texts(writers);
        for (int writer = 0; writer < writers; ++writer) {
            for (int message = 0; message < messages; ++message) {
                const std::size_t size = 1 + random() % (random() % 4 == 0 ? 20'000 : 600);
                texts[static_cast<std::size_t>(writer)].emplace_back(
                    size, static_cast<char>('a' + writer));
                texts[static_cast<std::size_t>(writer)].back().back() = '.';
                total += size;
            }
        }
        const auto writes = [&](std::size_t writer) -> Coro<void> {
            for (const std::string& text : texts[writer]) co_await pair.near.write(text);
        };
        std::vector<weft::Task<void>> writing;
        for (std::size_t writer = 0; writer < writers; ++writer)
            writing.push_back(weft::create_task(writes, writer));
        const std::string got = co_await pair.far.read_exactly(total);
        for (auto& task : writing) co_await task;
        // Each message is one letter up to its dot.
        std::size_t next[writers] = {};
        for (std::size_t at = 0; at < got.size();) {
            const std::size_t end = got.find('.', at);
            REQUIRE(end != std::string::npos);
            std::size_t writer = 0;
            while (writer < writers && (next[writer] == messages ||
                                        got.compare(at, end + 1 - at, texts[writer][next[writer]])))
                ++writer;
            REQUIRE(writer < writers);
            ++next[writer];
            at = end + 1;
        }
    }
}

WEFT_TEST_CASE("after a write that was cancelled half way the next one is whole", "[stream]") {
    const Taking taking(1000);
    for (int turns = 0; turns < 40; ++turns) {
        StreamPair pair = stream_pair();
        send_little(pair.near, 4096);
        const std::string first(50'000, 'a');
        const std::string second(50'000, 'b');
        const std::string third(3'000, 'c');
        auto one = weft::create_task(write_all(pair.near, first));
        auto two = weft::create_task(write_all(pair.near, second));
        auto three = weft::create_task(write_all(pair.near, third));
        auto reading = weft::create_task(read_to_end(pair.far));
        co_await support::turns(turns);
        one.cancel();
        two.cancel();
        co_await one.wait();
        co_await two.wait();
        co_await three;
        co_await pair.near.write_eof();
        const std::string got = co_await reading;
        const auto count = [&](char letter) {
            return static_cast<std::size_t>(std::count(got.begin(), got.end(), letter));
        };
        const std::string expected = std::string(count('a'), 'a') + std::string(count('b'), 'b') +
                                     std::string(third.size(), 'c');
        REQUIRE((got == expected));
        REQUIRE(pair.near.written() == got.size());
    }
}

}  // namespace write_parts_test
