// SPDX-License-Identifier: MIT
// What a deadline costs around an await that comes to its end, and when it fires.
#include <benchmark/benchmark.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <coroutine>
#include <cstdlib>

#include <weft/weft.hpp>
#if WEFT_HAS_URING
#include <liburing.h>
#endif

namespace {

using namespace std::chrono_literals;

using Body = weft::Coro<void> (*)(benchmark::State&);

/// A benchmark whose body is a coroutine on a loop of its own.
void on_a_loop(benchmark::State& state, Body body) {
    weft::run([&state, body] { return body(state); });
}

weft::Coro<int> at_once(int value) { co_return value + 1; }
weft::Coro<void> one_yield() { co_await weft::yield(); }

/// An operation that another one ends in the next turn, like an I/O completion does.
class NextTurn final : public weft::detail::Suspension {
public:
    NextTurn() noexcept {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
        weft::EventLoop& loop = weft::get_running_loop();
        loop.wake(loop.suspend(handle, *this));
    }
    bool await_cancelled() const noexcept { return false; }
    void await_resume() const noexcept {}
    weft::detail::TaskCore* cancel() noexcept override { return nullptr; }
    weft::detail::WaitInfo describe() const noexcept override { return {"next turn"}; }
};

// --- an operation that has its result at once ---

weft::Coro<void> done_bare(benchmark::State& state) {
    auto future = weft::get_running_loop().create_future<void>();
    future.set_result();
    for (auto _ : state) co_await future;
}
weft::Coro<void> done_wait_for(benchmark::State& state) {
    auto future = weft::get_running_loop().create_future<void>();
    future.set_result();
    for (auto _ : state) co_await weft::wait_for(future, 1h);
}
weft::Coro<void> done_move_on_after(benchmark::State& state) {
    auto future = weft::get_running_loop().create_future<void>();
    future.set_result();
    for (auto _ : state) co_await weft::move_on_after(1h, future);
}

// --- an operation that ends in the next turn ---

weft::Coro<void> operation_bare(benchmark::State& state) {
    for (auto _ : state) co_await NextTurn();
}
weft::Coro<void> operation_wait_for(benchmark::State& state) {
    for (auto _ : state) co_await weft::wait_for(NextTurn(), 1h);
}
weft::Coro<void> operation_move_on_after(benchmark::State& state) {
    for (auto _ : state) co_await weft::move_on_after(1h, NextTurn());
}

// --- a coroutine ---

weft::Coro<void> coroutine_bare(benchmark::State& state) {
    for (auto _ : state) co_await one_yield();
}
weft::Coro<void> coroutine_wait_for(benchmark::State& state) {
    for (auto _ : state) co_await weft::wait_for(one_yield(), 1h);
}
weft::Coro<void> coroutine_timeout(benchmark::State& state) {
    for (auto _ : state) co_await weft::timeout(1h, &one_yield);
}
weft::Coro<void> coroutine_at_once_bare(benchmark::State& state) {
    int sum = 0;
    for (auto _ : state) sum = co_await at_once(sum);
    benchmark::DoNotOptimize(sum);
}
weft::Coro<void> coroutine_at_once_wait_for(benchmark::State& state) {
    int sum = 0;
    for (auto _ : state) sum = co_await weft::wait_for(at_once(sum), 1h);
    benchmark::DoNotOptimize(sum);
}

// --- a deadline that fires: a nanosecond is over by the end of the turn ---

weft::Coro<void> sleep_is_over(benchmark::State& state) {
    for (auto _ : state) co_await weft::sleep(1ns);
}
weft::Coro<void> fires_on_future(benchmark::State& state) {
    weft::EventLoop& loop = weft::get_running_loop();
    for (auto _ : state) {
        auto future = loop.create_future<void>();
        co_await weft::move_on_after(1ns, future);
    }
}
weft::Coro<void> fires_on_sleep(benchmark::State& state) {
    for (auto _ : state) co_await weft::move_on_after(1ns, weft::sleep(1h));
}
weft::Coro<void> fires_on_coroutine(benchmark::State& state) {
    auto sleeps = []() -> weft::Coro<void> { co_await weft::sleep(1h); };
    for (auto _ : state) co_await weft::move_on_after(1ns, sleeps());
}

// What the kernel's part of a cancelled receive costs: by hand, in the two entries that it takes
// when the cancel is decided on after the receive has begun, and then with a deadline that decides.
struct SocketPair {
    SocketPair() {
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
    }
    ~SocketPair() {
        ::close(ends[0]);
        ::close(ends[1]);
    }
    int ends[2];
};
#if WEFT_HAS_URING
void recv_cancelled_by_hand(benchmark::State& state) {
    const SocketPair pair;
    io_uring ring;
    constexpr unsigned flags = 1U << 12 | 1U << 13;  // SINGLE_ISSUER, DEFER_TASKRUN
    if (::io_uring_queue_init(64, &ring, flags) != 0) {
        return state.SkipWithError("io_uring_setup refuses SINGLE_ISSUER | DEFER_TASKRUN");
    }
    ::io_uring_register_ring_fd(&ring);
    char byte;
    for (auto _ : state) {
        io_uring_sqe* const receive = ::io_uring_get_sqe(&ring);
        ::io_uring_prep_recv(receive, pair.ends[0], &byte, 1, 0);
        ::io_uring_sqe_set_data64(receive, 1);
        ::io_uring_submit_and_get_events(&ring);
        io_uring_sqe* const cancel = ::io_uring_get_sqe(&ring);
        ::io_uring_prep_cancel64(cancel, 1, 0);
        cancel->flags |= IOSQE_CQE_SKIP_SUCCESS;
        ::io_uring_submit_and_wait(&ring, 1);
        io_uring_cqe* completion = nullptr;
        if (::io_uring_peek_cqe(&ring, &completion) != 0 || completion->res != -ECANCELED) {
            state.SkipWithError("the receive was not cancelled");
            break;
        }
        ::io_uring_cqe_seen(&ring, completion);
    }
    ::io_uring_queue_exit(&ring);
}
#endif
weft::Coro<void> recv_fires(benchmark::State& state) {
    const SocketPair pair;
    char byte;
    for (auto _ : state) {
        co_await weft::move_on_after(1ns, weft::io::recv(pair.ends[0], {&byte, 1}));
    }
}

}  // namespace

#define ON_A_LOOP(body) BENCHMARK_CAPTURE(on_a_loop, body, &body)
ON_A_LOOP(done_bare);
ON_A_LOOP(done_wait_for);
ON_A_LOOP(done_move_on_after);
ON_A_LOOP(operation_bare);
ON_A_LOOP(operation_wait_for);
ON_A_LOOP(operation_move_on_after);
ON_A_LOOP(coroutine_bare);
ON_A_LOOP(coroutine_wait_for);
ON_A_LOOP(coroutine_timeout);
ON_A_LOOP(coroutine_at_once_bare);
ON_A_LOOP(coroutine_at_once_wait_for);
ON_A_LOOP(sleep_is_over);
ON_A_LOOP(fires_on_future);
ON_A_LOOP(fires_on_sleep);
ON_A_LOOP(fires_on_coroutine);
#if WEFT_HAS_URING
BENCHMARK(recv_cancelled_by_hand)->Name("on_a_loop/recv_cancelled_by_hand");
#endif
ON_A_LOOP(recv_fires);

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::AddCustomContext("weft_backend", weft::EventLoop().backend_info().name);
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
}
