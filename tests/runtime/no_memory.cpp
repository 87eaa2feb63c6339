// SPDX-License-Identifier: MIT
// program: own
// Each single allocation of a scenario fails in turn: what comes of it is a bad_alloc, or nothing.
// No task is left, no frame leaks (AddressSanitizer), nobody waits for ever, and the next run
// works.
#include <weft/adapters.hpp>
#include <weft/deadline/std_stop_token.hpp>
#include <weft/testing/catch.hpp>
#include <weft/testing/census.hpp>
#include <weft/weft.hpp>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <stop_token>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "children.hpp"
#include "descriptors.hpp"
#include "failing_new.hpp"

namespace no_memory_test {

using namespace children;
using weft::create_task;

namespace {

/// What a worker pool tells those who submit, once a worker has failed.
bool is_shut_down(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const weft::QueueShutDown&) {
        return true;
    } catch (...) {
        return false;
    }
}

/// A bad_alloc, or a group of errors with one: the others may be its consequences.
bool is_lack_of_memory(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::bad_alloc&) {
        return true;
    } catch (const weft::ExceptionGroup& group) {
        bool lacks = false;
        for (const std::exception_ptr& each : group.exceptions()) {
            const bool is_consequence = is_shut_down(each);
            if (!is_consequence && !is_lack_of_memory(each)) return false;
            lacks = lacks || !is_consequence;
        }
        return lacks;
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

/// Whether tasks may go on when the scenario has ended, and end by themselves.
enum class Rest : bool { ended, goes_on };

/// Runs `scenario` with its first allocation failing, its second, and so on, until none does; then
/// the same in debug mode. Whatever else comes out of one is a failure of the test.
template <class Scenario>
void fail_each_allocation(Scenario scenario, Rest rest = Rest::ended) {
    for (const bool debug : {false, true}) {
        bool struck = true;
        for (int count = 0; struck; ++count) {
            INFO("allocation " << count << (debug ? ", debug mode" : ""));
            std::exception_ptr error;
            std::size_t left = 0;
            struck = false;
            weft::trim_frame_cache();
            weft::RunOptions options;
            options.debug = debug;
            weft::testing::run(
                [&]() -> Coro<void> {
                    // What nobody awaits may be told of the lack as well.
                    weft::get_running_loop().set_exception_handler(
                        [&](const weft::ExceptionContext& told) {
                            if (told.exception && !is_lack_of_memory(told.exception))
                                error = told.exception;
                        });
                    shortage.set(count, 1);
                    try {
                        co_await scenario();
                    } catch (...) {
                        if (!is_lack_of_memory(std::current_exception()))
                            error = std::current_exception();
                    }
                    struck = shortage.failed > 0;
                    shortage.end();
                    if (rest == Rest::goes_on) co_await weft::sleep(100h);
                    left = weft::all_tasks().size() - 1;
                },
                options);
            if (error) FAIL_CHECK(text_of(error));
            CHECK(left == 0);
        }
    }
}

void require(bool holds) {
    if (!holds) throw weft::RuntimeError("a wrong result");
}

}  // namespace

TEST_CASE("create_task without memory starts nothing and leaks nothing", "[memory]") {
    fail_each_allocation([]() -> Coro<void> {
        const int value = co_await create_task(gives(1));
        require(value == 1);
    });
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
    fail_each_allocation(
        []() -> Coro<void> {
            auto task = create_task(gives(4));
            const auto all = co_await weft::gather(gives(1, 1s), sleeps(2s), weft::sleep(3s), task);
            require(std::get<0>(all) == 1 && std::get<3>(all) == 4);
        },
        Rest::goes_on);
    fail_each_allocation(
        []() -> Coro<void> {
            std::vector<Coro<int>> list;
            for (int value = 0; value < 3; ++value) list.push_back(gives(value, value * 1s));
            const std::vector<int> all = co_await weft::gather(std::move(list));
            require(all == std::vector<int>{0, 1, 2});
        },
        Rest::goes_on);
    fail_each_allocation(
        []() -> Coro<void> {
            co_await weft::gather(weft::return_exceptions, gives(1, 1s), gives(2, 2s));
        },
        Rest::goes_on);
    fail_each_allocation([]() -> Coro<void> {
        const auto [one, two] = co_await weft::all(gives(1, 1s), gives(2, 24h));
        require(one == 1 && two == 2);
    });
    fail_each_allocation(
        []() -> Coro<void> { co_await weft::race(gives(1, 1s), sleeps(), weft::sleep(2s)); });
    fail_each_allocation(
        []() -> Coro<void> { co_await weft::race_all(gives(1, 1s), gives(2, 1s)); });
    fail_each_allocation([]() -> Coro<void> {
        std::vector<std::function<Coro<int>()>> attempts(3, [] { return gives(1, 24h); });
        // (One that lacks memory has failed: then the next one wins.)
        const auto winner = co_await weft::staggered_race(std::move(attempts), 1s);
        require(*winner == 1);
    });
    fail_each_allocation(
        []() -> Coro<void> {
            std::vector<weft::Task<int>> tasks;
            for (int value = 0; value < 3; ++value) tasks.push_back(create_task(gives(value, 1s)));
            co_await weft::wait(tasks);
            auto completed = weft::as_completed(tasks);
            while (auto task = co_await completed.next()) (void)task.result();
        },
        Rest::goes_on);
    fail_each_allocation([]() -> Coro<void> { co_await weft::shield(gives(1, 1s)); },
                         Rest::goes_on);
}

TEST_CASE("a task group without memory ends its children", "[memory]") {
    fail_each_allocation([]() -> Coro<void> {
        co_await weft::task_group([](weft::TaskGroup& group) -> Coro<void> {
            for (int value = 0; value < 3; ++value) group.create_task(gives(value, value * 24h));
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
    fail_each_allocation([]() -> Coro<void> {
        const int value = co_await weft::wait_for(gives(1, 1s), 2s);
        require(value == 1);
    });
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
        const bool in_time = co_await weft::move_on_after(2s, event->wait());
        require(in_time);
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

TEST_CASE("a sleep without memory leaves nothing behind that a cancel could strike", "[memory]") {
    weft::testing::run([]() -> Coro<void> {
        auto naps = [](bool& refused) -> Coro<void> {
            // In a frame of its own, which is gone when the cancel comes.
            auto nap = []() -> Coro<void> {
                co_await weft::yield();
                co_await weft::sleep(1s);
            };
            try {
                co_await nap();
            } catch (const std::bad_alloc&) {
                refused = true;
            }
            for (;;) co_await weft::yield();
        };
        bool refused = false;
        auto task = create_task(naps, std::ref(refused));
        co_await weft::yield();
        shortage.set(0, 1000);
        co_await weft::yield();
        shortage.end();
        task.cancel();
        co_await task.wait();
        CHECK(refused);
        CHECK(task.cancelled());
    });
}

TEST_CASE("a server that could not be started leaves no task behind", "[memory]") {
    fail_each_allocation([]() -> Coro<void> {
        std::exception_ptr error;
        try {
            auto greets = [](weft::Stream stream) -> Coro<void> { co_await stream.close(); };
            const weft::Server server = co_await weft::start_server(greets, "127.0.0.1", 0);
            require(server.port() != 0);
        } catch (...) {
            error = std::current_exception();
        }
        // Its accept ends within some turns.
        for (int turn = 0; turn < 10; ++turn) co_await weft::yield();
        if (error) std::rethrow_exception(error);
    });
}

TEST_CASE("patterns without memory", "[memory]") {
    fail_each_allocation([]() -> Coro<void> {
        std::vector<int> values{1, 2, 3, 4};
        auto doubled = [](int value) { return gives(2 * value, 1s); };
        const auto all = co_await weft::map_limit(values, 2, doubled);
        require(all == std::vector<int>{2, 4, 6, 8});
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
    fail_each_allocation(
        []() -> Coro<void> {
            weft::Singleflight<std::string, int> flight;
            auto asks = [&]() -> Coro<int> {
                co_return co_await flight.run("a key too long to be kept inside",
                                              [] { return gives(1, 1s); });
            };
            co_await weft::all(asks, asks);
        },
        Rest::goes_on);  // (the flight is nobody's child: it ends a turn after its last caller)
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

// Where nothing may be thrown a lack of memory would end the program: each of these runs with no
// memory at all from its first allocation on, from its second, and so on.

namespace {

/// Runs `act` so often that it gets by in the end, on a loop of its own each time. Reports have to
/// come all the same.
template <class Act>
void run_out_of_memory(Act act, weft::RunOptions options = {}) {
    options.virtual_time = true;
    bool struck = true;
    for (int count = 0; struck && count < 100; ++count) {
        INFO("after " << count << " allocations");
        weft::trim_frame_cache();
        weft::EventLoop loop(options);
        loop.set_exception_handler([](const weft::ExceptionContext& told) {
            if (told.message.empty()) std::abort();
        });
        try {
            act(loop, count);
        } catch (...) {
            shortage.end();
            CHECK(is_lack_of_memory(std::current_exception()));
        }
        struck = shortage.failed > 0;
        shortage.end();
    }
    CHECK_FALSE(struck);
}
constexpr long all = 1'000'000;

}  // namespace

TEST_CASE("a descriptor that cannot be watched for want of memory is reported", "[memory]") {
    // (A high number, for which the backend has to make room.)
    const support::Pair ends = support::unix_pair();
    int number = 400;
    for (const bool writes : {false, true}) {
        run_out_of_memory([&](weft::EventLoop& loop, int count) {
            const weft::Fd high(support::checked(::fcntl(ends.a.get(), F_DUPFD, ++number), "dup"));
            loop.run_until_complete([](int fd, bool writing, int after) -> Coro<void> {
                weft::FdWatch watch(fd, [](weft::FdEvents) {});
                shortage.set(after, all);
                watch.want(writing ? weft::FdEvents::write : weft::FdEvents::read);
                for (int turn = 0; turn < 3; ++turn) co_await weft::yield();
                shortage.failures = 0;
            }(high.get(), writes, count));
        });
        run_out_of_memory([&](weft::EventLoop& loop, int count) {
            const weft::Fd high(support::checked(::fcntl(ends.a.get(), F_DUPFD, ++number), "dup"));
            loop.run_until_complete([](int fd, bool writing, int after) -> Coro<void> {
                weft::EventLoop& here = weft::get_running_loop();
                shortage.set(after, all);
                if (writing) {
                    here.add_writer(fd, [] {});
                } else {
                    here.add_reader(fd, [] {});
                }
                for (int turn = 0; turn < 3; ++turn) co_await weft::yield();
                shortage.failures = 0;
            }(high.get(), writes, count));
        });
    }
}

TEST_CASE("tasks with long names are reported without memory for these", "[memory]") {
    static const weft::TaskOptions named("a name too long to be kept inside of a std::string");
    run_out_of_memory([](weft::EventLoop& loop, int count) {
        auto refuses = []() -> Coro<void> {
            for (;;) {
                try {
                    co_await weft::sleep(1h);
                } catch (const weft::CancelledError&) {
                }
            }
        };
        auto begins = [&]() -> Coro<void> {
            (void)create_task(refuses, named);
            co_await weft::yield();
        };
        loop.run_until_complete(begins());
        shortage.set(count, all);
        loop.close();
        shortage.failures = 0;
    });
    weft::RunOptions debug;
    debug.debug = true;
    run_out_of_memory(
        [](weft::EventLoop& loop, int count) {
            auto swallows = [](int after) -> Coro<void> {
                try {
                    co_await weft::sleep(1h);
                } catch (const weft::CancelledError&) {
                }
                shortage.set(after, all);
            };
            auto cancels = [&]() -> Coro<void> {
                auto task = create_task(swallows, std::move(count), named);
                co_await weft::yield();
                task.cancel();
                co_await task.wait();
                shortage.failures = 0;
            };
            loop.run_until_complete(cancels());
        },
        debug);
}

TEST_CASE("a guard whose token somebody else has released is reported without memory", "[memory]") {
    run_out_of_memory([](weft::EventLoop& loop, int count) {
        auto works = [](int after) -> Coro<void> {
            weft::CapacityLimiter limiter(1);
            {
                const auto guard = co_await limiter.scoped();
                limiter.release();
                shortage.set(after, all);
            }
            shortage.failures = 0;
        };
        loop.run_until_complete(works(count));
    });
}

#if defined(__GNUC__) && !defined(__clang__)
// (clang warns of it.)
TEST_CASE("a coroutine that ends without a value ends without memory as well", "[memory]") {
    run_out_of_memory([](weft::EventLoop& loop, int count) {
        auto ends = [](int after) -> Coro<int> {
            co_await weft::yield();
            shortage.set(after, all);
        };
        auto awaits = [&]() -> Coro<void> {
            try {
                (void)co_await ends(count);
            } catch (const weft::RuntimeError&) {
            } catch (const std::bad_alloc&) {
            }
            shortage.failures = 0;
        };
        loop.run_until_complete(awaits());
    });
}
#endif

TEST_CASE("a loop that lacks memory while it is made leaves no descriptor", "[memory]") {
    weft::run([]() -> Coro<void> { co_return; });  // (what a process keeps for good)
    const weft::testing::DescriptorCensus before;
    bool struck = true;
    for (int count = 0; struck; ++count) {
        shortage.set(count, 1);
        try {
            const weft::EventLoop loop;
        } catch (const std::bad_alloc&) {
        }
        struck = shortage.failed > 0;
        shortage.end();
    }
    CHECK(before.leaked() == "");
}

TEST_CASE("a coroutine of another thread that cannot be begun says why, and is not cancelled",
          "[memory]") {
    auto gives_two = []() -> Coro<int> { co_return 2; };
    auto asks = [&]() -> Coro<void> {
        bool lacked = true;
        for (int count = 0; lacked; ++count) {
            lacked = false;
            auto future = weft::get_running_loop().remote().spawn(gives_two);
            weft::trim_frame_cache();
            shortage.set(count, 1);
            try {
                (void)co_await future;
            } catch (const std::bad_alloc&) {
                lacked = true;
            }
            shortage.end();
        }
    };
    weft::testing::run(asks);
}

TEST_CASE("a CancelScope whose body cannot be begun is over", "[memory]") {
    auto uses = [](weft::CancelScope& scope, int count) -> Coro<bool> {
        bool lacked = false;
        shortage.set(count, 1);
        try {
            co_await scope.run(&gives, 1, 10ms);
        } catch (const std::bad_alloc&) {
            lacked = true;
        }
        shortage.end();
        co_return lacked;
    };
    weft::testing::run([&]() -> Coro<void> {
        bool lacked = true;
        for (int count = 0; lacked; ++count) {
            auto outlives = std::make_unique<weft::CancelScope>(1s);  // the task that has used it
            weft::trim_frame_cache();
            auto task = create_task(uses, std::ref(*outlives), count);
            lacked = co_await task;
            task = {};
            CHECK_FALSE(outlives->cancel_called());
            outlives.reset();
        }
    });
}

TEST_CASE("threads answer who waits for them without memory", "[memory]") {
    weft::ThreadPoolOptions one;
    one.threads = 1;
    weft::ThreadPool pool(one);
    const int result = weft::run([](weft::ThreadPool& on) -> Coro<int> {
        weft::ThreadChannel<int> channel(1);
        auto works = [&channel]() {
            shortage.set(0, all);
            channel.try_send(3);
            return 4;
        };
        auto job = create_task([&]() -> Coro<int> { co_return co_await on.run(works); });
        const std::optional<int> item = co_await channel.recv();
        const int value = co_await job;
        shortage.end();
        co_return value + item.value_or(0);
    }(pool));
    CHECK(result == 7);
}

TEST_CASE("a thread cancels what it has started without memory, as often as it likes", "[memory]") {
    bool cancelled = false;
    auto sleeps = [&cancelled]() -> Coro<void> {
        try {
            co_await weft::sleep(std::chrono::hours(1));
        } catch (const weft::CancelledError&) {
            cancelled = true;
            throw;
        }
    };
    weft::run([&]() -> Coro<void> {
        auto future = weft::get_running_loop().remote().spawn(sleeps);
        co_await weft::yield();
        co_await weft::yield();
        std::thread other([&future] {
            // (A thread that has posted nothing has no memory for posts.)
            shortage.set(0, all);
            const bool first = future.cancel();
            const bool second = future.cancel();
            shortage.end();
            if (!first || !second) std::abort();
        });
        while (!future.done()) co_await weft::yield();
        other.join();
    });
    CHECK(cancelled);
}

TEST_CASE("a stop of the standard's kind cancels without memory", "[memory]") {
    std::stop_source source;
    const bool cancelled = weft::run([](std::stop_source& stops) -> Coro<bool> {
        const weft::CancelToken token;
        const weft::CancelOnStop link(stops.get_token(), token);
        std::thread other([&stops] {
            shortage.set(0, all);
            stops.request_stop();
        });
        co_await token.cancelled();
        shortage.end();
        other.join();
        co_return token.is_cancelled();
    }(source));
    CHECK(cancelled);
}

TEST_CASE("the child of a fork refuses its parent's loop without memory", "[memory]") {
    weft::run([]() -> Coro<void> {
        shortage.set(0, all);
        const pid_t child = ::fork();
        if (child == 0) {
            const bool refused = !weft::EventLoop::running();
            ::_exit(refused ? 0 : 1);
        }
        shortage.end();
        support::checked(child, "fork");
        int status = 0;
        support::checked(::waitpid(child, &status, 0), "waitpid");
        CHECK(status == 0);
        co_return;
    });
}

}  // namespace no_memory_test
