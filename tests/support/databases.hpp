// SPDX-License-Identifier: MIT
// What the tests of the databases share: loops with real time, errors as values, ends at every
// step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <weft/deadline/timeout.hpp>
#include <weft/net/connect.hpp>
#include <weft/net/server.hpp>
#include <weft/net/stream.hpp>
#include <weft/runtime/loop.hpp>
#include <weft/sql.hpp>
#include <weft/sync/event.hpp>
#include <weft/task/coro.hpp>
#include <weft/task/run.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/race.hpp>

namespace support {

/// A server works in real time, which a virtual clock would jump over.
inline weft::RunOptions real_time() {
    weft::RunOptions options;
    options.hang_limit = std::chrono::seconds(30);
    return options;
}

template <class Body>
void run_in_real_time(Body body) {
    const weft::testing::DescriptorCensus before;
    weft::run(std::move(body), real_time());
    // (A thread that cancels at a server out of reach is not waited for by the run, and ends soon
    // after.)
    for (int waits = 0; waits < 500 && before.leaked() != ""; ++waits)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    CHECK(before.leaked() == "");
}

/// What a coroutine throws of the kind; empty when it throws nothing.
template <class E, class T>
weft::Coro<std::optional<E>> error_of(weft::Coro<T> work) {
    try {
        if constexpr (std::is_void_v<T>) {
            co_await std::move(work);
        } else {
            (void)co_await std::move(work);
        }
    } catch (const E& error) {
        co_return error;
    }
    co_return std::nullopt;
}

template <class T>
weft::Coro<T> within(weft::Duration limit, weft::Coro<T> work) {
    co_return co_await weft::timeout(limit, std::move(work));
}

template <class Connection>
weft::Coro<std::string> one_text(Connection& db, std::string statement) {
    const auto rows = co_await db.query(std::move(statement));
    co_return rows.template one<std::string>();
}

/// Ends a scenario after k turns of the loop, for k up to `most`: by a cancel, or by the end of the
/// loop. `after()` looks at the server. (How far a turn gets depends on how fast the server
/// answers: it is never the same, so that a repetition tries other places.)
template <class Scenario, class After>
void end_at_every_step(bool by_cancel, Scenario scenario, After after, std::size_t most = 18) {
    std::size_t ended_early = 0;
    for (std::size_t steps = 0; steps < most; ++steps) {
        {
            weft::EventLoop loop(real_time());
            // (A loop that is destroyed tells of each task that went with it.)
            if (!by_cancel) loop.set_exception_handler([](const weft::ExceptionContext&) {});
            weft::Task<void> task = loop.create_task(scenario());
            for (std::size_t step = 0; step < steps && !task.done(); ++step)
                loop.run_once(*task.core());
            if (!task.done()) {
                ++ended_early;
                if (by_cancel) task.cancel();
                while (by_cancel && !task.done()) loop.run_once(*task.core());
            }
            if (task.done() && !task.cancelled()) std::move(task).result();
        }
        after();
    }
    CHECK(ended_early > 1);
}

/// A network that can be cut: what comes then goes nowhere, and nobody is told.
class Network {
public:
    explicit Network(std::uint16_t to) : to_(to) { open_.set(); }
    /// Its near end.
    weft::Coro<std::uint16_t> start() {
        server_.emplace(co_await weft::start_server(
            [this](weft::Stream client) { return carry(std::move(client)); }, "127.0.0.1", 0));
        co_return server_->port();
    }
    void cut() { open_.clear(); }
    void mend() { open_.set(); }
    weft::Coro<void> stop() {
        server_->close();
        server_->abort_clients();
        open_.set();
        co_await server_->wait_closed();
    }

private:
    weft::Coro<void> carry(weft::Stream client) {
        co_await open_.wait();
        weft::Stream server = co_await weft::open_connection("127.0.0.1", to_);
        // (Whichever direction ends first ends both.)
        const auto there = [&]() -> weft::Coro<void> { return forward(client, server); };
        const auto back = [&]() -> weft::Coro<void> { return forward(server, client); };
        co_await weft::race(there(), back());
    }
    weft::Coro<void> forward(weft::Stream& from, weft::Stream& to) {
        std::string buffer(65536, '\0');
        try {
            for (;;) {
                const std::size_t got = co_await from.read(buffer);
                if (got == 0) co_return;
                co_await open_.wait();
                co_await to.write(weft::ConstBuffer(buffer.data(), got));
            }
        } catch (const std::system_error&) {
            // One of them has gone.
        }
    }

    std::uint16_t to_;
    weft::Event open_;
    std::optional<weft::Server> server_;
};

}  // namespace support
