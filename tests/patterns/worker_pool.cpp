// SPDX-License-Identifier: MIT
// worker_pool: backpressure, drain, cancel, failures, and nothing that outlives the block.
#include <weft/deadline/move_on_after.hpp>
#include <weft/patterns/worker_pool.hpp>
#include <weft/task/context_var.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/exception_group.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "awaiting.hpp"
#include "cut_everywhere.hpp"
#include "probe.hpp"

namespace worker_pool_test {

using namespace std::chrono_literals;
using weft::Coro;
using weft::OnFailure;
using weft::worker_pool;
using weft::WorkerPoolOptions;
using Pool = weft::WorkerPool<int>;

namespace {

/// Does jobs of one second; negative ones fail.
struct Work {
    Coro<void> operator()(int job) const {
        const probe::Alive counted(*running);
        if (*running > *most) *most = *running;
        co_await weft::sleep(1s);
        if (job < 0) throw std::out_of_range(std::to_string(job));
        done->push_back(job);
    }
    int* running;
    int* most;
    std::vector<int>* done;
};
struct Bench {
    int running = 0;
    int most = 0;
    std::vector<int> done;
    Work work() { return Work{&running, &most, &done}; }
};

/// What the failed job of a pool of two workers says.
template <class Body>
Coro<std::string> failure_of(Bench& bench, Body& body) {
    const Work work = bench.work();
    try {
        co_await worker_pool<int>(WorkerPoolOptions(2, 4), work, body);
    } catch (const std::out_of_range& error) {
        co_return error.what();
    }
    co_return "no failure";
}

}  // namespace

WEFT_TEST_CASE("jobs are done by so many workers, and the block ends when all are",
               "[worker_pool]") {
    const weft::TimePoint began = weft::get_running_loop().time();
    Bench bench;
    auto body = [](Pool& pool) -> Coro<std::string> {
        REQUIRE(pool.workers() == 3);
        for (int job = 0; job < 9; ++job) co_await pool.submit(job);
        co_return "submitted";
    };
    const Work work = bench.work();
    const std::string result = co_await worker_pool<int>(3, work, body);
    REQUIRE(result == "submitted");
    REQUIRE(bench.most == 3);
    REQUIRE(bench.done == std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8});
    REQUIRE(weft::get_running_loop().time() - began == 3s);
}

WEFT_TEST_CASE("a submit waits while the queue is full", "[worker_pool]") {
    Bench bench;
    auto body = [](Pool& pool) -> Coro<void> {
        const weft::TimePoint began = weft::get_running_loop().time();
        co_await support::turns(2);
        for (int job = 0; job < 3; ++job) co_await pool.submit(job);
        co_await support::turns(2);  // one is being done by now, two wait
        REQUIRE(pool.running() == 1);
        REQUIRE(pool.queued() == 2);
        REQUIRE_FALSE(pool.try_submit(9));
        co_await pool.submit(3);
        REQUIRE(weft::get_running_loop().time() - began == 1s);
    };
    const Work work = bench.work();
    co_await worker_pool<int>(WorkerPoolOptions(1, 2), work, body);
    REQUIRE(bench.done == std::vector<int>{0, 1, 2, 3});
}

WEFT_TEST_CASE("drain refuses new jobs and waits for those that were submitted", "[worker_pool]") {
    Bench bench;
    auto body = [&](Pool& pool) -> Coro<void> {
        for (int job = 0; job < 5; ++job) co_await pool.submit(job);
        co_await pool.join();
        REQUIRE(bench.done.size() == 5);
        co_await pool.submit(5);
        const bool in_time = co_await weft::move_on_after(500ms, pool.drain());
        REQUIRE_FALSE(in_time);  // the wait was cancelled, the job was not
        REQUIRE(pool.running() == 1);
        co_await pool.drain();
        REQUIRE(bench.done.size() == 6);
        bool refused = false;
        try {
            co_await pool.submit(6);
        } catch (const weft::QueueShutDown&) {
            refused = true;
        }
        REQUIRE(refused);
        REQUIRE(pool.closed());
    };
    const Work work = bench.work();
    co_await worker_pool<int>(2, work, body);
    REQUIRE(bench.done.size() == 6);
}

