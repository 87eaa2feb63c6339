// SPDX-License-Identifier: MIT
// One wait of every kind, with what ends it: for tests of what a task may do that is ready when a
// scope ends.
#pragma once

#include <weft/weft.hpp>

#include <unistd.h>

#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

namespace ways {

using namespace std::chrono_literals;
using weft::Coro;
using weft::Task;

/// What tasks wait for; it outlives the loop.
struct Stage {
    Stage() {
        int ends[2];
        if (::pipe(ends) != 0) throw std::runtime_error("pipe");
        reader = weft::Fd(ends[0]);
        writer = weft::Fd(ends[1]);
    }
    weft::Fd reader;
    weft::Fd writer;
    weft::Event event;
    weft::Lock lock;
    weft::Semaphore semaphore{0};
    weft::Queue<int> queue;
    weft::Queue<int> full{1};
    weft::Notify notify;
    weft::Latch latch{1};
    weft::Condition condition;
    weft::Channel<int> channel{1};
    weft::Oneshot<int> oneshot;
    weft::Broadcast<int> broadcast{4};
    weft::Watch<int> watch{0};
    std::optional<weft::Future<int>> future;
    std::optional<Task<int>> task;
    char byte = 0;
};

/// One way to wait: `wait` ends because of `release`, which the scope under test calls in
/// its last steps.
struct Way {
    const char* name;
    Coro<void> (*wait)(Stage&);
    void (*release)(Stage&);
    void (*prepare)(Stage&) = [](Stage&) {};
    bool ends_by_itself = true;
};

/// (A task that waited for it may have been cancelled, and it with that.)
inline void give(Stage& on) {
    if (!on.future->done()) on.future->set_result(1);
}
inline Coro<int> number_from(weft::Future<int> future) { co_return co_await future; }

// A new awaiter joins by one line.
inline const Way all[] = {
    {"yield",
     [](Stage&) -> Coro<void> {
         for (;;) co_await weft::yield();
     },
     [](Stage&) {}, [](Stage&) {}, false},
    {"sleep",
     [](Stage&) -> Coro<void> {
         for (;;) co_await weft::sleep(1ns);
     },
     [](Stage&) {}, [](Stage&) {}, false},
    {"event", [](Stage& on) -> Coro<void> { co_await on.event.wait(); },
     [](Stage& on) { on.event.set(); }},
    {"lock", [](Stage& on) -> Coro<void> { co_await on.lock.acquire(); },
     [](Stage& on) { on.lock.release(); }, [](Stage& on) { (void)on.lock.try_acquire(); }},
    {"scoped lock", [](Stage& on) -> Coro<void> { auto guard = co_await on.lock.scoped(); },
     [](Stage& on) { on.lock.release(); }, [](Stage& on) { (void)on.lock.try_acquire(); }},
    {"semaphore", [](Stage& on) -> Coro<void> { co_await on.semaphore.acquire(); },
     [](Stage& on) { on.semaphore.release(); }},
    {"queue get", [](Stage& on) -> Coro<void> { (void)co_await on.queue.get(); },
     [](Stage& on) { on.queue.put_nowait(1); }},
    {"queue put", [](Stage& on) -> Coro<void> { co_await on.full.put(2); },
     [](Stage& on) { on.full.get_nowait(); }, [](Stage& on) { on.full.put_nowait(1); }},
    {"notify", [](Stage& on) -> Coro<void> { co_await on.notify.notified(); },
     [](Stage& on) { on.notify.notify_one(); }},
    {"latch", [](Stage& on) -> Coro<void> { co_await on.latch.wait(); },
     [](Stage& on) { on.latch.count_down(); }},
    {"broadcast",
     [](Stage& on) -> Coro<void> {
         auto from = on.broadcast.subscribe();
         (void)co_await from.recv();
     },
     [](Stage& on) { on.broadcast.send(1); }},
    {"watch",
     [](Stage& on) -> Coro<void> {
         auto from = on.watch.subscribe();
         (void)co_await from.next();
     },
     [](Stage& on) { on.watch.set(1); }},
    {"future", [](Stage& on) -> Coro<void> { co_await *on.future; }, [](Stage& on) { give(on); }},
    {"future that fails", [](Stage& on) -> Coro<void> { co_await *on.future; },
     [](Stage& on) {
         if (!on.future->done())
             on.future->set_exception(std::make_exception_ptr(std::runtime_error("no")));
     }},
    {"the end of a future", [](Stage& on) -> Coro<void> { co_await on.future->wait(); },
     [](Stage& on) { give(on); }},
    {"shield", [](Stage& on) -> Coro<void> { co_await weft::shield(*on.future); },
     [](Stage& on) { give(on); }},
    {"gather", [](Stage& on) -> Coro<void> { co_await weft::gather(*on.future, *on.future); },
     [](Stage& on) { give(on); }},
    {"gather of operations",
     [](Stage& on) -> Coro<void> { co_await weft::gather(on.event.wait(), on.queue.get()); },
     [](Stage& on) {
         on.event.set();
         on.queue.put_nowait(1);
     }},
    {"race",
     [](Stage& on) -> Coro<void> { co_await weft::race(number_from(*on.future), on.queue.get()); },
     [](Stage& on) { on.queue.put_nowait(1); }},
    {"wait",
     [](Stage& on) -> Coro<void> {
         std::vector<weft::Future<int>> futures;
         futures.push_back(*on.future);
         (void)co_await weft::wait(std::move(futures));
     },
     [](Stage& on) { give(on); }},
    {"task_group",
     [](Stage& on) -> Coro<void> {
         co_await weft::task_group([&](weft::TaskGroup& group) -> Coro<void> {
             group.create_task(number_from(*on.future));
             co_return;
         });
     },
     [](Stage& on) { give(on); }},
    {"wait_for", [](Stage& on) -> Coro<void> { (void)co_await weft::wait_for(on.queue.get(), 1h); },
     [](Stage& on) { on.queue.put_nowait(1); }},
    {"wait_for a coroutine",
     [](Stage& on) -> Coro<void> { (void)co_await weft::wait_for(number_from(*on.future), 1h); },
     [](Stage& on) { give(on); }},
    {"move_on_after",
     [](Stage& on) -> Coro<void> { (void)co_await weft::move_on_after(1h, on.event.wait()); },
     [](Stage& on) { on.event.set(); }},
    {"timeout",
     [](Stage& on) -> Coro<void> {
         (void)co_await weft::timeout(1h, [&] { return number_from(*on.future); });
     },
     [](Stage& on) { give(on); }},
    // A clean-up comes to its end and holds the cancel until the next suspension.
    {"after a clean_up",
     [](Stage& on) -> Coro<void> {
         co_await weft::clean_up(1h, [&] { return number_from(*on.future); });
         co_await weft::yield();
     },
     [](Stage& on) { give(on); }},
    {"after a clean_up that goes on",
     [](Stage&) -> Coro<void> {
         co_await weft::clean_up(1h, [] { return weft::sleep(1s); });
         co_await weft::yield();
     },
     [](Stage&) {}},
    {"read",
     [](Stage& on) -> Coro<void> {
         (void)co_await weft::io::read(on.reader.get(), {&on.byte, 1});
     },
     [](Stage& on) {
         if (::write(on.writer.get(), "x", 1) != 1) throw std::runtime_error("write");
     }},
    {"readiness", [](Stage& on) -> Coro<void> { co_await weft::wait_readable(on.reader.get()); },
     [](Stage& on) {
         if (::write(on.writer.get(), "x", 1) != 1) throw std::runtime_error("write");
     }},
};

}  // namespace ways
