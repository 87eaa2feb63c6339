// SPDX-License-Identifier: MIT
// Thousands of random histories of each kind of queue against a model.
#include <weft/queue/lifo_queue.hpp>
#include <weft/queue/priority_queue.hpp>
#include <weft/queue/queue.hpp>
#include <weft/testing/catch.hpp>

#include <cstddef>
#include <string>

#include "queue_model.hpp"
#include "rounds.hpp"

namespace queue_random_test {

using weft::Coro;

namespace {

template <class Queue>
Coro<void> many_histories(support::Order order) {
    using Item = typename Queue::value_type;
    constexpr unsigned histories = support::rounds(700);
    for (unsigned seed = 1; seed <= histories; ++seed) {
        const std::size_t maxsize = seed % 5;  // 0: no bound
        support::History<Queue> history(order, maxsize, seed);
        const std::string difference = co_await history.run(120);
        CAPTURE(seed, maxsize);
        REQUIRE(difference == "");
        REQUIRE(Item::alive == 0);
    }
}

}  // namespace

WEFT_TEST_CASE("a queue does what its model does, whatever is cancelled or destroyed", "[queue]") {
    co_await many_histories<weft::Queue<support::Item<true>>>(support::Order::fifo);
}
WEFT_TEST_CASE("a queue of items whose move may throw does what its model does", "[queue]") {
    co_await many_histories<weft::Queue<support::Item<false>>>(support::Order::fifo);
}
WEFT_TEST_CASE("a lifo queue does what its model does", "[queue]") {
    co_await many_histories<weft::LifoQueue<support::Item<true>>>(support::Order::lifo);
}
WEFT_TEST_CASE("a priority queue does what its model does", "[queue]") {
    co_await many_histories<weft::PriorityQueue<support::Item<true>>>(support::Order::priority);
}
WEFT_TEST_CASE("a priority queue of items whose move may throw does what its model does",
               "[queue]") {
    co_await many_histories<weft::PriorityQueue<support::Item<false>>>(support::Order::priority);
}

}  // namespace queue_random_test
