// SPDX-License-Identifier: MIT
// mysql: against a MariaDB server that the test starts.
// timeout: 240
#include <weft/mysql.hpp>
#include <weft/task/sleep.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/task_group.hpp>

#include <optional>

#include "databases.hpp"
#include "service.hpp"

namespace mysql_connection_test {

using namespace std::chrono_literals;
using support::error_of;
using support::one_text;
using weft::Coro;
using weft::mysql::Connection;
using weft::mysql::ConnectionError;
using weft::mysql::Error;
using weft::mysql::Options;
using weft::mysql::Pool;
using weft::mysql::PoolOptions;

namespace {

support::Service& server() { return support::shared_service("mariadb"); }

Options options() {
    Options made("127.0.0.1", "native", "secret", "weft");
    made.port = server().port();
    return made;
}

Coro<Connection> with_table() {
    Connection db = co_await weft::mysql::connect(options());
    co_await db.script(
        "CREATE TABLE IF NOT EXISTS kept (id int PRIMARY KEY, name text);"
        "TRUNCATE kept");
    co_return std::move(db);
}
Coro<int> count_of(Connection& db) {
    const auto rows = co_await db.query("SELECT count(*) FROM kept");
    co_return rows.one<int>();
}

/// Transactions and statements that are under way at the server, beside this look.
Coro<int> left_at_server(Connection& db) {
    for (int look = 0;; ++look) {
        const auto rows = co_await db.query(
            "SELECT (SELECT count(*) FROM information_schema.innodb_trx) + (SELECT count(*) FROM "
            "information_schema.processlist WHERE command IN ('Query', 'Execute') AND "
            "id != connection_id())");
        const int left = rows.one<int>();
        if (left == 0 || look == 10'000) co_return left;
        co_await weft::sleep(5ms);
    }
}

}  // namespace

TEST_CASE("values go to a MySQL server and come back as what they are", "[mysql]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Connection db = co_await weft::mysql::connect(options());
        const weft::sql::Bytes bytes{std::byte(0), std::byte(255), std::byte(39)};
        for (int time = 0; time < 2; ++time) {
            const auto rows = co_await db.query(
                "SELECT ? AS a, ?, ?, ? AS name, ?, ? AS nothing, CAST('2026-11-30' AS date), "
                "CAST(1.50 AS decimal(5,2)), ?",
                -7, 0.5, true, std::string(100'000, 'x'), bytes, nullptr, std::uint64_t(1) << 63);
            const auto row = rows.one();
            CHECK(row.get<int>("a") == -7);
            CHECK(row.get<double>(1) == 0.5);
            CHECK(row.get<bool>(2));
            CHECK(row.get<std::string>("name") == std::string(100'000, 'x'));
            CHECK(row.get<weft::sql::Bytes>(4) == bytes);
            CHECK_FALSE(row.get<std::optional<int>>("nothing"));
            CHECK(row.get<std::string>(6) == "2026-11-30");
            CHECK(row.get<double>(7) == 1.5);
            CHECK(row.get<std::uint64_t>(8) == std::uint64_t(1) << 63);
        }
        const auto text = co_await db.query("SELECT 7 AS n, NULL, 'it''s'");
        CHECK(text.one().get<int>("n") == 7);
        CHECK(text.one()[1].is_null());
        CHECK(text.one().get<std::string>(2) == "it's");
        co_await db.script(
            "CREATE OR REPLACE TABLE counted (id int AUTO_INCREMENT PRIMARY KEY, v int)");
        const auto first = co_await db.query("INSERT INTO counted (v) VALUES (?), (?)", 1, 2);
        CHECK(first.affected() == 2);
        CHECK(first.last_insert_id() == 1);
        const auto changed = co_await db.execute("UPDATE counted SET v = v + 1");
        CHECK(changed == 2);
        const auto none = co_await db.query("SELECT * FROM counted WHERE id = ?", 77);
        CHECK(none.empty());
        CHECK(none.columns() == 2);
        co_await db.script("CREATE OR REPLACE PROCEDURE two() BEGIN SELECT 1; SELECT 2; END");
        const auto called = co_await db.query("CALL two()");
        CHECK(called.one<int>() == 1);
        const auto after = co_await one_text(db, "SELECT 'after'");
        CHECK(after == "after");
    });
}

TEST_CASE("an error has the MySQL server's code, its words, the host and the statement",
          "[mysql]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Connection db = co_await with_table();
        co_await db.execute("INSERT INTO kept VALUES (?, ?)", 1, "one");
        const auto twice =
            co_await error_of<Error>(db.execute("INSERT INTO kept VALUES (?, ?)", 1, "one"));
        REQUIRE(twice);
        CHECK(twice->code() == "23000");
        CHECK(twice->number() == 1062);
        CHECK_THAT(twice->what(), Catch::Contains("mysql 127.0.0.1:" + server().fact("port") +
                                                  "/weft: 23000: Duplicate entry"));
        CHECK_THAT(twice->what(), Catch::Contains("in \"INSERT INTO kept VALUES (?, ?)\""));
        const auto wrong = co_await error_of<Error>(db.query("SELEC 1"));
        REQUIRE(wrong);
        CHECK(wrong->number() == 1064);
        const auto prepared = co_await error_of<Error>(db.query("SELEC ?", 1));
        CHECK(prepared);
        const auto number = co_await error_of<Error>(db.query("SELECT ?", 1, 2));
        REQUIRE(number);
        CHECK_THAT(number->what(), Catch::Contains("1 parameters, and 2 values"));
        const int count = co_await count_of(db);
        CHECK(count == 1);
        Options bad = options();
        bad.password = "wrong";
        const auto refused = co_await error_of<ConnectionError>(weft::mysql::connect(bad));
        REQUIRE(refused);
        CHECK(refused->number() == 1045);
        bad.port = 1;
        const auto nobody = co_await error_of<ConnectionError>(weft::mysql::connect(bad));
        REQUIRE(nobody);
        CHECK_THAT(nobody->what(), Catch::Contains("mysql 127.0.0.1:1/weft"));
        Options tls = options();
        tls.host = "localhost";
        tls.tls = weft::mysql::Tls::verified;
        tls.certificate_authority = server().fact("certificate");
        Connection safe = co_await weft::mysql::connect(tls);
        const auto cipher = co_await safe.query("SHOW STATUS LIKE 'Ssl_cipher'");
        CHECK(cipher.one().get<std::string>(1) != "");
        Options local = options();
        local.unix_socket = server().fact("socket");
        Connection near = co_await weft::mysql::connect(local);
        const auto one = co_await one_text(near, "SELECT 1");
        CHECK(one == "1");
    });
}

TEST_CASE("a MySQL transaction is committed at its end, and rolled back on other ways out",
          "[mysql]") {
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
            co_await tx.execute("INSERT INTO kept VALUES (?, 'two')", 2);
            throw std::runtime_error("no");
        };
        const auto failed = co_await error_of<std::runtime_error>(db.transaction(fail));
        CHECK(failed);
        const auto nested = [&](Connection& tx) -> Coro<void> {
            co_await tx.execute("INSERT INTO kept VALUES (3, 'three')");
            const auto inner = co_await error_of<std::runtime_error>(tx.transaction(fail));
            CHECK(inner);
        };
        co_await db.transaction(nested);
        const auto ids = co_await one_text(db, "SELECT group_concat(id ORDER BY id) FROM kept");
        CHECK(ids == "1,3");
        // DDL has committed: what follows it must not be carried out alone.
        const auto commits = [](Connection& tx) -> Coro<void> {
            co_await tx.execute("CREATE OR REPLACE TABLE other (id int)");
            co_await tx.execute("DELETE FROM kept");
        };
        const auto told = co_await error_of<Error>(db.transaction(commits));
        REQUIRE(told);
        CHECK_THAT(told->what(), Catch::Contains("has ended the transaction"));
        const int count = co_await count_of(db);
        CHECK(count == 2);
    });
}

