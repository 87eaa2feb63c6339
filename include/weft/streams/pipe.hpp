// SPDX-License-Identifier: MIT
// pipe, open_fifo: streams over the kernel's pipes.
#pragma once

#include <fcntl.h>

#include <utility>

#include "../base/c_text.hpp"
#include "../base/config.hpp"
#include "../net/stream.hpp"
#include "../task/coro.hpp"

#if WEFT_BODIES
#include <unistd.h>

#include <cerrno>

#include "../base/error.hpp"
#include "../base/fd.hpp"
#include "../net/io.hpp"
#endif

namespace weft {

struct Pipe {
    Pipe(Stream read_end, Stream write_end) noexcept
        : reader(std::move(read_end)), writer(std::move(write_end)) {}

    Stream reader;
    Stream writer;
};

/// What is written to one end is read from the other. Close-on-exec.
/// Throws:   std::system_error (pipe2).
Pipe pipe();

/// Opens a FIFO for reading (O_RDONLY), for writing (O_WRONLY) or for both (O_RDWR), close-on-exec.
/// One that is opened for reading is open at once; its first read waits until a writer has come,
/// and it is at its end when the last one has gone. One that is opened for writing waits until
/// there is a reader. (Devices, a serial line for instance, are opened so as well.)
/// Throws:   std::system_error (openat); CancelledError.
/// Cancel:   lossless: it is open and returned, or it is not open.
/// Lifetime: `path` outlives the await.
/// Source:   fifo(7).
Coro<Stream> open_fifo(CText path, int flags);

#if WEFT_BODIES
WEFT_INLINE Pipe pipe() {
    int ends[2];
    // (Two writers of a pipe that blocks may each find room that is enough for one alone; only
    // PIPE_BUF bytes at a time would be sure not to.)
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) detail::throw_system_error(errno, "pipe2");
    Fd reader = detail::not_standard(Fd(ends[0]));
    Fd writer = detail::not_standard(Fd(ends[1]));
    Stream from(std::move(reader));
    return Pipe(std::move(from), Stream(std::move(writer)));
}

WEFT_INLINE Coro<Stream> open_fifo(CText path, int flags) {
    Fd file = co_await io::open(path, flags);
    const bool awaits_writer = (flags & O_ACCMODE) == O_RDONLY;
    co_return Stream(detail::make_stream_state(std::move(file), awaits_writer));
}
#endif

}  // namespace weft
