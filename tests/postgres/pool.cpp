// SPDX-License-Identifier: MIT
// postgres: what is more than a query at a time, and servers that go and come back.
// timeout: 240
#include <weft/postgres.hpp>
#include <weft/task/sleep.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/task_group.hpp>

#include <memory>
#include <optional>

#include "databases.hpp"
#include "service.hpp"

namespace pool_test {

using namespace std::chrono_literals;
using support::error_of;
using support::one_text;
using weft::AsyncGenerator;
using weft::Coro;
using weft::postgres::Connection;
using weft::postgres::ConnectionError;
using weft::postgres::Error;
using weft::postgres::Pool;
using weft::postgres::PoolOptions;

namespace {

support::Service& server() { return support::shared_service("postgres"); }

std::string words(const std::string& more = "") {
    return "host=127.0.0.1 port=" + server().fact("port") + " dbname=weft user=trust " + more;
}

/// A table of this file's, empty.
Coro<Connection> with_table() {
    Connection db = co_await weft::postgres::connect(words());
    co_await db.script("CREATE TABLE IF NOT EXISTS bulk (id int, name text); TRUNCATE bulk");
    co_return std::move(db);
}

AsyncGenerator<std::string> lines(int count, int fails_at = -1) {
    for (int line = 0; line < count; ++line) {
        if (line == fails_at) throw std::runtime_error("the source has failed");
        co_await weft::yield();
        co_yield std::to_string(line) + "\tname " + std::to_string(line) + "\n";
    }
}

}  // namespace

TEST_CASE("COPY takes what a generator gives, and gives what the server has", "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Connection db = co_await with_table();
        const auto copied = co_await db.copy_in("COPY bulk FROM STDIN", lines(1000));
        CHECK(copied == 1000);
        const auto more = co_await db.copy_in(
            "COPY bulk FROM STDIN", std::string(3'000'000, '7').replace(0, 2, "1\t") + "\n");
        CHECK(more == 1);

        int rows = 0;
        std::size_t bytes = 0;
        auto out = db.copy_out("COPY (SELECT * FROM bulk ORDER BY id) TO STDOUT");
        while (auto line = co_await out.next()) {
            ++rows;
            bytes += line->size();
        }
        CHECK(rows == 1001);
        CHECK(bytes > 3'000'000);

        // Nothing of one that fails stays.
        const auto failed = co_await error_of<std::runtime_error>(
            db.copy_in("COPY bulk FROM STDIN", lines(1000, 500)));
        REQUIRE(failed);
        CHECK(failed->what() == std::string("the source has failed"));
        const auto wrong =
            co_await error_of<Error>(db.copy_in("COPY bulk FROM STDIN", std::string("x\ty\n")));
        REQUIRE(wrong);
        CHECK(wrong->code() == "22P02");
        const auto other = co_await error_of<weft::RuntimeError>(
            db.copy_in("COPY bulk TO STDOUT", std::string("1\t2\n")));
        CHECK(other);
        const auto count = co_await one_text(db, "SELECT count(*) FROM bulk");
        CHECK(count == "1001");
    });
}