TEST_CASE("a deadline kills the statement at the MySQL server, and the connection goes on",
          "[mysql]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Connection db = co_await with_table();
        const auto id = co_await one_text(db, "SELECT connection_id()");
        for (int time = 0; time < 3; ++time) {
            const auto late = co_await error_of<weft::TimeoutError>(
                support::within(20ms, db.query("SELECT sleep(100)")));
            CHECK(late);
            const auto prepared = co_await error_of<weft::TimeoutError>(
                support::within(20ms, db.query("SELECT sleep(?)", 100)));
            CHECK(prepared);
            const auto next = co_await one_text(db, "SELECT 'next'");
            CHECK(next == "next");
        }
        const auto same = co_await one_text(db, "SELECT connection_id()");
        CHECK(same == id);
        const auto body = [](Connection& tx) -> Coro<void> {
            co_await tx.execute("INSERT INTO kept VALUES (1, 'lost')");
            (void)co_await tx.query("SELECT sleep(100)");
        };
        const auto late =
            co_await error_of<weft::TimeoutError>(support::within(20ms, db.transaction(body)));
        CHECK(late);
        const int count = co_await count_of(db);
        CHECK(count == 0);
        const int left = co_await left_at_server(db);
        CHECK(left == 0);
    });
}

TEST_CASE("whenever a MySQL transaction is cancelled, nothing of it stays open at the server",
          "[mysql]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> { const auto made = co_await with_table(); });
    const auto scenario = []() -> Coro<void> {
        Connection db = co_await weft::mysql::connect(options());
        co_await weft::yield();  // (a server may be so quick that nothing else waits)
        const auto body = [](Connection& tx) -> Coro<void> {
            co_await tx.execute("INSERT INTO kept VALUES (?, 'x')", 1);
            co_await weft::yield();
            const auto inner = [](Connection& deep) -> Coro<void> {
                co_await deep.execute("INSERT INTO kept VALUES (2, 'x')");
            };
            co_await tx.transaction(inner);
        };
        co_await db.transaction(body);
        co_await db.execute("DELETE FROM kept");
    };
    for (const bool by_cancel : {true, false}) {
        support::end_at_every_step(by_cancel, scenario, [] {
            support::run_in_real_time([]() -> Coro<void> {
                Connection db = co_await weft::mysql::connect(options());
                const int left = co_await left_at_server(db);
                CHECK(left == 0);
                const int count = co_await count_of(db);
                CHECK((count == 0 || count == 2));
                co_await db.execute("DELETE FROM kept");
            });
        });
    }
}

