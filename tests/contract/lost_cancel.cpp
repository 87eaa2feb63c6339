// SPDX-License-Identifier: MIT
// A cancel that the kernel did not find, in a loop that sleeps and in one that never does.
// program: own header-only
#include <weft/base/config.hpp>

#ifdef WEFT_SEPARATE_COMPILATION
#error "header-only: the call that is replaced here stands in a body that was compiled elsewhere"
#endif

#if WEFT_HAS_URING && __has_include(<liburing.h>)
#include <liburing.h>

namespace {

int cancels_to_lose = 0;
int cancels_asked = 0;

/// Finds nothing, as if its target were on the way from one queue of the kernel to the next.
void prepare_cancel(io_uring_sqe* entry, void* target, int flags) {
    static int nobody = 0;
    ++cancels_asked;
    ::io_uring_prep_cancel(entry, cancels_to_lose > 0 ? &nobody : target, flags);
    if (cancels_to_lose > 0) --cancels_to_lose;
}

}  // namespace

// The backend's calls, and nobody else's.
#define io_uring_prep_cancel prepare_cancel
#include <weft/kernel/detail/uring.hpp>
#undef io_uring_prep_cancel

#include <weft/net/io.hpp>
#include <weft/testing/catch.hpp>

#include <vector>

#include "awaiting.hpp"
#include "descriptors.hpp"

using namespace support;
using weft::Coro;
using weft::create_task;

namespace {

bool is_uring() { return weft::get_running_loop().backend_info().name == "uring"; }

}  // namespace

WEFT_TEST_CASE("a cancel that was not found is asked again by a loop that sleeps", "[cancel]") {
    Pair ends = unix_pair();
    auto reading = create_task(recv_some, ends.a.get(), std::size_t{8}, 0);
    co_await turns(3);
    cancels_to_lose = is_uring() ? 2 : 0;
    reading.cancel();
    const End end = co_await ending(reading);
    CHECK(end == End::cancelled);
    CHECK(cancels_to_lose == 0);
}

WEFT_TEST_CASE("a cancel that was not found is asked again by a loop that never sleeps",
               "[cancel]") {
    Pair ends = unix_pair();
    auto reading = create_task(recv_some, ends.a.get(), std::size_t{8}, 0);
    co_await turns(3);
    cancels_to_lose = is_uring() ? 2 : 0;
    reading.cancel();
    int busy = 0;
    while (!reading.done() && busy < 5'000) {
        ++busy;
        co_await weft::yield();
    }
    CHECK(reading.done());
    CHECK(reading.cancelled());
    CHECK(cancels_to_lose == 0);
    cancels_to_lose = 0;
    // Nothing was taken by the one that was cancelled.
    put(ends.b.get(), "rest");
    CHECK(drain(ends.a.get()) == "rest");
}

WEFT_TEST_CASE("a busy loop of messages asks a lost cancel again, and an answered one never",
               "[cancel]") {
    Pair ends = unix_pair();
    Pair busy = unix_pair();
    auto reading = create_task(recv_some, ends.a.get(), std::size_t{8}, 0);
    co_await turns(3);
    cancels_to_lose = is_uring() ? 1 : 0;
    cancels_asked = 0;
    reading.cancel();
    char byte = 0;
    for (int round = 0; round < 1'000 && !reading.done(); ++round) {
        co_await weft::io::send(busy.b.get(), "x");
        co_await weft::io::recv(busy.a.get(), weft::MutableBuffer(&byte, 1));
    }
    CHECK(reading.done());
    CHECK(cancels_asked <= 2);
    const int before = cancels_asked;
    for (int round = 0; round < 200; ++round) {
        co_await weft::io::send(busy.b.get(), "x");
        co_await weft::io::recv(busy.a.get(), weft::MutableBuffer(&byte, 1));
    }
    CHECK(cancels_asked == before);
}

WEFT_TEST_CASE("a burst of cancels is asked for once, however few answers there is room for",
               "[cancel]") {
    constexpr int many = 1'500;
    Pair ends = unix_pair();
    auto wait = [&]() -> Coro<void> { (void)co_await weft::wait_readable(ends.a.get()); };
    std::vector<weft::Task<void>> waiting;
    for (int count = 0; count < many; ++count) waiting.push_back(create_task(wait));
    co_await turns(3);
    cancels_asked = 0;
    for (auto& each : waiting) each.cancel();
    for (auto& each : waiting) co_await each.wait();
    CHECK(cancels_asked <= many + many / 10);
}

#else

#include <weft/testing/catch.hpp>

#endif