TEST_CASE("rows come one after the other, and a stream that is let go leaves nothing behind",
          "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Connection db = co_await with_table();
        const int pid = db.backend_pid();
        for (const bool in_full : {true, false}) {
            auto numbers = db.stream("SELECT i FROM generate_series(1, $1::int) AS i", 100'000);
            int seen = 0;
            std::int64_t sum = 0;
            while (auto row = co_await numbers.next()) {
                sum += row->get<int>(0);
                if (++seen == 10 && !in_full) break;
            }
            CHECK(sum == (in_full ? 5'000'050'000 : 55));
        }
        const auto after_stream = co_await one_text(db, "SELECT 'after'");
        CHECK(after_stream == "after");
        {
            auto out = db.copy_out("COPY (SELECT generate_series(1, 1000000)) TO STDOUT");
            const auto first = co_await out.next();
            REQUIRE(first);
            CHECK(*first == "1\n");
        }
        const auto after_copy = co_await one_text(db, "SELECT 'after'");
        CHECK(after_copy == "after");
        auto broken = db.stream("SELECT 1/(3-i) FROM generate_series(1, 5) AS i");
        int before = 0;
        const auto read = [&]() -> Coro<void> {
            while (auto row = co_await broken.next()) ++before;
        };
        const auto error = co_await error_of<Error>(read());
        REQUIRE(error);
        CHECK(error->code() == "22012");
        CHECK(before == 2);
        const auto late = co_await error_of<weft::TimeoutError>(
            support::within(20ms, db.copy_in("COPY bulk FROM STDIN", lines(100'000'000))));
        CHECK(late);
        const auto count = co_await one_text(db, "SELECT count(*) FROM bulk");
        CHECK(count == "0");
        CHECK(db.backend_pid() == pid);
    });
}

TEST_CASE("what is told on a channel arrives in order, and a deadline loses none of it",
          "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Connection hears = co_await weft::postgres::connect(words());
        Connection tells = co_await weft::postgres::connect(words());
        {
            const std::vector<std::string> channels{"a \"channel\"", "b"};
            auto events = co_await hears.listen(channels);
            const auto nothing =
                co_await error_of<weft::TimeoutError>(support::within(5ms, events.next()));
            CHECK(nothing);
            CHECK_FALSE(events.try_next());
            for (int number = 0; number < 5; ++number) {
                co_await tells.notify("a \"channel\"", std::to_string(number));
            }
            for (int number = 0; number < 5; ++number) {
                const auto event = co_await events.next();
                CHECK(event.channel == "a \"channel\"");
                CHECK(event.payload == std::to_string(number));
                CHECK(event.backend_pid == tells.backend_pid());
            }
        }
        CHECK_FALSE(hears.is_clean());
        const auto channels =
            co_await one_text(hears, "SELECT count(*) FROM pg_listening_channels()");
        CHECK(channels == "0");
        CHECK(hears.is_clean());
    });
}

TEST_CASE("a listener that goes ends the wait of its reader, and the connection goes on",
          "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Connection hears = co_await weft::postgres::connect(words());
        auto events = std::make_unique<weft::postgres::Listener>(co_await hears.listen("gone"));
        const auto reads = [&]() { return error_of<ConnectionError>(events->next()); };
        auto reader = weft::create_task(reads);
        co_await weft::sleep(5ms);
        events.reset();
        const auto why = co_await reader;
        REQUIRE(why);
        CHECK_THAT(why->what(), Catch::Contains("the listener was destroyed"));
        const auto one = co_await one_text(hears, "SELECT 1");
        CHECK(one == "1");
    });
}

TEST_CASE("a connect_timeout holds, and libpq's words are one line", "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        support::Network network(server().port());
        const auto port = co_await network.start();
        network.cut();
        const auto late = co_await error_of<ConnectionError>(support::within(
            20s, weft::postgres::connect(words("connect_timeout=1 port=" + std::to_string(port)))));
        REQUIRE(late);
        CHECK_THAT(late->what(), Catch::Contains("127.0.0.1:" + std::to_string(port) +
                                                 "/weft: no connection in the connect_timeout"));
        co_await network.stop();
        const auto refused =
            co_await error_of<ConnectionError>(weft::postgres::connect(words("dbname=absent")));
        REQUIRE(refused);
        const std::string said = refused->what();
        CHECK(said.find('\n') == said.npos);
        CHECK(said.find("FATAL") == said.rfind("FATAL"));
    });
}

Coro<Connection> through(std::uint16_t port, weft::postgres::Options options) {
    return weft::postgres::connect(words("sslmode=disable port=" + std::to_string(port)), options);
}

