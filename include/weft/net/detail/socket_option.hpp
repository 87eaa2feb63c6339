// SPDX-License-Identifier: MIT
// Options of sockets.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>

#include "../../base/config.hpp"
#include "../../base/error.hpp"

namespace weft::detail {

void set_socket_option(int fd, int level, int name, const void* value, unsigned size);
void get_socket_option(int fd, int level, int name, void* value, unsigned size);

#if WEFT_BODIES
[[gnu::cold, gnu::noinline]] WEFT_INLINE void set_socket_option(int fd, int level, int name,
                                                                const void* value, unsigned size) {
    if (::setsockopt(fd, level, name, value, size) != 0)
        throw_system_error(errno, fd_text("setsockopt", fd));
}
[[gnu::cold, gnu::noinline]] WEFT_INLINE void get_socket_option(int fd, int level, int name,
                                                                void* value, unsigned size) {
    socklen_t length = size;
    if (::getsockopt(fd, level, name, value, &length) != 0)
        throw_system_error(errno, fd_text("getsockopt", fd));
}
#endif

}  // namespace weft::detail
