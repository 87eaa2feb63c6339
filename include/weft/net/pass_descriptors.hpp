// SPDX-License-Identifier: MIT
// send_descriptors, receive_descriptors: open files travel between processes over a Unix socket.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "../base/buffer.hpp"
#include "../base/config.hpp"
#include "../base/error.hpp"
#include "../base/fd.hpp"
#include "detail/message_wait.hpp"

namespace weft {
namespace detail {
class DescriptorSend;
class DescriptorReceive;
}  // namespace detail

namespace io {

/// How many descriptors a message can carry (SCM_MAX_FD, unix(7)).
inline constexpr std::size_t most_passed_descriptors = 253;

/// What came with a message that may carry descriptors.
struct ReceivedDescriptors {
    // User-provided: g++ 12 destroys aggregate temporaries of awaiting expressions twice.
    ReceivedDescriptors(std::size_t bytes, std::vector<Fd> taken, bool cut) noexcept
        : size(bytes), descriptors(std::move(taken)), truncated(cut) {}

    std::size_t size;             ///< bytes in the buffer; 0 on a stream: the peer closed
    std::vector<Fd> descriptors;  ///< close-on-exec
    bool truncated;  ///< more were sent than there was room for: the kernel has closed the others
};

/// Sends `data`, one byte at least, and with its first byte copies of `descriptors`, which stay
/// open here and may be closed once this has returned.
/// Returns:  bytes sent, possibly fewer on a stream; the descriptors went with the first.
/// Throws:   std::system_error (sendmsg; EINVAL: no byte, or too many descriptors);
///           CancelledError.
/// Cancel:   lossless: sent, or not.
/// Lifetime: `data` outlives the await, a cancelled one included; `descriptors` are read at once.
/// Source:   SCM_RIGHTS, unix(7); IORING_OP_SENDMSG, Linux 5.3.
detail::DescriptorSend send_descriptors(int socket, ConstBuffer data,
                                        std::span<const int> descriptors);

/// Receives bytes, and the descriptors that came with them, `most` of them at most.
/// Throws:   std::system_error (recvmsg); CancelledError.
/// Cancel:   lossless: what is received is returned, or nothing was taken.
/// Lifetime: `buffer` outlives the await, a cancelled one included. What arrived for a frame that
///           is destroyed is closed.
/// Source:   SCM_RIGHTS, unix(7); IORING_OP_RECVMSG, Linux 5.3.
detail::DescriptorReceive receive_descriptors(int socket, MutableBuffer buffer,
                                              std::size_t most = 16);

}  // namespace io

namespace detail {

/// A message with room for control data that carries descriptors.
class DescriptorMessage : public MessageWait {
protected:
    DescriptorMessage(OpCode op, int socket, void* data, std::size_t size, int message_flags,
                      std::size_t control_size)
        : MessageWait(op, socket, data, size, message_flags),
          control_(control_size / sizeof(cmsghdr) + 1) {
        message_.msg_control = control_.data();
        message_.msg_controllen = control_size;
    }
    ~DescriptorMessage() = default;

    std::vector<cmsghdr> control_;  // (aligned as it has to be)
};

class [[nodiscard]] [[gnu::warn_unused]] DescriptorSend final : public DescriptorMessage {
public:
    DescriptorSend(int socket, ConstBuffer data, std::span<const int> descriptors)
        : DescriptorMessage(OpCode::sendmsg, socket, const_cast<void*>(data.data()), data.size(), 0,
                            CMSG_SPACE(descriptors.size() * sizeof(int))) {
        if (data.size() == 0 || descriptors.size() > io::most_passed_descriptors)
            throw_system_error(EINVAL, "send_descriptors");
        if (descriptors.empty()) {
            message_.msg_control = nullptr;
            message_.msg_controllen = 0;
            return;
        }
        cmsghdr& header = control_.front();
        header.cmsg_level = SOL_SOCKET;
        header.cmsg_type = SCM_RIGHTS;
        header.cmsg_len = CMSG_LEN(descriptors.size_bytes());
        std::memcpy(CMSG_DATA(&header), descriptors.data(), descriptors.size_bytes());
    }
    std::size_t await_resume() const { return transferred(); }
};

class [[nodiscard]] [[gnu::warn_unused]] DescriptorReceive final : public DescriptorMessage {
public:
    DescriptorReceive(int socket, MutableBuffer buffer, std::size_t most)
        : DescriptorMessage(OpCode::recvmsg, socket, buffer.data(), buffer.size(), MSG_CMSG_CLOEXEC,
                            CMSG_SPACE(most * sizeof(int)) + room_for_others),
          most_(most) {
        taken_.reserve(most);
    }
    ~DescriptorReceive() {
        if (result >= 0 && task_) take_each([](Fd, bool) noexcept {});
    }
    io::ReceivedDescriptors await_resume() {
        const std::size_t size = transferred();
        bool cut = (message_.msg_flags & MSG_CTRUNC) != 0;
        take_each([this, &cut](Fd one, bool is_passed) noexcept {
            if (is_passed && taken_.size() == most_) cut = true;
            if (is_passed && taken_.size() < most_) taken_.push_back(std::move(one));
        });
        return io::ReceivedDescriptors(size, std::move(taken_), cut);
    }

private:
    // What the options of the socket ask for stands in front: who has sent it (SO_PASSCRED,
    // SO_PASSPIDFD), under which label (SO_PASSSEC), when (SO_TIMESTAMPING). Descriptors would be
    // closed for want of the room that it takes.
    static constexpr std::size_t room_for_others = 1024;

    /// Once: the control data is empty afterwards.
    template <class Take>
    void take_each(Take take) noexcept {
        for (cmsghdr* header = CMSG_FIRSTHDR(&message_); header;
             header = CMSG_NXTHDR(&message_, header)) {
            constexpr int with_pidfd = 4;  // SCM_PIDFD, Linux 6.5: nobody wants it, but it is open
            if (header->cmsg_level != SOL_SOCKET) continue;
            if (header->cmsg_type != SCM_RIGHTS && header->cmsg_type != with_pidfd) continue;
            const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            for (std::size_t index = 0; index < count; ++index) {
                int number = -1;
                std::memcpy(&number, CMSG_DATA(header) + index * sizeof number, sizeof number);
                take(Fd(number), header->cmsg_type == SCM_RIGHTS);
            }
        }
        message_.msg_controllen = 0;
    }

    const std::size_t most_;
    // Its memory comes first: what has arrived cannot be given back.
    std::vector<Fd> taken_;
};

}  // namespace detail

namespace io {

inline detail::DescriptorSend send_descriptors(int socket, ConstBuffer data,
                                               std::span<const int> descriptors) {
    return detail::DescriptorSend(socket, data, descriptors);
}
inline detail::DescriptorReceive receive_descriptors(int socket, MutableBuffer buffer,
                                                     std::size_t most) {
    return detail::DescriptorReceive(socket, buffer, most);
}

}  // namespace io
}  // namespace weft
