// SPDX-License-Identifier: MIT
// postgres: against a PostgreSQL server that the test starts.
// timeout: 240
#include <signal.h>
#include <weft/postgres.hpp>
#include <weft/task/sleep.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/task_group.hpp>

#include <cstdio>
#include <optional>

#include "databases.hpp"
#include "service.hpp"

namespace connection_test {

using namespace std::chrono_literals;
using support::error_of;
using support::one_text;
using weft::Coro;
using weft::postgres::Connection;
using weft::postgres::Error;

namespace {

support::Service& server() { return support::shared_service("postgres"); }

std::string words(const std::string& more = "") {
    return "host=127.0.0.1 port=" + server().fact("port") + " dbname=weft user=trust " + more;
}

/// Asks the server beside the loop, and blocks.
std::string ask(const std::string& statement) {
    PGconn* const conn = PQconnectdb(words("sslmode=disable").c_str());
    PGresult* const result = PQexec(conn, statement.c_str());
    const std::string text = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) > 0
                                 ? PQgetvalue(result, 0, 0)
                                 : PQresultErrorMessage(result);
    PQclear(result);
    PQfinish(conn);
    return text;
}

/// The server sees a closed socket in its own time.
std::string left_at_server() {
    return ask(
        "DO $$ BEGIN FOR i IN 1..6000 LOOP PERFORM pg_stat_clear_snapshot(); EXIT WHEN NOT EXISTS ("
        "SELECT FROM pg_stat_activity WHERE application_name = 'weft_test' AND (xact_start IS NOT "
        "NULL OR state = 'active')); PERFORM pg_sleep(0.01); END LOOP; END $$;"
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'weft_test' AND "
        "(xact_start IS NOT NULL OR state = 'active')");
}

Coro<Connection> connect(weft::postgres::Options options = {}) {
    return weft::postgres::connect(words("application_name=weft_test sslmode=disable"),
                                   std::move(options));
}

/// Through a table that all tests share, which each of them empties first.
Coro<Connection> with_table() {
    Connection db = co_await connect();
    co_await db.script(
        "CREATE TABLE IF NOT EXISTS kept (id int PRIMARY KEY, name text);"
        "TRUNCATE kept");
    co_return std::move(db);
}
Coro<int> count_of(Connection& db) {
    const auto rows = co_await db.query("SELECT count(*) FROM kept");
    co_return rows.one<int>();
}

}  // namespace

TEST_CASE("values go to the server and come back as what they are", "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Connection db = co_await connect();
        const weft::sql::Bytes bytes{std::byte(0), std::byte(255), std::byte('\\')};
        for (int time = 0; time < 3; ++time) {  // as it is, and prepared
            const auto rows = co_await db.query(
                "SELECT $1::int AS a, $2::bigint, $3::float8, $4::bool, $5::text AS name, "
                "$6::bytea, "
                "$7::int AS nothing, $8::text",
                -7, std::int64_t(1) << 62, 0.1, true, "it's", bytes, std::optional<int>(),
                std::string_view("", 0));
            REQUIRE(rows.size() == 1);
            const auto row = rows.one();
            CHECK(row.get<int>("a") == -7);
            CHECK(row.get<std::int64_t>(1) == std::int64_t(1) << 62);
            CHECK(row.get<double>(2) == 0.1);
            CHECK(row.get<bool>(3));
            CHECK(row.get<std::string>("name") == "it's");
            CHECK(row.get<weft::sql::Bytes>(5) == bytes);
            CHECK(row["nothing"].is_null());
            CHECK_FALSE(row.get<std::optional<int>>("nothing").has_value());
            CHECK(row.get<std::optional<std::string>>(7) == "");
            CHECK_THROWS_AS(row.get<int>("nothing"), weft::sql::ConversionError);
            CHECK_THROWS_WITH(row.get<int>("name"),
                              Catch::Contains("column \"name\" is no integer"));
            CHECK_THROWS_WITH(row.get<int>("none"), Catch::Contains("no column \"none\""));
            CHECK_THROWS_WITH(row.get<std::int8_t>(1), Catch::Contains("does not fit"));
        }
        int sum = 0;
        const auto many = co_await db.query("SELECT i, i::text FROM generate_series(1, 3) AS i");
        for (auto [number, text] : many.as<int, std::string>()) {
            CHECK(text == std::to_string(number));
            sum += number;
        }
        CHECK(sum == 6);
        for (const int number : many.as<int>()) sum -= number;
        CHECK(sum == 0);
        const auto prepared = co_await one_text(db, "SELECT count(*) FROM pg_prepared_statements");
        CHECK(prepared == "1");
    });
}

