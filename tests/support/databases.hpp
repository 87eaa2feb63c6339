// SPDX-License-Identifier: MIT
// What the tests of the databases share: loops with real time, errors as values, ends at every
// step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
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
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/race.hpp>

#include "refusals.hpp"

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
    // after, or when the server comes to it.)
    for (int waits = 0; waits < 6000 && before.leaked() != ""; ++waits)
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

/// Waits until the server answers so, for a minute at most: what others have asked it begins in its
/// own time.
template <class Connection>
weft::Coro<void> until_answered(Connection& db, std::string question, std::string answer) {
    for (int looks = 0; looks < 6000; ++looks) {
        const std::string now = co_await one_text(db, question);
        if (now == answer) co_return;
        co_await weft::sleep(std::chrono::milliseconds(10));
    }
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

/// The members that all databases have.
template <class Db>
weft::Coro<void> check_refusals(Db& db, const char* expected) {
    Refusals refused(expected);
    auto query = [&]() -> weft::Coro<void> { (void)co_await db.query("SELECT 1"); };
    co_await refused.add("query", query);
    auto values = [&]() -> weft::Coro<void> { (void)co_await db.query("SELECT $1", 1); };
    co_await refused.add("query with a value", values);
    auto execute = [&]() -> weft::Coro<void> { (void)co_await db.execute("SELECT 1"); };
    co_await refused.add("execute", execute);
    auto nothing = [](Db&) -> weft::Coro<void> { co_return; };
    auto transaction = [&]() -> weft::Coro<void> { co_await db.transaction(nothing); };
    co_await refused.add("transaction", transaction);
    auto script = [&]() -> weft::Coro<void> { co_await db.script("SELECT 1"); };
    co_await refused.add("script", script);
    CHECK_FALSE(db.is_open());
    CHECK_FALSE(db.in_transaction());
    CHECK_FALSE(db.is_clean());
}
/// `more(db, refusals)` adds what one database alone has.
template <class Db, class More>
weft::Coro<void> check_moved_and_closed(Db db, More more) {
    Db other = std::move(db);
    const std::string empty = weft::detail::concat({"an empty ", Db::type_name});
    co_await check_refusals(db, empty.c_str());
    Refusals when_empty(empty);
    co_await more(db, when_empty);
    auto server = [&]() -> weft::Coro<void> {
        (void)db.server();
        co_return;
    };
    co_await when_empty.add("server", server);
    static_cast<weft::sql::Queries<Db>&>(other).close();
    co_await check_refusals(other, "closed");
    Refusals when_closed("closed");
    co_await more(other, when_closed);
}

/// A handle that goes, or is moved, while it is in use: what was asked is answered all the same.
template <class Db>
weft::Coro<void> check_goes_in_use(Db given) {
    auto db = std::make_unique<Db>(std::move(given));
    std::unique_ptr<Db> other;
    auto moves = [&](Db& tx) -> weft::Coro<int> {
        other = std::make_unique<Db>(std::move(*db));
        db.reset();
        const auto rows = co_await tx.query("SELECT 1");
        co_return rows.template one<int>();
    };
    const int in_transaction = co_await db->transaction(moves);
    CHECK(in_transaction == 1);
    auto asks = [&] { return other->query("SELECT 2"); };
    auto task = weft::create_task(asks);
    co_await weft::yield();
    other.reset();
    const auto rows = co_await std::move(task);
    CHECK(rows.template one<int>() == 2);
}

/// Several statements in one text are carried out by `script`, and by nothing else.
template <class Db>
weft::Coro<void> check_one_statement(Db& db) {
    co_await db.script("DROP TABLE IF EXISTS several; CREATE TABLE several (n INT);");
    const auto refused = [&](std::string text) -> weft::Coro<void> {
        const auto error = co_await error_of<weft::sql::Error>(db.query(text));
        INFO(text << ": " << (error ? error->what() : "nothing"));
        CHECK((error && std::string(error->what()).find("see script") != std::string::npos));
        CHECK(db.is_open());
    };
    co_await refused("SELECT 1; INSERT INTO several VALUES (1)");
    co_await refused("INSERT INTO several VALUES (2); INSERT INTO several VALUES (3)");
    co_await db.script("INSERT INTO several VALUES (10); INSERT INTO several VALUES (20)");
    co_await refused("INSERT INTO several VALUES (4); INSERT INTO several VALUES (5)");
    const auto appended =
        co_await error_of<weft::sql::Error>(db.script("INSERT INTO several VALUES (30); nonsense"));
    CHECK(appended);
    co_await refused("INSERT INTO several VALUES (6); INSERT INTO several VALUES (7)");
    // One statement is one with what may stand behind it.
    const auto one = co_await db.query("SELECT COUNT(*) FROM several WHERE n < 10; -- none\n ; ");
    CHECK(one.template one<int>() == 0);
    (void)co_await db.query("DROP TABLE several;");
}

/// A handle serves one loop after the other, those that are not closed as well.
template <class Connect, class Use>
void use_on_several_loops(Connect connect, Use use) {
    const weft::testing::DescriptorCensus before;
    {
        auto first = std::make_unique<weft::EventLoop>(real_time());
        weft::EventLoop second(real_time());
        auto handle = first->run_until_complete(connect());
        first->run_until_complete(use(handle));
        second.run_until_complete(use(handle));
        first->run_until_complete(use(handle));
        first.reset();
        second.run_until_complete(use(handle));
    }
    CHECK(before.leaked() == "");
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
