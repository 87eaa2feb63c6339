// SPDX-License-Identifier: MIT
// What groups and gathers must not keep or allocate: memory is flat over a million children.
// program: own header-only
#include <weft/testing/catch.hpp>
#include <weft/together/gather.hpp>
#include <weft/together/race.hpp>
#include <weft/together/task_group.hpp>
#include <weft/together/wait.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <new>
#include <utility>
#include <vector>

#include "children.hpp"

#if !WEFT_ASAN  // there frames are not recycled, and it replaces operator new itself

using namespace children;
using weft::task_group;
using weft::TaskGroup;

namespace {

std::size_t allocations = 0;
std::size_t in_use = 0;
std::size_t peak = 0;

// The size in front of each block: what is in use is then known at every moment.
constexpr std::size_t header = alignof(std::max_align_t);

void* counted(std::size_t size) {
    ++allocations;
    auto* const block = static_cast<char*>(std::malloc(size + header));
    if (!block) throw std::bad_alloc();
    *reinterpret_cast<std::size_t*>(block) = size;
    in_use += size;
    peak = std::max(peak, in_use);
    return block + header;
}
void uncounted(void* memory) noexcept {
    if (!memory) return;
    char* const block = static_cast<char*>(memory) - header;
    in_use -= *reinterpret_cast<std::size_t*>(block);
    std::free(block);
}

}  // namespace

void* operator new(std::size_t size) { return counted(size); }
void* operator new[](std::size_t size) { return counted(size); }
void operator delete(void* block) noexcept { uncounted(block); }
void operator delete[](void* block) noexcept { uncounted(block); }
void operator delete(void* block, std::size_t) noexcept { uncounted(block); }
void operator delete[](void* block, std::size_t) noexcept { uncounted(block); }

namespace {

Coro<void> short_child() { co_await weft::yield(); }
Coro<int> ready(int value) { co_return value; }

template <class Round>
Coro<std::size_t> allocations_of(Round& round) {
    for (int i = 0; i < 20; ++i) co_await round();
    const std::size_t before = allocations;
    for (int i = 0; i < 10; ++i) co_await round();
    co_return allocations - before;
}

}  // namespace

WEFT_TEST_CASE("finished children are released at once: memory is flat over a million children",
               "[task_group]") {
    auto body = [](TaskGroup& group) -> Coro<std::pair<std::size_t, std::size_t>> {
        // One child of the group lives all the time, the others come and go, ten at once.
        auto slow = group.create_task(sleeps());
        std::size_t after_warm_up = 0;
        for (int i = 0; i < 1'000'000; ++i) {
            group.create_task(short_child());
            if (i % 10 == 9) co_await turns(3);
            if (i == 1'000) after_warm_up = peak = in_use;
        }
        slow.cancel();
        co_return std::pair(after_warm_up, peak);
    };
    const std::pair<std::size_t, std::size_t> found = co_await task_group(body);
    REQUIRE(found.second <= found.first + 1'000);
}

WEFT_TEST_CASE("groups that come and go allocate nothing once warm", "[task_group]") {
    auto body = [](TaskGroup& group) -> Coro<void> {
        for (int i = 0; i < 5; ++i) group.create_task(short_child());
        group.create_task(ready, 1);
        co_await weft::yield();
    };
    auto round = [&]() -> Coro<void> { co_await task_group(std::ref(body)); };
    const std::size_t count = co_await allocations_of(round);
    REQUIRE(count == 0);
}

WEFT_TEST_CASE("gathers and races of single children allocate nothing once warm", "[gather]") {
    auto round = []() -> Coro<void> {
        co_await weft::gather(ready(1), short_child(), weft::sleep(1s));
        co_await weft::all(ready(1), ready(2));
        auto winner = co_await weft::race(weft::sleep(1s), weft::sleep(1h));
        if (winner.index() != 0) throw std::logic_error("the wrong winner");
    };
    const std::size_t count = co_await allocations_of(round);
    REQUIRE(count == 0);
}

WEFT_TEST_CASE("a gather of a range allocates its results and one block of nodes", "[gather]") {
    std::vector<weft::Task<int>> tasks;
    for (int i = 0; i < 1'000; ++i) tasks.push_back(weft::create_task(ready(i)));
    auto round = [&]() -> Coro<void> {
        auto results = co_await weft::gather(tasks);
        if (results.size() != tasks.size()) throw std::logic_error("results are missing");
    };
    const std::size_t count = co_await allocations_of(round);
    // The vector of handles that is passed, the nodes, the results.
    REQUIRE(count == 3 * 10);
}

#else

TEST_CASE("allocations are not counted under AddressSanitizer", "[task_group]") { SUCCEED(); }

#endif