TEST_CASE("a listener finds out that its network was cut, and only then", "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        support::Network network(server().port());
        const auto port = co_await network.start();
        Connection tells = co_await weft::postgres::connect(words());
        weft::postgres::Options options;
        options.heartbeat = 300ms;
        Connection hears = co_await through(port, options);
        // Several beats, in waits that are shorter than one.
        const auto stays = [&]() -> Coro<void> {
            auto events = co_await hears.listen("beat");
            for (int waits = 0; waits < 10; ++waits) {
                const auto nothing =
                    co_await weft::move_on_after(options.heartbeat / 3, events.next());
                CHECK_FALSE(nothing);
            }
            co_await tells.notify("beat", "there");
            const auto event = co_await events.next();
            CHECK(event.payload == "there");
            const auto nothing =
                co_await weft::move_on_after(options.heartbeat * 7 / 6, events.next());
            CHECK_FALSE(nothing);
        };
        // (Where a proxy and a server take longer than a beat for an answer, it is no mistake to
        // give them up: then with more patience.)
        for (;;) {
            const auto given_up = co_await error_of<ConnectionError>(stays());
            if (!given_up) break;
            REQUIRE(options.heartbeat < 5s);
            options.heartbeat *= 3;
            hears = co_await through(port, options);
        }
        // (A question may be under way.)
        const auto one = co_await one_text(hears, "SELECT 1");
        CHECK(one == "1");
        auto events = co_await hears.listen("beat");
        network.cut();
        const auto why = co_await error_of<ConnectionError>(support::within(30s, events.next()));
        REQUIRE(why);
        CHECK_THAT(why->what(), Catch::Contains("no sign of life"));
        CHECK_FALSE(hears.is_open());
        co_await network.stop();
    });
}

TEST_CASE("every handle to PostgreSQL that was moved from or closed says so", "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        auto more = [](Connection& db, support::Refusals& refused) -> Coro<void> {
            auto stream = [&]() -> Coro<void> {
                auto rows = db.stream("SELECT 1");
                (void)co_await rows.next();
            };
            co_await refused.add("stream", stream);
            auto in = [&]() -> Coro<void> { (void)co_await db.copy_in("COPY t FROM STDIN", "1"); };
            co_await refused.add("copy_in", in);
            auto out = [&]() -> Coro<void> {
                auto rows = db.copy_out("COPY t TO STDOUT");
                (void)co_await rows.next();
            };
            co_await refused.add("copy_out", out);
            auto listen = [&]() -> Coro<void> { (void)co_await db.listen("a"); };
            co_await refused.add("listen", listen);
            auto notify = [&]() -> Coro<void> { co_await db.notify("a", "b"); };
            co_await refused.add("notify", notify);
            auto batch = [&]() -> Coro<void> {
                auto pipeline = db.pipeline();
                pipeline.add("SELECT 1");
                (void)co_await pipeline.run();
            };
            co_await refused.add("pipeline", batch);
            auto pid = [&]() -> Coro<void> {
                if (db.backend_pid() == 0) throw std::runtime_error("closed");
                co_return;
            };
            co_await refused.add("backend_pid", pid);
        };
        Connection db = co_await weft::postgres::connect(words());
        co_await support::check_moved_and_closed(std::move(db), more);
        Connection used = co_await weft::postgres::connect(words());
        co_await support::check_goes_in_use(std::move(used));
        Connection hears = co_await weft::postgres::connect(words());
        auto events = co_await hears.listen("a");
        auto moved = std::move(events);
        support::Refusals refused("an empty postgres::Listener");
        auto next = [&]() -> Coro<void> { (void)co_await events.next(); };
        co_await refused.add("Listener::next", next);
        auto try_next = [&]() -> Coro<void> {
            (void)events.try_next();
            co_return;
        };
        co_await refused.add("Listener::try_next", try_next);
        hears.close();
        support::Refusals closed("closed");
        auto last = [&]() -> Coro<void> { (void)co_await moved.next(); };
        co_await closed.add("Listener::next", last);
        CHECK_FALSE(moved.try_next());
        Connection again = co_await weft::postgres::connect(words());
        auto batch = again.pipeline();
        auto other = std::move(batch);
        batch.add("SELECT 1");
        support::Refusals empty("an empty postgres::Pipeline");
        auto run = [&]() -> Coro<void> { (void)co_await batch.run(); };
        co_await empty.add("Pipeline::run", run);
        const auto rows = co_await again.query("SELECT 1");
        auto row = rows[0];
        auto of_it = std::move(row);
        support::Refusals no_row("an empty sql::Row");
        auto get = [&]() -> Coro<void> {
            (void)row.get<int>(0);
            co_return;
        };
        co_await no_row.add("Row::get", get);
        auto by_name = [&]() -> Coro<void> {
            (void)row["a"];
            co_return;
        };
        co_await no_row.add("Row::operator[]", by_name);
        CHECK(row.columns() == 0);
        weft::postgres::Lease lease;
        support::Refusals no_lease("lease is empty");
        auto use = [&]() -> Coro<void> { (void)co_await lease->query("SELECT 1"); };
        co_await no_lease.add("Lease", use);
    });
}

