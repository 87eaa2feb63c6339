// SPDX-License-Identifier: MIT
// The client: 20 pages one after another, then 1,000 at once.
#pragma once

#include <weft/net/address.hpp>
#include <weft/task/coro.hpp>

namespace demo {

/// Throws:   whatever went wrong first, with the page it went wrong with.
weft::Coro<void> run_client(weft::Address service);

}  // namespace demo