TEST_CASE("an error has the server's code, its words, the host and the statement", "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Connection db = co_await with_table();
        const auto inserted = co_await db.execute("INSERT INTO kept VALUES ($1, $2)", 1, "one");
        CHECK(inserted == 1);
        const auto twice =
            co_await error_of<Error>(db.execute("INSERT INTO kept VALUES ($1, $2)", 1, "one"));
        REQUIRE(twice);
        CHECK(twice->code() == "23505");
        CHECK(twice->constraint() == "kept_pkey");
        CHECK(twice->statement() == "INSERT INTO kept VALUES ($1, $2)");
        CHECK_THAT(twice->what(), Catch::Contains("postgres 127.0.0.1:" + server().fact("port") +
                                                  "/weft: 23505: duplicate key"));
        CHECK_THAT(twice->what(), Catch::Contains("in \"INSERT INTO kept"));
        const auto wrong = co_await error_of<Error>(db.query("SELEC 1"));
        REQUIRE(wrong);
        CHECK(wrong->code() == "42601");
        const auto zero = co_await error_of<std::system_error>(
            db.query("SELECT $1::text", std::string_view("a\0b", 3)));
        CHECK(zero);
        const auto copy = co_await error_of<Error>(db.query("COPY kept FROM STDIN"));
        CHECK(copy);
        const auto count = co_await count_of(db);
        CHECK(count == 1);
        const auto refused = co_await error_of<weft::sql::ConnectionError>(
            weft::postgres::connect("host=127.0.0.1 port=1 dbname=x"));
        REQUIRE(refused);
        CHECK_THAT(refused->what(), Catch::Contains("127.0.0.1:1/x"));
        const auto nonsense =
            co_await error_of<weft::sql::ConnectionError>(weft::postgres::connect("nonsense"));
        CHECK(nonsense);
        const auto no_password = co_await error_of<weft::sql::ConnectionError>(
            weft::postgres::connect(words("user=scram password=wrong")));
        REQUIRE(no_password);
        CHECK_THAT(no_password->what(), Catch::Contains("password authentication failed"));
    });
}

TEST_CASE("names are looked up by weft, several hosts are tried, TLS is libpq's", "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        const std::string port = server().fact("port");
        // The first two refuse; the socket of the last ones has, as a rule, the same number.
        Connection db = co_await weft::postgres::connect(
            "host=127.0.0.1,localhost,localhost port=1,1," + port +
            " dbname=weft user=scram password=secret sslmode=verify-full sslrootcert=" +
            server().fact("certificate"));
        const auto tls =
            co_await one_text(db, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
        CHECK(tls == "t");
        Connection local = co_await weft::postgres::connect(
            "host=" + server().fact("folder") + " port=" + port + " dbname=weft user=trust");
        const auto one = co_await one_text(local, "SELECT 1");
        CHECK(one == "1");
    });
}

TEST_CASE("a plan that no longer fits is made anew", "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        weft::postgres::Options options;
        options.statement_cache = 2;
        Connection db = co_await connect(options);
        co_await db.script(
            "DROP TABLE IF EXISTS changes; CREATE TABLE changes (a int);"
            "INSERT INTO changes VALUES (1)");
        for (int time = 0; time < 3; ++time) {
            const auto rows = co_await db.query("SELECT * FROM changes");
            CHECK(rows.columns() == 1);
        }
        co_await db.script("ALTER TABLE changes ADD COLUMN b int");
        const auto rows = co_await db.query("SELECT * FROM changes");
        CHECK(rows.columns() == 2);
        co_await db.script("DISCARD ALL");
        for (const char* text :
             {"SELECT 1", "SELECT 1", "SELECT 2", "SELECT 2", "SELECT 3", "SELECT 3", "SELECT 1"}) {
            const auto got = co_await one_text(db, text);
            CHECK(got == std::string(text).substr(7));
        }
        // Those that have gone from the cache have gone from the server.
        const auto kept = co_await one_text(db, "SELECT count(*) FROM pg_prepared_statements");
        CHECK(std::stoi(kept) <= 2);
    });
}