TEST_CASE("several statements in one text are for script alone", "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Connection db =
            co_await weft::postgres::connect(words("options='-c client_min_messages=error'"));
        co_await support::check_one_statement(db);
        co_await db.script("DROP TABLE IF EXISTS appended; CREATE TABLE appended (n int)");
        const auto in = co_await error_of<Error>(
            db.copy_in("COPY appended FROM STDIN; DROP TABLE appended", "1\n"));
        CHECK(in);
        auto copies = [&]() -> Coro<void> {
            auto rows = db.copy_out("COPY appended TO STDOUT; DROP TABLE appended");
            while (co_await rows.next()) {
            }
        };
        const auto out = co_await error_of<Error>(copies());
        CHECK(out);
        const auto copied = co_await db.copy_in("COPY appended FROM STDIN;", "1\n2\n");
        CHECK(copied == 2);
        (void)co_await db.query("DROP TABLE appended");
    });
}

TEST_CASE("a connection, a listener and a pool serve one loop after the other", "[postgres]") {
    if (!server().is_there()) return;
    const auto connects = [] { return weft::postgres::connect(words()); };
    support::use_on_several_loops(connects, [](Connection& db) -> Coro<void> {
        const auto rows = co_await support::within(10s, db.query("SELECT $1::int", 7));
        CHECK(rows.one<int>() == 7);
        auto body = [](Connection& tx) -> Coro<void> { (void)co_await tx.query("SELECT 1"); };
        co_await support::within(10s, db.transaction(body));
    });
    struct Hears {
        Connection db;
        weft::postgres::Listener events;
    };
    const auto listens = []() -> Coro<std::unique_ptr<Hears>> {
        Connection db = co_await weft::postgres::connect(words());
        auto events = co_await db.listen("loops");
        co_return std::unique_ptr<Hears>(new Hears{std::move(db), std::move(events)});
    };
    support::use_on_several_loops(listens, [](std::unique_ptr<Hears>& hears) -> Coro<void> {
        Connection tells = co_await weft::postgres::connect(words());
        co_await tells.notify("loops", "x");
        const auto event = co_await support::within(10s, hears->events.next());
        CHECK(event.payload == "x");
    });
    const auto pools = []() -> Coro<std::unique_ptr<Pool>> {
        co_return std::make_unique<Pool>(words(), PoolOptions(2));
    };
    support::use_on_several_loops(pools, [](std::unique_ptr<Pool>& pool) -> Coro<void> {
        const auto rows = co_await support::within(10s, pool->query("SELECT 8"));
        CHECK(rows.one<int>() == 8);
    });
}

