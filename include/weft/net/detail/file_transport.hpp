// SPDX-License-Identifier: MIT
// FileTransport: a stream over a descriptor that is no socket: a pipe, a terminal, a file.
#pragma once

#include "../../base/config.hpp"
#include "../../base/fd.hpp"
#include "../../base/ref.hpp"
#include "stream_state.hpp"
#include "transport_carrier.hpp"

#if WEFT_BODIES
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "../../base/buffer.hpp"
#include "../../base/error.hpp"
#include "../../base/owned.hpp"
#include "../../runtime/loop.hpp"
#include "../../task/coro.hpp"
#include "../io.hpp"
#include "../transport.hpp"
#endif

namespace weft::detail {

/// Finds out what kind of file it is. One that `awaits_writer` is a FIFO whose first writer may be
/// yet to come: until then it is not at its end. Errors of one that is `called` something name that
/// in place of a number which the program may never have seen (a literal; no socket's).
Ref<StreamState> make_stream_state(Fd file, bool awaits_writer = false,
                                   const char* called = nullptr);

#if WEFT_BODIES
/// Reads and writes go on from the file's own position. Whether others, who may share the file
/// (a shell's terminal), find it blocking is left as it is.
class FileTransport final : public Transport {
public:
    FileTransport(Fd file, mode_t mode, bool awaits_writer, const char* called) noexcept
        : file_(std::move(file)),
          called_(called),
          number_(file_.get()),
          mode_(mode),
          awaits_writer_(awaits_writer) {}

    Coro<std::size_t> read_some(MutableBuffer into) override {
        // (poll(2) tells the two apart, read(2) does not.)
        if (awaits_writer_) {
            co_await io::poll(file_.get(), POLLIN);
            awaits_writer_ = false;
        }
        std::size_t count = 0;
        try {
            count = co_await io::read(file_.get(), into);
        } catch (const std::system_error& error) {
            // (How a terminal says that its other end is gone.)
            if (!S_ISCHR(mode_) || error.code().value() != EIO) fail("read ", error);
        }
        co_return count;
    }
    Coro<std::size_t> write_some(ConstBuffer from) override {
        if (!file_) throw_system_error(EPIPE, concat({"write ", name(), ", whose end was told"}));
        std::size_t count = 0;
        try {
            count = co_await io::write(file_.get(), from);
        } catch (const std::system_error& error) {
            fail("write ", error);
        }
        co_return count;
    }
    /// The end of a pipe that is written is at the end when it is closed.
    Coro<void> write_eof() override {
        const int flags = ::fcntl(file_.get(), F_GETFL);
        if (!S_ISFIFO(mode_) || (flags & O_ACCMODE) != O_WRONLY)
            throw_system_error(EOPNOTSUPP, concat({"write_eof ", name()}));
        return close();
    }
    /// (There is nothing left of a pipe whose end was told.)
    Coro<void> close() override {
        if (file_) co_await io::close(std::move(file_));
    }
    void abort() noexcept override { DetachedClose::begin(*EventLoop::running(), file_); }

    std::optional<std::size_t> try_read(MutableBuffer into) override {
        if (awaits_writer_) {
            pollfd one{file_.get(), POLLIN, 0};
            if (::poll(&one, 1, 0) == 0) return std::nullopt;
            awaits_writer_ = false;
        }
        const iovec piece{into.data(), into.size()};
        ssize_t count = ::preadv2(file_.get(), &piece, 1, -1, RWF_NOWAIT);
        if (count < 0 && is_refusal(errno)) {
            if (S_ISREG(mode_)) return std::nullopt;
            pollfd one{file_.get(), POLLIN, 0};
            if (::poll(&one, 1, 0) == 0) return std::nullopt;
            count = ::read(file_.get(), into.data(), into.size());
        }
        if (count >= 0) return static_cast<std::size_t>(count);
        if (errno == EAGAIN || errno == EINTR) return std::nullopt;
        if (errno == EIO && S_ISCHR(mode_)) return 0;
        throw_system_error(errno, concat({"read ", name()}));
    }

    int fd() const noexcept override { return file_.get(); }
    std::string name() const override {
        if (called_) return called_;
        return fd_text(S_ISFIFO(mode_) ? "pipe" : S_ISREG(mode_) ? "file" : "device", number_);
    }

private:
    [[noreturn, gnu::cold, gnu::noinline]] void fail(const char* call,
                                                     const std::system_error& error) const {
        throw_system_error(error.code().value(), concat({call, name()}));
    }

    Fd file_;
    const char* called_;
    int number_;  // for messages
    mode_t mode_;
    bool awaits_writer_;
};

/// A terminal that blocks takes a write whole, however long its other side stops it, and there is
/// no call that asks it not to. Whether one that others share blocks is theirs to say, so it is
/// opened once more, in the place of `file`. (That would make a new terminal of the master's side,
/// which belongs to nobody else.)
[[gnu::cold, gnu::noinline]] inline void unblock_terminal(const Fd& file) {
    const int number = file.get();
    const int flags = ::fcntl(number, F_GETFL);
    if (flags < 0 || (flags & O_NONBLOCK) || !::isatty(number)) return;
    unsigned index = 0;
    if (::ioctl(number, TIOCGPTN, &index) == 0) {
        ::fcntl(number, F_SETFL, flags | O_NONBLOCK);
        return;
    }
    const std::string path = concat({"/proc/self/fd/", decimal(number)});
    const Fd again(::open(path.c_str(), (flags & O_ACCMODE) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (!again) return;
    if (descriptor_closing) descriptor_closing(number);
    ::dup3(again.get(), number, O_CLOEXEC);
}

WEFT_INLINE Ref<StreamState> make_stream_state(Fd file, bool awaits_writer, const char* called) {
    struct stat status {};
    // (What is no descriptor says so when it is used.)
    if (::fstat(file.get(), &status) != 0 || S_ISSOCK(status.st_mode)) {
        int type = SOCK_STREAM;
        socklen_t size = sizeof type;
        ::getsockopt(file.get(), SOL_SOCKET, SO_TYPE, &type, &size);
        // (Of a message that does not fit into what is read the rest would be lost.)
        if (type != SOCK_STREAM)
            throw_system_error(EINVAL, fd_text("Stream: not a stream socket:", file.get()));
        return Ref<StreamState>(new StreamState(std::move(file)));
    }
    if (S_ISCHR(status.st_mode)) unblock_terminal(file);
    return carry(Owned<Transport>(
        new FileTransport(std::move(file), status.st_mode, awaits_writer, called)));
}
#endif

}  // namespace weft::detail
