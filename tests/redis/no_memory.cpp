// SPDX-License-Identifier: MIT
// A Redis client that finds no memory while its connection breaks, or while it goes itself.
// program: own
#include <weft/redis.hpp>
#include <weft/weft.hpp>

#include <memory>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include <weft/streams/memory_stream.hpp>
#include <weft/testing/catch.hpp>

#include "failing_new.hpp"

namespace no_memory_test {

using namespace std::chrono_literals;
using weft::Coro;
using weft::Stream;
using weft::redis::Client;
using weft::redis::Options;

namespace {

/// Answers the greeting, and then nothing.
struct Silent {
    Silent() {
        options.connect_timeout = 10s;
        options.command_timeout = 60s;
        options.reconnect.attempts = 2;
        options.connect_with([this] { return accept(); });
    }
    Coro<Stream> accept() {
        weft::StreamPair ends = weft::memory_stream();
        far.emplace(std::move(ends.far));
        (void)weft::create_task(greet(*this));
        co_return std::move(ends.near);
    }
    static Coro<void> greet(Silent& self) {
        (void)co_await self.far->read_exactly(14);
        co_await self.far->write(std::string_view("+PONG\r\n"));
    }
    Options options;
    std::optional<Stream> far;
};

/// True: it has ended, whatever with.
Coro<bool> asks(Client& client) {
    try {
        co_await client.command<void>("ECHO", 1);
    } catch (const weft::redis::Error&) {
    } catch (const weft::TimeoutError&) {
    } catch (const std::bad_alloc&) {
    }
    co_return true;
}

}  // namespace

TEST_CASE("without memory those who wait are told, and the client goes on when there is some",
          "[redis]") {
    long failed = 0;
    for (const bool client_goes : {false, true}) {
        for (const long failures : {1L, 3L, 1000L}) {
            for (long after = 0; after < 12; ++after) {
                CAPTURE(client_goes, failures, after);
                weft::testing::run([&]() -> Coro<void> {
                    weft::get_running_loop().set_exception_handler(
                        [](const weft::ExceptionContext&) {});
                    Silent server;
                    auto client = std::make_unique<Client>(server.options);
                    std::vector<weft::Task<bool>> waiting;
                    for (int index = 0; index < 3; ++index)
                        waiting.push_back(weft::create_task(asks(*client)));
                    for (int turn = 0; turn < 12; ++turn) co_await weft::yield();
                    if (!client_goes) waiting.push_back(weft::create_task(asks(*client)));
                    shortage.set(after, failures);
                    if (client_goes) {
                        client.reset();
                    } else {
                        server.far->abort();
                        for (int turn = 0; turn < 12; ++turn) co_await weft::yield();
                    }
                    failed += shortage.failed;
                    shortage.end();
                    if (!client_goes) waiting.push_back(weft::create_task(asks(*client)));
                    for (auto& task : waiting) co_await task.wait();
                });
            }
        }
    }
    CHECK(failed > 20);
}

}  // namespace no_memory_test
