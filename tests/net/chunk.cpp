// SPDX-License-Identifier: MIT
// timeout: 240
// Stream::read_chunk: data in buffers of the loop's, never lost, and never in anybody's way.
// rungs: all
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <weft/testing/catch.hpp>
#include <weft/testing/census.hpp>
#include <weft/testing/step_kill.hpp>
#include <weft/weft.hpp>
#include "../support/awaiting.hpp"
#include "../support/stream_pairs.hpp"
#include "rounds.hpp"

namespace chunk_test {

namespace {

using support::End;
using support::ending;
using support::every_transport;
using support::stream_pair;
using support::StreamPair;
using support::turns;
using weft::Chunk;
using weft::Coro;
using weft::create_task;
using weft::Stream;

Coro<std::string> read_text(Stream& from) {
    const Chunk chunk = co_await from.read_chunk();
    co_return std::string(chunk.view());
}

Coro<std::string> read_at_least(Stream& from, std::size_t count) {
    std::string text;
    while (text.size() < count) {
        const Chunk chunk = co_await from.read_chunk();
        if (chunk.empty()) break;
        text += chunk.view();
    }
    co_return text;
}

Coro<void> write_all(Stream& to, std::string_view text) { co_await to.write(text); }

std::string pattern(std::size_t size) {
    std::mt19937 random(20);
    std::string text(size, '\0');
    for (char& letter : text) letter = static_cast<char>(random());
    return text;
}

/// By the kernel's own means: what is sent now is there now.
void put(const Stream& into, std::string_view text) {
    if (::send(into.fd(), text.data(), text.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(text.size())) {
        throw std::system_error(errno, std::system_category(), "send");
    }
}

bool is_at_its_end(int fd) {
    char byte = 0;
    return ::recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

}  // namespace

WEFT_TEST_CASE("a chunk holds what was sent, and an empty one says that the peer closed") {
    for (const auto transport : every_transport) {
        StreamPair ends = stream_pair(transport);
        co_await ends.far.write("hello");
        const std::string text = co_await read_text(ends.near);
        CHECK(text == "hello");
        co_await ends.far.write_eof();
        const Chunk end = co_await ends.near.read_chunk();
        CHECK(end.empty());
        CHECK(end.size() == 0);
        const Chunk again = co_await ends.near.read_chunk();
        CHECK(again.empty());
    }
}

WEFT_TEST_CASE("large transfers arrive whole, in order, in chunks of at most 16 KiB") {
    for (const auto transport : every_transport) {
        StreamPair ends = stream_pair(transport);
        const std::string sent = pattern(3'000'000);
        auto writing = create_task(write_all(ends.far, sent));
        std::string got;
        bool small_enough = true;
        while (got.size() < sent.size()) {
            const Chunk chunk = co_await ends.near.read_chunk();
            small_enough = small_enough && chunk.size() <= Chunk::capacity;
            got += chunk.view();
        }
        co_await writing;
        CHECK(small_enough);
        CHECK(got == sent);
    }
}

WEFT_TEST_CASE("a chunk keeps its bytes while others come and go") {
    StreamPair ends = stream_pair();
    std::vector<Chunk> kept;
    for (int number = 0; number < 300; ++number) {
        const std::string text = std::to_string(number);
        co_await ends.far.write(text);
        Chunk chunk = co_await ends.near.read_chunk();
        kept.push_back(std::move(chunk));
    }
    bool same = true;
    for (int number = 0; number < 300; ++number) {
        same = same && kept[static_cast<std::size_t>(number)].view() == std::to_string(number);
    }
    CHECK(same);
}

WEFT_TEST_CASE("other reads on the stream go on where the chunks ended, and back") {
    StreamPair ends = stream_pair();
    co_await ends.far.write("one");
    std::string text = co_await read_text(ends.near);
    CHECK(text == "one");

    co_await ends.far.write("a line\nrest");
    text = co_await ends.near.read_line();
    CHECK(text == "a line\n");
    text = co_await read_text(ends.near);  // what read_line has received too
    CHECK(text == "rest");

    co_await ends.far.write("0123456789");
    char four[4];
    std::size_t count = co_await ends.near.read(four);
    CHECK(std::string_view(four, count) == "0123");
    text = co_await read_text(ends.near);
    CHECK(text == "456789");

    auto reading = create_task([&]() -> Coro<std::string> { return ends.near.read_exactly(6); });
    co_await turns(3);
    co_await ends.far.write("abc");
    co_await turns(3);
    co_await ends.far.write("defghi");
    text = co_await reading;
    CHECK(text == "abcdef");
    co_await ends.far.write_eof();
    text = co_await read_text(ends.near);
    CHECK(text == "ghi");
    count = co_await ends.near.read(four);
    CHECK(count == 0);
    text = co_await ends.near.read_line();
    CHECK(text.empty());
}

WEFT_TEST_CASE("a cancelled read_chunk leaves the data to the next read") {
    for (const auto transport : every_transport) {
        StreamPair ends = stream_pair(transport);
        auto reading = create_task(read_text(ends.near));
        co_await turns(3);
        reading.cancel();
        End end = co_await ending(reading);
        CHECK(end == End::cancelled);
        put(ends.far, "after");
        co_await turns(3);
        std::string text = co_await read_text(ends.near);
        CHECK(text == "after");

        auto plain = create_task([&]() -> Coro<std::string> { return ends.near.read_line(); });
        co_await turns(3);
        plain.cancel();
        end = co_await ending(plain);
        CHECK(end == End::cancelled);
        put(ends.far, "a line\n");
        text = co_await read_text(ends.near);
        CHECK(text == "a line\n");
    }
}

WEFT_TEST_CASE("a cancel before the first suspension strikes, and the stream stays usable") {
    StreamPair ends = stream_pair();
    auto reading = create_task([&]() -> Coro<void> {
        weft::get_running_loop().cancel(*weft::get_running_loop().current_task(), {});
        const Chunk chunk = co_await ends.near.read_chunk();
    });
    const End end = co_await ending(reading);
    CHECK(end == End::cancelled);
    put(ends.far, "x");
    const std::string text = co_await read_text(ends.near);
    CHECK(text == "x");
}

WEFT_TEST_CASE("chunks that race cancels lose no byte", "[storm]") {
    // (On a ring large ones come in several parts.)
    for (const auto& [transport, size] :
         {std::pair(support::Transport::unix_pair, 1U),
          std::pair(support::Transport::unix_pair, 5'000U), std::pair(support::Transport::tcp, 1U),
          std::pair(support::Transport::tcp, 5'000U)}) {
        StreamPair ends = stream_pair(transport);
        std::mt19937 random(7);
        const auto below = [&random](unsigned limit) { return static_cast<int>(random() % limit); };
        std::string sent;
        std::string got;
        int completed = 0;
        int cancelled = 0;
        for (int round = 0; round < support::rounds(10'000); ++round) {
            auto reading = create_task(read_text(ends.near));
            const bool cancel_first = below(4) == 0;
            co_await turns(below(4));
            if (cancel_first) reading.cancel();
            const std::string text(size * static_cast<std::size_t>(1 + below(3)),
                                   static_cast<char>(round));
            sent += text;
            if (below(2) == 0) {
                put(ends.far, text);
            } else {
                co_await ends.far.write(text);
            }
            co_await turns(below(3));
            if (!cancel_first) reading.cancel();
            const End end = co_await ending(reading);
            if (end == End::value) got += reading.result();
            completed += end == End::value;
            cancelled += end == End::cancelled;
            if (sent.size() - got.size() > 16 * size) {
                const std::string overdue =
                    co_await read_at_least(ends.near, sent.size() - got.size());
                got += overdue;
            }
        }
        const std::string left = co_await read_at_least(ends.near, sent.size() - got.size());
        got += left;
        CHECK(got == sent);
        CHECK(completed > 100);
        CHECK(cancelled > 100);
        CHECK(completed + cancelled == support::rounds(10'000));
    }
}

WEFT_TEST_CASE("28: of two readers with data, one that the other cancels first leaves its data") {
    for (const auto transport : every_transport) {
        StreamPair ends[2] = {stream_pair(transport), stream_pair(transport)};
        weft::Task<void> reading[2];
        int first = -1;
        auto reads = [&](int which) -> Coro<void> {
            const std::string mine = co_await read_text(ends[which].near);
            CHECK(mine == "data");
            first = which;
            reading[1 - which].cancel();
        };
        for (int which : {0, 1}) reading[which] = create_task(reads, which);
        co_await turns(3);
        for (const StreamPair& pair : ends) put(pair.far, "data");
        co_await reading[0].wait();
        co_await reading[1].wait();
        REQUIRE(first >= 0);
        // On a ring both may have had theirs by then: the second one was granted before the cancel.
        if (reading[1 - first].cancelled()) {
            const std::string left = co_await read_text(ends[1 - first].near);
            CHECK(left == "data");
        }
    }
}

WEFT_TEST_CASE(
    "of much that is ready at the same time, most waits for its reader's turn, on epoll") {
    // So that a few buffers serve all, and stay in the cache; a ring's kernel fills many.
    constexpr std::size_t count = 48;
    const std::string data(weft::detail::Block::capacity, 'd');
    std::vector<StreamPair> ends;
    for (std::size_t i = 0; i < count; ++i) {
        ends.push_back(stream_pair(support::Transport::unix_pair));
    }
    std::set<const void*> buffers;
    std::size_t got = 0;
    auto reads = [&](Stream& from) -> Coro<void> {
        const Chunk chunk = co_await from.read_chunk();
        got += chunk.size();
        buffers.insert(chunk.data());
    };
    std::vector<weft::Task<void>> reading;
    for (StreamPair& pair : ends) reading.push_back(create_task(reads, std::ref(pair.near)));
    co_await turns(3);
    for (const StreamPair& pair : ends) put(pair.far, data);
    for (auto& task : reading) co_await task;
    CHECK(got == count * data.size());
    // (AddressSanitizer hands no block out again for a long time.)
    const bool few = weft::get_running_loop().backend_info().name == "epoll" && !WEFT_ASAN;
    CHECK(buffers.size() <= (few ? count / 4 : count));
}

WEFT_TEST_CASE("a stream that goes with a receive pending lets its peer see the end") {
    const weft::testing::DescriptorCensus census;
    for (const auto transport : every_transport) {
        StreamPair ends = stream_pair(transport);
        {
            Stream near = std::move(ends.near);
            auto reading = create_task(read_text(near));
            co_await turns(3);
            reading.cancel();
            const End end = co_await ending(reading);
            CHECK(end == End::cancelled);
        }
        // Also in a loop that never sleeps.
        co_await turns(10);
        CHECK(is_at_its_end(ends.far.fd()));
    }
    co_await turns(3);
    CHECK(census.leaked().empty());
}

WEFT_TEST_CASE("close ends a read_chunk that waits, and the peer sees the end at once") {
    for (const auto transport : every_transport) {
        StreamPair ends = stream_pair(transport);
        auto reading = create_task(read_text(ends.near));
        co_await turns(3);
        co_await ends.near.close();
        const End end = co_await ending(reading);
        CHECK(end == End::closed);
        CHECK(is_at_its_end(ends.far.fd()));
        auto again = create_task(read_text(ends.near));
        const End refused = co_await ending(again);
        CHECK(refused == End::failed);
    }
}

WEFT_TEST_CASE("a peer that sends without end is held back by a reader that lags") {
    StreamPair ends = stream_pair();
    co_await ends.far.write("x");
    std::string text = co_await read_text(ends.near);
    auto writing = create_task([&]() -> Coro<void> {
        const std::string block(64 * 1024, 'y');
        for (int count = 0; count < 512; ++count) co_await ends.far.write(block);  // 32 MiB
    });
    co_await turns(2'000);
    CHECK_FALSE(writing.done());
    CHECK(ends.far.written() < std::uint64_t{4} * 1024 * 1024);
    text = co_await read_at_least(ends.near, std::size_t{32} * 1024 * 1024);
    CHECK(text.size() == std::size_t{32} * 1024 * 1024);
    co_await writing;
}

WEFT_TEST_CASE("readers that hold their chunks starve nobody") {
    // More connections than there are buffers, and each keeps its first chunk until all have one.
    constexpr std::size_t count = 400;
    std::vector<StreamPair> pairs;
    std::vector<weft::Task<Chunk>> readers;
    pairs.reserve(count);
    for (std::size_t index = 0; index < count; ++index) pairs.push_back(stream_pair());
    for (auto& pair : pairs) {
        readers.push_back(create_task(
            [](Stream& from) -> Coro<Chunk> {
                Chunk chunk = co_await from.read_chunk();
                co_return chunk;
            },
            std::ref(pair.near)));
    }
    co_await turns(3);
    for (auto& pair : pairs) put(pair.far, "hello");
    std::size_t served = 0;
    std::vector<Chunk> held;
    for (auto& reader : readers) {
        Chunk chunk = co_await std::move(reader);
        served += chunk.view() == "hello";
        held.push_back(std::move(chunk));
    }
    CHECK(served == count);
    held.clear();
    for (auto& pair : pairs) {
        put(pair.far, "again");
        const std::string text = co_await read_text(pair.near);
        served += text == "again";
    }
    CHECK(served == 2 * count);
}

WEFT_TEST_CASE("a read after the close is EBADF, also where a receive stood") {
    for (const auto transport : every_transport) {
        StreamPair ends = stream_pair(transport);
        auto first = create_task(read_text(ends.near));
        co_await turns(3);
        first.cancel();
        co_await first.wait();
        co_await ends.near.close();
        co_await turns(3);
        for (int round = 0; round < 2; ++round) {
            int code = 0;
            try {
                char byte = 0;
                co_await ends.near.read({&byte, 1});
            } catch (const std::system_error& error) {
                code = error.code().value();
            }
            CHECK(code == EBADF);
        }
    }
}

WEFT_TEST_CASE("a second reader is refused by the names of the stream and of the first one") {
    StreamPair ends = stream_pair();
    auto first = create_task(read_text(ends.near), weft::TaskOptions("first"));
    co_await turns(3);
    std::string what;
    try {
        const Chunk chunk = co_await ends.near.read_chunk();
    } catch (const weft::RuntimeError& error) {
        what = error.what();
    }
    CHECK(what == "recv fd " + std::to_string(ends.near.fd()) +
                      ": two tasks read from one stream; 'first' waits already");
    put(ends.far, "x");
    const std::string text = co_await first;
    CHECK(text == "x");
}

WEFT_TEST_CASE("a broken connection is an error of the read") {
    StreamPair ends = stream_pair(support::Transport::tcp);
    auto reading = create_task(read_text(ends.near));
    co_await turns(3);
    const linger none{1, 0};  // a reset instead of an end
    ::setsockopt(ends.far.fd(), SOL_SOCKET, SO_LINGER, &none, sizeof none);
    co_await ends.far.close();
    const End end = co_await ending(reading);
    CHECK(end == End::failed);
}

WEFT_TEST_CASE("an error that the kernel reports once reaches a plain read and a write") {
    const linger none{1, 0};
    for (const bool writes : {false, true}) {
        StreamPair ends = stream_pair(support::Transport::tcp);
        // A round before, so that a wait stands when the reset comes.
        co_await ends.far.write("x");
        char byte = 0;
        co_await ends.near.read(weft::MutableBuffer(&byte, 1));
        auto reading = create_task([&]() -> Coro<void> {
            if (writes) co_return;
            co_await ends.near.read(weft::MutableBuffer(&byte, 1));
        });
        co_await turns(3);
        ::setsockopt(ends.far.fd(), SOL_SOCKET, SO_LINGER, &none, sizeof none);
        co_await ends.far.close();
        if (!writes) {
            const End end = co_await ending(reading);
            CHECK(end == End::failed);
            continue;
        }
        int error = 0;
        try {
            co_await ends.near.write("y");
        } catch (const std::system_error& failure) {
            error = failure.code().value();
        }
        CHECK(error == ECONNRESET);
    }
}

TEST_CASE("a chunk may outlive its loop, and its stream too") {
    Chunk chunk;
    std::optional<Stream> stream;
    weft::run([&]() -> Coro<void> {
        StreamPair ends = stream_pair();
        co_await ends.far.write("kept");
        chunk = co_await ends.near.read_chunk();
        stream.emplace(std::move(ends.near));
    });
    CHECK(chunk.view() == "kept");
    stream.reset();
    chunk.reset();
    CHECK(chunk.empty());
}

TEST_CASE("a stream that still receives on another loop is refused by name until that is closed") {
    weft::EventLoop first(weft::testing::options());
    std::optional<StreamPair> ends;
    first.run_until_complete([&]() -> Coro<void> {
        ends.emplace(stream_pair());
        auto reading = create_task(read_text(ends->near));
        co_await turns(2);
        reading.cancel();
        co_await reading.wait();
    }());
    weft::EventLoop second(weft::testing::options());
    std::string what;
    second.run_until_complete([&]() -> Coro<void> {
        try {
            const Chunk chunk = co_await ends->near.read_chunk();
        } catch (const weft::RuntimeError& error) {
            what = error.what();
        }
    }());
    CHECK(what == "recv fd " + std::to_string(ends->near.fd()) +
                      ": this stream still receives on another event loop");
    first.close();
    put(ends->far, "late");
    std::string text;
    second.run_until_complete([&]() -> Coro<void> { text = co_await read_text(ends->near); }());
    CHECK(text == "late");
    ends.reset();
}

TEST_CASE("a loop ends although streams receive on their own") {
    const weft::testing::DescriptorCensus census;
    {
        std::vector<Stream> streams;
        weft::run([&]() -> Coro<void> {
            for (int count = 0; count < 20; ++count) {
                StreamPair ends = stream_pair();
                auto reading = create_task(read_text(ends.near));
                co_await turns(2);
                reading.cancel();
                co_await reading.wait();
                streams.push_back(std::move(ends.near));
                streams.push_back(std::move(ends.far));
            }
        });
    }
    CHECK(census.leaked().empty());
}

namespace {

Coro<void> answer(Stream stream) {
    for (;;) {
        const Chunk chunk = co_await stream.read_chunk();
        if (chunk.empty()) co_return;
        co_await stream.write(chunk);
    }
}

Coro<void> ask_and_stop(std::size_t size) {
    const std::string question(size, 'q');
    StreamPair ends = stream_pair();
    auto answering = create_task(answer(std::move(ends.far)));
    for (int round = 0; round < 3; ++round) {
        co_await ends.near.write(question);
        const std::string text = co_await read_at_least(ends.near, size);
        if (text != question) throw weft::RuntimeError("the echo is wrong");
    }
    co_await ends.near.close();
    co_await answering;
}

/// More than a turn receives with the events: the last ones wait for their turn (epoll).
constexpr std::size_t crowd = 12;

Coro<void> a_crowd_reads() {
    const std::string data(weft::detail::Block::capacity, 'd');
    std::vector<StreamPair> ends;
    std::vector<weft::Task<std::string>> reading;
    for (std::size_t i = 0; i < crowd; ++i) {
        ends.push_back(stream_pair(support::Transport::unix_pair));
    }
    for (StreamPair& pair : ends) {
        reading.push_back(
            create_task([](Stream near) { return read_text(near); }, std::move(pair.near)));
    }
    co_await turns(2);
    for (const StreamPair& pair : ends) put(pair.far, data);
    for (auto& task : reading) {
        if ((co_await task).empty()) throw weft::RuntimeError("nothing was read");
    }
}

}  // namespace

WEFT_TEST_CASE("chunks of a crowd that race cancels lose no byte", "[storm]") {
    std::vector<StreamPair> ends;
    for (std::size_t i = 0; i < crowd; ++i) {
        ends.push_back(stream_pair(support::Transport::unix_pair));
    }
    std::mt19937 random(11);
    const auto below = [&random](unsigned limit) { return static_cast<int>(random() % limit); };
    std::vector<std::string> got(crowd);
    std::vector<std::string> sent(crowd);
    int cancelled = 0;
    for (int round = 0; round < support::rounds(1'000); ++round) {
        std::vector<weft::Task<std::string>> reading;
        for (StreamPair& pair : ends) {
            reading.push_back(create_task(read_text, std::ref(pair.near)));
        }
        co_await turns(2);
        for (std::size_t i = 0; i < crowd; ++i) {
            const std::string data(weft::detail::Block::capacity, static_cast<char>(round));
            put(ends[i].far, data);
            sent[i] += data;
        }
        co_await turns(below(3));
        for (auto& task : reading) {
            if (below(2) == 0) task.cancel();
        }
        for (std::size_t i = 0; i < crowd; ++i) {
            const End end = co_await ending(reading[i]);
            if (end == End::value) got[i] += reading[i].result();
            cancelled += end == End::cancelled;
            const std::string left =
                co_await read_at_least(ends[i].near, sent[i].size() - got[i].size());
            got[i] += left;
            CHECK(got[i] == sent[i]);
            got[i].clear();
            sent[i].clear();
        }
    }
    CHECK(cancelled > 100);
}

TEST_CASE("readers of a crowd are killed and cancelled after every step, and leak nothing") {
    const weft::testing::DescriptorCensus census;
    weft::testing::kill_at_every_step(a_crowd_reads);
    weft::testing::cancel_at_every_step(a_crowd_reads, [](weft::Task<void>&) {});
    CHECK(census.leaked().empty());
    CHECK(census.vanished().empty());
}

TEST_CASE("an echo in chunks is killed and cancelled after every step, and leaks nothing") {
    const weft::testing::DescriptorCensus census;
    for (const std::size_t size : {std::size_t{8}, std::size_t{12'000}}) {
        const auto scenario = [size] { return ask_and_stop(size); };
        weft::testing::kill_at_every_step(scenario);
        weft::testing::cancel_at_every_step(scenario, [](weft::Task<void>&) {});
    }
    CHECK(census.leaked().empty());
    CHECK(census.vanished().empty());
}

WEFT_TEST_CASE("a reader that lagged sees an end that came with the last data", "[chunk]") {
    for (const auto transport : support::every_transport) {
        support::StreamPair pair = support::stream_pair(transport);
        REQUIRE(::send(pair.far.fd(), "x", 1, 0) == 1);
        {
            const weft::Chunk first = co_await pair.near.read_chunk();
            REQUIRE(first.size() == 1);
        }
        for (int chunk = 0; chunk < 9; ++chunk) {  // until the receive pauses
            REQUIRE(::send(pair.far.fd(), "y", 1, 0) == 1);
            co_await weft::sleep(std::chrono::milliseconds(1));
        }
        REQUIRE(::send(pair.far.fd(), "abc", 3, 0) == 3);
        co_await pair.far.write_eof();
        std::size_t size = 0;
        for (bool more = true; more;) {
            const weft::Chunk chunk = co_await pair.near.read_chunk();
            size += chunk.size();
            more = !chunk.empty();
        }
        REQUIRE(size == 12);
    }
}

TEST_CASE("a stream that outlives its loop is read on in another", "[chunk]") {
    support::StreamPair pair = support::stream_pair();
    std::string got;
    const auto read_one = [&]() -> weft::Coro<void> {
        const weft::Chunk chunk = co_await pair.near.read_chunk();
        got += chunk.view();
    };
    REQUIRE(::send(pair.far.fd(), "a", 1, 0) == 1);
    weft::testing::run(read_one);
    REQUIRE(::send(pair.far.fd(), "b", 1, 0) == 1);
    weft::testing::run(read_one);
    REQUIRE(got == "ab");
}

}  // namespace chunk_test