TEST_CASE("a transaction is committed at its end, and rolled back on every other way out",
          "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Connection db = co_await with_table();
        const auto insert = [](Connection& tx) -> Coro<int> {
            co_await tx.execute("INSERT INTO kept VALUES (1, 'one')");
            co_return 17;
        };
        const int value = co_await db.transaction(insert);
        CHECK(value == 17);

        const auto fail = [](Connection& tx) -> Coro<void> {
            co_await tx.execute("INSERT INTO kept VALUES (2, 'two')");
            throw std::runtime_error("no");
        };
        const auto failed = co_await error_of<std::runtime_error>(db.transaction(fail));
        REQUIRE(failed);
        CHECK(failed->what() == std::string("no"));
        const int after_error = co_await count_of(db);
        CHECK(after_error == 1);

        // One that goes on after an error of the database is told so.
        const auto careless = [](Connection& tx) -> Coro<void> {
            const auto error = co_await error_of<Error>(tx.query("SELECT 1/0"));
            CHECK(error);
        };
        const auto told = co_await error_of<Error>(db.transaction(careless));
        REQUIRE(told);
        CHECK_THAT(told->what(), Catch::Contains("rolled back"));

        // A savepoint.
        const auto nested = [&](Connection& tx) -> Coro<void> {
            co_await tx.execute("INSERT INTO kept VALUES (3, 'three')");
            const auto inner = co_await error_of<std::runtime_error>(tx.transaction(fail));
            CHECK(inner);
            const auto kept = [](Connection& deep) -> Coro<void> {
                co_await deep.execute("INSERT INTO kept VALUES (4, 'four')");
            };
            co_await tx.transaction(kept);
        };
        co_await db.transaction(nested);
        const auto ids =
            co_await one_text(db, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM kept");
        CHECK(ids == "1 3 4");

        // What is refused.
        const auto deadlock = [&](Connection&) -> Coro<void> {
            (void)co_await db.query("SELECT 1");
        };
        const auto refused = co_await error_of<weft::RuntimeError>(db.transaction(deadlock));
        REQUIRE(refused);
        CHECK_THAT(refused->what(), Catch::Contains("use the connection that its body was given"));
        std::optional<Connection> escaped;
        const auto escape = [&](Connection& tx) -> Coro<void> {
            escaped.emplace(std::move(tx));
            co_return;
        };
        co_await db.transaction(escape);
        const auto late = co_await error_of<weft::RuntimeError>(escaped->query("SELECT 1"));
        REQUIRE(late);
        CHECK_THAT(late->what(), Catch::Contains("the transaction is over"));
        const auto serializable = [](Connection& tx) -> Coro<std::string> {
            return one_text(tx, "SHOW transaction_isolation");
        };
        const auto level =
            co_await db.transaction("BEGIN ISOLATION LEVEL SERIALIZABLE", serializable);
        CHECK(level == "serializable");
        CHECK_FALSE(db.in_transaction());
    });
}

TEST_CASE("tasks that share a connection have their turns, and get their own answers",
          "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Connection db = co_await with_table();
        int right = 0;
        const auto query = [&](int number) -> Coro<void> {
            const auto rows = co_await db.query("SELECT $1::int", number);
            right += rows.one<int>() == number;
        };
        const auto alone = [&](int number) -> Coro<void> {
            const auto body = [&](Connection& tx) -> Coro<void> {
                const int before = co_await count_of(tx);
                co_await tx.execute("INSERT INTO kept VALUES ($1, NULL)", number);
                const int after = co_await count_of(tx);
                right += after == before + 1;
            };
            co_await db.transaction(body);
        };
        co_await weft::task_group([&](weft::TaskGroup& group) -> Coro<void> {
            for (int number = 0; number < 20; ++number) {
                group.create_task(query, number);
                group.create_task(alone, number);
            }
            co_return;
        });
        CHECK(right == 40);
    });
}

