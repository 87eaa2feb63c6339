// SPDX-License-Identifier: MIT
// Random trees of races, groups, gathers, deadlines and clean-ups under random cancels: what the
// tasks have taken and what is left is always what there was, and every count comes back.
// timeout: 300
#include <weft/deadline/clean_up.hpp>
#include <weft/deadline/move_on_after.hpp>
#include <weft/deadline/timeout.hpp>
#include <weft/deadline/wait_for.hpp>
#include <weft/queue/queue.hpp>
#include <weft/sync/lock.hpp>
#include <weft/sync/semaphore.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/together/gather.hpp>
#include <weft/together/race.hpp>
#include <weft/together/race_all.hpp>
#include <weft/together/task_group.hpp>

#include <chrono>
#include <cstdlib>
#include <random>
#include <string>

namespace cancel_storm_test {

using namespace std::chrono_literals;
using weft::Coro;
using weft::TaskGroup;

namespace {

struct World {
    explicit World(unsigned seed) : random(seed) {}
    unsigned below(unsigned most) { return static_cast<unsigned>(random() % most); }
    weft::Duration soon() { return std::chrono::milliseconds(below(6)); }
    void feed() {
        queue.put_nowait(put++);
        if (below(2)) other.put_nowait(put++);
    }

    std::mt19937 random;
    weft::Queue<int> queue;
    weft::Queue<int> other;
    weft::Semaphore permits{2};
    weft::Lock lock;
    int put = 0;
    int got = 0;
};

Coro<void> node(World& world, int depth);

Coro<void> leaf(World& world) {
    switch (world.below(9)) {
        case 0:
            co_await weft::sleep(world.soon());
            break;
        case 1: {
            (void)co_await world.queue.get();
            ++world.got;
            break;
        }
        case 2: {
            auto permit = co_await world.permits.scoped();
            co_await weft::sleep(world.soon());
            break;
        }
        case 3: {
            auto guard = co_await world.lock.scoped();
            co_await weft::yield();
            break;
        }
        case 4: {
            auto won = co_await weft::race(world.queue.get(), world.permits.acquire(),
                                           world.lock.scoped(), weft::sleep(world.soon()));
            if (won.index() == 0) ++world.got;
            if (won.index() == 1) world.permits.release();
            break;
        }
        case 5: {
            auto won = co_await weft::race(world.queue.get(), world.other.get());
            (void)won;
            ++world.got;
            break;
        }
        case 6: {
            const auto item = co_await weft::move_on_after(world.soon(), world.queue.get());
            if (item) ++world.got;
            break;
        }
        case 7: {
            auto ends = co_await weft::race_all(world.queue.get(), weft::sleep(world.soon()),
                                                world.other.get());
            world.got += std::get<0>(ends) ? 1 : 0;
            world.got += std::get<2>(ends) ? 1 : 0;
            break;
        }
        default:
            if (world.below(3) == 0) throw std::runtime_error("expected");
            co_await weft::yield();
    }
}

Coro<void> combined(World& world, int depth) {
    auto make = [&world, depth] { return node(world, depth - 1); };
    switch (world.below(9)) {
        case 0:
            co_await weft::race(node(world, depth - 1), node(world, depth - 1));
            break;
        case 1:
            co_await weft::gather(node(world, depth - 1), node(world, depth - 1));
            break;
        case 2:
            co_await weft::all(node(world, depth - 1), node(world, depth - 1));
            break;
        case 3: {
            auto body = [&](TaskGroup& group) -> Coro<void> {
                group.create_task(node(world, depth - 1));
                group.create_task(node(world, depth - 1));
                if (world.below(4) == 0) group.cancel();
                co_await node(world, depth - 1);
            };
            co_await weft::task_group(body);
            break;
        }
        case 4:
            co_await weft::timeout(world.soon(), make);
            break;
        case 5:
            co_await weft::wait_for(node(world, depth - 1), world.soon());
            break;
        case 6:
            (void)co_await weft::move_on_after(world.soon(), node(world, depth - 1));
            break;
        case 7:
            (void)co_await weft::clean_up(world.soon() + 1ms, make);
            break;
        default: {
            auto ends = co_await weft::race_all(node(world, depth - 1), node(world, depth - 1));
            (void)ends;
        }
    }
}

/// Errors of what is below go up or end here; cancels go up, mostly after a clean-up.
Coro<void> node(World& world, int depth) {
    std::exception_ptr error;
    bool cancelled = false;
    try {
        if (depth == 0 || world.below(4) == 0) {
            co_await leaf(world);
        } else {
            co_await combined(world, depth);
        }
    } catch (const weft::CancelledError&) {
        error = std::current_exception();
        cancelled = true;
    } catch (const std::exception&) {
        error = std::current_exception();
    }
    if (cancelled && world.below(3) == 0) {
        auto cleaning = [&world]() -> Coro<void> { co_await weft::sleep(world.soon()); };
        co_await weft::clean_up(10ms, cleaning);
    }
    if (error && (cancelled || world.below(2))) std::rethrow_exception(error);
}

Coro<void> one_round(unsigned seed) {
    World world(seed);
    weft::EventLoop& loop = weft::get_running_loop();
    loop.set_exception_handler([](const weft::ExceptionContext&) {});  // gather's late errors
    auto tree = [&]() -> Coro<void> { co_await node(world, 4); };
    auto root = weft::create_task(tree);
    int cancels = 0;
    for (int step = 0; step < 40 && !root.done(); ++step) {
        if (world.below(3) == 0) world.feed();
        if (world.below(4) == 0 && root.cancel()) ++cancels;
        if (world.below(2)) {
            co_await weft::yield();
        } else {
            co_await weft::sleep(world.soon() / 3);
        }
    }
    // Whatever is left of a gather that failed early is told to end as well.
    for (int i = 0; i < 40 && weft::all_tasks().size() > 1; ++i) {
        for (auto& task : weft::all_tasks()) {
            if (task == weft::current_task() || task.cancelling() > 20) continue;
            if (task == root) ++cancels;
            task.cancel();
        }
        co_await weft::sleep(20ms);
    }
    INFO("seed " << seed);
    REQUIRE(root.done());
    REQUIRE(weft::all_tasks().size() == 1);
    REQUIRE(root.cancelling() == cancels);
    REQUIRE(loop.armed_timers() == 0);
    const std::size_t left = world.queue.size() + world.other.size();
    REQUIRE(static_cast<std::size_t>(world.put - world.got) == left);
    REQUIRE(world.permits.statistics().available == 2);
    REQUIRE_FALSE(world.lock.locked());
}

}  // namespace

TEST_CASE("random cancels over random compositions lose nothing", "[cancel]") {
    const char* const rounds = std::getenv("WEFT_STORM_ROUNDS");
    const unsigned most = rounds ? static_cast<unsigned>(std::atoi(rounds)) : 400;
    for (unsigned seed = 1; seed <= most; ++seed) {
        weft::testing::run(one_round(seed));
    }
}

}  // namespace cancel_storm_test