TEST_CASE("a pipeline is one round trip, and all of it or nothing", "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Connection db = co_await with_table();
        auto batch = db.pipeline();
        for (int number = 0; number < 2000; ++number) {
            batch.add("INSERT INTO bulk VALUES ($1, $2) RETURNING id", number,
                      std::string(300, 'x'));
        }
        const auto results = co_await batch.run();
        REQUIRE(results.size() == 2000);
        CHECK(results[1999].one<int>() == 1999);
        CHECK(batch.size() == 0);

        batch.add("INSERT INTO bulk VALUES (1, 'lost')");
        batch.add("INSERT INTO bulk VALUES ($1, 'lost')", "no number");
        batch.add("INSERT INTO bulk VALUES (3, 'lost')");
        const auto failed = co_await error_of<Error>(batch.run());
        REQUIRE(failed);
        CHECK(failed->code() == "22P02");
        CHECK(failed->statement() == "INSERT INTO bulk VALUES ($1, 'lost')");
        const auto lost = co_await one_text(db, "SELECT count(*) FROM bulk WHERE name = 'lost'");
        CHECK(lost == "0");

        batch.add("INSERT INTO bulk VALUES (1, 'late')");
        batch.add("SELECT pg_sleep(100)");
        const auto late = co_await error_of<weft::TimeoutError>(support::within(20ms, batch.run()));
        CHECK(late);
        const auto none = co_await one_text(db, "SELECT count(*) FROM bulk WHERE name = 'late'");
        CHECK(none == "0");
    });
}

TEST_CASE("a pool lends clean connections alone, to whoever waits longest", "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        { const auto made = co_await with_table(); }
        Pool pool(words(), PoolOptions(2));
        int first = 0;
        {
            auto lease = co_await pool.acquire();
            first = lease->backend_pid();
        }
        {
            auto lease = co_await pool.acquire();
            CHECK(lease->backend_pid() == first);
            co_await lease->script("BEGIN; INSERT INTO bulk VALUES (1, 'open')");
        }  // in a transaction: it is closed
        {
            auto lease = co_await pool.acquire();
            CHECK(lease->backend_pid() != first);
        }
        const auto open = co_await pool.query("SELECT count(*) FROM bulk");
        CHECK(open.one<int>() == 0);

        std::vector<int> order;
        const auto use = [&](int number) -> Coro<void> {
            auto lease = co_await pool.acquire();
            const auto rows = co_await lease->query("SELECT $1::int", number);
            CHECK(rows.one<int>() == number);
            order.push_back(number);
        };
        auto one = co_await pool.acquire();
        auto two = co_await pool.acquire();
        co_await weft::task_group([&](weft::TaskGroup& group) -> Coro<void> {
            for (int number = 0; number < 6; ++number) group.create_task(use, number);
            co_await weft::yield();
            CHECK(pool.waiting() == 6);
            one.release();
        });
        CHECK(order == std::vector<int>{0, 1, 2, 3, 4, 5});
        two.release();
        const auto tx = [](Connection& db) -> Coro<std::uint64_t> {
            return db.execute("INSERT INTO bulk VALUES (1, 'done')");
        };
        const auto inserted = co_await pool.transaction(tx);
        CHECK(inserted == 1);

        // Old ones are replaced, and those that were silent are asked.
        PoolOptions strict(1);
        strict.max_lifetime = 1ns;
        Pool young(words(), strict);
        const auto before = co_await young.query("SELECT pg_backend_pid()");
        const auto after = co_await young.query("SELECT pg_backend_pid()");
        CHECK(before.one<int>() != after.one<int>());
        strict.max_lifetime = 1h;
        strict.check_after = 0s;
        Pool asking(words(), strict);
        const auto asked = co_await asking.query("SELECT pg_backend_pid()");
        const auto again = co_await asking.query("SELECT pg_backend_pid()");
        CHECK(asked.one<int>() == again.one<int>());
        co_await pool.close();
        const auto closed = co_await error_of<weft::PoolClosed>(pool.query("SELECT 1"));
        CHECK(closed);
    });
}

