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

weft::Coro<weft::StreamPair> make_pair() {
    support::StreamPair pair = co_await support::tls_pair(support::Transport::unix_pair);
    co_return weft::StreamPair(std::move(pair.near), std::move(pair.far));
}

TEST_CASE("113: what a Stream promises holds over TLS") {
    weft::testing::StreamCheckOptions options;
    options.more_than_fits = 2 << 20;
    options.abort_is_error = true;
    weft::testing::check_stream(&make_pair, options);
}

}  // namespace

}  // namespace tls_check_stream_test
