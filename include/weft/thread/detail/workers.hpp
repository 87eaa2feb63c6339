// SPDX-License-Identifier: MIT
// Workers: the threads of run_workers, and the task of the calling thread that waits for them.
#pragma once

#include <pthread.h>

#include <coroutine>
#include <cstddef>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../../base/config.hpp"
#include "../../base/cores.hpp"
#include "../../base/error.hpp"
#include "../../base/owned.hpp"
#include "../../base/thread.hpp"
#include "../../runtime/graceful_stop.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/remote.hpp"
#include "../../runtime/task_core.hpp"
#include "../../task/coro.hpp"
#include "../../task/run.hpp"
#include "worker.hpp"

namespace weft::detail {

class Workers;

/// Tells the others when its loop is asked to stop.
struct StopForAll : StopWatch {
    explicit StopForAll(Workers& of) noexcept : StopWatch(&asked), workers(&of) {}
    static void asked(StopWatch& watch) noexcept;
    Workers* workers;
};

struct WorkerSlot {
    WorkerSlot(Workers& of, std::size_t at, WorkerMain call)
        : workers(of), index(at), main_of_user(std::move(call)) {}

    Coro<void> main();
    static void* run(void* slot) noexcept;

    struct Present;
    Workers& workers;
    const std::size_t index;
    WorkerMain main_of_user;
    pthread_t thread{};
    std::optional<Remote> remote;  // guarded by the mutex; there while its main runs
    TaskCore* task = nullptr;      // its loop's alone, the same
};

/// Lives on the stack of the calling thread, which leaves only when all threads have been joined.
class Workers {
public:
    Workers(std::size_t count, MakeWorkerMain& make, WorkersOptions options);
    Workers(const Workers&) = delete;
    Workers& operator=(const Workers&) = delete;
    ~Workers();

    /// The main of the calling thread's loop.
    Coro<void> supervise();

    // Any thread.
    void request_stop() noexcept;
    void cancel_all() noexcept;

private:
    friend WorkerSlot;
    class AllEnded;

    std::string name_of(const WorkerSlot& slot) const {
        return concat({options_.name, "-", decimal(static_cast<long long>(slot.index))});
    }
    void start_threads() noexcept;
    void settle(const WorkerSlot& slot) noexcept;
    void failed(std::exception_ptr failure) noexcept;
    void ended() noexcept;
    template <class Fn>
    void post_to_each(Fn fn) noexcept;
    template <class Fn>
    static void post(const Remote& loop, Fn fn) noexcept;

    const WorkersOptions options_;
    std::vector<Owned<WorkerSlot>> slots_;
    std::optional<Remote> supervisor_;  // set before there are threads
    AllEnded* waiting_ = nullptr;       // the calling thread's, with what follows
    std::size_t started_ = 0;
    std::size_t ended_ = 0;

