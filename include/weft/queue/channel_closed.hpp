// SPDX-License-Identifier: MIT
// ChannelClosed: what an end of a channel throws when the other side is gone.
#pragma once

#include <stdexcept>

namespace weft {

/// The other side is gone: nobody will receive what is sent, or nobody will send what is awaited.
class ChannelClosed : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

namespace detail {

[[noreturn, gnu::cold, gnu::noinline]] inline void throw_channel_closed(const char* what) {
    throw ChannelClosed(what);
}

}  // namespace detail
}  // namespace weft
