// SPDX-License-Identifier: MIT
// HelperPool: blocking file operations for a backend whose kernel interface has none, on a few
// threads.
#pragma once

#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "../../base/clock.hpp"
#include "../../base/error.hpp"
#include "../../base/fd.hpp"
#include "../../base/thread.hpp"
#include "../operation.hpp"
#include "file_calls.hpp"

namespace weft::detail {

/// Threads start while there is more work than idle ones, up to `most_threads`, and end when they
/// were idle for long. Jobs begin in order; what must not run side by side is the caller's to hold
/// back. A job that has not begun can be taken back; one that runs is waited for, since it writes
/// to the user's memory.
///
/// Invariants: an operation is in `waiting_` (queued), `running_` (in flight) or `finished_`, or
/// has left; `state` is written under the lock.
class HelperPool {
public:
    // Half of them were 16 % slower on a device that answers in 70 us, where twice as many gain
    // little.
    static constexpr int most_threads = 8;

    HelperPool() : event_(not_standard(Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)))) {
        if (!event_) throw_system_error(errno, "eventfd");
    }
    HelperPool(const HelperPool&) = delete;
    HelperPool& operator=(const HelperPool&) = delete;
    /// Waits for what runs and for what was submitted.
    ~HelperPool() {
        {
            const Locked lock(mutex_);
            stopping_ = true;
            work_arrived_.notify_all();
        }
        for (Seat& seat : seats_) {
            if (seat.pool) ::pthread_join(seat.thread, nullptr);
        }
    }

    /// Readable when something is finished.
    int event_fd() const noexcept { return event_.get(); }

    /// 0, or the error of pthread_create where there is no thread that could do it, and it may take
    /// for ever. (Otherwise it is done here and now: late is better than not at all.)
    int submit(Operation& op) noexcept {
        const Locked lock(mutex_);
        // (An idle thread that was woken is idle until it has the lock, but then something waits
        // for it.)
        if ((idle_ == 0 || !waiting_.empty()) && threads_ < most_threads) {
            const int error = start_one();
            if (error != 0 && threads_ == 0) return run_without_threads(op, error);
        }
        op.state = Operation::State::queued;
        waiting_.push_back(op);
        work_arrived_.notify_one();
        return 0;
    }

    /// True: it never ran, and will not.
    bool take_back(Operation& op) noexcept {
        const Locked lock(mutex_);
        if (op.state != Operation::State::queued) return false;
        op.unlink();
        return true;
    }

    /// Takes back what is on `fd` and has not begun, into `taken`; no close. True: something runs.
    bool take_back_all(int fd, OperationList& taken) noexcept {
        const Locked lock(mutex_);
        waiting_.for_each([&](Operation& op) {
            if (op.fd != fd || op.code == OpCode::close) return;
            op.unlink();
            taken.push_back(op);
        });
        return runs(fd);
    }
    bool runs_on(int fd) noexcept {
        const Locked lock(mutex_);
        return runs(fd);
    }
    /// Blocks until nothing runs on `fd`.
    void wait_for(int fd) noexcept {
        const Locked lock(mutex_);
        while (runs(fd)) one_finished_.wait(mutex_);
    }

    /// Moves what is finished (`result` set) to `finished`.
    void collect(OperationList& finished) noexcept {
        std::uint64_t count = 0;
        // EAGAIN: nothing new; the list below says what there is.
        [[maybe_unused]] const auto ignored = ::read(event_.get(), &count, sizeof count);
        const Locked lock(mutex_);
        while (!finished_.empty()) finished.push_back(finished_.pop_front());
    }

private:
    /// Of one thread. Free where `pool` is null.
    struct Seat {
        HelperPool* pool = nullptr;
        pthread_t thread{};
        bool ended = false;
    };
    static constexpr Nanoseconds idle_time = 5'000'000'000;

    bool runs(int fd) noexcept {
        bool found = false;
        running_.for_each([&](const Operation& op) { found = found || op.fd == fd; });
        return found;
    }

    /// Under the lock.
    [[gnu::cold]] int start_one() noexcept {
        for (Seat& seat : seats_) {
            if (seat.pool && !seat.ended) continue;
            // (Its last act was to give the lock back.)
            if (seat.pool) ::pthread_join(seat.thread, nullptr);
            seat.pool = this;
            seat.ended = false;
            const int error = try_start_thread(seat.thread, &work_in, &seat);
            if (error != 0) seat.pool = nullptr;
            threads_ += error == 0;
            return error;
        }
        return EAGAIN;
    }

    static void* work_in(void* argument) noexcept {
        Seat& seat = *static_cast<Seat*>(argument);
        seat.pool->work(seat);
        return nullptr;
    }
    /// (An open does not wait, see `open_without_waiting`.)
    [[gnu::cold]] static bool may_never_end(const Operation& op) noexcept {
        const bool transfers = op.code == OpCode::read || op.code == OpCode::write ||
                               op.code == OpCode::readv || op.code == OpCode::writev;
        if (!transfers) return false;
        struct stat file {};
        return ::fstat(op.fd, &file) != 0 || !(S_ISREG(file.st_mode) || S_ISBLK(file.st_mode));
    }
    /// Under the lock, which nobody else wants.
    [[gnu::cold]] int run_without_threads(Operation& op, int error) noexcept {
        if (may_never_end(op)) return error;
        op.result = run_blocking(op);
        op.state = Operation::State::in_flight;
        const bool told = !finished_.empty();
        finished_.push_back(op);
        if (!told) tell();
        return 0;
    }
    bool wait_for_work() noexcept {
        if (!waiting_.empty()) return true;
        const Nanoseconds deadline = deadline_after(monotonic_now(), idle_time);
        ++idle_;
        while (waiting_.empty() && !stopping_ && monotonic_now() < deadline)
            work_arrived_.wait_until(mutex_, deadline);
        --idle_;
        return !waiting_.empty();
    }
    void work(Seat& seat) noexcept {
        const Locked lock(mutex_);
        while (wait_for_work()) {
            Operation& op = waiting_.pop_front();
            op.state = Operation::State::in_flight;
            running_.push_back(op);
            mutex_.unlock();
            const int result = run_blocking(op);
            mutex_.lock();
            op.unlink();
            op.result = result;
            const bool told = !finished_.empty();
            finished_.push_back(op);
            one_finished_.notify_all();
            if (!told) tell();
        }
        seat.ended = true;
        --threads_;
    }
    void tell() noexcept {
        const std::uint64_t one = 1;
        while (::write(event_.get(), &one, sizeof one) < 0 && is_interruption(errno)) {
        }
    }

    Fd event_;
    Mutex mutex_;
    ThreadCondition work_arrived_;
    ThreadCondition one_finished_;
    OperationList waiting_;
    OperationList running_;
    OperationList finished_;
    Seat seats_[most_threads];
    int threads_ = 0;
    int idle_ = 0;
    bool stopping_ = false;
};

}  // namespace weft::detail