TEST_CASE("a deadline stops the statement at the server, and the connection goes on",
          "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Connection db = co_await with_table();
        const int pid = db.backend_pid();
        for (int time = 0; time < 3; ++time) {
            const auto late = co_await error_of<weft::TimeoutError>(
                support::within(20ms, db.query("SELECT pg_sleep(100)")));
            CHECK(late);
            const auto next = co_await one_text(db, "SELECT 'next'");
            CHECK(next == "next");
        }
        CHECK(db.backend_pid() == pid);
        // A statement that the cancel does not stop has its result returned, and what comes after
        // it is struck.
        bool won = false;
        const auto wins = [&]() -> Coro<void> {
            co_await db.execute(
                "DO $$ BEGIN PERFORM pg_sleep(100); EXCEPTION WHEN query_canceled THEN "
                "INSERT INTO kept VALUES (1, 'won'); END $$");
            won = true;
            (void)co_await db.query("SELECT 1");
            won = false;
        };
        // (When it can catch the cancel, and not before.)
        weft::Timeout deadline(std::nullopt);
        const auto strikes = [&]() -> Coro<void> {
            Connection looks = co_await connect();
            co_await support::until_answered(
                looks,
                "SELECT coalesce(wait_event, '') FROM pg_stat_activity WHERE pid = " +
                    std::to_string(pid),
                "PgSleep");
            deadline.reschedule(weft::get_running_loop().time());
        };
        const auto in_time = [&]() -> Coro<void> { co_await weft::timeout(deadline, wins); };
        weft::Task<void> striking = weft::create_task(strikes);
        const auto late = co_await error_of<weft::TimeoutError>(in_time());
        striking.cancel();
        co_await striking.wait();
        CHECK(late);
        CHECK(won);
        const auto count = co_await count_of(db);
        CHECK(count == 1);
        CHECK(db.backend_pid() == pid);
        // One that was asked before it began is never sent.
        const auto never = co_await error_of<weft::TimeoutError>(
            support::within(-1ns, db.execute("INSERT INTO kept VALUES (2, 'never')")));
        CHECK(never);
        const auto still = co_await count_of(db);
        CHECK(still == 1);
    });
}

TEST_CASE("a deadline that strikes before the server has begun the statement stops it all the same",
          "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Connection db = co_await connect();
        const int pid = db.backend_pid();
        // What stands still gets the signal first, and the statement after it.
        if (::kill(pid, SIGSTOP) != 0) {
            std::printf("skipped: its process is not to be stopped by us\n");
            co_return;
        }
        const auto goes_on = [pid]() -> Coro<void> {
            co_await weft::sleep(100ms);
            ::kill(pid, SIGCONT);
        };
        weft::Task<void> later = weft::create_task(goes_on);
        const auto late = co_await error_of<weft::TimeoutError>(
            support::within(20ms, db.query("SELECT pg_sleep(100)")));
        co_await later;
        CHECK(late);
        CHECK(db.is_open());
        const auto next = co_await one_text(db, "SELECT 'next'");
        CHECK(next == "next");
        CHECK(db.backend_pid() == pid);
    });
}

TEST_CASE("whenever a transaction is cancelled, nothing of it stays open at the server",
          "[postgres]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> { const auto made = co_await with_table(); });
    const auto scenario = []() -> Coro<void> {
        Connection db = co_await connect();
        co_await weft::yield();  // (a server may be so quick that nothing else waits)
        const auto body = [](Connection& tx) -> Coro<void> {
            co_await tx.execute("INSERT INTO kept VALUES ($1, 'x')", 1);
            co_await weft::yield();
            const auto inner = [](Connection& deep) -> Coro<void> {
                co_await deep.execute("INSERT INTO kept VALUES ($1, 'x')", 2);
            };
            co_await tx.transaction(inner);
        };
        co_await db.transaction(body);
        co_await db.execute("DELETE FROM kept");
    };
    for (const bool by_cancel : {true, false}) {
        support::end_at_every_step(by_cancel, scenario, [] {
            CHECK(left_at_server() == "0");
            const std::string count = ask("SELECT count(*) FROM kept");
            CHECK((count == "0" || count == "2"));
            ask("DELETE FROM kept");
        });
    }
}

}  // namespace connection_test
