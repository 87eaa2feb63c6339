// SPDX-License-Identifier: MIT
// The echo server with TLS, and a client that checks who it talks to: one line each beside what
// there is without.
// needs: weft::tls
#include <fmt/format.h>
#include <weft/net/tls.hpp>
#include <weft/weft.hpp>

#include <optional>
#include <string>

#include "localhost_identity.hpp"

// The handler of 04_echo_server would do as it is: a Stream is a Stream.
weft::Coro<void> echo(weft::Stream client) {
    for (;;) {
        const weft::Chunk chunk = co_await client.read_chunk();
        if (chunk.empty()) co_return;
        co_await client.write(chunk);
    }
}

weft::Coro<void> talk(std::uint16_t port, weft::TlsContext trust) {
    weft::Stream stream = co_await weft::open_connection("localhost", port, trust);
    const std::optional<weft::TlsInfo> info = weft::tls_info(stream);
    fmt::print("{} with {}{}\n", info->version, info->peer_subject,
               info->resumed ? ", as before" : "");
    co_await stream.write("a secret\n");
    const std::string answer = co_await stream.read_line();
    fmt::print("came back: {}", answer);
    co_await stream.close();  // says that this was all, which tells an end from a cut
}

weft::Coro<void> talk_to_stranger(std::uint16_t port) {
    // The context that nobody gave: what this host believes, and our certificate is not among it.
    try {
        (void)co_await weft::open_connection("localhost", port, weft::TlsOptions());
    } catch (const weft::TlsError& error) {
        fmt::print("refused: {}\n", error.verify_result());
    }
}

weft::Coro<void> serve_and_talk() {
    // From files: context.load_cert_chain("fullchain.pem", "privkey.pem").
    weft::TlsContext identity = weft::TlsContext::server();
    identity.use_cert_chain(localhost_certificate, localhost_key);
    weft::TlsContext trust = weft::TlsContext::client(weft::TlsRoots::none);
    trust.add_roots(localhost_certificate);

    weft::Server server = co_await weft::start_server(&echo, "localhost", 0, identity);
    co_await talk(server.port(), trust);
    co_await talk(server.port(), trust);
    // The server's loop reports a handshake that fails as it reports a handler that throws.
    weft::get_running_loop().set_exception_handler(
        [](const weft::ExceptionContext&) { fmt::print("the server goes on\n"); });
    co_await talk_to_stranger(server.port());
    co_await server.shutdown();
}

int main() { weft::run(serve_and_talk()); }
