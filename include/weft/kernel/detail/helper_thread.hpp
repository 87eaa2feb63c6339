// SPDX-License-Identifier: MIT
// HelperThread: blocking file operations for a backend whose kernel interface has none.
#pragma once

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "../../base/error.hpp"
#include "../../base/fd.hpp"
#include "../../base/thread.hpp"
#include "../operation.hpp"
#include "attempt.hpp"

namespace weft::detail {

/// One thread, started with the first job, that runs operations in order. A job that has not
/// started can be taken back; one that runs is waited for, since it writes to the user's memory.
class HelperThread {
public:
    HelperThread() : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
        if (!event_) throw_system_error(errno, "eventfd");
        thread_ = start_thread(&work, this);
    }
    HelperThread(const HelperThread&) = delete;
    HelperThread& operator=(const HelperThread&) = delete;
    ~HelperThread() {
        {
            const Locked lock(mutex_);
            stopping_ = true;
        }
        work_arrived_.notify_one();
        ::pthread_join(thread_, nullptr);
    }

    /// Readable when something is finished.
    int event_fd() const noexcept { return event_.get(); }

    void submit(Operation& op) noexcept {
        {
            const Locked lock(mutex_);
            op.state = Operation::State::queued;
            waiting_.push_back(op);
        }
        work_arrived_.notify_one();
    }

    /// True: it never ran, and will not.
    bool take_back(Operation& op) noexcept {
        const Locked lock(mutex_);
        if (op.state != Operation::State::queued) return false;
        op.unlink();
        return true;
    }

    /// Takes back everything on `fd` that has not begun, into `taken`. True: one runs right now.
    bool take_back_all(int fd, OperationList& taken) noexcept {
        const Locked lock(mutex_);
        waiting_.for_each([&](Operation& op) {
            if (op.fd != fd) return;
            op.unlink();
            taken.push_back(op);
        });
        return running_fd_ == fd;
    }
    /// Blocks until nothing runs on `fd`.
    void wait_for(int fd) noexcept {
        const Locked lock(mutex_);
        while (running_fd_ == fd) one_finished_.wait(mutex_);
    }

    /// Moves what is finished (`result` set) to `finished`.
    void collect(OperationList& finished) noexcept {
        std::uint64_t count = 0;
        // EAGAIN: nothing new; the list below says what there is.
        [[maybe_unused]] const auto ignored = ::read(event_.get(), &count, sizeof count);
        const Locked lock(mutex_);
        while (!finished_.empty()) finished.push_back(finished_.pop_front());
    }

    /// Runs one operation on the calling thread; 0 or more, or -errno.
    static int run(const Operation& op) noexcept {
        for (;;) {
            const auto result = call(op);
            if (result >= 0) return static_cast<int>(result);
            if (!is_interruption(errno)) return -errno;
        }
    }

private:
    static ssize_t call(const Operation& op) noexcept {
        const auto at = static_cast<off_t>(op.offset);
        const bool positioned = op.offset != current_position;
        switch (op.code) {
            case OpCode::read:
                return positioned ? ::pread(op.fd, op.address, op.length, at)
                                  : ::read(op.fd, op.address, op.length);
            case OpCode::write:
                return positioned ? ::pwrite(op.fd, op.address, op.length, at)
                                  : ::write(op.fd, op.address, op.length);
            case OpCode::openat:
                return open_without_waiting(op);
            case OpCode::fsync:
                return op.flags ? ::fdatasync(op.fd) : ::fsync(op.fd);
            case OpCode::close:
                return ::close(op.fd) == 0 || is_interruption(errno) ? 0 : -1;
            default:
                errno = EOPNOTSUPP;
                return -1;
        }
    }

    static int open_without_waiting(const Operation& op) noexcept {
        const auto* const path = static_cast<const char*>(op.address);
        const int fd = ::openat(op.fd, path, flags_to_open(op), static_cast<mode_t>(op.length));
        after_open(op, fd);
        return fd;
    }

    static void* work(void* self) noexcept {
        static_cast<HelperThread*>(self)->work();
        return nullptr;
    }
    void work() noexcept {
        const Locked lock(mutex_);
        for (;;) {
            while (waiting_.empty() && !stopping_) work_arrived_.wait(mutex_);
            if (waiting_.empty()) return;
            Operation& op = waiting_.pop_front();
            op.state = Operation::State::in_flight;
            running_fd_ = op.fd;
            mutex_.unlock();
            const int result = run(op);
            mutex_.lock();
            running_fd_ = -1;
            op.result = result;
            finished_.push_back(op);
            one_finished_.notify_all();
            const std::uint64_t one = 1;
            while (::write(event_.get(), &one, sizeof one) < 0 && is_interruption(errno)) {
            }
        }
    }

    Fd event_;
    Mutex mutex_;
    ConditionVariable work_arrived_;
    ConditionVariable one_finished_;
    OperationList waiting_;
    OperationList finished_;
    int running_fd_ = -1;
    bool stopping_ = false;
    pthread_t thread_{};
};

}  // namespace weft::detail
