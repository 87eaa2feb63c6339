// SPDX-License-Identifier: MIT
// needs: weft::postgres
// A queue of jobs in a table: workers that lock a row each and skip those of others, woken by
// NOTIFY, with retries and a graceful stop. Over the server of DATABASE_URL
// (postgresql://me@localhost/shop), until SIGTERM or, as here, until the queue is empty.
#include <weft/postgres.hpp>
#include <weft/weft.hpp>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using weft::Coro;
using weft::postgres::Connection;

constexpr int most_attempts = 4;

struct Queue {
    explicit Queue(const std::string& url) : pool(url, weft::postgres::PoolOptions(workers)) {}
    static constexpr int workers = 4;
    weft::postgres::Pool pool;
    weft::Event wake;
    bool stopping = false;
};

Coro<void> work_on(int job, int attempt) {
    co_await weft::sleep(1ms);
    if (job % 10 == 0 && attempt < 3) throw std::runtime_error("no luck this time");
}

/// What a crash, or a cut connection, interrupts is rolled back: the job is there again.
/// Returns:  false when there is none.
Coro<bool> one_job(Connection& tx) {
    const auto rows = co_await tx.query(
        "SELECT id, attempts FROM weft_jobs WHERE state = 'ready' AND run_at <= now() "
        "ORDER BY run_at LIMIT 1 FOR UPDATE SKIP LOCKED");
    if (rows.empty()) co_return false;
    const auto [job, attempts] = rows[0].as<int, int>();
    std::string failure;
    try {
        co_await work_on(job, attempts + 1);
    } catch (const std::exception& error) {
        failure = error.what();
    }
    if (failure.empty()) {
        co_await tx.execute("UPDATE weft_jobs SET state = 'done' WHERE id = $1", job);
    } else if (attempts + 1 == most_attempts) {
        co_await tx.execute("UPDATE weft_jobs SET state = 'failed', error = $2 WHERE id = $1", job,
                            failure);
    } else {
        // (The server's arithmetic: 10, 20, 40 ms.)
        co_await tx.execute(
            "UPDATE weft_jobs SET attempts = attempts + 1, error = $2, "
            "run_at = now() + interval '10 ms' * power(2, attempts) WHERE id = $1",
            job, failure);
    }
    co_return true;
}

Coro<void> worker(Queue& queue) {
    while (!queue.stopping) {
        bool had_one = false;
        Coro<bool> next = queue.pool.transaction(one_job);
        try {
            had_one = co_await std::move(next);
        } catch (const weft::sql::Error& error) {
            std::printf("%s\n", error.what());  // and again after the pause
        }
        if (had_one) continue;
        // Somebody tells of a new one; a retry comes due, or a server back, in its own time.
        queue.wake.clear();
        (void)co_await weft::move_on_after(50ms, queue.wake.wait());
    }
}

Coro<void> listener(Queue& queue, std::string url) {
    for (;; co_await weft::sleep(1s)) {
        try {
            Connection db = co_await weft::postgres::connect(url);
            auto told = co_await db.listen("weft_jobs");
            for (;;) {
                (void)co_await told.next();
                queue.wake.set();
            }
        } catch (const weft::sql::Error& error) {
            std::printf("%s\n", error.what());
        }
    }
}

Coro<int> left(Queue& queue) {
    const auto rows =
        co_await queue.pool.query("SELECT count(*) FROM weft_jobs WHERE state = 'ready'");
    co_return rows.one<int>();
}

Coro<void> amain(std::string url) {
    Queue queue(url);
    weft::EventLoop& loop = weft::get_running_loop();
    loop.add_signal_handler(SIGTERM, [&] { queue.stopping = true; });
    (void)co_await queue.pool.query("DROP TABLE IF EXISTS weft_jobs");
    (void)co_await queue.pool.query(
        "CREATE TABLE weft_jobs (id serial PRIMARY KEY, state text NOT NULL DEFAULT 'ready', "
        "attempts int NOT NULL DEFAULT 0, error text, run_at timestamptz NOT NULL DEFAULT now())");
    co_await weft::task_group([&](weft::TaskGroup& group) -> Coro<void> {
        auto hears = group.create_task(listener(queue, url));
        std::vector<weft::Task<void>> all;
        for (int index = 0; index < Queue::workers; ++index)
            all.push_back(group.create_task(worker(queue)));
        co_await queue.pool.execute("INSERT INTO weft_jobs SELECT FROM generate_series(1, 100)");
        (void)co_await queue.pool.query("NOTIFY weft_jobs");
        while (!queue.stopping) {
            co_await weft::sleep(20ms);
            const int ready = co_await left(queue);
            if (ready == 0) queue.stopping = true;
        }
        queue.wake.set();
        // Each ends with the job that it has.
        for (auto& each : all) co_await each.wait();
        hears.cancel();
    });
    const auto rows = co_await queue.pool.query(
        "SELECT state, count(*)::int FROM weft_jobs GROUP BY state ORDER BY state");
    for (auto [state, count] : rows.as<std::string, int>())
        std::printf("%s: %d\n", state.c_str(), count);
    (void)co_await queue.pool.query("DROP TABLE weft_jobs");
    co_await queue.pool.close();
}

}  // namespace

int main() {
    const char* const url = std::getenv("DATABASE_URL");
    if (!url) {
        std::printf("set DATABASE_URL to the server of a database that you can spare\n");
        return 0;
    }
    weft::run(amain(url));
}
