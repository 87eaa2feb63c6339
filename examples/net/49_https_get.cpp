// SPDX-License-Identifier: MIT
// Fetches a page over HTTPS: 49_https_get HOST [PATH]. Says what was agreed upon, or why the server
// is not believed.
// needs: weft::tls
#include <fmt/format.h>
#include <weft/net/tls.hpp>
#include <weft/weft.hpp>

#include <chrono>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>

using namespace std::chrono_literals;

weft::Coro<void> fetch(std::string host, std::string path) {
    weft::TlsContext context = weft::TlsContext::client();
    context.set_alpn_protocols({"http/1.1"});
    weft::Stream stream = co_await weft::open_connection(host, 443, context);
    const std::optional<weft::TlsInfo> info = weft::tls_info(stream);
    fmt::print(stderr, "{}, {}, issued by {}\n", info->version, info->cipher, info->peer_issuer);
    co_await stream.write("GET " + path + " HTTP/1.1\r\nHost: " + host +
                          "\r\nConnection: close\r\n\r\n");
    for (;;) {
        // The end of the page is the server's word (close_notify); a connection that is cut is an
        // error.
        const weft::Chunk chunk = co_await stream.read_chunk();
        if (chunk.empty()) break;
        std::fwrite(chunk.data(), 1, chunk.size(), stdout);
    }
    co_await stream.close();
}

weft::Coro<void> fetch_in_time(std::string host, std::string path) {
    co_await weft::wait_for(fetch(host, path), 30s);
}

int main(int argc, char** argv) {
    if (argc < 2) {
        fmt::print("usage: {} HOST [PATH]\n", argv[0]);
        return 0;
    }
    try {
        weft::run(fetch_in_time(argv[1], argc > 2 ? argv[2] : "/"));
    } catch (const std::exception& error) {
        fmt::print(stderr, "{}\n", error.what());
        return 1;
    }
}