TEST_CASE("a MySQL server that dies is an error that names it, and the pool finds it again",
          "[mysql]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Pool pool(options(), PoolOptions(4));
        Connection looks = co_await weft::mysql::connect(options());
        std::optional<ConnectionError> query, commit;
        const auto asks = [&]() -> Coro<void> {
            query = co_await error_of<ConnectionError>(pool.query("SELECT sleep(100)"));
        };
        const auto sleeps = [](Connection& tx) -> Coro<void> {
            (void)co_await tx.query("SELECT sleep(?)", 100);
        };
        const auto commits = [&]() -> Coro<void> {
            commit = co_await error_of<ConnectionError>(pool.transaction(sleeps));
        };
        co_await weft::task_group([&](weft::TaskGroup& group) -> Coro<void> {
            group.create_task(asks);
            group.create_task(commits);
            co_await support::until_answered(
                looks,
                "SELECT count(*) FROM information_schema.processlist WHERE state = 'User sleep'",
                "2");
            server().stop();
        });
        REQUIRE(query);
        CHECK_THAT(query->what(), Catch::Contains("mysql 127.0.0.1:" + server().fact("port")));
        CHECK_THAT(query->what(), Catch::Contains("SELECT sleep(100)"));
        CHECK(commit);
        server().start();
        const auto back = co_await pool.query("SELECT 'back'");
        CHECK(back.one<std::string>() == "back");
        co_await pool.close();
    });
}

TEST_CASE("a network that is cut costs the MySQL connection and not the caller", "[mysql]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        support::Network network(server().port());
        Options through = options();
        through.port = co_await network.start();
        through.clean_up_limit = 50ms;
        Pool pool(through, PoolOptions(2));
        {
            auto lease = co_await pool.acquire();
            const auto same = co_await lease->query("SELECT ?", 1);
            network.cut();
            const auto late = co_await error_of<weft::TimeoutError>(
                support::within(20ms, lease->query("SELECT ?", 2)));
            CHECK(late);
            CHECK_FALSE(lease->is_open());
            network.mend();
        }
        const auto back = co_await pool.query("SELECT 3");
        CHECK(back.one<int>() == 3);
        co_await pool.close();
        co_await network.stop();
    });
}

TEST_CASE("ten thousand queries to MySQL, some of them cancelled: each gets its own answer",
          "[mysql]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Pool pool(options(), PoolOptions(8));
        int right = 0;
        int late = 0;
        const auto work = [&](int worker) -> Coro<void> {
            for (int number = 0; number < 500; ++number) {
                const int mine = worker * 1000 + number;
                if (number % 100 == 99) {
                    const auto error = co_await error_of<weft::TimeoutError>(
                        support::within(1ms, pool.query("SELECT ?, sleep(0.005)", mine)));
                    late += error.has_value();
                    continue;
                }
                const auto rows = co_await pool.query("SELECT ?", mine);
                right += rows.one<int>() == mine;
            }
        };
        co_await weft::task_group([&](weft::TaskGroup& group) -> Coro<void> {
            for (int worker = 0; worker < 20; ++worker) group.create_task(work, worker);
            co_return;
        });
        CHECK(right == 20 * 495);
        CHECK(late > 0);
        co_await pool.close();
    });
}