WEFT_TEST_CASE("cancel drops what is queued and cancels what is being done; the body goes on",
               "[worker_pool]") {
    Bench bench;
    auto body = [&](Pool& pool) -> Coro<int> {
        for (int job = 0; job < 4; ++job) co_await pool.submit(job);
        co_await weft::sleep(500ms);
        REQUIRE(bench.running == 2);
        pool.cancel();
        co_await pool.drain();
        REQUIRE(bench.running == 0);
        co_await weft::sleep(1s);
        co_return 7;
    };
    const Work work = bench.work();
    const int result = co_await worker_pool<int>(2, work, body);
    REQUIRE(result == 7);
    REQUIRE(bench.done.empty());
}

WEFT_TEST_CASE("a failure ends the pool and the body, and is thrown as it is", "[worker_pool]") {
    auto reports = probe::collect_reports(weft::get_running_loop());
    Bench bench;
    bool body_cancelled = false;
    auto body = [&](Pool& pool) -> Coro<void> {
        for (const int job : {1, -2, 3, 4}) co_await pool.submit(job);
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError&) {
            body_cancelled = true;
            throw;
        }
    };
    const std::string what = co_await failure_of(bench, body);
    REQUIRE(what == "-2");
    REQUIRE(body_cancelled);
    REQUIRE(bench.done == std::vector<int>{1});
    REQUIRE(bench.running == 0);
    REQUIRE(reports->empty());
}

WEFT_TEST_CASE("a body that submits when a job fails is cancelled, and the failure is thrown alone",
               "[worker_pool]") {
    Bench bench;
    bool body_cancelled = false;
    auto body = [&](Pool& pool) -> Coro<void> {
        try {
            for (int job = 1;; ++job) co_await pool.submit(job == 5 ? -5 : job);
        } catch (const weft::CancelledError&) {
            body_cancelled = true;
            throw;
        }
    };
    const std::string what = co_await failure_of(bench, body);
    REQUIRE(what == "-5");
    REQUIRE(body_cancelled);
    REQUIRE(bench.running == 0);
}

WEFT_TEST_CASE("failures are reported or collected where that is asked for, and the pool goes on",
               "[worker_pool]") {
    auto reports = probe::collect_reports(weft::get_running_loop());
    Bench bench;
    auto body = [](Pool& pool) -> Coro<void> {
        for (const int job : {1, -2, 3, -4}) co_await pool.submit(job);
    };
    const Work work = bench.work();
    co_await worker_pool<int>(WorkerPoolOptions(2, 0, OnFailure::report), work, body);
    REQUIRE(bench.done == std::vector<int>{1, 3});
    REQUIRE(reports->size() == 2);
    REQUIRE(probe::count_with(reports, "a job of a worker pool failed") == 2);
    std::size_t failures = 0;
    try {
        co_await worker_pool<int>(WorkerPoolOptions(2, 0, OnFailure::collect), work, body);
    } catch (const weft::ExceptionGroup& errors) {
        failures = errors.exceptions().size();
    }
    REQUIRE(failures == 2);
    REQUIRE(bench.done == std::vector<int>{1, 3, 1, 3});
    REQUIRE(reports->size() == 2);
}

WEFT_TEST_CASE("a handler that fails with QueueShutDown has failed", "[worker_pool]") {
    auto handler = [](int) -> Coro<void> {
        co_await weft::yield();
        throw weft::QueueShutDown();
    };
    auto body = [](Pool& pool) -> Coro<void> { co_await pool.submit(1); };
    bool thrown = false;
    try {
        co_await worker_pool<int>(2, handler, body);
    } catch (const weft::QueueShutDown&) {
        thrown = true;
    }
    REQUIRE(thrown);
}

WEFT_TEST_CASE("a job that is cancelled alone disturbs nobody", "[worker_pool]") {
    int done = 0;
    auto handler = [&](int job) -> Coro<void> {
        co_await weft::sleep(1s);
        if (job == 1) throw weft::CancelledError();
        ++done;
    };
    auto body = [](Pool& pool) -> Coro<void> {
        for (int job = 0; job < 5; ++job) co_await pool.submit(job);
    };
    co_await worker_pool<int>(1, handler, body);
    REQUIRE(done == 4);
}

