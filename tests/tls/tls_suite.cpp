// SPDX-License-Identifier: MIT
// TLS gives the same answers as every other transport (SEMANTICS 113).
// timeout: 300
#include <weft/testing/catch.hpp>

#include <cstddef>
#include <cstdlib>
#include <utility>

#include <weft/net/tls.hpp>
#include <weft/testing/check_stream.hpp>
#include <weft/weft.hpp>

#include "../support/tls_peers.hpp"

namespace tls_suite_test {
namespace {

using support::Transport;
using weft::Coro;

weft::testing::StreamCheckOptions options() {
    weft::testing::StreamCheckOptions what;
    what.abort_is_error = true;
    if (const char* const only = std::getenv("WEFT_STREAM_CASE")) what.only = only;
    return what;
}

Coro<weft::StreamPair> over(support::StreamPair plain) {
    support::StreamPair pair = co_await support::tls_pair(
        std::move(plain), support::client_options(), weft::TlsOptions(support::server_context()));
    weft::StreamPair made(std::move(pair.near), std::move(pair.far));
    co_return made;
}
Coro<weft::StreamPair> over_tcp() { return over(support::stream_pair(Transport::tcp)); }
Coro<weft::StreamPair> over_memory() {
    weft::StreamPair memory = weft::memory_stream();
    return over(support::StreamPair(std::move(memory.near), std::move(memory.far)));
}

TEST_CASE("what a Stream promises holds over TLS on TCP", "[tcp]") {
    weft::testing::check_stream(&over_tcp, options());
}
TEST_CASE("what a Stream promises holds over TLS in memory", "[memory]") {
    weft::testing::StreamCheckOptions what = options();
    what.more_than_fits = 1 << 20;
    weft::testing::check_stream(&over_memory, what);
}

}  // namespace
}  // namespace tls_suite_test
