// SPDX-License-Identifier: MIT
// The web service: `demo --serve`.
#pragma once

#include <weft/task/coro.hpp>

#include <cstdint>

namespace demo {

/// Serves the pages on the loopback interface until standard input ends, if that is a pipe; else
/// for ever. Its first line of output names the port (0: the kernel chooses one).
weft::Coro<void> run_service(std::uint16_t port);

}  // namespace demo