WEFT_TEST_CASE("a body that throws cancels the jobs and waits for their clean-up",
               "[worker_pool]") {
    int cleaned_up = 0;
    auto handler = [&](int) -> Coro<void> {
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError&) {
            ++cleaned_up;
            throw;
        }
    };
    auto body = [](Pool& pool) -> Coro<void> {
        for (int job = 0; job < 4; ++job) co_await pool.submit(job);
        co_await weft::yield();
        throw std::domain_error("body");
    };
    bool thrown = false;
    try {
        co_await worker_pool<int>(2, handler, body);
    } catch (const std::domain_error&) {
        thrown = true;
    }
    REQUIRE(thrown);
    REQUIRE(cleaned_up == 2);
}

WEFT_TEST_CASE("a cancelled submit has put its job or still has it", "[worker_pool]") {
    std::vector<int> done;
    auto handler = [&](std::unique_ptr<int> job) -> Coro<void> {
        co_await weft::sleep(1s);
        done.push_back(*job);
    };
    std::unique_ptr<int> kept;
    auto body = [&](weft::WorkerPool<std::unique_ptr<int>>& pool) -> Coro<void> {
        for (int job = 0; job < 2; ++job) co_await pool.submit(std::make_unique<int>(job));
        co_await support::turns(2);
        co_await pool.submit(std::make_unique<int>(2));
        auto submits = [&]() -> Coro<void> {
            auto putting = pool.submit(std::make_unique<int>(3));
            try {
                co_await putting;
            } catch (const weft::CancelledError&) {
                kept = std::move(putting.item());
            }
        };
        auto task = weft::create_task(submits);
        co_await support::turns(2);
        task.cancel();
        co_await task.wait();
    };
    co_await worker_pool<std::unique_ptr<int>>(WorkerPoolOptions(1, 1), handler, body);
    std::size_t count = done.size();
    if (kept) {
        REQUIRE(*kept == 3);
        ++count;
    }
    REQUIRE(count == 4);
}

WEFT_TEST_CASE("a cancel of the block ends everything in it", "[worker_pool]") {
    Bench bench;
    auto body = [](Pool& pool) -> Coro<void> {
        for (int job = 0; job < 100; ++job) co_await pool.submit(job);
    };
    auto task = weft::create_task(worker_pool<int>(2, bench.work(), body));
    co_await weft::sleep(1500ms);
    task.cancel();
    co_await task.wait();
    REQUIRE(task.cancelled());
    REQUIRE(bench.running == 0);
    REQUIRE(bench.done == std::vector<int>{0, 1});
    bool refused = false;
    try {
        co_await worker_pool<int>(0, bench.work(), body);
    } catch (const std::invalid_argument&) {
        refused = true;
    }
    REQUIRE(refused);
}

namespace {

Coro<void> pooled(int& alive) {
    auto handler = [](probe::Alive) -> Coro<void> { co_await weft::sleep(1s); };
    auto body = [](weft::WorkerPool<probe::Alive>& pool, int& count) -> Coro<void> {
        for (int job = 0; job < 6; ++job) co_await pool.submit(probe::Alive(count));
        co_await weft::sleep(1s);
    };
    co_await worker_pool<probe::Alive>(WorkerPoolOptions(2, 2), handler, body, std::ref(alive));
}

}  // namespace

TEST_CASE("a worker pool can be cut off after every turn", "[worker_pool][step_kill]") {
    REQUIRE(support::cut_everywhere(pooled) > 5);
}

WEFT_TEST_CASE("111: each job has its own context", "[worker_pool]") {
    static const weft::ContextVar<int> variable("job", -1);
    (void)variable.set(100);
    std::vector<int> seen;
    auto handler = [&](int job) -> Coro<void> {
        seen.push_back(variable.get());
        (void)variable.set(job);
        co_await weft::yield();
    };
    auto body = [](weft::WorkerPool<int>& pool) -> Coro<void> {
        for (int job = 0; job < 6; ++job) co_await pool.submit(job);
    };
    co_await worker_pool<int>(2, handler, body);
    REQUIRE(seen == std::vector<int>(6, 100));
    REQUIRE(variable.get() == 100);
}

}  // namespace worker_pool_test
