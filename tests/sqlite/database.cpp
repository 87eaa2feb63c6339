// SPDX-License-Identifier: MIT
// sqlite: a database in a temporary folder, and what the room sql does.
#include <weft/sqlite.hpp>
#include <weft/task/sleep.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/task_group.hpp>

#include <cstdlib>
#include <filesystem>
#include <optional>

#include "databases.hpp"

namespace database_test {

using namespace std::chrono_literals;
using support::error_of;
using support::one_text;
using weft::Coro;
using weft::sqlite::Database;
using weft::sqlite::Error;

namespace {

constexpr const char* endless =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

/// With whatever SQLite puts beside a database.
class Folder {
public:
    Folder() {
        char name[] = "/tmp/weft_sqlite_XXXXXX";
        path_ = ::mkdtemp(name);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder() { std::filesystem::remove_all(path_); }
    std::string file(const std::string& name) const { return path_ + "/" + name; }

private:
    std::string path_;
};

Coro<Database> with_table(std::string path = ":memory:") {
    Database db = co_await weft::sqlite::open(std::move(path));
    co_await db.script("CREATE TABLE kept (id INTEGER PRIMARY KEY, name TEXT)");
    co_return std::move(db);
}
Coro<int> count_of(Database& db) {
    const auto rows = co_await db.query("SELECT count(*) FROM kept");
    co_return rows.one<int>();
}

}  // namespace

TEST_CASE("values go to the database and come back as what they are", "[sqlite]") {
    support::run_in_real_time([]() -> Coro<void> {
        Database db = co_await weft::sqlite::open(":memory:");
        const weft::sql::Bytes bytes{std::byte(0), std::byte(255)};
        const auto rows = co_await db.query("SELECT ? AS a, ?, ?, ? AS name, ?, ?", -7, 0.5, true,
                                            std::string_view("it's\0x", 6), bytes, nullptr);
        const auto row = rows.one();
        CHECK(row.get<int>("a") == -7);
        CHECK(row.get<std::string>(0) == "-7");
        CHECK(row.get<double>(1) == 0.5);
        CHECK(row.get<bool>(2));
        CHECK(row.get<std::string>("name") == std::string("it's\0x", 6));
        CHECK(row.get<weft::sql::Bytes>(4) == bytes);
        CHECK_FALSE(row.get<std::optional<int>>(5));
        CHECK_THROWS_AS(row.get<unsigned>(0), weft::sql::ConversionError);
        const auto none = co_await db.query("SELECT 1 WHERE 0");
        CHECK(none.empty());
        CHECK_THROWS_WITH(none.one(), Catch::Contains("one row was expected, not 0"));
        const auto turned = co_await db.query("SELECT $2, $1, $2", 1, 2);
        const auto [second, first, again] = turned.one<int, int, int>();
        CHECK((second == 2 && first == 1 && again == 2));
        co_await db.script("CREATE TABLE t (a); INSERT INTO t VALUES (1), (2)");
        const auto changed = co_await db.execute("UPDATE t SET a = a + ?", 1);
        CHECK(changed == 2);
        const auto inserted = co_await db.query("INSERT INTO t VALUES (?) RETURNING rowid", 7);
        CHECK(inserted.last_insert_id() == 3);
        CHECK(inserted.one<int>() == 3);
        co_await db.close();
    });
}

TEST_CASE("an error has SQLite's code and words, the file and the statement", "[sqlite]") {
    support::run_in_real_time([]() -> Coro<void> {
        Database db = co_await with_table();
        co_await db.execute("INSERT INTO kept VALUES (1, 'one')");
        const auto twice =
            co_await error_of<Error>(db.execute("INSERT INTO kept VALUES (?, ?)", 1, "one"));
        REQUIRE(twice);
        CHECK(twice->code() == "SQLITE_CONSTRAINT_PRIMARYKEY");
        CHECK(
            twice->what() ==
            std::string("sqlite :memory:: SQLITE_CONSTRAINT_PRIMARYKEY: UNIQUE constraint failed: "
                        "kept.id in \"INSERT INTO kept VALUES (?, ?)\""));
        for (const char* wrong : {"SELEC 1", "SELECT ?", "SELECT $7", "SELECT 1; SELECT 2", ""}) {
            const auto error = co_await error_of<Error>(db.query(wrong));
            CHECK(error);
        }
        const auto nowhere =
            co_await error_of<weft::sql::ConnectionError>(weft::sqlite::open("/nowhere/at/all.db"));
        REQUIRE(nowhere);
        CHECK(nowhere->code() == "SQLITE_CANTOPEN");
        CHECK_THAT(nowhere->what(), Catch::Contains("/nowhere/at/all.db"));
        co_await db.close();
        const auto closed = co_await error_of<weft::sql::ConnectionError>(db.query("SELECT 1"));
        CHECK(closed);
    });
}

TEST_CASE("a cancel or a deadline stops a statement, and the next one is carried out", "[sqlite]") {
    support::run_in_real_time([]() -> Coro<void> {
        Database db = co_await with_table();
        for (int time = 0; time < 3; ++time) {
            const auto late =
                co_await error_of<weft::TimeoutError>(support::within(5ms, db.query(endless)));
            CHECK(late);
            const auto next = co_await one_text(db, "SELECT 'next'");
            CHECK(next == "next");
        }
        // In a transaction, and everything of it is taken back.
        const auto body = [](Database& tx) -> Coro<void> {
            co_await tx.execute("INSERT INTO kept VALUES (1, 'lost')");
            (void)co_await tx.query(endless);
        };
        const auto late =
            co_await error_of<weft::TimeoutError>(support::within(20ms, db.transaction(body)));
        CHECK(late);
        CHECK_FALSE(db.in_transaction());
        const int count = co_await count_of(db);
        CHECK(count == 0);
    });
}

TEST_CASE("a statement waits for a lock as long as it may, and a cancel ends the wait",
          "[sqlite]") {
    const Folder folder;
    support::run_in_real_time([&]() -> Coro<void> {
        Database one = co_await with_table(folder.file("shop.db"));
        weft::sqlite::Options options;
        options.busy_timeout = 20ms;
        Database two = co_await weft::sqlite::open(folder.file("shop.db"), options);
        options.busy_timeout = 1h;
        Database three = co_await weft::sqlite::open(folder.file("shop.db"), options);
        const auto body = [&](Database& tx) -> Coro<void> {
            co_await tx.execute("INSERT INTO kept VALUES (1, 'one')");
            const auto busy =
                co_await error_of<Error>(two.execute("INSERT INTO kept VALUES (2, 'two')"));
            REQUIRE(busy);
            CHECK(busy->code() == "SQLITE_BUSY");
            const auto late = co_await error_of<weft::TimeoutError>(
                support::within(20ms, three.execute("INSERT INTO kept VALUES (3, 'three')")));
            CHECK(late);
            const int seen = co_await count_of(two);
            CHECK(seen == 0);
        };
        co_await one.transaction("BEGIN IMMEDIATE", body);
        const int seen = co_await count_of(two);
        CHECK(seen == 1);
        co_await one.close();
        co_await two.close();
        co_await three.close();
    });
}

TEST_CASE("many tasks share a database, in order, and transactions exclude each other",
          "[sqlite]") {
    support::run_in_real_time([]() -> Coro<void> {
        Database db = co_await with_table();
        int right = 0;
        const auto query = [&](int number) -> Coro<void> {
            const auto rows = co_await db.query("SELECT ?", number);
            right += rows.one<int>() == number;
        };
        const auto alone = [&](int number) -> Coro<void> {
            const auto body = [&](Database& tx) -> Coro<void> {
                const int before = co_await count_of(tx);
                co_await tx.execute("INSERT INTO kept VALUES (?, NULL)", number);
                const int after = co_await count_of(tx);
                right += after == before + 1;
            };
            co_await db.transaction(body);
        };
        co_await weft::task_group([&](weft::TaskGroup& group) -> Coro<void> {
            for (int number = 0; number < 200; ++number) {
                group.create_task(query, number);
                if (number % 4 == 0) group.create_task(alone, number);
            }
            co_return;
        });
        CHECK(right == 250);
        // A statement that ends the transaction leaves nothing to what comes after it.
        const auto ends = [&](Database& tx) -> Coro<void> {
            co_await tx.execute("INSERT INTO kept VALUES (1001, NULL)");
            const auto conflict = co_await error_of<Error>(
                tx.execute("INSERT OR ROLLBACK INTO kept VALUES (1001, NULL)"));
            CHECK(conflict);
            const auto ended = co_await error_of<Error>(tx.execute("DELETE FROM kept"));
            REQUIRE(ended);
            CHECK_THAT(ended->what(), Catch::Contains("has ended the transaction"));
        };
        const auto told = co_await error_of<Error>(db.transaction(ends));
        CHECK(told);
        const int count = co_await count_of(db);
        CHECK(count == 50);
    });
}

TEST_CASE("whenever a transaction is cancelled, all of it or nothing is in the file", "[sqlite]") {
    const Folder folder;
    const std::string path = folder.file("steps.db");
    support::run_in_real_time([&]() -> Coro<void> { const auto made = co_await with_table(path); });
    const auto look = [&] {
        support::run_in_real_time([&]() -> Coro<void> {
            Database db = co_await weft::sqlite::open(path);
            const int count = co_await count_of(db);
            CHECK((count == 0 || count == 2));
            co_await db.execute("DELETE FROM kept");
        });
    };
    for (const bool by_cancel : {true, false}) {
        support::end_at_every_step(
            by_cancel,
            [&]() -> Coro<void> {
                Database db = co_await weft::sqlite::open(path);
                const auto body = [](Database& tx) -> Coro<void> {
                    co_await tx.execute("INSERT INTO kept VALUES (1, 'x')");
                    const auto inner = [](Database& deep) -> Coro<void> {
                        co_await deep.execute("INSERT INTO kept VALUES (2, 'x')");
                    };
                    co_await tx.transaction(inner);
                };
                co_await db.transaction(body);
                co_await db.execute("DELETE FROM kept");
            },
            look);
    }
}

TEST_CASE("a COMMIT that SQLite refuses is rolled back, and the database stays open", "[sqlite]") {
    support::run_in_real_time([]() -> Coro<void> {
        Database db = co_await with_table();
        co_await db.script(
            "CREATE TABLE parts (of INTEGER REFERENCES kept DEFERRABLE INITIALLY DEFERRED)");
        const auto insert = [](auto& tx) -> Coro<void> {
            co_await tx.execute("INSERT INTO parts VALUES (7)");
        };
        const auto error = co_await error_of<Error>(db.transaction(insert));
        REQUIRE(error);
        CHECK(error->code() == "SQLITE_CONSTRAINT_FOREIGNKEY");
        CHECK(db.is_open());
        CHECK_FALSE(db.in_transaction());
        const auto left = co_await one_text(db, "SELECT count(*) FROM parts");
        CHECK(left == "0");
    });
}

TEST_CASE("rows have the columns that the table has when they are read", "[sqlite]") {
    support::run_in_real_time([]() -> Coro<void> {
        Database db = co_await weft::sqlite::open(":memory:");
        co_await db.script("CREATE TABLE t (a, b, c); INSERT INTO t VALUES ('a', 'b', 'c')");
        const char* const all = "SELECT * FROM t";
        struct Change {
            const char* statement;
            const char* names;
        };
        for (const Change& each :
             {Change{"", "a=a b=b c=c "}, Change{"ALTER TABLE t DROP COLUMN a", "b=b c=c "},
              Change{"ALTER TABLE t ADD d", "b=b c=c d= "},
              Change{"ALTER TABLE t RENAME COLUMN b TO e", "e=b c=c d= "}}) {
            CAPTURE(each.statement);
            co_await db.script(each.statement);
            const auto rows = co_await db.query(all);
            std::string names;
            for (std::size_t column = 0; column < rows.columns(); ++column) {
                const auto value = rows.one().get<std::optional<std::string>>(column);
                names.append(rows.name(column)).append("=").append(value.value_or("")).append(" ");
            }
            CHECK(names == each.names);
            CHECK(rows.name(99) == "");
        }
    });
}

TEST_CASE("in a transaction that the database has ended nothing more is carried out", "[sqlite]") {
    support::run_in_real_time([]() -> Coro<void> {
        Database db = co_await with_table();
        int refused = 0;
        const auto body = [&](Database& tx) -> Coro<void> {
            co_await tx.execute("ROLLBACK");  // as a full disk does it
            const auto insert = [](Database& inner) -> Coro<void> {
                co_await inner.execute("INSERT INTO kept VALUES (1, 'savepoint')");
            };
            const auto one = co_await error_of<Error>(tx.transaction(insert));
            const auto two =
                co_await error_of<Error>(tx.script("INSERT INTO kept VALUES (2, 'script')"));
            const auto three =
                co_await error_of<Error>(tx.execute("INSERT INTO kept VALUES (3, 'statement')"));
            refused = int(one.has_value()) + int(two.has_value()) + int(three.has_value());
        };
        const auto error = co_await error_of<Error>(db.transaction(body));
        CHECK(error);
        CHECK(refused == 3);
        const int count = co_await count_of(db);
        CHECK(count == 0);
    });
}

TEST_CASE("a database that is closed amid a rollback says so", "[sqlite]") {
    support::run_in_real_time([]() -> Coro<void> {
        for (int delay = 0; delay < 60; ++delay) {
            Database db = co_await with_table();
            auto fails = [](Database& tx) -> Coro<void> {
                co_await tx.execute("INSERT INTO kept VALUES (1, 'one')");
                throw std::runtime_error("the body");
            };
            auto outer = [&](Database& tx) -> Coro<void> { co_await tx.transaction(fails); };
            auto transacts = [&]() -> Coro<bool> {
                const auto error = co_await error_of<std::runtime_error>(db.transaction(outer));
                co_return error.has_value();
            };
            auto task = weft::create_task(transacts);
            co_await weft::sleep(delay * 10us);
            static_cast<weft::sql::Queries<Database>&>(db).close();
            const bool failed = co_await task;
            CHECK(failed);
        }
    });
}

TEST_CASE("a null pointer to text is NULL", "[sqlite]") {
    support::run_in_real_time([]() -> Coro<void> {
        Database db = co_await weft::sqlite::open(":memory:");
        const char* none = nullptr;
        const char* some = "text";
        const auto rows = co_await db.query("SELECT ?, ?", none, some);
        CHECK(rows.one()[0].is_null());
        CHECK(rows.one().get<std::string>(1) == "text");
    });
}

TEST_CASE("every handle to SQLite that was moved from or closed says so", "[sqlite]") {
    support::run_in_real_time([]() -> Coro<void> {
        auto more = [](Database& db, support::Refusals& refused) -> Coro<void> {
            // (A database that is closed may be closed again.)
            auto close = [&]() -> Coro<void> {
                co_await db.close();
                throw std::runtime_error("closed");
            };
            co_await refused.add("close", close);
        };
        Database db = co_await weft::sqlite::open(":memory:");
        co_await support::check_moved_and_closed(std::move(db), more);
        Database used = co_await weft::sqlite::open(":memory:");
        co_await support::check_goes_in_use(std::move(used));
    });
}

TEST_CASE("several statements in one text are for script alone, also in SQLite", "[sqlite]") {
    support::run_in_real_time([]() -> Coro<void> {
        Database db = co_await weft::sqlite::open(":memory:");
        co_await support::check_one_statement(db);
    });
}

TEST_CASE("a database serves one loop after the other", "[sqlite]") {
    const auto opens = [] { return weft::sqlite::open(":memory:"); };
    support::use_on_several_loops(opens, [](Database& db) -> Coro<void> {
        const auto rows = co_await support::within(10s, db.query("SELECT ?", 7));
        CHECK(rows.one<int>() == 7);
        auto body = [](Database& tx) -> Coro<void> { (void)co_await tx.query("SELECT 1"); };
        co_await support::within(10s, db.transaction(body));
    });
}

}  // namespace database_test
