// SPDX-License-Identifier: MIT
// needs: weft::sqlite weft::postgres
// Accounts, and transfers between them: over SQLite, and the same code over PostgreSQL if
// DATABASE_URL names a server (postgresql://me@localhost/shop).
#include <weft/postgres.hpp>
#include <weft/sqlite.hpp>
#include <weft/weft.hpp>

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>

namespace {

using namespace std::chrono_literals;
using weft::Coro;

class NotEnough : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// Db is a connection, or a transaction on it. (Both databases know $1.)
template <class Db>
class Accounts {
public:
    explicit Accounts(Db& db) noexcept : db_(db) {}

    Coro<void> create_table() {
        return db_.script(
            "CREATE TABLE IF NOT EXISTS weft_accounts"
            " (name TEXT PRIMARY KEY, balance BIGINT NOT NULL);"
            "DELETE FROM weft_accounts");
    }
    Coro<void> open(std::string name, std::int64_t balance) {
        co_await db_.execute("INSERT INTO weft_accounts VALUES ($1, $2)", name, balance);
    }
    Coro<std::int64_t> balance(std::string name) {
        const auto rows =
            co_await db_.query("SELECT balance FROM weft_accounts WHERE name = $1", name);
        co_return rows.template one<std::int64_t>();
    }
    /// All of it or nothing.
    Coro<void> transfer(std::string from, std::string to, std::int64_t amount) {
        const auto body = [&](Db& tx) -> Coro<void> {
            Accounts inside(tx);
            co_await inside.add(to, amount);
            co_await inside.add(from, -amount);
            const std::int64_t left = co_await inside.balance(from);
            if (left < 0) throw NotEnough(from + " has not got that much");
        };
        co_await db_.transaction(body);
    }

private:
    Coro<void> add(std::string name, std::int64_t amount) {
        const auto changed = co_await db_.execute(
            "UPDATE weft_accounts SET balance = balance + $2 WHERE name = $1", name, amount);
        if (changed != 1) throw std::invalid_argument("no account " + name);
    }

    Db& db_;
};

template <class Db>
Coro<void> show(Db& db) {
    Accounts<Db> accounts(db);
    co_await accounts.create_table();
    co_await accounts.open("Ada", 100);
    co_await accounts.open("Bob", 0);

    // Many at once: each transfer has its turn.
    const auto pay = [&](std::int64_t amount) { return accounts.transfer("Ada", "Bob", amount); };
    co_await weft::task_group([&](weft::TaskGroup& group) -> Coro<void> {
        for (std::int64_t amount = 1; amount <= 10; ++amount) group.create_task(pay, amount);
        co_return;
    });
    try {
        co_await accounts.transfer("Ada", "Bob", 1000);
    } catch (const NotEnough& refused) {
        std::printf("refused: %s\n", refused.what());
    }
    const auto ada = co_await accounts.balance("Ada");
    const auto bob = co_await accounts.balance("Bob");
    std::printf("%s: Ada %lld, Bob %lld\n", db.server().c_str(), static_cast<long long>(ada),
                static_cast<long long>(bob));
    if (ada != 45 || bob != 55) throw std::logic_error("money was lost");
}

Coro<void> amain() {
    auto lite = co_await weft::sqlite::open(":memory:");
    co_await show(lite);
    co_await lite.close();

    const char* const url = std::getenv("DATABASE_URL");
    if (!url) co_return;
    auto postgres = co_await weft::wait_for(weft::postgres::connect(url), 5s);
    co_await show(postgres);
}

}  // namespace

int main() { weft::run(amain()); }