TEST_CASE("a server that dies is an error that names it, and the pool finds it again",
          "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Pool pool(words(), PoolOptions(4));
        const auto warm = co_await pool.query("SELECT 1");
        auto held = co_await pool.acquire();
        auto idle = co_await pool.acquire();
        auto events = co_await held->listen("news");
        Connection killed = co_await weft::postgres::connect(words());
        Connection looks = co_await weft::postgres::connect(words());

        // One backend alone.
        const auto ends = [&]() -> Coro<void> {
            (void)co_await killed.query("SELECT pg_terminate_backend(pg_backend_pid())");
        };
        const auto ended = co_await error_of<ConnectionError>(ends());
        REQUIRE(ended);
        CHECK(ended->code() == "57P01");
        CHECK_FALSE(killed.is_open());
        const auto after = co_await error_of<ConnectionError>(killed.query("SELECT 1"));
        REQUIRE(after);
        CHECK_THAT(after->what(), Catch::Contains("the connection is closed in \"SELECT 1\""));

        // All of it, in the middle of everything.
        std::optional<ConnectionError> query, event, commit;
        const auto asks = [&]() -> Coro<void> {
            query = co_await error_of<ConnectionError>(pool.query("SELECT pg_sleep(100)"));
        };
        const auto listens = [&]() -> Coro<void> {
            event = co_await error_of<ConnectionError>(events.next());
        };
        const auto sleeps = [](Connection& tx) -> Coro<void> {
            (void)co_await tx.query("SELECT pg_sleep(100)");
        };
        const auto commits = [&]() -> Coro<void> {
            commit = co_await error_of<ConnectionError>(pool.transaction(sleeps));
        };
        co_await weft::task_group([&](weft::TaskGroup& group) -> Coro<void> {
            group.create_task(asks);
            group.create_task(listens);
            group.create_task(commits);
            co_await support::until_answered(
                looks, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'", "2");
            server().stop();
        });
        REQUIRE(query);
        CHECK_THAT(query->what(), Catch::Contains("postgres 127.0.0.1:" + server().fact("port")));
        CHECK_THAT(query->what(), Catch::Contains("SELECT pg_sleep(100)"));
        CHECK(event);
        CHECK(commit);
        const auto refused = co_await error_of<ConnectionError>(pool.query("SELECT 1"));
        CHECK(refused);
        idle.release();
        server().start();
        const auto back = co_await pool.query("SELECT 'back'");
        CHECK(back.one<std::string>() == "back");
    });
}

TEST_CASE("a network that is cut costs the connection and not the caller, and the pool recovers",
          "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        support::Network network(server().port());
        const auto port = co_await network.start();
        weft::postgres::Options options;
        options.clean_up_limit = 50ms;
        PoolOptions lends(2);
        lends.check_after = 0s;
        lends.check_limit = 50ms;
        Pool pool(words("sslmode=disable port=" + std::to_string(port)), lends, options);
        {
            auto lease = co_await pool.acquire();
            const auto same = co_await lease->query("SELECT 1");
            network.cut();
            const auto late = co_await error_of<weft::TimeoutError>(
                support::within(20ms, lease->query("SELECT 2")));
            CHECK(late);
            CHECK_FALSE(lease->is_open());
            network.mend();
        }
        const auto back = co_await pool.query("SELECT 3");
        CHECK(back.one<int>() == 3);
        // One that was idle meanwhile is asked before it is lent.
        network.cut();
        const auto none =
            co_await error_of<weft::TimeoutError>(support::within(200ms, pool.query("SELECT 4")));
        CHECK(none);
        network.mend();
        const auto again = co_await pool.query("SELECT 5");
        CHECK(again.one<int>() == 5);
        co_await pool.close();
        co_await network.stop();
    });
}

