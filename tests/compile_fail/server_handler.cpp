// expect: weft: the handler of a server takes a Stream and returns a Coro<void>
// SPDX-License-Identifier: MIT
// What serves a connection gets the stream by value.
#include <weft/net/server.hpp>

#include <utility>

weft::Coro<void> user() {
#ifdef WEFT_EXPECT_OK
    auto server =
        co_await weft::start_server([](weft::Stream) -> weft::Coro<void> { co_return; }, "", 0);
#else
    auto server =
        co_await weft::start_server([](weft::Stream&) -> weft::Coro<void> { co_return; }, "", 0);
#endif
}
