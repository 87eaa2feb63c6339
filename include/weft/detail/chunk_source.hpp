// SPDX-License-Identifier: MIT
// ChunkSource: the receiving end of a stream that is read in chunks; what arrived and was not read.
#pragma once

#include <cerrno>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <utility>

#include "../error.hpp"
#include "../fd.hpp"
#include "../loop.hpp"
#include "buffer_pool.hpp"
#include "task_core.hpp"

namespace weft::detail {

/// One pooled receive that stands on its own: it belongs to the stream and not to a reader. On a
/// ring with multishot receives it completes again and again, else once, and is started when the
/// next reader finds nothing. What arrives goes into a queue first and from there to whoever asks,
/// so a cancelled reader only leaves: the kernel is told nothing, and nothing can be lost.
///
/// On the heap. It goes with its stream, or, if the kernel has its memory then, with the last
/// completion (see `let_go`).
class ChunkSource final : private Operation {
public:
    /// The descriptor is the stream's, and empty once that is closed.
    explicit ChunkSource(const Fd& socket) noexcept
        : Operation(OpCode::recv_pooled, &completed), stream_fd_(&socket) {
        background = true;
    }

    // --- what is there ---

    bool has_data() const noexcept { return first_ != nullptr; }
    /// The end or an error, and nothing before it.
    bool has_end() const noexcept { return !first_ && has_end_; }
    std::size_t front_size() const noexcept { return first_->size(); }

    Block* take() noexcept {
        Block* const block = first_;
        first_ = block->next;
        --queued_;
        return block;
    }
    /// Copies from the first block.
    std::size_t take(void* to, std::size_t most) noexcept {
        const std::size_t count = first_->size() < most ? first_->size() : most;
        if (count > 0) std::memcpy(to, first_->data(), count);
        first_->begin += static_cast<std::uint32_t>(count);
        if (first_->size() == 0) take()->release();
        return count;
    }
    /// 0 or -errno. The next reader asks the socket again.
    int take_end() noexcept {
        has_end_ = false;
        return end_;
    }

    // --- waiting ---

    /// The task waits until something is there. False: it is, do not suspend.
    /// Throws:   RuntimeError when another task waits already.
    bool wait(TaskCore& task, Suspension& what) {
        if (reader_) [[unlikely]] {
            task.waiting_on = nullptr;
            throw_runtime_error("weft: two tasks read from one stream");
        }
        if (state == State::idle) {
            loop_ = task.loop;
            if (begin()) {
                task.waiting_on = nullptr;
                return false;
            }
        }
        reader_ = &task;
        what_ = &what;
        loop_->count_waiter();
        return true;
    }
    /// The reader leaves, the receive stays. False: it is not waiting any more.
    bool leave(const TaskCore& task) noexcept {
        if (reader_ != &task) return false;
        reader_ = nullptr;
        loop_->discount_waiter();
        return true;
    }

    /// The stream goes. While a receive is pending close(2) would neither reach the peer nor end
    /// the receive, so the number is closed after it, in one of the next turns.
    static void let_go(ChunkSource* source, Fd& fd) noexcept {
        if (source->reader_) source->leave(*source->reader_);
        if (source->state != State::idle) {
            source->loop_->cancel(static_cast<Operation&>(*source));
        }
        if (source->state == State::idle) {
            delete source;
            return;
        }
        source->fd_ = std::move(fd);
        source->orphaned_ = true;
        source->loop_->count_waiter();  // the peer, for the end: a busy loop must not forget it
    }

private:
    // So many chunks may wait for a reader before the receive is paused: a peer that sends without
    // end must not fill the memory.
    static constexpr std::uint32_t most_queued = 8;
    static constexpr std::uint32_t small_size = 4096;

    /// See `try_again`. Its frame is made for the first event and used for all.
    struct Pump {
        struct promise_type {
            static Pump get_return_object_on_allocation_failure() noexcept { return Pump(nullptr); }
            Pump get_return_object() noexcept {
                return Pump(std::coroutine_handle<promise_type>::from_promise(*this));
            }
            std::suspend_always initial_suspend() const noexcept { return {}; }
            std::suspend_always final_suspend() const noexcept { return {}; }
            void return_void() const noexcept {}
            [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
        };
        explicit Pump(std::coroutine_handle<> of) noexcept : handle(of) {}
        std::coroutine_handle<> handle;
    };
    struct Attempt {
        explicit Attempt(ChunkSource& of) noexcept : source(of) {}
        bool await_ready() const noexcept { return false; }
        std::coroutine_handle<> await_suspend(std::coroutine_handle<>) noexcept {
            return source.try_again();
        }
        void await_resume() const noexcept {}
        ChunkSource& source;
    };
    static Pump pump(ChunkSource& source) {
        for (;;) co_await Attempt(source);
    }

