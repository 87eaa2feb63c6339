// SPDX-License-Identifier: MIT
// Point queries by key, prepared, over some connections: and the same by libpq alone, one after the
// other in a loop that blocks.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <weft/postgres.hpp>
#include <weft/task/run.hpp>
#include <weft/task/task.hpp>

#include "measure.hpp"

namespace {

constexpr const char* text = "SELECT name FROM bench_points WHERE id = $1";
constexpr int rows = 10'000;

[[noreturn]] void fail(const char* why) {
    std::fprintf(stderr, "%s\n", why);
    std::exit(1);
}

void prepare_table(const char* server) {
    PGconn* const conn = PQconnectdb(server);
    if (PQstatus(conn) != CONNECTION_OK) fail(PQerrorMessage(conn));
    PQclear(PQexec(conn,
                   "CREATE TABLE IF NOT EXISTS bench_points (id int PRIMARY KEY, name text);"
                   "TRUNCATE bench_points; INSERT INTO bench_points SELECT i, 'name ' || i "
                   "FROM generate_series(0, 9999) AS i; ANALYZE bench_points"));
    PQfinish(conn);
}

void block(const char* server, long count) {
    PGconn* const conn = PQconnectdb(server);
    PQclear(PQprepare(conn, "point", text, 1, nullptr));
    for (long query = 0; query < count; ++query) {
        const std::string key = std::to_string(query * 7919 % rows);
        const char* const value = key.c_str();
        PGresult* const result = PQexecPrepared(conn, "point", 1, &value, nullptr, nullptr, 0);
        const std::string name = PQgetvalue(result, 0, 0);
        if (name.empty()) fail("no row");
        PQclear(result);
    }
    PQfinish(conn);
}

weft::Coro<void> ask(const char* server, long& left) {
    weft::postgres::Connection db = co_await weft::postgres::connect(server);
    while (left > 0) {
        const long query = --left;
        const auto found = co_await db.query(text, query * 7919 % rows);
        const auto name = found.one<std::string>();
        if (name.empty()) fail("no row");
    }
}

weft::Coro<void> ask_by(const char* server, long connections, long count) {
    std::vector<weft::Task<void>> tasks;
    for (long index = 0; index < connections; ++index)
        tasks.push_back(weft::create_task(ask(server, count)));
    for (auto& task : tasks) co_await task;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string server(bench::option(argc, argv, "--server", "dbname=weft"));
    const long connections = bench::number_option(argc, argv, "--connections", 1);
    const long count = bench::number_option(argc, argv, "--queries", 20'000);
    const bool blocks = bench::option(argc, argv, "--libpq", "no") == "yes";
    prepare_table(server.c_str());
    const auto began = std::chrono::steady_clock::now();
    const std::int64_t cpu = bench::cpu_us();
    if (blocks) {
        block(server.c_str(), count);
    } else {
        weft::run(ask_by(server.c_str(), connections, count));
    }
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    std::printf("queries_per_s=%.0f cpu_us_per_query=%.2f\n", static_cast<double>(count) / seconds,
                static_cast<double>(bench::cpu_us() - cpu) / static_cast<double>(count));
}
