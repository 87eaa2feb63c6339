// SPDX-License-Identifier: MIT
// program: own
// Each single allocation of a scenario fails in turn: what comes of it is a bad_alloc, or nothing.
// No task is left, no frame leaks (AddressSanitizer), nobody waits for ever, and the next run
// works.
#include <weft/testing/catch.hpp>
#include <weft/weft.hpp>

#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "children.hpp"
#include "failing_new.hpp"

namespace no_memory_test {

using namespace children;
using weft::create_task;

namespace {

/// A bad_alloc, or a group of them: of the body and its children, say.
bool is_lack_of_memory(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::bad_alloc&) {
        return true;
    } catch (const weft::QueueShutDown&) {
        return true;  // what a worker pool tells those who submit when a worker has failed
    } catch (const weft::ExceptionGroup& group) {
        for (const std::exception_ptr& each : group.exceptions()) {
            if (!is_lack_of_memory(each)) return false;
        }
        return true;
    } catch (...) {
        return false;
    }
}

std::string text_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& thrown) {
        return thrown.what();
    } catch (const weft::CancelledError&) {
        return "CancelledError";
    } catch (...) {
        return "something else";
    }
}

/// Runs `scenario` with its first allocation failing, its second, and so on, until none does.
/// Whatever else comes out of one is a failure of the test.
template <class Scenario>
int fail_each_allocation(Scenario scenario) {
    int count = 0;
    for (bool struck = true; struck; ++count) {
        INFO("allocation " << count);
        std::exception_ptr error;
        std::size_t left = 0;
        struck = false;
        weft::trim_frame_cache();
        weft::testing::run([&]() -> Coro<void> {
            // What nobody awaits may be told of the lack as well.
            weft::get_running_loop().set_exception_handler([&](const weft::ExceptionContext& told) {
                if (told.exception && !is_lack_of_memory(told.exception)) {
                    UNSCOPED_INFO("reported: " << told.message);
                    error = told.exception;
                }
            });
            shortage.set(count, 1);
            try {
                co_await scenario();
            } catch (...) {
                if (!is_lack_of_memory(std::current_exception())) error = std::current_exception();
            }
            struck = shortage.failed > 0;
            shortage.end();
            co_await weft::sleep(100h);  // whatever goes on by itself comes to its end
            left = weft::all_tasks().size() - 1;
        });
        if (error) FAIL_CHECK(text_of(error));
        CHECK(left == 0);
    }
    return count - 1;
}

}  // namespace

TEST_CASE("create_task without memory starts nothing and leaks nothing", "[memory]") {
    CHECK(fail_each_allocation([]() -> Coro<void> { co_await create_task(gives(1)); }) == 3);
    fail_each_allocation([]() -> Coro<void> {
        co_await create_task(gives(1, 1s), weft::TaskOptions("a name too long to be kept inside"));
    });
    fail_each_allocation([]() -> Coro<void> {
        co_await create_task(gives(1, 1s), weft::TaskOptions("eager", true));
    });
    fail_each_allocation([]() -> Coro<void> {
        static weft::ContextVar<std::string> user("nobody");
        auto token = user.set("a value too long to be kept inside");
        auto reads = []() -> Coro<std::size_t> { co_return user.get().size(); };
        co_await create_task(reads);
        user.reset(token);
    });
}

TEST_CASE("callbacks and futures without memory", "[memory]") {
    fail_each_allocation([]() -> Coro<void> {
        weft::EventLoop& loop = weft::get_running_loop();
        weft::Future<int> future = loop.create_future<int>();
        const auto called = std::make_shared<int>(0);  // (callbacks outlive a scenario that ends)
        (void)future.add_done_callback([called](const weft::AnyFuture&) { ++*called; });
        auto timer = loop.call_later(1s, [future]() mutable {
            if (!future.done()) future.set_result(1);
        });
        loop.call_soon([called] { ++*called; });
        co_await future;
        co_await weft::yield();
        if (*called != 2) throw weft::RuntimeError("a callback was lost");
    });
}

TEST_CASE("combinators without memory end what they have started", "[memory]") {
    fail_each_allocation([]() -> Coro<void> {
        co_await weft::gather(gives(1, 1s), sleeps(2s), weft::sleep(3s), create_task(gives(4)));
    });
    fail_each_allocation([]() -> Coro<void> {
        std::vector<Coro<int>> list;
        for (int value = 0; value < 3; ++value) list.push_back(gives(value, value * 1s));
        co_await weft::gather(std::move(list));
    });
    fail_each_allocation([]() -> Coro<void> {
        co_await weft::gather(weft::return_exceptions, gives(1, 1s), gives(2, 2s));
    });
    fail_each_allocation([]() -> Coro<void> { co_await weft::all(gives(1, 1s), gives(2, 2s)); });
    fail_each_allocation(
        []() -> Coro<void> { co_await weft::race(gives(1, 1s), sleeps(), weft::sleep(2s)); });
    fail_each_allocation(
        []() -> Coro<void> { co_await weft::race_all(gives(1, 1s), gives(2, 1s)); });
    fail_each_allocation([]() -> Coro<void> {
        std::vector<std::function<Coro<int>()>> attempts(3, [] { return gives(1, 3s); });
        co_await weft::staggered_race(std::move(attempts), 1s);
    });
    fail_each_allocation([]() -> Coro<void> {
        std::vector<weft::Task<int>> tasks;
        for (int value = 0; value < 3; ++value) tasks.push_back(create_task(gives(value, 1s)));
        co_await weft::wait(tasks);
        auto completed = weft::as_completed(tasks);
        while (auto task = co_await completed.next()) (void)task.result();
    });
    fail_each_allocation([]() -> Coro<void> { co_await weft::shield(gives(1, 1s)); });
}

