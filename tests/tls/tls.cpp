// SPDX-License-Identifier: MIT
// TLS streams: what is said arrives, to the end, and nothing else does (SEMANTICS 116).
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <weft/net/tls.hpp>
#include <weft/weft.hpp>

#include "../support/tls_peers.hpp"

namespace tls_test {

namespace {

using namespace std::chrono_literals;
using support::client_context;
using support::client_options;
using support::server_context;
using support::StreamPair;
using support::tls_pair;
using support::Transport;
using weft::Coro;
using weft::Stream;
using weft::Task;
using weft::TlsContext;
using weft::TlsFailure;
using weft::TlsOptions;

/// Answers each line with itself, and goes without a word.
Coro<void> answer_lines(Stream client) {
    for (;;) {
        const std::string line = co_await client.read_line();
        if (line.empty()) break;
        co_await client.write(line);
    }
}

Coro<std::string> ask(Stream& stream, std::string line) {
    co_await stream.write(line);
    co_return co_await stream.read_line();
}

WEFT_TEST_CASE("a client and a server with TLS talk, and agree upon TLS 1.3") {
    TlsContext secure = server_context();
    secure.set_alpn_protocols({"h2", "http/1.1"});
    std::string seen;
    auto handler = [&seen](Stream client) -> Coro<void> {
        const std::optional<weft::TlsInfo> info = weft::tls_info(client);
        seen = info ? info->server_name + " " + info->alpn : "plain";
        return answer_lines(std::move(client));
    };
    weft::Server server = co_await weft::start_server(handler, "127.0.0.1", 0, TlsOptions(secure));
    TlsOptions options = client_options();
    options.context->set_alpn_protocols({"http/1.1", "h2"});
    Stream stream = co_await weft::open_connection("127.0.0.1", server.port(), options);
    const std::string answer = co_await ask(stream, "over TLS\n");
    CHECK(answer == "over TLS\n");
    const std::optional<weft::TlsInfo> info = weft::tls_info(stream);
    REQUIRE(info);
    CHECK(info->version == "TLSv1.3");
    CHECK(info->cipher.substr(0, 4) == "TLS_");
    CHECK(info->alpn == "h2");
    CHECK(info->peer_subject == "CN=localhost");
    CHECK(info->peer_issuer == "CN=weft test root");
    CHECK(info->peer_certificate.find("BEGIN CERTIFICATE") != std::string::npos);
    CHECK(!info->resumed);
    CHECK(seen == "localhost h2");
    CHECK(stream.peer_address() == server.address());
    co_await stream.close();
    server.close();
    co_await server.wait_closed();
}

WEFT_TEST_CASE("16 MiB go both ways at the same time, on every transport, and arrive whole") {
    std::string sent(16 << 20, '\0');
    for (std::size_t index = 0; index < sent.size(); ++index) {
        sent[index] = static_cast<char>(index * 2654435761u >> 13);
    }
    const auto write = [](Stream& stream, const std::string& text) -> Coro<void> {
        co_await stream.write(text);
        co_await stream.write_eof();
    };
    const auto read = [](Stream& stream) -> Coro<std::string> { return stream.read_all(17 << 20); };
    for (const Transport transport : support::every_transport) {
        StreamPair pair = co_await tls_pair(transport);
        Task<void> there = weft::create_task(write, std::ref(pair.near), std::cref(sent));
        Task<void> back = weft::create_task(write, std::ref(pair.far), std::cref(sent));
        Task<std::string> near = weft::create_task(read, std::ref(pair.near));
        const std::string far = co_await read(pair.far);
        const std::string received = co_await near;
        co_await there;
        co_await back;
        CHECK((far == sent));
        CHECK((received == sent));
        CHECK(pair.near.written() == sent.size());
    }
}

}  // namespace
}  // namespace tls_test
