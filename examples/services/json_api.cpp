// SPDX-License-Identifier: MIT
// needs: weft::http weft::postgres weft::redis
// run: by tests/services/run
// A JSON API: accounts in PostgreSQL, a cache in Redis, limits of rate and time, figures under
// /metrics. SIGTERM stops it in order: what was asked is answered. (tests/services asks it, and
// stops the servers under it.)
//
//     DATABASE_URL=postgresql://me@localhost/shop REDIS_HOST=localhost PORT=8080 ./json_api
//     curl -d '{"name": "Ada", "balance": 100}' localhost:8080/accounts
//     curl -d '{"payer": 1, "payee": 2, "amount": 30}' localhost:8080/transfers
#include <fmt/format.h>
#include <weft/http.hpp>
#include <weft/postgres.hpp>
#include <weft/redis.hpp>
#include <weft/weft.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>

namespace http = weft::http;
using http::Request, http::Response, weft::Coro;
using namespace std::chrono_literals;

namespace {

constexpr const char* schema =
    "CREATE TABLE IF NOT EXISTS accounts (id serial PRIMARY KEY, name text NOT NULL UNIQUE,"
    " balance bigint NOT NULL DEFAULT 0 CHECK (balance >= 0))";
// PostgreSQL reads and writes the JSON, so that the program needs no library for it.
constexpr const char* select_one = "SELECT row_to_json(accounts)::text FROM accounts WHERE id = $1";
constexpr const char* insert_one =
    "INSERT INTO accounts (name, balance) SELECT name, coalesce(balance, 0)"
    " FROM json_to_record($1::json) AS given(name text, balance bigint)"
    " RETURNING row_to_json(accounts)::text";
constexpr const char* read_transfer =
    "SELECT payer, payee, amount"
    " FROM json_to_record($1::json) AS given(payer int, payee int, amount bigint)";
constexpr const char* add_to = "UPDATE accounts SET balance = balance + $2 WHERE id = $1";

std::string setting(const char* name, const char* otherwise) {
    const char* value = std::getenv(name);
    return value ? value : otherwise;
}
std::uint16_t port_setting(const char* name, const char* otherwise) {
    return static_cast<std::uint16_t>(std::stoul(setting(name, otherwise)));
}

weft::redis::Options cache_options() {
    weft::redis::Options options(setting("REDIS_HOST", "localhost"),
                                 port_setting("REDIS_PORT", "6379"));
    // A cache that does not answer is to be done without, and soon.
    options.connect_timeout = 200ms;
    options.command_timeout = 200ms;
    options.reconnect = weft::RetryOptions(1);
    return options;
}

class Api {
public:
    Api()
        : database_(setting("DATABASE_URL", "dbname=weft"), weft::postgres::PoolOptions(8)),
          cache_(cache_options()) {}
    Coro<void> prepare() { co_await database_.execute(schema); }

    Coro<Response> show(Request& request) {
        const int id = request.param<int>("id");
        // However many ask for the same account at once: one of them asks the database.
        std::string found = co_await loading_.run(id, [this, id] { return load(id); });
        if (found.empty()) throw http::HttpError(404);
        co_return Response::json(std::move(found));
    }

    Coro<Response> create(Request& request) {
        const std::string body = co_await request.read();
        const auto rows = co_await database_.query(insert_one, body);
        co_return Response::json(rows.one<std::string>(), 201);
    }

    Coro<Response> transfer(Request& request) {
        const std::string body = co_await request.read();
        const auto asked = co_await database_.query(read_transfer, body);
        const auto [from, to, amount] = asked.one<int, int, std::int64_t>();
        if (amount <= 0 || from == to) throw http::HttpError(400);
        const auto moves = [=](auto& tx) { return move(tx, from, to, amount); };
        co_await database_.transaction(moves);
        co_await or_nothing<long long>([&] { return cache_.del(key(from), key(to)); });
        co_return Response(204);
    }

