// SPDX-License-Identifier: MIT
// send_file: a part of a file goes out on a stream.
#pragma once

#include <cstdint>

#include "../base/config.hpp"
#include "../net/stream.hpp"
#include "../task/coro.hpp"

#if WEFT_BODIES
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#include <cerrno>
#include <coroutine>
#include <cstddef>

#include "../base/broken_pipe.hpp"
#include "../base/buffer.hpp"
#include "../base/error.hpp"
#include "../base/owned.hpp"
#include "../base/std_parts.hpp"
#include "../net/io.hpp"
#endif

namespace weft {

/// Everything up to the end of the file.
inline constexpr std::uint64_t to_the_end = ~std::uint64_t{0};

/// Sends `count` bytes of `file` from `offset` on, or less if the file ends before. On a socket the
/// kernel copies what is in its cache (sendfile); what has to come from the device is read first,
/// so that nobody waits for that; and over what is no socket, TLS for instance, it is read and
/// written. The file's own position stays.
/// Returns:  bytes sent.
/// Throws:   std::system_error (pread, sendfile, send); CancelledError; RuntimeError while another
///           file goes out on `stream`. As long as this one does, other writes to it throw that.
/// Cancel:   what was sent is sent; `stream.written()` tells how much that was.
/// Lifetime: `stream` and `file` outlive the await.
/// Source:   sendfile(2).
Coro<std::uint64_t> send_file(Stream& stream, int file, std::uint64_t offset = 0,
                              std::uint64_t count = to_the_end);

#if WEFT_BODIES
namespace detail {

/// The kernel has the first and the last byte at hand.
inline bool is_in_cache(int file, std::uint64_t offset, std::size_t size) noexcept {
    for (const std::uint64_t at : {offset, offset + size - 1}) {
        char byte = 0;
        const iovec one{&byte, 1};
        if (::preadv2(file, &one, 1, static_cast<off_t>(at), RWF_NOWAIT) != 1) return false;
    }
    return true;
}

/// Without waiting, whether others who have the socket (another process) find it blocking or not.
/// Returns:  bytes sent, or -errno.
[[gnu::noinline]] inline ssize_t send_file_now(int socket, int file, std::uint64_t offset,
                                               std::size_t size) noexcept {
    const int flags = ::fcntl(socket, F_GETFL);
    if (flags < 0) return -errno;
    const bool blocks = (flags & O_NONBLOCK) == 0;
    if (blocks && ::fcntl(socket, F_SETFL, flags | O_NONBLOCK) != 0) return -errno;
    auto from = static_cast<off_t>(offset);
    ssize_t sent = with_signal_held([&] { return ::sendfile(socket, file, &from, size); });
    if (sent < 0) sent = -errno;
    if (blocks) ::fcntl(socket, F_SETFL, flags);
    return sent;
}

/// For as long as a file goes out on the stream.
class FileGoesOut {
public:
    explicit FileGoesOut(const Ref<StreamState>& stream) : stream_(stream) {
        stream_->refuse_write_into_file();
        stream_->sends_file = true;
    }
    FileGoesOut(const FileGoesOut&) = delete;
    FileGoesOut& operator=(const FileGoesOut&) = delete;
    ~FileGoesOut() { stream_->sends_file = false; }

private:
    Ref<StreamState> stream_;
};

/// The one write that is not refused then: the file's own.
class [[nodiscard]] FilePieceWrite {
public:
    FilePieceWrite(StreamState& stream, ConstBuffer piece) noexcept
        : stream_(stream), write_(stream, piece) {}
    bool await_ready() const noexcept { return write_.await_ready(); }
    bool await_suspend(std::coroutine_handle<> handle) {
        struct Let {
            explicit Let(StreamState& stream) noexcept : of(stream) { of.sends_file = false; }
            Let(const Let&) = delete;
            Let& operator=(const Let&) = delete;
            ~Let() { of.sends_file = true; }
            StreamState& of;
        };
        const Let let(stream_);
        return write_.await_suspend(handle);
    }
    void await_resume() const { write_.await_resume(); }

private:
    StreamState& stream_;
    StreamWrite write_;
};

}  // namespace detail

WEFT_INLINE Coro<std::uint64_t> send_file(Stream& stream, int file, std::uint64_t offset,
                                          std::uint64_t count) {
    constexpr std::size_t most_in_a_call = 256 * 1024;
    constexpr std::size_t most_at_once = 64 * 1024;
    detail::StreamState& state = detail::StreamAccess::state(stream);
    const auto held = detail::Ref<detail::StreamState>::to(state);
    const detail::FileGoesOut goes_out(held);
    detail::Owned<char[]> buffer;
    std::uint64_t done = 0;
    bool in_kernel = !state.carrier;
    while (done < count) {
        const std::uint64_t at = offset + done;
        const std::uint64_t left = count - done;
        // (The first piece is written, behind whatever is being written already.)
        const auto piece = static_cast<std::size_t>(std::min<std::uint64_t>(left, most_in_a_call));
        if (in_kernel && done > 0 && detail::is_in_cache(file, at, piece)) {
            const ssize_t sent = detail::send_file_now(state.fd.get(), file, at, piece);
            if (sent == 0) break;
            if (sent > 0) {
                done += static_cast<std::uint64_t>(sent);
                state.written += static_cast<std::uint64_t>(sent);
                co_await yield();
            } else if (sent == -EAGAIN) {
                co_await io::poll(state.fd.get(), POLLOUT);
            } else if (detail::is_refusal(static_cast<int>(-sent))) {
                in_kernel = false;  // no file that can be mapped, or no such call here
            } else if (sent != -EINTR) {
                detail::throw_system_error(static_cast<int>(-sent),
                                           detail::connection_text("sendfile", state.fd.get()));
            }
            continue;
        }
        if (!buffer) buffer.reset(new char[most_at_once]);
        const std::size_t wanted = std::min(piece, most_at_once);
        const std::size_t got = co_await io::read_at(file, MutableBuffer(buffer.get(), wanted), at);
        if (got == 0) break;
        co_await detail::FilePieceWrite(state, ConstBuffer(buffer.get(), got));
        done += got;
    }
    co_return done;
}
#endif

}  // namespace weft
