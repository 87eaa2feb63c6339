// SPDX-License-Identifier: MIT
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <string>
#include <utility>
#include <vector>

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

/// The message of the RuntimeError that a call ends with.
Coro<std::string> refusal_of(Coro<void> call) {
    try {
        co_await std::move(call);
    } catch (const weft::RuntimeError& error) {
        co_return error.what();
    }
    co_return "";
}

WEFT_TEST_CASE("nobody writes into the middle of a file: who tries is told, and may afterwards") {
    const std::string text(12'000'000, 'x');
    const Fd file = file_of(text);
    auto write = [](Stream& to) -> Coro<void> { co_await to.write("!"); };
    auto parts = [](Stream& to) -> Coro<void> { co_await to.write("!", "!"); };
    auto some = [](Stream& to) -> Coro<void> { (void)co_await to.write_some("!"); };
    auto eof = [](Stream& to) -> Coro<void> { co_await to.write_eof(); };
    for (int kind = 0; kind < 3; ++kind) {
        StreamPair pair = pair_of(kind);
        auto send = [&]() -> Coro<void> { (void)co_await weft::send_file(pair.near, file.get()); };
        weft::Task<void> sending = weft::create_task(send);
        co_await weft::sleep(1ms);
        REQUIRE_FALSE(sending.done());
        const std::string expected = ": a write to a stream on which send_file is not over";
        std::vector<std::string> messages(5);
        messages[0] = co_await refusal_of(write(pair.near));
        messages[1] = co_await refusal_of(parts(pair.near));
        messages[2] = co_await refusal_of(some(pair.near));
        messages[3] = co_await refusal_of(eof(pair.near));
        messages[4] = co_await refusal_of(send());
        const std::string first = messages[0];
        CHECK(first.find(expected) == first.size() - expected.size());
        CHECK((first.find("send fd ") == 0 || first.find("write ") == 0));
        CHECK(messages == std::vector<std::string>(5, first));
        weft::Task<std::string> reading =
            weft::create_task(read_count, std::ref(pair.far), text.size() + 3);
        co_await sending;
        co_await pair.near.write("end");
        const std::string got = co_await reading;
        const bool is_whole = got == text + "end";
        CHECK(is_whole);
    }
}

Coro<void> send_and_end(Stream& to, int file) {
    (void)co_await weft::send_file(to, file);
    co_await to.write_eof();
}

TEST_CASE("a file that goes out may be cancelled, or lose its loop, at every step") {
    const std::string text(700'000, 'x');
    const Fd file = file_of(text);
    for (int kind = 0; kind < 3; ++kind) {
        const auto scenario = [&text, &file, kind]() -> Coro<void> {
            StreamPair pair = pair_of(kind);
            auto sending = send_and_end(pair.near, file.get());
            auto reading = read_count(pair.far, text.size());
            auto both = weft::all(std::move(sending), std::move(reading));
            co_await both;
        };
        const weft::testing::DescriptorCensus before;
        weft::testing::kill_at_every_step(scenario);
        weft::testing::cancel_at_every_step(scenario, [](const weft::Task<void>&) {});
        CHECK(before.leaked() == "");
    }
}

}  // namespace
}  // namespace send_file_test