TEST_CASE("a task group without memory ends its children", "[memory]") {
    fail_each_allocation([]() -> Coro<void> {
        co_await weft::task_group([](weft::TaskGroup& group) -> Coro<void> {
            for (int value = 0; value < 3; ++value) group.create_task(gives(value, value * 1s));
            co_await weft::sleep(1s);
            group.create_task(sleeps(1s), weft::TaskOptions("a name too long to be kept inside"));
        });
    });
    fail_each_allocation([]() -> Coro<void> {
        auto serves = [](weft::TaskStatus<int> status) -> Coro<void> {
            co_await weft::sleep(1s);
            status.started(7);
            co_await weft::sleep(1s);
        };
        co_await weft::task_group(
            [&](weft::TaskGroup& group) -> Coro<void> { (void)co_await group.start<int>(serves); });
    });
}

TEST_CASE("deadlines without memory", "[memory]") {
    fail_each_allocation([]() -> Coro<void> { co_await weft::wait_for(gives(1, 1s), 2s); });
    fail_each_allocation([]() -> Coro<void> {
        try {
            co_await weft::wait_for(sleeps(), 1s);
        } catch (const weft::TimeoutError&) {
            // (Its text may be what fails: then it is a bad_alloc.)
        }
    });
    fail_each_allocation([]() -> Coro<void> {
        weft::Event never;
        (void)co_await weft::move_on_after(1s, never.wait());
    });
    fail_each_allocation([]() -> Coro<void> {
        const auto event = std::make_shared<weft::Event>();
        weft::get_running_loop().call_later(1s, [event] { event->set(); });
        if (!co_await weft::move_on_after(2s, event->wait()))
            throw weft::RuntimeError("a deadline ended it that had not come");
    });
    fail_each_allocation(
        []() -> Coro<void> { co_await weft::move_on_after(1s, [] { return sleeps(); }); });
    fail_each_allocation([]() -> Coro<void> {
        co_await weft::timeout(2s, [](weft::Timeout&) { return sleeps(1s); });
    });
    fail_each_allocation(
        []() -> Coro<void> { co_await weft::clean_up(2s, [] { return sleeps(1s); }); });
}

TEST_CASE("primitives without memory leave nobody waiting", "[memory]") {
    fail_each_allocation([]() -> Coro<void> {
        weft::Lock lock;
        weft::Semaphore semaphore(1);
        auto works = [&]() -> Coro<void> {
            const auto guard = co_await lock.scoped();
            const auto permit = co_await semaphore.scoped();
            co_await weft::sleep(1s);
        };
        co_await weft::all(works, works, works);
    });
    fail_each_allocation([]() -> Coro<void> {
        weft::Condition condition;
        bool ready = false;
        auto waits = [&]() -> Coro<void> {
            const auto guard = co_await condition.scoped();
            while (!ready) co_await condition.wait();
        };
        auto tells = [&]() -> Coro<void> {
            const auto guard = co_await condition.scoped();
            ready = true;
            condition.notify_all();
        };
        co_await weft::all(waits, tells);
    });
    fail_each_allocation([]() -> Coro<void> {
        weft::Queue<std::string> queue(2);
        auto puts = [&]() -> Coro<void> {
            for (int item = 0; item < 5; ++item) co_await queue.put(std::string(40, 'x'));
        };
        auto gets = [&]() -> Coro<void> {
            for (int item = 0; item < 5; ++item) (void)co_await queue.get();
        };
        co_await weft::all(puts, gets);
    });
    fail_each_allocation([]() -> Coro<void> {
        weft::PriorityQueue<int> queue;
        for (int item = 0; item < 20; ++item) co_await queue.put(item);
        for (int item = 0; item < 20; ++item) (void)co_await queue.get();
    });
    fail_each_allocation([]() -> Coro<void> {
        weft::Channel<std::string> ends(1);
        auto sends = [](weft::Channel<std::string>::Sender to) -> Coro<void> {
            for (int item = 0; item < 3; ++item) co_await to.send(std::string(40, 'x'));
        };
        auto sending = create_task(sends, std::move(ends.sender));
        while (co_await ends.receiver.recv()) {
        }
        co_await sending;
    });
}

TEST_CASE("patterns without memory", "[memory]") {
    fail_each_allocation([]() -> Coro<void> {
        std::vector<int> values{1, 2, 3, 4};
        co_await weft::map_limit(values, 2, [](int value) { return gives(value, 1s); });
    });
    fail_each_allocation([]() -> Coro<void> {
        const weft::WorkerPoolOptions options(2, 1);
        auto works = [](int job) -> Coro<void> { co_await weft::sleep(job * 1s); };
        auto submits = [](weft::WorkerPool<int>& pool) -> Coro<void> {
            for (int job = 0; job < 4; ++job) co_await pool.submit(job);
        };
        co_await weft::worker_pool<int>(options, works, submits);
    });
    fail_each_allocation([]() -> Coro<void> {
        weft::Pool<int> pool([] { return gives(1, 1s); }, weft::PoolOptions<int>(1));
        { const auto one = co_await pool.acquire(); }
        co_await pool.close();
    });
    fail_each_allocation([]() -> Coro<void> {
        weft::Singleflight<std::string, int> flight;
        auto asks = [&]() -> Coro<int> {
            co_return co_await flight.run("a key too long to be kept inside",
                                          [] { return gives(1, 1s); });
        };
        co_await weft::all(asks, asks);
    });
    fail_each_allocation([]() -> Coro<void> {
        auto numbers = []() -> weft::AsyncGenerator<int> {
            for (int value = 0; value < 3; ++value) {
                co_await weft::sleep(1s);
                co_yield value;
            }
        };
        auto generator = numbers();
        while (co_await generator.next()) {
        }
    });
}

}  // namespace no_memory_test
