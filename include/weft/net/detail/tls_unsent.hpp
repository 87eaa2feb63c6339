// SPDX-License-Identifier: MIT
// What is on its way on the socket of a TLS connection that is about to be closed.
#pragma once

#include "../../base/config.hpp"

#if WEFT_TLS_BODIES
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "../../base/clock.hpp"
#include "../../base/std_parts.hpp"
#include "../../task/coro.hpp"
#include "../../task/sleep.hpp"
#include "../stream.hpp"

namespace weft::detail {

/// What has come and was not read (the tickets of TLS 1.3 for a client that never reads) would make
/// a reset of the close, and the peer might lose what is on its way to it.
[[gnu::cold, gnu::noinline]] inline void drop_unread(const Stream& below) noexcept {
    const StreamState& state = StreamAccess::state(below);
    char dropped[4096];
    for (int turn = 0; turn < 16 && state.fd; ++turn) {
        if (::recv(state.fd.get(), dropped, sizeof dropped, MSG_DONTWAIT) <= 0) return;
    }
}

/// Is there something that the kernel could not send yet?
[[gnu::cold, gnu::noinline]] inline bool has_unsent(const Stream& below) noexcept {
    const StreamState& state = StreamAccess::state(below);
    int unsent = 0;
    return state.fd && ::ioctl(state.fd.get(), SIOCOUTQNSD, &unsent) == 0 && unsent > 0;
}

/// A server's tickets may still come, and a reset that answers them would drop what is not sent
/// yet.
[[gnu::cold]] inline Coro<void> until_sent(const Stream& below) {
    Duration pause = std::chrono::milliseconds(1);
    while (has_unsent(below)) {
        drop_unread(below);
        co_await sleep(pause);
        pause = std::min<Duration>(2 * pause, std::chrono::milliseconds(20));
    }
}

}  // namespace weft::detail
#endif