TEST_CASE("every handle to MySQL that was moved from or closed says so", "[mysql]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        auto more = [](Connection&, support::Refusals&) -> Coro<void> { co_return; };
        Connection db = co_await weft::mysql::connect(options());
        co_await support::check_moved_and_closed(std::move(db), more);
        Connection used = co_await weft::mysql::connect(options());
        co_await support::check_goes_in_use(std::move(used));
    });
}

TEST_CASE("several statements in one text are for script alone, also in MySQL", "[mysql]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Connection db = co_await weft::mysql::connect(options());
        co_await support::check_one_statement(db);
        // A script that is cut off leaves nothing open for the next one.
        const auto late = co_await error_of<weft::TimeoutError>(
            support::within(20ms, db.script("SELECT 1; SELECT sleep(5)")));
        CHECK(late);
        co_await support::check_one_statement(db);
        // A CALL has several results without being several statements.
        co_await db.script(
            "DROP PROCEDURE IF EXISTS both_of; "
            "CREATE PROCEDURE both_of() BEGIN SELECT 1; SELECT 2; END");
        const auto rows = co_await db.query("CALL both_of()");
        CHECK(rows.one<int>() == 1);
        (void)co_await db.query("DROP PROCEDURE both_of");
    });
}

TEST_CASE("a statement that is cancelled before it was sent to MySQL is not sent any more",
          "[mysql]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        Connection other = co_await with_table();
        // (What the server says comes by way of a task of this loop, so not before the cancel.)
        support::Network network(server().port());
        Options through = options();
        through.port = co_await network.start();
        Connection db = co_await weft::mysql::connect(through);
        const auto cancelled = [](auto start) -> Coro<bool> {
            auto task = weft::create_task(start);
            co_await weft::yield();
            task.cancel();
            co_await task.wait();
            co_return task.cancelled();
        };
        // While several statements are being allowed, forbidden again, and while one is prepared.
        const auto script = [&]() -> Coro<void> {
            co_await db.script(
                "INSERT INTO kept VALUES (1, 'a'); INSERT INTO kept VALUES (2, 'b')");
        };
        const auto text = [&]() -> Coro<void> {
            (void)co_await db.query("INSERT INTO kept VALUES (3, 'c')");
        };
        const auto prepared = [&]() -> Coro<void> {
            (void)co_await db.query("INSERT INTO kept VALUES (?, ?)", 4, "d");
        };
        const bool no_script = co_await cancelled(script);
        CHECK(no_script);
        const bool no_text = co_await cancelled(text);
        CHECK(no_text);
        const bool no_prepared = co_await cancelled(prepared);
        CHECK(no_prepared);
        CHECK(db.is_open());
        const int none = co_await count_of(db);
        CHECK(none == 0);
        co_await script();
        co_await prepared();
        const int three = co_await count_of(other);
        CHECK(three == 3);
        db.close();
        co_await network.stop();
    });
}

TEST_CASE("a MySQL connection and a pool serve one loop after the other", "[mysql]") {
    if (!server().is_there()) return;
    const auto connects = [] { return weft::mysql::connect(options()); };
    support::use_on_several_loops(connects, [](Connection& db) -> Coro<void> {
        const auto rows = co_await support::within(10s, db.query("SELECT ?", 7));
        CHECK(rows.one<int>() == 7);
        auto body = [](Connection& tx) -> Coro<void> { (void)co_await tx.query("SELECT 1"); };
        co_await support::within(10s, db.transaction(body));
    });
    const auto pools = []() -> Coro<std::unique_ptr<Pool>> {
        co_return std::make_unique<Pool>(options(), PoolOptions(2));
    };
    support::use_on_several_loops(pools, [](std::unique_ptr<Pool>& pool) -> Coro<void> {
        const auto rows = co_await support::within(10s, pool->query("SELECT 8"));
        CHECK(rows.one<int>() == 8);
    });
}

TEST_CASE("a connect_timeout holds for MySQL", "[mysql]") {
    if (!server().is_there()) return;
    support::run_in_real_time([]() -> Coro<void> {
        support::Network network(server().port());
        Options through = options();
        through.port = co_await network.start();
        through.connect_timeout = 50ms;
        network.cut();
        const auto late =
            co_await error_of<ConnectionError>(support::within(20s, weft::mysql::connect(through)));
        REQUIRE(late);
        CHECK_THAT(late->what(), Catch::Contains("no connection in the connect_timeout"));
        network.mend();
        co_await network.stop();
    });
}

}  // namespace mysql_connection_test
