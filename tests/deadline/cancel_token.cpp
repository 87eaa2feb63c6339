// SPDX-License-Identifier: MIT
// CancelToken: down the tree and not up; and std::stop_token, both ways and across threads.
// labels: threads
#include <weft/deadline/cancel_token.hpp>
#include <weft/deadline/std_stop_token.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <memory>
#include <optional>
#include <thread>
#include <vector>

namespace cancel_token_test {

using namespace std::chrono_literals;
using weft::CancelToken;
using weft::Coro;

namespace {

Coro<int> returns(int value, std::chrono::milliseconds after) {
    co_await weft::sleep(after);
    co_return value;
}

}  // namespace

WEFT_TEST_CASE("a cancel goes down the tree, to what is there and what comes later, and not up",
               "[cancel_token]") {
    const CancelToken root;
    const CancelToken left = root.child();
    const CancelToken right = root.child();
    const CancelToken leaf = left.child();
    std::vector<int> told;
    const weft::CancelLink on_leaf(leaf, [&] { told.push_back(1); });
    left.cancel();
    CHECK(leaf.is_cancelled());
    CHECK_FALSE(root.is_cancelled());
    CHECK_FALSE(right.is_cancelled());
    CHECK(left.child().is_cancelled());
    const weft::CancelLink late(leaf, [&] { told.push_back(2); });
    CHECK(told == std::vector<int>({1, 2}));
    auto waits = weft::create_task([&]() -> Coro<void> { co_await right.cancelled(); });
    co_await weft::yield();
    CHECK_FALSE(waits.done());
    root.cancel();
    root.cancel();
    co_await waits;
    CHECK(right.is_cancelled());
    CHECK(told.size() == 2);
}

WEFT_TEST_CASE("what runs under a token is cancelled with it, and lets go of it when it ends",
               "[cancel_token]") {
    const CancelToken root;
    auto child = std::make_unique<CancelToken>(root.child());
    auto running = weft::create_task(child->run(&returns, 1, 1h));
    const std::optional<int> two = co_await child->run(returns(2, 1ms));
    CHECK(two == 2);
    child.reset();  // the one that runs has a copy
    co_await weft::sleep(1ms);
    root.cancel();
    const std::optional<int> nothing = co_await running;
    CHECK_FALSE(nothing);
    const std::optional<int> never = co_await root.run(&returns, 3, 1ms);
    CHECK_FALSE(never);
    // A cancel of the task is its own.
    const CancelToken other;
    auto task = weft::create_task(other.run(&returns, 4, 1h));
    co_await weft::sleep(1ms);
    task.cancel();
    co_await task.wait();
    CHECK(task.cancelled());
    CHECK_FALSE(other.is_cancelled());
}

WEFT_TEST_CASE("a stop that another thread requests cancels a token, and one that was requested",
               "[cancel_token]") {
    std::stop_source source;
    const CancelToken token;
    const weft::CancelOnStop link(source.get_token(), token);
    std::thread other([&] { source.request_stop(); });
    co_await token.cancelled();
    other.join();
    const CancelToken late;
    const weft::CancelOnStop at_once(source.get_token(), late);
    co_await late.cancelled();
    // A link that is gone cancels nothing, also where the post is on its way.
    std::stop_source second;
    const CancelToken alone;
    std::optional<weft::CancelOnStop> gone;
    gone.emplace(second.get_token(), alone);
    second.request_stop();
    gone.reset();
    co_await weft::sleep(1ms);
    CHECK_FALSE(alone.is_cancelled());
}

WEFT_TEST_CASE("a token's cancel stops a std::stop_token", "[cancel_token]") {
    const CancelToken root;
    const weft::StopOnCancel link(root.child());
    const std::stop_token stop = link.get_token();
    CHECK_FALSE(stop.stop_requested());
    root.cancel();
    CHECK(stop.stop_requested());
    const weft::StopOnCancel late(root);
    CHECK(late.get_token().stop_requested());
    co_return;
}

TEST_CASE("a stop that is requested when the loop is gone is dropped", "[cancel_token]") {
    std::stop_source source;
    std::unique_ptr<weft::CancelOnStop> link;
    weft::testing::run([&]() -> Coro<void> {
        link = std::make_unique<weft::CancelOnStop>(source.get_token(), CancelToken());
        co_return;
    });
    source.request_stop();
    link.reset();
}

}  // namespace cancel_token_test
