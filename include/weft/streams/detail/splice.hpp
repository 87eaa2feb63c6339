// SPDX-License-Identifier: MIT
// SpliceWay: one direction of a copy between two sockets, inside the kernel.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include "../../base/broken_pipe.hpp"
#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/fd.hpp"
#include "../../base/ref.hpp"
#include "../../net/stream.hpp"
#include "../../runtime/loop.hpp"
#include "../../task/coro.hpp"

#if WEFT_BODIES
#include <poll.h>

#include "../../net/io.hpp"
#include "../../task/sleep.hpp"
#endif

namespace weft::detail {

/// splice(2) takes the pages of what was received into a pipe, and from there into what is to be
/// sent: the bytes are not copied. (IORING_OP_SPLICE is given to a thread for each call, which
/// costs more than the call, so both backends wait for readiness.)
///
/// What is in the pipe when the copy is given up goes into the buffer of the stream it came from,
/// where the next read finds it; so does what the target's kernel will not take this way.
class SpliceWay {
public:
    SpliceWay(StreamState& from, StreamState& to) noexcept
        : from_(Ref<StreamState>::to(from)), to_(Ref<StreamState>::to(to)) {}
    SpliceWay(const SpliceWay&) = delete;
    SpliceWay& operator=(const SpliceWay&) = delete;
    ~SpliceWay() {
        put_back();
        from_->filled_by = nullptr;
    }

    /// Both are sockets. (Nothing else of ours reads or writes by itself.)
    static bool suits(const StreamState& from, const StreamState& to) noexcept {
        return from.fd && to.fd && !from.carrier && !to.carrier;
    }
    /// False: there is no pipe to be had.
    bool open() noexcept;

    /// The source is ours alone from here on: other readers are refused by name.
    void begin_reading() noexcept { from_->filled_by = EventLoop::running(); }

    /// Returns:  bytes that are in the pipe, 0 at the end, -EAGAIN, or another -errno.
    ssize_t fill() noexcept;
    /// Returns:  bytes that have left it, or -errno.
    ssize_t empty() noexcept;
    std::size_t left() const noexcept { return left_; }

    /// Throws:   ECANCELED once somebody has closed the stream.
    int source() const { return number_of(*from_, "recv"); }
    int target() const { return number_of(*to_, "send"); }

private:
    static constexpr std::size_t most = 256 * 1024;

    static int number_of(const StreamState& stream, const char* call) {
        if (!stream.fd) throw_system_error(ECANCELED, concat({call, ", a stream that was closed"}));
        return stream.fd.get();
    }
    ssize_t move(int in, int out, std::size_t size, int socket) noexcept;
    void put_back() noexcept;

    Ref<StreamState> from_;
    Ref<StreamState> to_;
    Fd read_end_;
    Fd write_end_;
    std::size_t left_ = 0;  // in the pipe
};

/// How much was moved, and why not more.
enum class Spliced : std::uint8_t {
    not_worth_it,  // small pieces, or nothing more: a receive tells what comes now
    refused        // it does not go this way
};

/// Nothing of `from` is buffered, and nothing is received.
Coro<Spliced> copy_spliced(StreamState& from, StreamState& to, std::uint64_t& copied);

#if WEFT_BODIES
[[gnu::cold]] WEFT_INLINE bool SpliceWay::open() noexcept {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return false;
    read_end_ = not_standard(Fd(ends[0]));
    write_end_ = not_standard(Fd(ends[1]));
    // (Sixteen packets fit into one as it comes. More is refused to who has many: no matter.)
    ::fcntl(write_end_.get(), F_SETPIPE_SZ, static_cast<int>(most));
    return true;
}

/// A socket is asked by its O_NONBLOCK alone whether it may wait, which is what others who have it
/// find, and the ring wants it to be off.
[[gnu::noinline]] WEFT_INLINE ssize_t SpliceWay::move(int in, int out, std::size_t size,
                                                      int socket) noexcept {
    const int flags = ::fcntl(socket, F_GETFL);
    if (flags < 0) return -errno;
    const bool blocks = (flags & O_NONBLOCK) == 0;
    if (blocks && ::fcntl(socket, F_SETFL, flags | O_NONBLOCK) != 0) return -errno;
    const auto call = [&] {
        return ::splice(in, nullptr, out, nullptr, size, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    };
    ssize_t moved = 0;
    do {
        moved = socket == out ? with_signal_held(call) : call();
    } while (moved < 0 && is_interruption(errno));
    if (moved < 0) moved = -errno;
    if (blocks) ::fcntl(socket, F_SETFL, flags);
    return moved;
}
WEFT_INLINE ssize_t SpliceWay::fill() noexcept {
    const ssize_t got = move(from_->fd.get(), write_end_.get(), most, from_->fd.get());
    if (got > 0) left_ += static_cast<std::size_t>(got);
    return got;
}
WEFT_INLINE ssize_t SpliceWay::empty() noexcept {
    const ssize_t sent = move(read_end_.get(), to_->fd.get(), left_, to_->fd.get());
    if (sent > 0) {
        left_ -= static_cast<std::size_t>(sent);
        to_->written += static_cast<std::uint64_t>(sent);
    }
    return sent;
}
[[gnu::noinline]] WEFT_INLINE void SpliceWay::put_back() noexcept {
    try {
        while (left_ > 0) {
            const MutableBuffer room = from_->buffer.room(left_);
            const ssize_t got = ::read(read_end_.get(), room.data(), left_);
            if (got <= 0) return;
            from_->buffer.received(static_cast<std::size_t>(got));
            left_ -= static_cast<std::size_t>(got);
        }
    } catch (const std::bad_alloc&) {
        // (They are lost, as the chunk would be that a copy holds.)
    }
}

WEFT_INLINE Coro<Spliced> copy_spliced(StreamState& from, StreamState& to, std::uint64_t& copied) {
    constexpr ssize_t small_piece = 8 * 1024;
    constexpr int most_small = 8;  // in a row
    SpliceWay way(from, to);
    if (!way.open()) co_return Spliced::refused;
    way.begin_reading();
    bool was_ready = false;
    for (int small = 0; small < most_small;) {
        (void)way.source();
        const ssize_t got = way.fill();
        // The end; or urgent data (MSG_OOB) comes before it, at which every splice stops for good.
        if (got == 0) co_return Spliced::not_worth_it;
        if (is_refusal(static_cast<int>(-got))) co_return Spliced::refused;
        if (got == -EAGAIN) {
            // (There is something, and not for us: it stands at urgent data.)
            if (std::exchange(was_ready, true)) co_return Spliced::not_worth_it;
            co_await io::poll(way.source(), POLLIN);
            continue;
        }
        was_ready = false;
        if (got < 0)
            throw_system_error(static_cast<int>(-got), connection_text("recv", way.source()));
        small = got < small_piece ? small + 1 : 0;
        while (way.left() > 0) {
            const int target = way.target();
            // (A write of somebody else's goes out whole.)
            if (EventLoop::running()->is_sending(target)) {
                co_await io::send(target, ConstBuffer(nullptr, 0));
                continue;
            }
            to.refuse_write_into_file();
            const ssize_t sent = way.empty();
            if (sent == -EAGAIN) {
                co_await io::poll(target, POLLOUT);
            } else if (sent >= 0) {
                copied += static_cast<std::uint64_t>(sent);
            } else if (is_refusal(static_cast<int>(-sent))) {
                co_return Spliced::refused;
            } else {
                throw_system_error(static_cast<int>(-sent), connection_text("send", target));
            }
        }
        co_await yield();
    }
    co_return Spliced::not_worth_it;
}
#endif

}  // namespace weft::detail
