// SPDX-License-Identifier: MIT
// MessageWait: a task waits for one message with all that belongs to it: parts, an address,
// control data.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "../../base/error.hpp"
#include "../../kernel/operation.hpp"
#include "../address.hpp"
#include "../operation_wait.hpp"

namespace weft::detail {

/// Base of the awaiters of recvmsg and sendmsg. It does not move (the kernel has its address while
/// it waits), and is returned in place.
class MessageWait : public OperationWait {
public:
    MessageWait(OpCode op, int descriptor, void* data, std::size_t size, int message_flags) noexcept
        : OperationWait(op), part_{data, size} {
        fd = descriptor;
        address = &message_;
        flags = static_cast<std::uint32_t>(message_flags);
        // (Field by field: what g++ makes of clearing it as a whole is slow.)
        message_.msg_name = nullptr;
        message_.msg_namelen = 0;
        message_.msg_iov = &part_;
        message_.msg_iovlen = 1;
        message_.msg_control = nullptr;
        message_.msg_controllen = 0;
        message_.msg_flags = 0;
    }

protected:
    ~MessageWait() = default;

    bool failed() const noexcept { return result < 0 && !await_cancelled(); }

    msghdr message_;
    iovec part_;
};

}  // namespace weft::detail
