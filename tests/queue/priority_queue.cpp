// SPDX-License-Identifier: MIT
// PriorityQueue: which item is next. (What it has in common with Queue is tested there and in
// queue_random.)
#include <weft/queue/priority_queue.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "awaiting.hpp"

namespace priority_queue_test {

using weft::Coro;

namespace {

struct Later {
    bool operator()(int a, int b) const noexcept { return a > b; }
};

/// A job whose comparison looks at its urgency alone.
struct Job {
    Job(int how_urgent, char its_name) noexcept : urgency(how_urgent), name(its_name) {}
    friend bool operator<(const Job& a, const Job& b) noexcept { return a.urgency < b.urgency; }
    int urgency;
    char name;
};

}  // namespace

WEFT_TEST_CASE("71: the smallest item of a priority queue is the next one out", "[queue]") {
    std::mt19937 random(1);
    for (std::size_t count = 0; count < 70; ++count) {
        weft::PriorityQueue<int> queue;
        std::vector<int> items(count);
        for (int& item : items) {
            item = static_cast<int>(random() % 50);
            co_await queue.put(item);
        }
        std::sort(items.begin(), items.end());
        std::vector<int> order;
        while (!queue.empty()) order.push_back(queue.get_nowait());
        REQUIRE(order == items);
    }
}

WEFT_TEST_CASE("of equal items the one that was put first is the next one out", "[queue]") {
    weft::PriorityQueue<Job> queue;
    std::string expected[3];
    std::mt19937 random(2);
    for (char name = 'A'; name <= 'Z'; ++name) {
        const auto urgency = random() % 3;
        queue.put_nowait(Job(static_cast<int>(urgency), name));
        expected[urgency] += name;
    }
    std::string order;
    while (!queue.empty()) order += queue.get_nowait().name;
    REQUIRE(order == expected[0] + expected[1] + expected[2]);
    co_return;
}

WEFT_TEST_CASE("a comparison of one's own turns the order round", "[queue]") {
    weft::PriorityQueue<int, Later> queue;
    for (const int item : {2, 9, 4}) co_await queue.put(item);
    std::string order;
    while (!queue.empty()) order += std::to_string(queue.get_nowait());
    REQUIRE(order == "942");
}

WEFT_TEST_CASE("an item goes to a getter that waits, whatever its priority", "[queue]") {
    weft::PriorityQueue<std::unique_ptr<int>> queue(2);
    int got = 0;
    auto gets = [&]() -> Coro<void> { got = *co_await queue.get(); };
    const auto task = weft::create_task(gets);
    co_await weft::yield();
    queue.put_nowait(std::make_unique<int>(9));
    queue.put_nowait(std::make_unique<int>(1));
    co_await weft::yield();
    REQUIRE(got == 9);
    REQUIRE(queue.size() == 1);
}

}  // namespace priority_queue_test