TEST_CASE("ten thousand queries of many tasks, some of them cancelled: each gets its own answer",
          "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Pool pool(words(), PoolOptions(8));
        int right = 0;
        int late = 0;
        const auto work = [&](int worker) -> Coro<void> {
            for (int number = 0; number < 500; ++number) {
                const int mine = worker * 1000 + number;
                if (number % 50 == 49) {
                    const auto error = co_await error_of<weft::TimeoutError>(
                        support::within(1ms, pool.query("SELECT $1::int, pg_sleep(0.002)", mine)));
                    late += error.has_value();
                    continue;
                }
                const auto rows = co_await pool.query("SELECT $1::int", mine);
                right += rows.one<int>() == mine;
            }
        };
        co_await weft::task_group([&](weft::TaskGroup& group) -> Coro<void> {
            for (int worker = 0; worker < 20; ++worker) group.create_task(work, worker);
            co_return;
        });
        CHECK(right == 20 * 490);
        CHECK(late > 0);
        co_await pool.close();
    });
}

TEST_CASE("a transaction whose stream was let go never says that it was committed", "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Connection db = co_await with_table();
        const auto body = [](Connection& tx) -> Coro<void> {
            co_await tx.execute("INSERT INTO bulk VALUES (1, 'kept?')");
            auto rows = tx.stream("SELECT generate_series(1, 10000000)");
            (void)co_await rows.next();
        };
        const auto error = co_await error_of<Error>(db.transaction(body));
        const auto count = co_await one_text(db, "SELECT count(*) FROM bulk");
        CHECK(error.has_value() == (count == "0"));
        CHECK(error);
        CHECK(db.is_open());
    });
}

TEST_CASE("a COPY in place of a query is an error, and the connection goes on", "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Connection db = co_await with_table();
        for (const char* copy : {"COPY bulk FROM STDIN", "COPY (SELECT 1) TO STDOUT"}) {
            CAPTURE(copy);
            auto rows = db.stream(copy);
            const auto read = [&]() -> Coro<void> { (void)co_await rows.next(); };
            const auto error = co_await error_of<std::runtime_error>(read());
            CHECK(error);
            const auto after = co_await one_text(db, "SELECT 'after'");
            CHECK(after == "after");
        }
    });
}

TEST_CASE("bytes are the same whatever bytea_output says", "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Connection db = co_await with_table();
        weft::sql::Bytes bytes;
        for (int value = 0; value < 256; ++value) bytes.push_back(std::byte(value));
        for (const char* format : {"hex", "escape"}) {
            CAPTURE(format);
            co_await db.execute(std::string("SET bytea_output = ") + format);
            for (const weft::sql::Bytes& each : {bytes, weft::sql::Bytes()}) {
                const auto rows = co_await db.query("SELECT $1::bytea", each);
                CHECK(rows.one<weft::sql::Bytes>() == each);
            }
        }
    });
}

TEST_CASE("what is wrong with an argument costs no connection", "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Connection db = co_await with_table();
        const std::string zero("a\0b", 3);
        auto batch = db.pipeline();
        batch.add("SELECT 1");
        batch.add("SELECT $1", zero);
        const auto in_batch = co_await error_of<std::system_error>(batch.run());
        CHECK(in_batch);
        const auto in_channel = co_await error_of<std::system_error>(db.listen(zero));
        CHECK(in_channel);
        CHECK(db.is_open());
        const auto after = co_await one_text(db, "SELECT 'after'");
        CHECK(after == "after");
        Pool pool(words(), PoolOptions(1));
        {
            auto lease = co_await pool.acquire();
            const Connection taken = std::move(*lease);  // the lease has nothing to give back
            CHECK(taken.is_open());
        }
        const auto again = co_await pool.query("SELECT 1");
        CHECK(again.one<int>() == 1);
    });
}

}  // namespace pool_test
