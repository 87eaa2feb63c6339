// SPDX-License-Identifier: MIT
// What a Stream promises, over TLS (SEMANTICS 113, 116).
// timeout: 300
#include <weft/testing/catch.hpp>
#include <weft/testing/check_stream.hpp>

#include <utility>

#include <weft/net/tls.hpp>
#include <weft/weft.hpp>

#include "../support/tls_peers.hpp"

namespace tls_check_stream_test {

namespace {

weft::Coro<weft::StreamPair> over(support::StreamPair plain) {
    support::StreamPair pair = co_await support::tls_pair(
        std::move(plain), support::client_options(), weft::TlsOptions(support::server_context()));
    weft::StreamPair made(std::move(pair.near), std::move(pair.far));
    co_return made;
}
weft::Coro<weft::StreamPair> over_tcp() {
    return over(support::bounded_pair(support::Transport::tcp));
}
weft::Coro<weft::StreamPair> over_memory() {
    weft::StreamPair memory = weft::memory_stream();
    return over(support::StreamPair(std::move(memory.near), std::move(memory.far)));
}

weft::testing::StreamCheckOptions options() {
    weft::testing::StreamCheckOptions what;
    what.abort_is_error = true;
    return what;
}

TEST_CASE("113: what a Stream promises holds over TLS on a socket") {
    weft::testing::check_stream(&over_tcp, options());
}
TEST_CASE("113: what a Stream promises holds over TLS on another transport") {
    weft::testing::StreamCheckOptions what = options();
    what.more_than_fits = 1 << 20;
    weft::testing::check_stream(&over_memory, what);
}

}  // namespace

}  // namespace tls_check_stream_test
