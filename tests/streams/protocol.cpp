// SPDX-License-Identifier: MIT
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include <cerrno>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <weft/weft.hpp>

namespace protocol_test {
namespace {

using namespace std::chrono_literals;
using weft::Coro;
using weft::ProtocolConnection;
using weft::Stream;
using weft::StreamPair;

/// Writes down what it is told.
class Recorder : public weft::Protocol {
public:
    void connection_made(ProtocolConnection made) override {
        connection.emplace(std::move(made));
        log += "made ";
    }
    void data_received(std::string_view data) override {
        if (data == "throw") throw std::runtime_error("thrown");
        if (echoes) connection->write(data);
        log.append("data:").append(data).append(" ");
    }
    bool eof_received() override {
        log += "eof ";
        return stays;
    }
    void connection_lost(std::exception_ptr error) override {
        log += error ? "lost:error" : "lost";
    }
    void pause_writing() override {
        log += "pause ";
        if (throws_when_paused) throw std::runtime_error("thrown");
    }
    void resume_writing() override { log += "resume "; }

    std::optional<ProtocolConnection> connection;
    std::string log;
    bool stays = false;
    bool echoes = true;
    bool throws_when_paused = false;
};

Coro<std::string> failure_of(weft::Task<void> running) {
    std::string said;
    try {
        co_await running;
    } catch (const std::exception& error) {
        said = error.what();
    }
    co_return said;
}

WEFT_TEST_CASE("a pause_writing that throws ends the connection, whoever writes") {
    for (const bool in_callback : {false, true}) {
        CAPTURE(in_callback);
        StreamPair pair = weft::memory_stream(16);
        Recorder recorder;
        recorder.throws_when_paused = true;
        weft::Task<void> running =
            weft::create_task(weft::run_protocol(std::move(pair.near), recorder));
        co_await weft::sleep(1ms);
        recorder.connection->set_write_buffer_limits(8, 4);
        const std::string text(14, 'x');
        if (in_callback) {
            co_await pair.far.write(text);
        } else {
            recorder.connection->write(text);
        }
        const std::string said = co_await failure_of(std::move(running));
        CHECK(said == "thrown");
        const std::string end = recorder.log.substr(recorder.log.size() - 10);
        CHECK(end == "lost:error");
    }
}

WEFT_TEST_CASE(
    "what arrives after pause_reading is told after resume_reading, also of a read that waits") {
    StreamPair pair = weft::memory_stream();
    Recorder recorder;
    recorder.echoes = false;
    weft::Task<void> running =
        weft::create_task(weft::run_protocol(std::move(pair.near), recorder));
    co_await weft::sleep(1ms);
    recorder.connection->pause_reading();
    co_await pair.far.write("one");
    co_await weft::sleep(1ms);
    CHECK(recorder.log == "made ");
    recorder.connection->resume_reading();
    co_await weft::sleep(1ms);
    CHECK(recorder.log == "made data:one ");
    recorder.connection->pause_reading();
    co_await pair.far.write_eof();
    co_await weft::sleep(1ms);
    CHECK(recorder.log == "made data:one ");
    recorder.connection->resume_reading();
    co_await running;
    CHECK(recorder.log == "made data:one eof lost");
}

WEFT_TEST_CASE("a protocol is told of the connection, its data, its end and its loss, in order") {
    StreamPair pair = weft::memory_stream();
    Recorder recorder;
    weft::Task<void> running =
        weft::create_task(weft::run_protocol(std::move(pair.near), recorder));
    co_await pair.far.write("one");
    const std::string echo = co_await pair.far.read_exactly(3);
    co_await pair.far.write_eof();
    const std::string end = co_await pair.far.read_line();
    co_await running;
    CHECK(echo == "one");
    CHECK(end.empty());
    CHECK(recorder.log == "made data:one eof lost");
}

WEFT_TEST_CASE(
    "a protocol that stays after the end writes on until it closes, and all of it arrives") {
    StreamPair pair = weft::memory_stream(100);
    Recorder recorder;
    recorder.stays = true;
    weft::Task<void> running =
        weft::create_task(weft::run_protocol(std::move(pair.near), recorder));
    co_await pair.far.write_eof();
    co_await weft::sleep(1ms);
    recorder.connection->write(std::string(1000, 'x'));
    recorder.connection->close();
    recorder.connection->write("too late");
    const std::string all = co_await pair.far.read_all(10'000);
    co_await running;
    CHECK(all == std::string(1000, 'x'));
    CHECK(recorder.log == "made eof lost");
}

WEFT_TEST_CASE("a protocol is told to pause above the high mark and to resume below the low one") {
    StreamPair pair = weft::memory_stream(100);
    Recorder recorder;
    weft::Task<void> running =
        weft::create_task(weft::run_protocol(std::move(pair.near), recorder));
    co_await weft::sleep(1ms);
    recorder.connection->set_write_buffer_limits(300, 100);
    recorder.connection->write(std::string(250, 'x'));
    recorder.connection->write(std::string(250, 'x'));
    CHECK(recorder.log == "made pause ");
    CHECK(recorder.connection->write_buffer_size() == 500);
    const std::string all = co_await pair.far.read_exactly(500);
    co_await weft::sleep(1ms);
    CHECK(recorder.log == "made pause resume ");
    recorder.connection->pause_reading();
    co_await weft::sleep(1ms);
    co_await pair.far.write("kept");
    co_await pair.far.write("back");
    co_await weft::sleep(1ms);
    recorder.connection->abort();
    co_await running;
    CHECK(recorder.log.ends_with("lost"));
}

WEFT_TEST_CASE("a callback that throws loses the connection and fails its run; a reset is told") {
    for (const bool resets : {false, true}) {
        StreamPair pair = weft::memory_stream();
        Recorder recorder;
        weft::Task<void> running =
            weft::create_task(weft::run_protocol(std::move(pair.near), recorder));
        co_await weft::sleep(1ms);
        if (resets)
            pair.far.abort();
        else
            co_await pair.far.write("throw");
        std::string what;
        try {
            co_await running;
        } catch (const std::exception& error) {
            what = error.what();
        }
        CHECK(what == (resets ? "" : "thrown"));
        CHECK(recorder.log == "made lost:error");
    }
}

WEFT_TEST_CASE("a cancelled run aborts the connection and tells its loss") {
    StreamPair pair = weft::memory_stream();
    Recorder recorder;
    const bool done =
        co_await weft::move_on_after(1s, weft::run_protocol(std::move(pair.near), recorder));
    CHECK(!done);
    CHECK(recorder.log == "made lost");
}

WEFT_TEST_CASE("create_connection and create_server: a protocol at each end") {
    weft::Server server =
        co_await weft::create_server([] { return std::make_unique<Recorder>(); }, "127.0.0.1", 0);
    Recorder client;
    client.echoes = false;
    ProtocolConnection connection =
        co_await weft::create_connection(client, "127.0.0.1", server.port());
    CHECK(client.log == "made ");
    connection.write("hello");
    connection.write_eof();
    co_await connection.wait_closed();
    CHECK(client.log == "made data:hello eof lost");
    server.close();
    co_await server.wait_closed();
}

Coro<void> talk_to_protocol(Stream stream) {
    co_await stream.write("one");
    (void)co_await stream.read_exactly(3);
    co_await stream.write_eof();
    (void)co_await stream.read_all(10);
}

TEST_CASE("a protocol that runs may be cancelled, or lose its loop, at every step") {
    const auto scenario = []() -> Coro<void> {
        StreamPair pair = weft::memory_stream();
        Recorder recorder;
        auto running = weft::run_protocol(std::move(pair.near), recorder);
        auto talking = talk_to_protocol(std::move(pair.far));
        auto both = weft::all(std::move(running), std::move(talking));
        co_await both;
    };
    const weft::testing::DescriptorCensus before;
    weft::testing::kill_at_every_step(scenario);
    weft::testing::cancel_at_every_step(scenario, [](const weft::Task<void>&) {});
    CHECK(before.leaked() == "");
}

}  // namespace
}  // namespace protocol_test
