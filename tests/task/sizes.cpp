// SPDX-License-Identifier: MIT
// What awaiters, handles and a suspended task weigh. Sizes may shrink; growing needs a reason.
// program: own header-only
#include <weft/net/io.hpp>
#include <weft/runtime/loop.hpp>
#include <weft/task/coro.hpp>
#include <weft/task/future.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <chrono>
#include <cstddef>
#include <new>
#include <string>
#include <utility>
#include <vector>

using weft::Coro;
using weft::EventLoop;
using weft::Future;
using weft::Task;

namespace {

// What a co_await of such an expression puts into the frame.
using SleepAwaiter = decltype(weft::sleep(std::chrono::seconds(1)));
using YieldAwaiter = decltype(weft::yield());
template <class Handle>
using AwaiterOf = decltype(std::declval<Handle>().operator co_await());
using DoneAwaiter = decltype(std::declval<const Future<int>&>().wait());
using TransferAwaiter = decltype(weft::io::read(0, std::declval<weft::MutableBuffer>()));

static_assert(sizeof(weft::detail::Operation) == 64);

static_assert(sizeof(YieldAwaiter) <= 8);
static_assert(sizeof(SleepAwaiter) <= 40);
static_assert(sizeof(AwaiterOf<const Future<void>&>) <= 40);
static_assert(sizeof(AwaiterOf<const Future<std::string>&>) <= 40);
static_assert(sizeof(AwaiterOf<Future<std::string>>) <= 40);
static_assert(sizeof(AwaiterOf<Task<int>>) <= 40);
static_assert(sizeof(DoneAwaiter) <= 40);
static_assert(sizeof(AwaiterOf<Coro<void>>) <= 24);
static_assert(sizeof(AwaiterOf<Coro<int>>) <= 24);
static_assert(sizeof(AwaiterOf<Coro<std::string>>) <= 48);
static_assert(sizeof(TransferAwaiter) <= 80);

static_assert(sizeof(Coro<int>) == sizeof(void*));
static_assert(sizeof(Future<int>) == sizeof(void*));
static_assert(sizeof(Task<int>) == sizeof(void*));
static_assert(sizeof(weft::AnyTask) == sizeof(void*));
static_assert(sizeof(weft::Handle) == sizeof(void*));
static_assert(sizeof(weft::TimerHandle) == sizeof(void*));
static_assert(sizeof(weft::DoneHandle) == sizeof(void*));

#if !WEFT_ASAN
std::size_t bytes_in_use = 0;

/// What malloc takes for a block: a header of 8 bytes, rounded up to 16, 32 at least.
std::size_t taken_by_malloc(std::size_t size) {
    const std::size_t block = (size + 8 + 15) / 16 * 16;
    return block < 32 ? 32 : block;
}

void* counted_allocate(std::size_t size) {
    bytes_in_use += taken_by_malloc(size);
    return ::operator new(size);
}

void counted_release(void* block, std::size_t size) noexcept {
    bytes_in_use -= taken_by_malloc(size);
    ::operator delete(block);
}

// No parameter: an argument is the user's own, and adds its size to the frame.
const Future<void>* shared_future = nullptr;

Coro<void> waits() { co_await *shared_future; }
#endif

}  // namespace

TEST_CASE("a suspended trivial task takes 208 bytes at most", "[sizes]") {
#if WEFT_ASAN
    SUCCEED("AddressSanitizer changes frames");
#else
    // Frames of this size that other tests left in the cache would not be counted.
    weft::trim_frame_cache();
    weft::set_frame_upstream({&counted_allocate, &counted_release});
    constexpr std::size_t count = 1000;
    std::size_t per_task = 0;
    {
        EventLoop loop(weft::testing::options());
        auto future = loop.create_future<void>();
        std::vector<Task<void>> tasks;
        tasks.reserve(count);
        shared_future = &future;
        const std::size_t before = bytes_in_use;
        for (std::size_t i = 0; i < count; ++i) tasks.push_back(loop.create_task(waits()));
        loop.run_once();
        per_task = (bytes_in_use - before) / count;
        future.set_result();
        loop.run_once();
        REQUIRE(tasks.back().done());
    }
    weft::trim_frame_cache();
    REQUIRE(bytes_in_use == 0);
    CAPTURE(per_task);
#ifdef __OPTIMIZE__
    REQUIRE(per_task <= 208);
#endif
#endif
}

TEST_CASE("trimming gives every idle frame back", "[sizes]") {
#if WEFT_ASAN
    SUCCEED("AddressSanitizer changes frames");
#else
    weft::trim_frame_cache();
    weft::set_frame_upstream({&counted_allocate, &counted_release});
    const std::size_t before = bytes_in_use;
    weft::testing::run([]() -> Coro<void> {
        auto body = []() -> Coro<void> { co_await weft::sleep(std::chrono::seconds(1)); };
        std::vector<Task<void>> tasks;
        for (int i = 0; i < 100; ++i) tasks.push_back(weft::create_task(body));
        for (auto& task : tasks) co_await task;
    });
    REQUIRE(bytes_in_use > before);
    weft::trim_frame_cache();
    REQUIRE(bytes_in_use == before);
#endif
}
