// SPDX-License-Identifier: MIT
// ChunkSource: the receiving end of a stream that is read in chunks; what arrived and was not read.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "../../base/error.hpp"
#include "../../base/fd.hpp"
#include "../../kernel/buffer_pool.hpp"
#include "../../runtime/loop.hpp"
#include "../../runtime/task_core.hpp"

namespace weft::detail {

/// `read` is what the errors of the stream's reads name. `reader` waits already; without it,
/// whoever does is looked for.
[[noreturn, gnu::cold]] void refuse_second_read(const std::string& read, int fd,
                                                const TaskCore* reader = nullptr);

/// One pooled receive that stands on its own: it belongs to the stream and not to a reader. On a
/// ring with multishot receives it completes again and again, else once, and is started when the
/// next reader finds nothing. What arrives goes into a queue first and from there to whoever asks,
/// so a cancelled reader only leaves: the kernel is told nothing, and nothing can be lost.
///
/// On the heap. It goes with its stream, or, if the kernel has its memory then, with the last
/// completion (see `let_go`).
class ChunkSource final : private Operation, private CallbackNode {
public:
    /// The descriptor is the stream's, and empty once that is closed.
    explicit ChunkSource(const Fd& socket) noexcept
        : Operation(OpCode::recv_pooled, &completed),
          CallbackNode(&receive_or_drop),
          stream_fd_(&socket) {
        background = true;
    }

    // --- what is there ---

    bool has_data() const noexcept { return first_ != nullptr; }
    /// The end or an error, and nothing before it.
    bool has_end() const noexcept { return !first_ && has_end_; }
    /// Nothing comes here by itself.
    bool is_idle() const noexcept { return state == State::idle; }
    /// For one that asks again and again, and never waits.
    void look_soon() const noexcept { loop_->look_soon(); }
    /// Nothing more is to come by itself; what is under way still does, until it is idle.
    void pause() noexcept {
        if (state == State::idle || pausing_) return;
        pausing_ = true;
        loop_->cancel(static_cast<Operation&>(*this));
    }
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
    /// Throws:   RuntimeError when another task waits already, or when what arrives would go to
    ///           another loop, which does not run now.
    bool wait(TaskCore& task) {
        if (reader_) [[unlikely]]
            refuse(task);
        if (state == State::idle) {
            loop_ = task.loop;
            if (begin()) {
                task.waiting_on = nullptr;
                return false;
            }
        } else if (loop_ != task.loop) [[unlikely]] {
            refuse(task);
        }
        reader_ = &task;
        loop_->count_waiter();
        return true;
    }
    bool is_waited_for() const noexcept { return reader_ != nullptr; }
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
        // (In a forked child the receive is the parent's, and the loop may have gone.)
        const bool is_ours = source->state == State::idle || EventLoop::accepts(source->loop_);
        if (!is_ours) {
            source->reader_ = nullptr;
            source->complete(-ECANCELED);
        }
        if (source->reader_) source->leave(*source->reader_);
        if (source->state != State::idle) {
            source->loop_->cancel(static_cast<Operation&>(*source));
        }
        if (source->state == State::idle) {
            source->orphaned_ = true;
            if (!source->in_queue_) delete source;
            return;
        }
        source->has_fd_ = static_cast<bool>(fd);
        if (fd) source->fd = fd.release();
        source->orphaned_ = true;
        source->loop_->count_waiter();  // the peer, for the end: a busy loop must not forget it
    }

private:
    // So many chunks may wait for a reader before the receive is paused: a peer that sends without
    // end must not fill the memory.
    static constexpr std::uint32_t most_queued = 8;

    ~ChunkSource() {
        while (first_) take()->release();
        if (has_fd_) Fd(fd).reset();
    }

    [[noreturn, gnu::cold]] void refuse(TaskCore& task) const;

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
            drained_ = !more;
        } else if (result != -ECANCELED || !(pausing_ || (!reader_ && *stream_fd_))) {
            // (An end that nobody asked for: a pause, or a loop that closes before its streams.)
            has_end_ = true;
            // (An abort ends the connection before it ends who waits.)
            end_ = *stream_fd_ || result == -EBADF ? result : reader_ ? -ECANCELED : -EBADF;
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
                if (!self.in_queue_) delete &self;
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
        if (!has_data() && !has_end_ && !begin_for_reader()) return;
        TaskCore& task = *std::exchange(reader_, nullptr);
        loop_->discount_waiter();
        loop_->wake(task);
    }

    /// epoll: there is something that was not received with its event. It is when the reader's turn
    /// has come and not before, so that of the sources that are ready at the same time each uses
    /// the buffer that the last one's reader has just given back.
    void became_ready() noexcept {
        if (!reader_) return;
        // In the queue of another loop, which had a reader once and does not run.
        if (in_queue_) return serve();
        in_queue_ = true;
        loop_->push(*this);
    }
    static void receive_or_drop(CallbackNode& node, Verb verb) noexcept {
        auto& self = static_cast<ChunkSource&>(node);
        self.in_queue_ = false;
        if (self.orphaned_) {
            if (self.state == State::idle) delete &self;
            return;
        }
        // Another reader may have come since, and have begun.
        if (verb == Verb::drop || !self.reader_ || self.state != State::idle) return;
        if (!self.begin_for_reader()) return;
        if (self.loop_ != EventLoop::running()) return self.serve();
        self.loop_->discount_waiter();
        self.loop_->run_instead(*std::exchange(self.reader_, nullptr));
    }
    /// For one that waits already: the stream may have been closed meanwhile.
    bool begin_for_reader() noexcept {
        if (*stream_fd_) return begin();
        has_end_ = true;
        end_ = -ECANCELED;
        return true;
    }

    const Fd* stream_fd_;
    EventLoop* loop_ = nullptr;
    TaskCore* reader_ = nullptr;  // waits
    Block* first_ = nullptr;      // arrived and not read, oldest first
    Block* last_ = nullptr;       // valid while first_ is
    int end_ = 0;                 // valid with has_end_: 0 or -errno
    std::uint16_t queued_ = 0;
    bool drained_ = false;       // the last receive took all there was
    bool has_end_ : 1 = false;   // (bits: there is one of these for each connection)
    bool pausing_ : 1 = false;   // cancelled because nobody reads
    bool orphaned_ : 1 = false;  // the stream is gone
    bool in_queue_ : 1 = false;  // the ready queue's, for `receive_or_drop`
    bool has_fd_ : 1 = false;    // an orphan's, whose descriptor is to be closed
};

#if WEFT_BODIES
[[gnu::cold, gnu::noinline]] WEFT_INLINE void ChunkSource::refuse(TaskCore& task) const {
    task.waiting_on = nullptr;
    const std::string read = fd_text("recv", stream_fd_->get());
    if (reader_) refuse_second_read(read, stream_fd_->get(), reader_);
    throw_runtime_error({read, ": this stream still receives on another event loop"});
}

[[gnu::cold, gnu::noinline]] WEFT_INLINE void refuse_second_read(const std::string& read, int fd,
                                                                 const TaskCore* reader) {
    if (!reader && fd >= 0) {
        get_running_loop().for_each_task([&](const TaskCore& task) {
            if (!task.waiting_on) return;
            const WaitInfo wait = task.waiting_on->describe();
            if (wait.fd == fd && read.rfind(wait.what, 0) == 0) reader = &task;
        });
    }
    throw_runtime_error({read, ": two tasks read from one stream", reader ? "; '" : "",
                         reader ? reader->name() : std::string(), reader ? "' waits already" : ""});
}
#endif

}  // namespace weft::detail
