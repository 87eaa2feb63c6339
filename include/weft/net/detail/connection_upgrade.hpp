// SPDX-License-Identifier: MIT
// ConnectionUpgrade: what becomes of an accepted connection before its handler gets it.
#pragma once

#include <utility>

#include "../../base/callback.hpp"
#include "../../base/ref.hpp"
#include "../../task/coro.hpp"
#include "../stream.hpp"

namespace weft::detail {

struct ServerState;
Coro<void> upgrade_and_handle(Ref<ServerState> server, Stream plain);

/// What an accepted connection goes through in its handler's task, before the handler: it takes the
/// plain stream and returns the one that the handler is to get. Its failure is the handler's. (With
/// it goes how it is run, which so is compiled only for programs that have one.)
class ConnectionUpgrade {
public:
    ConnectionUpgrade() noexcept = default;
    explicit ConnectionUpgrade(Callback<Coro<Stream>(Stream)> upgrade) noexcept
        : upgrade_(std::move(upgrade)), run_(&upgrade_and_handle) {}

    explicit operator bool() const noexcept { return run_ != nullptr; }
    Coro<Stream> operator()(Stream plain) { return upgrade_(std::move(plain)); }
    /// It and then the handler.
    using Run = Coro<void> (*)(Ref<ServerState> server, Stream plain);
    Run run() const noexcept { return run_; }

private:
    Callback<Coro<Stream>(Stream)> upgrade_;
    Run run_ = nullptr;
};

}  // namespace weft::detail