    Mutex mutex_;
    bool stop_requested_ = false;  // guarded, with what follows
    bool cancelled_ = false;
    std::vector<std::exception_ptr> failures_;
};

/// Ends when the last worker has. A cancel is theirs: it ends nothing here.
class Workers::AllEnded final : public Suspension {
public:
    explicit AllEnded(Workers& workers) noexcept : workers_(workers) {}
    ~AllEnded() { workers_.waiting_ = nullptr; }
    bool await_ready() const noexcept { return workers_.ended_ == workers_.started_; }
    void await_suspend(std::coroutine_handle<> handle) {
        task_ = &get_running_loop().suspend(handle, *this);
        workers_.waiting_ = this;
        if (task_->must_cancel) workers_.cancel_all();
    }
    void await_resume() const { check_leftover(); }
    TaskCore* cancel() noexcept override {
        workers_.cancel_all();
        return nullptr;
    }
    WaitInfo describe() const noexcept override { return {"workers"}; }
    void wake() noexcept { task_->loop->wake(*task_); }

private:
    Workers& workers_;
    TaskCore* task_ = nullptr;
};

#if WEFT_BODIES
WEFT_INLINE void StopForAll::asked(StopWatch& watch) noexcept {
    static_cast<StopForAll&>(watch).workers->request_stop();
}

// --- a worker's thread ---

[[gnu::cold]] WEFT_INLINE void* WorkerSlot::run(void* self) noexcept {
    auto& slot = *static_cast<WorkerSlot*>(self);
    Workers& all = slot.workers;
    try {
        all.settle(slot);
        RunOptions own = all.options_.run;
        own.name = all.name_of(slot);
        own.handle_sigint = false;
        own.stop_signal = 0;
        weft::run(slot.main(), std::move(own));
    } catch (const CancelledError&) {
        const bool by_us = [&all] {
            const Locked lock(all.mutex_);
            return all.cancelled_;
        }();
        if (!by_us) all.failed(std::current_exception());
    } catch (...) {
        all.failed(std::current_exception());
    }
    all.ended();
    return nullptr;
}

/// From its first step to its last others can reach it.
struct WorkerSlot::Present {
    explicit Present(WorkerSlot& of) : slot(of), watch(of.workers) {
        EventLoop& loop = get_running_loop();
        loop.graceful_stop().add(watch);
        slot.task = loop.current_task();
        const Locked lock(slot.workers.mutex_);
        slot.remote.emplace(loop.remote());
        stop = slot.workers.stop_requested_;
        cancelled = slot.workers.cancelled_;
    }
    Present(const Present&) = delete;
    Present& operator=(const Present&) = delete;
    ~Present() {
        slot.task = nullptr;
        const Locked lock(slot.workers.mutex_);
        slot.remote.reset();
    }
    WorkerSlot& slot;
    StopForAll watch;
    bool stop = false;
    bool cancelled = false;
};

[[gnu::cold]] WEFT_INLINE Coro<void> WorkerSlot::main() {
    const Present present(*this);
    // What was asked of all before this one was there.
    if (present.cancelled) throw CancelledError();
    if (present.stop) get_running_loop().graceful_stop().request();
    co_await main_of_user(Worker(index, workers.slots_.size()));
}

// --- all of them ---

[[gnu::cold]] WEFT_INLINE Workers::Workers(std::size_t count, MakeWorkerMain& make,
                                           WorkersOptions options)
    : options_(std::move(options)) {
    if (count == 0) count = Cores().count();
    for (std::size_t index = 0; index < count; ++index)
        slots_.emplace_back(new WorkerSlot(*this, index, make()));
    failures_.reserve(count + 1);  // each fails once, and so does the start of one
}

[[gnu::cold]] WEFT_INLINE Workers::~Workers() {
    for (std::size_t index = 0; index < started_; ++index)
        ::pthread_join(slots_[index]->thread, nullptr);
}

[[gnu::cold]] WEFT_INLINE Coro<void> Workers::supervise() {
    EventLoop& loop = get_running_loop();
    supervisor_.emplace(loop.remote());
    StopForAll watch(*this);
    loop.graceful_stop().add(watch);
    start_threads();
    co_await AllEnded(*this);
    for (std::size_t index = 1; index < failures_.size(); ++index) {
        loop.call_exception_handler(
            {"a worker failed after another one", failures_[index], options_.name});
    }
    if (!failures_.empty()) std::rethrow_exception(failures_.front());
    if (loop.current_task()->must_cancel) loop.throw_cancelled();
}

[[gnu::cold]] WEFT_INLINE void Workers::start_threads() noexcept {
    for (const Owned<WorkerSlot>& slot : slots_) {
        const int error = try_start_thread(slot->thread, &WorkerSlot::run, slot.get());
        if (error == 0) {
            ++started_;
            continue;
        }
        try {
            throw_system_error(error, concat({"pthread_create (", name_of(*slot), ")"}));
        } catch (...) {
            failed(std::current_exception());
        }
        return;
    }
}

/// Where it runs and what it is called. (The system shows 15 bytes; a longer name is refused.)
[[gnu::cold]] WEFT_INLINE void Workers::settle(const WorkerSlot& slot) noexcept {
    try {
        ::pthread_setname_np(::pthread_self(), name_of(slot).substr(0, 15).c_str());
    } catch (const std::bad_alloc&) {
        // A thread without a name works as well.
    }
    if (!options_.pin) return;
    cpu_set_t core;
    CPU_ZERO(&core);
    CPU_SET(static_cast<std::size_t>(Cores().at(slot.index)), &core);
    // A core that has gone meanwhile is not worth a failure.
    static_cast<void>(::pthread_setaffinity_np(::pthread_self(), sizeof core, &core));
}

WEFT_INLINE void Workers::failed(std::exception_ptr failure) noexcept {
    {
        const Locked lock(mutex_);
        failures_.push_back(std::move(failure));  // (for which there is room)
    }
    cancel_all();
}

/// The last act of a worker's thread.
WEFT_INLINE void Workers::ended() noexcept {
    post(*supervisor_, [this] {
        if (++ended_ == started_ && waiting_) waiting_->wake();
    });
}

WEFT_INLINE void Workers::request_stop() noexcept {
    {
        const Locked lock(mutex_);
        if (std::exchange(stop_requested_, true)) return;
    }
    post_to_each([](WorkerSlot& slot) {
        if (slot.task) slot.task->loop->graceful_stop().request();
    });
    post(*supervisor_, [this] {
        if (waiting_) get_running_loop().graceful_stop().request();
    });
}

WEFT_INLINE void Workers::cancel_all() noexcept {
    {
        const Locked lock(mutex_);
        if (std::exchange(cancelled_, true)) return;
    }
    post_to_each([](WorkerSlot& slot) {
        if (slot.task) slot.task->loop->cancel(*slot.task, "run_workers ends");
    });
}

/// To those that are there; others look when they come.
template <class Fn>
void Workers::post_to_each(Fn fn) noexcept {
    for (const Owned<WorkerSlot>& slot : slots_) {
        std::optional<Remote> loop;
        {
            const Locked lock(mutex_);
            loop = slot->remote;
        }
        if (loop) post(*loop, [fn, at = slot.get()] { fn(*at); });
    }
}

template <class Fn>
void Workers::post(const Remote& loop, Fn fn) noexcept {
    static_cast<void>(post_surely(loop, std::move(fn)));  // (false: that one has ended)
}
#endif

}  // namespace weft::detail
