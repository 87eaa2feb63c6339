// SPDX-License-Identifier: MIT
// <weft/fwd.hpp>: functions are declared with it alone, and defined where the types are whole.
#include <weft/fwd.hpp>

namespace fwd_test {

// (Before any other header of weft, as in a user's header.)
using Work = weft::Coro<int> (*)(weft::Lock&, weft::Queue<int>&);
weft::Coro<int> declared(weft::Lock& lock, weft::Queue<int>& queue);
weft::Coro<> waits(weft::Future<> ready);
weft::Future<> defaults_to_void(weft::TaskStatus<>* status);
struct Holder {
    Work work = &declared;
    weft::Stream* stream = nullptr;
    weft::PriorityQueue<int>* smallest_first = nullptr;
    weft::OnFailure* on_failure = nullptr;
};

}  // namespace fwd_test

#include <weft/testing/catch.hpp>
#include <weft/weft.hpp>

#include <type_traits>

namespace fwd_test {
namespace {

using weft::Coro;

WEFT_TEST_CASE("what was declared with fwd.hpp alone is awaited where the types are whole",
               "[fwd]") {
    weft::Lock lock;
    weft::Queue<int> queue;
    queue.put_nowait(7);
    const Holder holder;
    const int got = co_await holder.work(lock, queue);
    CHECK(got == 7);
}

static_assert(std::is_same_v<Coro<>, Coro<void>>);
static_assert(std::is_same_v<weft::Future<>, weft::Future<void>>);
static_assert(std::is_same_v<weft::TaskStatus<>, weft::TaskStatus<void>>);
static_assert(sizeof(weft::PriorityQueue<int>) > 0);

}  // namespace

Coro<int> declared(weft::Lock& lock, weft::Queue<int>& queue) {
    auto guard = co_await lock.scoped();
    co_return co_await queue.get();
}

}  // namespace fwd_test