    Coro<Response> metrics(Request&) {
        std::string text;
        for (const auto& [status, count] : answers_)
            text += fmt::format("answers{{status=\"{}\"}} {}\n", status, count);
        text += fmt::format("cache_hits {}\ncache_misses {}\n", hits_, misses_);
        text += fmt::format("cache_failures {}\nwait_for_database {}\n", failures_,
                            database_.waiting());
        co_return Response(std::move(text));
    }

    /// Around every request: who asks too often, or for what cannot be, is told so.
    Coro<Response> around(Request& request, http::Next next) {
        Response response = co_await answer(request, next);
        ++answers_[response.status];
        co_return std::move(response);
    }

private:
    Coro<Response> answer(Request& request, http::Next next) {
        try {
            if (request.method() != "GET" && !writes_.try_acquire()) throw http::HttpError(429);
            co_return co_await next(request);
        } catch (const http::HttpError& error) {
            co_return Response(std::string(error.what()) + "\n", error.status());
        } catch (const weft::sql::ConnectionError& error) {
            std::fprintf(stderr, "%s\n", error.what());
            co_return Response("the database is away\n", 503);
        } catch (const weft::sql::Error& error) {
            const std::string& code = error.code();
            // What the one who asks can do something about; all else is ours, and is a 500.
            if (code == "23505" || code == "23514") co_return Response(error.message() + "\n", 409);
            if (code.starts_with("22") || code == "23502")
                co_return Response(error.message() + "\n", 400);
            throw;
        } catch (const weft::sql::ConversionError& error) {  // a NULL: it was not given
            co_return Response(std::string(error.what()) + "\n", 400);
        }
    }

    /// Empty: there is none.
    Coro<std::string> load(int id) {
        auto cached =
            co_await or_nothing<std::optional<std::string>>([&] { return cache_.get(key(id)); });
        ++(cached ? hits_ : misses_);
        if (cached) co_return std::move(*cached);
        const auto rows = co_await database_.query(select_one, id);
        if (rows.empty()) co_return std::string();
        std::string found = rows.one<std::string>();
        co_await or_nothing<bool>([&] { return cache_.set(key(id), found, 30s); });
        co_return found;
    }

    template <class Connection>
    static Coro<void> move(Connection& tx, int from, int to, std::int64_t amount) {
        // (In the order of their numbers, so that two transfers do not wait for each other.)
        for (const int id : {std::min(from, to), std::max(from, to)}) {
            const auto changed = co_await tx.execute(add_to, id, id == from ? -amount : amount);
            if (changed == 0) throw http::HttpError(404, fmt::format("there is no account {}", id));
        }
    }

    static std::string key(int id) { return fmt::format("account:{}", id); }

    /// Without its cache the service is slower, and nothing else.
    template <class T, class Ask>
    Coro<T> or_nothing(Ask ask) {
        try {
            co_return co_await ask();
        } catch (const weft::redis::Error&) {
        } catch (const weft::TimeoutError&) {
        }
        ++failures_;
        co_return T();
    }

    weft::postgres::Pool database_;
    weft::redis::Client cache_;
    weft::Singleflight<int, std::string> loading_;
    weft::RateLimiter writes_{200, 50};
    std::map<int, long> answers_;
    long hits_ = 0;
    long misses_ = 0;
    long failures_ = 0;
};

Coro<void> serve() {
    Api api;
    co_await api.prepare();
    http::Router router;
    router.use([&api](Request& request, http::Next next) { return api.around(request, next); });
    router.get("/accounts/{id:int}", [&api](Request& request) { return api.show(request); });
    router.post("/accounts", [&api](Request& request) { return api.create(request); });
    router.post("/transfers", [&api](Request& request) { return api.transfer(request); });
    router.get("/metrics", [&api](Request& request) { return api.metrics(request); });
    http::ServerOptions options;
    options.handler_timeout = 5s;
    options.grace = 10s;
    co_await http::serve(std::move(router), "", port_setting("PORT", "8080"), options);
}

}  // namespace

int main() {
    weft::RunOptions options;
    options.stop_signal = SIGTERM;
    weft::run(serve(), options);
}
