// SPDX-License-Identifier: MIT
// The same answers from every transport.
// rungs: all
// timeout: 300
#include <weft/testing/catch.hpp>

#include <cstddef>
#include <cstdlib>
#include <iostream>
#include <string>
#include <utility>

#include <weft/testing/check_stream.hpp>
#include <weft/weft.hpp>

#include "stream_pairs.hpp"

namespace check_stream_test {
namespace {

using weft::ConstBuffer;
using weft::Coro;
using weft::MutableBuffer;
using weft::Stream;
using weft::StreamPair;
using weft::testing::check_stream;
using weft::testing::StreamCheckOptions;

template <support::Transport transport>
StreamPair sockets() {
    support::StreamPair pair = support::bounded_pair(transport);
    return StreamPair(std::move(pair.near), std::move(pair.far));
}
StreamPair one_pipe() {
    weft::Pipe pipe = weft::pipe();
    return StreamPair(std::move(pipe.writer), std::move(pipe.reader));
}
StreamPair joined_pipes() {
    weft::Pipe there = weft::pipe();
    weft::Pipe back = weft::pipe();
    return StreamPair(weft::join_streams(std::move(back.reader), std::move(there.writer)),
                      weft::join_streams(std::move(there.reader), std::move(back.writer)));
}
StreamPair terminal() {
    weft::PtyOptions options;
    options.raw = true;
    weft::Pty pty = weft::open_pty(options);
    return StreamPair(std::move(pty.master), Stream(std::move(pty.slave)));
}
StreamPair memory() { return weft::memory_stream(); }

/// A user's transport, over a stream: what goes through it is not what is written.
class Cipher : public weft::Transport {
public:
    explicit Cipher(Stream below) noexcept : below_(std::move(below)) {}

    Coro<std::size_t> read_some(MutableBuffer into) override {
        const std::size_t count = co_await below_.read(into);
        turn(static_cast<char*>(into.data()), count, read_);
        read_ += count;
        co_return count;
    }
    Coro<std::size_t> write_some(ConstBuffer from) override {
        std::string piece(static_cast<const char*>(from.data()),
                          std::min<std::size_t>(from.size(), 1000));
        turn(piece.data(), piece.size(), written_);
        const std::size_t count = co_await below_.write_some(piece);
        written_ += count;
        co_return count;
    }
    Coro<void> write_eof() override { return below_.write_eof(); }
    Coro<void> close() override { return below_.close(); }
    void abort() noexcept override { below_.abort(); }
    std::string name() const override { return "cipher"; }

private:
    static void turn(char* text, std::size_t size, std::size_t position) {
        for (std::size_t index = 0; index < size; ++index)
            text[index] = static_cast<char>(text[index] ^ static_cast<char>(position + index));
    }
    Stream below_;
    std::size_t read_ = 0;
    std::size_t written_ = 0;
};
StreamPair ciphers() {
    StreamPair below = weft::memory_stream(3000);
    return StreamPair(weft::make_stream<Cipher>(std::move(below.near)),
                      weft::make_stream<Cipher>(std::move(below.far)));
}

/// Has an await between what it takes from below and its answer.
class Forgetful : public Cipher {
public:
    using Cipher::Cipher;
    Coro<std::size_t> read_some(MutableBuffer into) override {
        const std::size_t count = co_await Cipher::read_some(into);
        co_await weft::yield();
        co_return count;
    }
};
StreamPair forgetful() {
    StreamPair below = weft::memory_stream();
    return StreamPair(weft::make_stream<Forgetful>(std::move(below.near)),
                      weft::make_stream<Forgetful>(std::move(below.far)));
}

StreamCheckOptions options() {
    StreamCheckOptions what;
    what.more_than_fits = 1 << 20;
    if (const char* const only = std::getenv("WEFT_STREAM_CASE")) what.only = only;
    return what;
}

TEST_CASE("what a Stream promises holds over TCP", "[tcp]") {
    StreamCheckOptions what = options();
    what.more_than_fits = 8 << 20;
    what.abort_is_error = true;
    check_stream(&sockets<support::Transport::tcp>, what);
}
TEST_CASE("what a Stream promises holds over a Unix socket", "[unix]") {
    check_stream(&sockets<support::Transport::unix_pair>, options());
}
TEST_CASE("what a Stream promises holds over a pipe", "[pipe]") {
    StreamCheckOptions what = options();
    what.both_ways = false;
    check_stream(&one_pipe, what);
}
TEST_CASE("what a Stream promises holds over two pipes that were joined", "[joined]") {
    check_stream(&joined_pipes, options());
}
TEST_CASE("what a Stream promises holds over a terminal", "[pty]") {
    StreamCheckOptions what = options();
    what.half_close = false;
    what.close_keeps_data = false;
    what.end_is_noticed = false;
    check_stream(&terminal, what);
}
TEST_CASE("what a Stream promises holds in memory", "[memory]") {
    StreamCheckOptions what = options();
    what.abort_is_error = true;
    check_stream(&memory, what);
}
TEST_CASE("what a Stream promises holds over a transport of the user's", "[user]") {
    StreamCheckOptions what = options();
    what.try_read = false;
    check_stream(&ciphers, what);
}

TEST_CASE("check_stream finds a transport whose read loses bytes when it is cancelled", "[lost]") {
    StreamCheckOptions what;
    what.only = "a read that is cancelled as data arrives loses nothing";
    std::string found;
    try {
        check_stream(&forgetful, what);
    } catch (const weft::testing::StreamCheckFailed& failure) {
        found = failure.what();
    }
    CHECK(found.find("has lost some") != std::string::npos);
}

}  // namespace
}  // namespace check_stream_test