    ~ChunkSource() {
        while (first_) take()->release();
        if (pump_) pump_.destroy();
    }

    /// True: complete at once, and booked.
    bool begin() noexcept {
        fd = stream_fd_->get();
        expect_wait = drained_;
        if (!loop_->start(*this)) return false;
        book();
        return true;
    }

    /// Takes note of a completion.
    void book() noexcept {
        if (result > 0) {
            Block& block = *static_cast<Block*>(address);
            block.next = nullptr;
            (first_ ? last_->next : first_) = &block;
            last_ = &block;
            ++queued_;
            last_size_ = block.size();
            drained_ = !more;
        } else if (!(result == -ECANCELED && pausing_)) {
            has_end_ = true;
            end_ = result;
        }
        if (state == State::idle) pausing_ = false;
    }

    static void completed(Operation& op) noexcept {
        auto& self = static_cast<ChunkSource&>(op);
        if (self.orphaned_) [[unlikely]] {
            if (op.result > 0) static_cast<Block*>(op.address)->release();
            // (The descriptor closes here.)
            if (op.state == State::idle) {
                self.loop_->discount_waiter();
                delete &self;
            }
            return;
        }
        if (op.result == -EAGAIN) return self.became_ready();
        self.book();
        if (self.reader_) return self.serve();
        if (op.state != State::idle && self.queued_ >= most_queued && !self.pausing_) [[unlikely]] {
            self.pausing_ = true;
            self.loop_->cancel(op);
        }
    }

    void serve() noexcept {
        // The end of a pause comes empty-handed: the reader that came meanwhile wants more.
        if (!has_data() && !has_end_ && !begin()) return;
        TaskCore& task = *std::exchange(reader_, nullptr);
        loop_->discount_waiter();
        loop_->wake(task);
    }

    /// epoll: there is something to receive. It is received in the reader's own step, into the
    /// buffer that the step before has given back. Received now, with everybody else who is ready,
    /// it would take a buffer for each.
    void became_ready() noexcept {
        if (!reader_) return;
        // Small ones do not drive each other out of the cache, and then the detour is all there is.
        if (last_size_ <= small_size) {
            if (begin()) serve();
            return;
        }
        if (!pump_) pump_ = pump(*this).handle;
        if (!pump_) [[unlikely]] {
            if (begin()) serve();
            return;
        }
        reader_coroutine_ = std::exchange(reader_->coroutine, pump_);
        loop_->discount_waiter();
        loop_->wake(*reader_);
    }
    /// In the reader's step: who goes on now.
    std::coroutine_handle<> try_again() noexcept {
        TaskCore& task = *reader_;
        task.coroutine = reader_coroutine_;
        if (begin()) {
            reader_ = nullptr;
            return reader_coroutine_;
        }
        task.waiting_on = what_;
        loop_->count_waiter();
        if (task.must_cancel) what_->cancel();
        return std::noop_coroutine();
    }

    const Fd* stream_fd_;
    EventLoop* loop_ = nullptr;
    TaskCore* reader_ = nullptr;  // waits
    Suspension* what_ = nullptr;  // and on this
    Block* first_ = nullptr;      // arrived and not read, oldest first
    Block* last_ = nullptr;       // valid while first_ is
    std::uint32_t queued_ = 0;
    std::uint32_t last_size_ = 0;
    int end_ = 0;  // valid with has_end_: 0 or -errno
    bool has_end_ = false;
    bool drained_ = false;   // the last receive took all there was
    bool pausing_ = false;   // cancelled because nobody reads
    bool orphaned_ = false;  // the stream is gone
    std::coroutine_handle<> pump_;
    std::coroutine_handle<> reader_coroutine_;
    Fd fd_;  // an orphan's, to be closed
};

}  // namespace weft::detail
