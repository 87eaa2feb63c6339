// SPDX-License-Identifier: MIT
// LifoQueue: which item is next. (What it has in common with Queue is tested there and in
// queue_random.)
#include <weft/queue/lifo_queue.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <string>

#include "awaiting.hpp"

namespace lifo_queue_test {

using weft::Coro;

WEFT_TEST_CASE("71: the newest item of a lifo queue is the next one out", "[queue]") {
    weft::LifoQueue<std::string> queue;
    for (const char* const item : {"a", "b", "c"}) co_await queue.put(item);
    std::string order = co_await queue.get();
    co_await queue.put("d");
    while (!queue.empty()) order += queue.get_nowait();
    REQUIRE(order == "cdba");
}

WEFT_TEST_CASE("a putter that waits puts on top of a full lifo queue, the oldest putter first",
               "[queue]") {
    weft::LifoQueue<int> queue(2);
    auto put = [&](int item) -> Coro<void> { co_await queue.put(item); };
    for (int item = 1; item <= 4; ++item) (void)weft::create_task(put, item);
    co_await support::turns(2);
    std::string order;
    while (!queue.empty()) order += std::to_string(queue.get_nowait());
    REQUIRE(order == "2341");
}

}  // namespace lifo_queue_test
