// SPDX-License-Identifier: MIT
// A Transport of a user's under a Stream: what the Stream promises whatever the transport awaits.
#include <weft/testing/catch.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <weft/weft.hpp>

namespace transport_test {
namespace {

using namespace std::chrono_literals;
using weft::ConstBuffer;
using weft::Coro;
using weft::MutableBuffer;
using weft::Stream;

/// What the far side does, and what it has seen.
struct Script {
    std::function<Coro<std::size_t>(MutableBuffer)> on_read;
    std::size_t most_written = 3;
    std::string taken;
    std::string calls;
    bool buffered = false;
};

class Scripted final : public weft::Transport {
public:
    explicit Scripted(Script& script) noexcept : script_(&script) {}
    ~Scripted() override { script_->calls += "gone "; }

    Coro<std::size_t> read_some(MutableBuffer into) override { return script_->on_read(into); }
    Coro<std::size_t> write_some(ConstBuffer from) override {
        const std::size_t count = std::min(from.size(), script_->most_written);
        co_await weft::sleep(1s);
        script_->taken.append(static_cast<const char*>(from.data()), count);
        co_return count;
    }
    Coro<void> write_eof() override {
        script_->taken += "<end>";
        co_return;
    }
    Coro<void> close() override {
        script_->calls += "close ";
        co_return;
    }
    void abort() noexcept override { script_->calls += "abort "; }
    std::optional<std::size_t> try_read(MutableBuffer into) override {
        script_->calls += "try ";
        std::memcpy(into.data(), "now", 3);
        return 3;
    }
    bool has_buffered() const noexcept override { return script_->buffered; }
    std::string name() const override { return "script"; }

private:
    Script* script_;
};

Coro<std::size_t> give(MutableBuffer into, std::string_view text) {
    std::memcpy(into.data(), text.data(), text.size());
    co_return text.size();
}

Coro<void> write(Stream& to, std::string text) { co_await to.write(text); }
Coro<std::size_t> read(Stream& from) {
    char buffer[16];
    co_return co_await from.read(buffer);
}

WEFT_TEST_CASE("a deadline that loses against one await of a transport strikes the next") {
    Script script;
    script.on_read = [](MutableBuffer into) -> Coro<std::size_t> {
        return [](MutableBuffer to) -> Coro<std::size_t> {
            co_await weft::sleep(1s);  // due with the deadline, and before it
            co_await weft::sleep(1h);
            co_return co_await give(to, "late");
        }(into);
    };
    Stream stream = weft::make_stream<Scripted>(script);
    char buffer[16];
    const weft::TimePoint before = weft::get_running_loop().time();
    bool timed_out = false;
    try {
        co_await weft::wait_for(stream.read(buffer), 1s);
    } catch (const weft::TimeoutError&) {
        timed_out = true;
    }
    CHECK(timed_out);
    CHECK(weft::get_running_loop().time() - before == 1s);
    const auto chunk = co_await weft::move_on_after(1s, stream.read_chunk());
    CHECK(!chunk);
    CHECK(weft::get_running_loop().time() - before == 2s);
    // Deadlines around deadlines: the inner one is the cause.
    bool outer_timed_out = false;
    try {
        co_await weft::wait_for(weft::move_on_after(1s, stream.read(buffer)), 2s);
    } catch (const weft::TimeoutError&) {
        outer_timed_out = true;
    }
    CHECK(!outer_timed_out);
    // And the task is as it was: its next await is not struck.
    co_await weft::sleep(1s);
    CHECK(weft::get_running_loop().time() - before == 4s);
}

WEFT_TEST_CASE("writes over a transport go out whole and in order, and the end comes behind them") {
    Script script;
    Stream stream = weft::make_stream<Scripted>(script);
    weft::Task<void> first = weft::create_task(write, std::ref(stream), "aaaaaaa");
    weft::Task<void> second = weft::create_task(write, std::ref(stream), "bbbb");
    co_await weft::yield();
    co_await stream.write_eof();
    CHECK(first.done());
    CHECK(second.done());
    CHECK(script.taken == "aaaaaaabbbb<end>");
    CHECK(stream.written() == 11);
}

WEFT_TEST_CASE(
    "a cancelled write over a transport counts what was taken, and the next one goes on") {
    Script script;
    Stream stream = weft::make_stream<Scripted>(script);
    weft::Task<void> first = weft::create_task(write, std::ref(stream), "aaaaaaa");
    co_await weft::sleep(1500ms);
    first.cancel();
    co_await first.wait();
    CHECK(stream.written() == 3);
    co_await stream.write("bb");
    CHECK(script.taken == "aaabb");
}

WEFT_TEST_CASE("writes that are given up behind one that waits leave nothing behind") {
    Script script;
    Stream stream = weft::make_stream<Scripted>(script);
    weft::Task<void> first = weft::create_task(write, std::ref(stream), std::string(3000, 'a'));
    co_await weft::yield();
    for (int round = 0; round < 100; ++round)
        co_await weft::move_on_after(1s, stream.write("heartbeat"));
    std::size_t kept = 0;
    weft::detail::StreamAccess::state(stream).carrier->write_calls.for_each(
        [&](weft::detail::CarriedCall&) { ++kept; });
    CHECK(kept <= 2);
    first.cancel();
    co_await first.wait();
    CHECK(script.taken.find('h') == std::string::npos);
}

WEFT_TEST_CASE("a loop around reads that are always ready lets others run") {
    Script script;
    script.on_read = [](MutableBuffer into) { return give(into, "x"); };
    Stream stream = weft::make_stream<Scripted>(script);
    int turns = 0;
    weft::Task<void> other = weft::create_task(
        [](int& count) -> Coro<void> {
            for (;;) {
                ++count;
                co_await weft::yield();
            }
        },
        std::ref(turns));
    char buffer[16];
    for (int round = 0; round < 1000; ++round) co_await stream.read(buffer);
    CHECK(turns > 3);
    script.buffered = true;
    const int before = turns;
    for (int round = 0; round < 1000; ++round) co_await stream.read(buffer);
    CHECK(turns > before + 3);
    other.cancel();
}

WEFT_TEST_CASE("close and destruction reach the transport once, and nothing is asked of it after") {
    Script script;
    script.on_read = [](MutableBuffer into) { return give(into, "x"); };
    {
        Stream stream = weft::make_stream<Scripted>(script);
        co_await stream.close();
        co_await stream.close();
        stream.abort();
        CHECK(script.calls == "close ");
        CHECK(stream.is_closed());
        int refused = 0;
        try {
            co_await read(stream);
        } catch (const std::system_error& error) {
            refused += error.code().value() == EBADF;
        }
        try {
            co_await write(stream, "x");
        } catch (const std::system_error& error) {
            refused += error.code().value() == EBADF;
            CHECK(std::string(error.what()).starts_with("write script, which is closed"));
        }
        char buffer[16];
        try {
            (void)stream.try_read(buffer);
        } catch (const std::system_error& error) {
            refused += error.code().value() == EBADF;
        }
        CHECK(refused == 3);
    }
    CHECK(script.calls == "close gone ");
    script.calls.clear();
    {
        Stream stream = weft::make_stream<Scripted>(script);
        stream.abort();
        CHECK(stream.is_closed());
    }
    CHECK(script.calls == "abort gone ");
}

WEFT_TEST_CASE("a stream over a transport that goes while a task reads aborts it") {
    Script script;
    script.on_read = [](MutableBuffer) -> Coro<std::size_t> {
        co_await weft::sleep(1s);
        co_return 0;
    };
    weft::Task<std::size_t> reading;
    {
        Stream stream = weft::make_stream<Scripted>(script);
        reading = weft::create_task(
            [](Stream& from) -> Coro<std::size_t> {
                char buffer[16];
                auto operation = [&] { return from.read(buffer); };
                co_return co_await operation();
            },
            std::ref(stream));
        co_await weft::sleep(10ms);
    }
    CHECK(script.calls == "abort ");
    const std::size_t count = co_await reading;
    CHECK(count == 0);
    reading = {};
    CHECK(script.calls == "abort gone ");
}

TEST_CASE("a read over a transport that waits at the end of its loop is destroyed with it") {
    Script script;
    auto owned = std::make_unique<int>(0);
    script.on_read = [](MutableBuffer) -> Coro<std::size_t> {
        for (;;) {
            try {
                co_await weft::sleep(1h);
            } catch (const weft::CancelledError&) {  // and does not listen
            }
        }
    };
    {
        weft::RunOptions options;
        options.shutdown_timeout = 10ms;
        weft::run(
            [](Script& of) -> Coro<void> {
                auto task = weft::create_task(
                    [](Script& from) -> Coro<void> {
                        Stream stream = weft::make_stream<Scripted>(from);
                        co_await read(stream);
                    },
                    std::ref(of));
                co_await weft::yield();
            }(script),
            options);
    }
    CHECK(script.calls.ends_with("gone "));
}

}  // namespace
}  // namespace transport_test
