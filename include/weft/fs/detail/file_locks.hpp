// SPDX-License-Identifier: MIT
// The advisory lock of an open file, and its close.
#pragma once

#include <sys/file.h>

#include <cerrno>
#include <utility>

#include "../../base/config.hpp"
#include "../../base/ref.hpp"
#include "../../net/io.hpp"
#include "../../task/coro.hpp"
#include "../../task/sleep.hpp"
#include "blocking_wait.hpp"
#include "file_state.hpp"
#include "file_transfer.hpp"

namespace weft::detail {

Coro<bool> lock_once(Ref<FileState> file, bool shared);
Coro<void> lock_in_time(Ref<FileState> file, bool shared);
Coro<void> unlock(Ref<FileState> file);
Coro<void> close_file(Ref<FileState> file);

#if WEFT_BODIES
/// 1: got it, 0: somebody else has it.
inline int flock_now(int fd, int how) noexcept {
    int result = 0;
    do {
        result = ::flock(fd, how | LOCK_NB);
    } while (result != 0 && errno == EINTR);
    if (result == 0) return 1;
    return errno == EWOULDBLOCK ? 0 : -errno;
}

WEFT_INLINE Coro<bool> lock_once(Ref<FileState> file, bool shared) {
    const int fd = file->fd.get();
    const int how = shared ? LOCK_SH : LOCK_EX;
    const int got =
        co_await blocking("flock", fd, file->path, [fd, how] { return flock_now(fd, how); });
    co_return got != 0;
}

WEFT_INLINE Coro<void> lock_in_time(Ref<FileState> file, bool shared) {
    Duration pause(500'000);
    for (;;) {
        const bool got = co_await lock_once(file, shared);
        if (got) co_return;
        pause = std::min(2 * pause, Duration(10'000'000));
        co_await sleep(pause);
    }
}

WEFT_INLINE Coro<void> unlock(Ref<FileState> file) {
    const int fd = file->fd.get();
    co_await blocking("flock", fd, file->path, [fd] { return flock_now(fd, LOCK_UN); });
}

WEFT_INLINE Coro<void> close_file(Ref<FileState> file) {
    if (!file->fd) co_return;
    FileTransferWait::end_line(*file);
    co_await io::close(std::move(file->fd));
}
#endif

}  // namespace weft::detail
