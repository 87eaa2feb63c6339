// SPDX-License-Identifier: MIT
// A user's program with TLS.
#include <weft/net/tls.hpp>
#include <weft/weft.hpp>

#include <cstdio>

weft::Coro<void> refused() {
    weft::Stream plain = co_await weft::open_connection("127.0.0.1", 1, weft::TlsOptions());
}

int main() {
    weft::TlsContext context = weft::TlsContext::client(weft::TlsRoots::none);
    try {
        weft::run(refused());
    } catch (const std::system_error& error) {
        std::printf("with TLS: %s", context.is_server() ? "" : "nobody is there");
    }
}
