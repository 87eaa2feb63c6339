// SPDX-License-Identifier: MIT
// Ten thousand races of completion against cancel for each kind: no byte lost, nothing leaked.
#include <weft/net/datagram.hpp>
#include <weft/net/io.hpp>
#include <weft/testing/catch.hpp>

#include <set>

#include "awaiting.hpp"
#include "descriptors.hpp"
#include "heap.hpp"
#include "rounds.hpp"

namespace storm_test {

using namespace support;
using weft::create_task;
namespace io = weft::io;

namespace {

constexpr int rounds = support::rounds(10'000);

/// What happened; a storm that never cancels, or never completes, has tested nothing.
struct Tally {
    int completed = 0;
    int cancelled = 0;
    int failed = 0;
    void count(End end) {
        if (end == End::value) ++completed;
        if (end == End::cancelled) ++cancelled;
        if (end == End::failed || end == End::closed) ++failed;
    }
    bool both(int of = rounds) const { return completed > of / 100 && cancelled > of / 100; }
};

/// The same numbers in every run.
class Dice {
public:
    int below(int limit) {
        state_ = state_ * 6364136223846793005U + 1442695040888963407U;
        return static_cast<int>((state_ >> 33) % static_cast<unsigned>(limit));
    }

private:
    std::uint64_t state_ = 42;
};

char letter(std::size_t index) { return static_cast<char>('a' + index % 26); }

std::string letters(std::size_t from, std::size_t count) {
    std::string text;
    for (std::size_t index = 0; index < count; ++index) text += letter(from + index);
    return text;
}

/// One reader at a time, cancelled at some moment; one to three bytes sent at some other. What the
/// readers returned, one after the other, is what was sent.
template <class Read>
weft::Coro<void> bytes_against_cancel(int write_end, int read_end, Read read) {
    Dice dice;
    Tally tally;
    std::size_t sent = 0;
    std::string got;
    for (int round = 0; round < rounds; ++round) {
        auto task = create_task(read(read_end));
        const int before = dice.below(4);
        const int between = dice.below(3);
        const bool cancel_first = dice.below(4) == 0;
        co_await turns(before);
        if (cancel_first) task.cancel();
        const auto count = static_cast<std::size_t>(1 + dice.below(3));
        if (dice.below(2) == 0) {
            put(write_end, letters(sent, count));
        } else {
            const std::string text = letters(sent, count);
            co_await write_all(write_end, text);
        }
        sent += count;
        co_await turns(between);
        if (!cancel_first) task.cancel();
        const End end = co_await ending(task);
        tally.count(end);
        if (end == End::value) got += task.result();
        if (sent - got.size() > 64) {
            const std::string overdue = co_await read_exactly(read_end, sent - got.size());
            got += overdue;
        }
    }
    const std::size_t left = sent - got.size();
    got += co_await read_exactly(read_end, left);
    CHECK(got == letters(0, sent));
    CHECK(drain(read_end) == "");
    CHECK(tally.failed == 0);
    CHECK(tally.both());
}

weft::Coro<std::string> recv_bytes(int fd) { return recv_some(fd, 16); }
weft::Coro<std::string> recv_two_waitall(int fd) { return recv_some(fd, 2, MSG_WAITALL); }
weft::Coro<std::string> read_bytes(int fd) { return read_some(fd, 16); }

/// Takes the byte for itself only once poll has said that it is there.
weft::Coro<std::string> poll_then_read(int fd) {
    const short ready = co_await io::poll(fd, POLLIN);
    if (!(ready & POLLIN)) throw std::system_error(EIO, std::system_category(), "poll");
    co_return drain(fd);
}

}  // namespace

WEFT_TEST_CASE("receives that race cancels on a socket pair lose no byte", "[storm]") {
    Pair ends = unix_pair();
    co_await bytes_against_cancel(ends.b.get(), ends.a.get(), recv_bytes);
}

WEFT_TEST_CASE("receives that race cancels over TCP lose no byte", "[storm]") {
    Pair ends = tcp_pair();
    co_await bytes_against_cancel(ends.b.get(), ends.a.get(), recv_bytes);
}

WEFT_TEST_CASE("receives of a full buffer that race cancels lose no byte", "[storm]") {
    Pair ends = unix_pair();
    co_await bytes_against_cancel(ends.b.get(), ends.a.get(), recv_two_waitall);
}

WEFT_TEST_CASE("reads that race cancels on a pipe lose no byte", "[storm]") {
    Pair ends = pipe_pair();
    co_await bytes_against_cancel(ends.b.get(), ends.a.get(), read_bytes);
}

WEFT_TEST_CASE("reads that race cancels on an O_NONBLOCK pipe lose no byte", "[storm]") {
    Pair ends = pipe_pair(O_NONBLOCK);
    co_await bytes_against_cancel(ends.b.get(), ends.a.get(), read_bytes);
}

WEFT_TEST_CASE("polls that race cancels lose no readiness", "[storm]") {
    Pair ends = unix_pair();
    co_await bytes_against_cancel(ends.b.get(), ends.a.get(), poll_then_read);
}

WEFT_TEST_CASE("five receivers on one socket, cancelled at random, lose no byte", "[storm]") {
    Pair ends = tcp_pair();
    Dice dice;
    Tally tally;
    std::size_t sent = 0;
    std::size_t received = 0;
    std::vector<weft::Task<std::string>> readers(5);
    for (auto& reader : readers) reader = create_task(recv_bytes(ends.a.get()));
    for (int round = 0; round < rounds; ++round) {
        if (dice.below(3) > 0) {
            put(ends.b.get(), "x");
            ++sent;
        }
        co_await turns(dice.below(3));
        for (auto& reader : readers) {
            if (dice.below(4) == 0) reader.cancel();
        }
        co_await turns(dice.below(2));
        for (auto& reader : readers) {
            if (!reader.done()) continue;
            const End end = co_await ending(reader);
            tally.count(end);
            if (end == End::value) received += reader.result().size();
            reader = create_task(recv_bytes(ends.a.get()));
        }
    }
    for (auto& reader : readers) reader.cancel();
    for (auto& reader : readers) {
        const End end = co_await ending(reader);
        if (end == End::value) received += reader.result().size();
    }
    const std::string rest = co_await read_exactly(ends.a.get(), sent - received);
    CHECK(received + rest.size() == sent);
    CHECK(drain(ends.a.get()) == "");
    CHECK(tally.failed == 0);
    CHECK(tally.both());
}

WEFT_TEST_CASE("sends that race cancels write what they said and nothing else", "[storm]") {
    Pair ends = unix_pair();
    Dice dice;
    Tally tally;
    fill(ends.b.get());
    std::string before = drain(ends.a.get());
    std::size_t sent = 0;
    std::size_t received = 0;
    auto send = [&ends](std::size_t size) -> weft::Coro<std::size_t> {
        const std::string text(size, 'x');
        co_return co_await io::send(ends.b.get(), text);
    };
    for (int round = 0; round < rounds; ++round) {
        if (round % 8 == 0) sent += fill(ends.b.get());
        auto first = create_task(send, 3000U);
        auto second = create_task(send, 1U);
        co_await turns(dice.below(3));
        if (dice.below(2) == 0) received += drain(ends.a.get()).size();
        co_await turns(dice.below(3));
        first.cancel();
        second.cancel();
        for (auto* task : {&first, &second}) {
            const End end = co_await ending(*task);
            tally.count(end);
            if (end == End::value) sent += task->result();
        }
    }
    received += drain(ends.a.get()).size();
    CHECK(received == sent);
    CHECK(tally.failed == 0);
    CHECK(tally.both());
}

WEFT_TEST_CASE("opens that race cancels leak no descriptor", "[storm]") {
    Dice dice;
    Tally tally;
    auto open = []() -> weft::Coro<int> {
        Fd fd = co_await io::open("/dev/null", O_RDONLY);
        co_return fd.get();
    };
    for (int round = 0; round < rounds; ++round) {
        auto first = create_task(open);
        auto second = create_task(open);
        // (A thread that opens may get no processor for as long as all these turns take.)
        if (dice.below(16) == 0) co_await first.wait();
        co_await turns(dice.below(4));
        first.cancel();
        co_await turns(dice.below(2));
        second.cancel();
        const End a = co_await ending(first);
        const End b = co_await ending(second);
        tally.count(a);
        tally.count(b);
    }
    CHECK(tally.failed == 0);
    CHECK(tally.both());
}

WEFT_TEST_CASE("file writes that race cancels happened or did not", "[storm]") {
    const Fd file = nameless_file();
    Dice dice;
    Tally tally;
    std::string expected;
    auto write = [&file](std::uint64_t at) -> weft::Coro<std::size_t> {
        co_return co_await io::write_at(file.get(), "x", at);
    };
    for (int round = 0; round < rounds; ++round) {
        auto task = create_task(write, static_cast<std::uint64_t>(round));
        co_await turns(dice.below(4));
        task.cancel();
        const End end = co_await ending(task);
        tally.count(end);
        expected += end == End::value ? 'x' : '\0';
    }
    std::string content(rounds, '\0');
    (void)!::pread(file.get(), content.data(), content.size(), 0);
    CHECK(content == expected);
    CHECK(tally.failed == 0);
    CHECK(tally.completed + tally.cancelled == rounds);
}

namespace {

/// Numbers are sent and received by tasks that are cancelled now and then. What a send that ended
/// well has sent is received once, and what a cancelled one would have sent is not.
weft::Coro<void> datagrams_against_cancel(weft::Datagram& from, weft::Datagram& to,
                                          bool senders_wait) {
    using weft::Datagram;
    constexpr int count = has_sanitizer ? 2'000 : rounds;
    Dice dice;
    Tally sends;
    Tally receives;
    std::vector<int> expected;
    std::vector<int> got;
    auto send = [](Datagram& out, int number) -> weft::Coro<void> {
        co_await out.send(weft::ConstBuffer(&number, sizeof number));
    };
    auto receive = [](Datagram& in) -> weft::Coro<int> {
        int number = -1;
        const weft::ReceivedDatagram received =
            co_await in.receive_from(weft::MutableBuffer(&number, sizeof number));
        co_return received.size == sizeof number ? number : -1;
    };
    weft::Task<int> reader = create_task(receive, std::ref(to));
    for (int round = 0; round < count; ++round) {
        weft::Task<void> sending = create_task(send, std::ref(from), round);
        // (For a while nobody receives: Unix sockets make their senders wait then.)
        const bool reads = round % 64 > 24;
        co_await turns(dice.below(3));
        if (reads && dice.below(2) == 0) reader.cancel();
        co_await turns(dice.below(2));
        sending.cancel();
        const End end = co_await ending(sending);
        sends.count(end);
        if (end == End::value) expected.push_back(round);
        while (reads && (reader.done() || expected.size() > got.size() + 8)) {
            const End last = co_await ending(reader);
            receives.count(last);
            if (last == End::value) got.push_back(reader.result());
            reader = create_task(receive, std::ref(to));
            co_await turns(2);
        }
    }
    while (got.size() < expected.size()) {
        const End last = co_await ending(reader);
        if (last == End::value) got.push_back(reader.result());
        reader = create_task(receive, std::ref(to));
    }
    co_await turns(3);
    CHECK_FALSE(reader.done());
    reader.cancel();
    co_await reader.wait();
    CHECK((got == expected));
    CHECK(sends.failed + receives.failed == 0);
    CHECK((senders_wait ? sends.both(count) : sends.completed > 0));
    CHECK(receives.both(count));
}

}  // namespace

WEFT_TEST_CASE("UDP datagrams that race cancels are received once and in order, or were not sent",
               "[storm]") {
    weft::Datagram to = weft::Datagram::bind(Address::ip("127.0.0.1", 0));
    weft::Datagram from = weft::Datagram::connect(to.local_address());
    co_await datagrams_against_cancel(from, to, false);
}

WEFT_TEST_CASE("Unix datagrams that race cancels are received once and in order, or were not sent",
               "[storm]") {
    auto [from, to] = weft::Datagram::pair();
    // So that a few fill it.
    const int small = 4096;
    checked(::setsockopt(from.fd(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small), "setsockopt");
    co_await datagrams_against_cancel(from, to, true);
}

}  // namespace storm_test
