// SPDX-License-Identifier: MIT
// How a WebSocket begins: our server, our client, and either of them with a peer that is wrong.
#include <weft/testing/catch.hpp>

#include <unistd.h>

#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <weft/http/accept_websocket.hpp>
#include <weft/http/connect_websocket.hpp>
#include <weft/http/detail/websocket_handshake.hpp>
#include <weft/http/router.hpp>
#include <weft/http/server.hpp>
#include <weft/http/tls_server.hpp>
#include <weft/http/url.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>

#include "awaiting.hpp"
#include "probe.hpp"
#include "scripted_server.hpp"
#include "tls_peers.hpp"

namespace websocket_handshake_test {
namespace {

using namespace std::chrono_literals;
using support::Script;
using support::ScriptedServer;
using weft::Coro;
using weft::Task;
using weft::http::AcceptWebSocketOptions;
using weft::http::connect_websocket;
using weft::http::ConnectWebSocketOptions;
using weft::http::Request;
using weft::http::Response;
using weft::http::Router;
using weft::http::WebSocket;

Coro<void> echo(WebSocket& socket) {
    while (auto message = co_await socket.recv()) co_await socket.send(message->data);
}
Coro<void> greet(WebSocket& socket) { co_await socket.send("welcome"); }
Coro<void> fail(WebSocket& socket) {
    (void)co_await socket.recv();
    throw std::runtime_error("a handler's mistake");
}

Coro<Response> at_echo(Request& request) {
    AcceptWebSocketOptions options;
    options.subprotocols.push_back("second");
    options.subprotocols.push_back("first");
    co_return weft::http::accept_websocket(request, &echo, options);
}
Coro<Response> at_greet(Request& request) {
    co_return weft::http::accept_websocket(request, &greet);
}
Coro<Response> at_fail(Request& request) { co_return weft::http::accept_websocket(request, &fail); }
Coro<Response> at_home(Request& request) {
    AcceptWebSocketOptions options;
    options.origins.push_back("https://home.example");
    co_return weft::http::accept_websocket(request, &echo, options);
}
Router routes() {
    Router router;
    router.get("/echo", &at_echo);
    router.get("/greet", &at_greet);
    router.get("/fail", &at_fail);
    router.get("/home", &at_home);
    return router;
}
std::string url_of(const weft::http::Server& server, std::string_view path,
                   std::string_view scheme = "ws") {
    return std::string(scheme) + "://127.0.0.1:" + std::to_string(server.port()) +
           std::string(path);
}
Coro<std::string> said(WebSocket& socket, std::string text) {
    co_await socket.send(text);
    auto message = co_await socket.recv();
    co_return message ? message->data : std::string("(end)");
}
Coro<std::string> refusal_of(std::string url, ConnectWebSocketOptions options = {}) {
    try {
        WebSocket socket = co_await connect_websocket(std::move(url), std::move(options));
        co_return "accepted";
    } catch (const std::exception& error) {
        co_return error.what();
    }
}
bool has(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

WEFT_TEST_CASE("a client and a server agree on a WebSocket, its subprotocol and its end") {
    weft::http::Server server = co_await weft::http::start_server(routes(), "127.0.0.1", 0);
    ConnectWebSocketOptions options;
    options.subprotocols.push_back("first");
    options.subprotocols.push_back("second");
    WebSocket socket = co_await connect_websocket(url_of(server, "/echo?x=y"), options);
    CHECK(socket.subprotocol() == "second");
    const std::string heard = co_await said(socket, "hello");
    CHECK(heard == "hello");
    co_await socket.close(4001, "bye");
    CHECK(socket.close_code() == 4001);

    WebSocket greeted = co_await connect_websocket(url_of(server, "/greet"));
    CHECK(greeted.subprotocol().empty());
    auto welcome = co_await greeted.recv();
    REQUIRE(welcome);
    CHECK(welcome->data == "welcome");
    auto end = co_await greeted.recv();
    CHECK(!end);
    CHECK(greeted.close_code() == weft::http::WebSocketCode::normal);
    co_await greeted.close();
    co_await support::turns(10);
    CHECK(server.connections() == 0);
}

WEFT_TEST_CASE("a handler that throws closes with 1011, and is reported") {
    const probe::Reports reports = probe::collect_reports(weft::get_running_loop());
    weft::http::Server server = co_await weft::http::start_server(routes(), "127.0.0.1", 0);
    WebSocket socket = co_await connect_websocket(url_of(server, "/fail"));
    const std::string end = co_await said(socket, "x");
    CHECK(end == "(end)");
    CHECK(socket.close_code() == weft::http::WebSocketCode::internal_error);
    co_await socket.close();
    co_await support::turns(10);
    CHECK(probe::count_with(reports, "a handler's mistake") == 1);
}

WEFT_TEST_CASE("a client that goes without a word is no failure of the handler's") {
    const probe::Reports reports = probe::collect_reports(weft::get_running_loop());
    weft::http::Server server = co_await weft::http::start_server(routes(), "127.0.0.1", 0);
    WebSocket socket = co_await connect_websocket(url_of(server, "/echo"));
    co_await said(socket, "x");
    socket.abort();
    co_await support::turns(20);
    CHECK(server.connections() == 0);
    CHECK(reports->empty());
}

WEFT_TEST_CASE("a server that stops says that it goes away, and waits for no one") {
    weft::http::Server server = co_await weft::http::start_server(routes(), "127.0.0.1", 0);
    WebSocket socket = co_await connect_websocket(url_of(server, "/echo"));
    co_await said(socket, "x");
    const weft::TimePoint begin = weft::get_running_loop().time();
    auto stop = [&]() -> Coro<void> { co_await server.shutdown(); };
    Task<void> stopping = weft::create_task(stop());
    auto end = co_await socket.recv();
    CHECK(!end);
    CHECK(socket.close_code() == weft::http::WebSocketCode::going_away);
    co_await stopping;
    CHECK(server.connections() == 0);
    CHECK(weft::get_running_loop().time() - begin < 1s);
    co_await socket.close();
}

WEFT_TEST_CASE("a WebSocket that is accepted while its server stops is told so at once") {
    Router router;
    router.get("/slow", [](Request& request) -> Coro<Response> {
        co_await weft::sleep(1s);
        co_return weft::http::accept_websocket(request, &echo);
    });
    weft::http::Server server =
        co_await weft::http::start_server(std::move(router), "127.0.0.1", 0);
    const weft::TimePoint begin = weft::get_running_loop().time();
    Task<WebSocket> connecting = weft::create_task(connect_websocket(url_of(server, "/slow")));
    co_await weft::sleep(100ms);
    auto stop = [&]() -> Coro<void> { co_await server.shutdown(30s); };
    Task<void> stopping = weft::create_task(stop());
    WebSocket socket = co_await std::move(connecting);
    auto end = co_await socket.recv();
    CHECK(!end);
    CHECK(socket.close_code() == weft::http::WebSocketCode::going_away);
    co_await stopping;
    CHECK(weft::get_running_loop().time() - begin < 3s);
    co_await socket.close();
}

WEFT_TEST_CASE("wss and ws+unix are WebSockets too") {
    weft::TlsOptions tls(support::server_context());
    weft::http::Server server =
        co_await weft::http::start_server(routes(), "127.0.0.1", 0, std::move(tls));
    ConnectWebSocketOptions options;
    options.client.tls = weft::TlsOptions(support::client_context());
    WebSocket secure = co_await connect_websocket(url_of(server, "/echo", "wss"), options);
    const std::string heard = co_await said(secure, std::string(100'000, 's'));
    CHECK(heard == std::string(100'000, 's'));
    co_await secure.close();

    const std::string path = std::string(1, '\0') + "weft-websocket-" + std::to_string(::getpid());
    weft::http::Server local = co_await weft::http::start_unix_server(routes(), path);
    WebSocket socket =
        co_await connect_websocket("ws+unix://" + weft::http::percent_encoded(path) + "/echo");
    const std::string again = co_await said(socket, "hello");
    CHECK(again == "hello");
    co_await socket.close();
}

WEFT_TEST_CASE("a request that is no good handshake is refused, and the connection goes on") {
    weft::http::Server server = co_await weft::http::start_server(routes(), "127.0.0.1", 0);
    const std::string get = "GET /echo HTTP/1.1\r\nHost: x\r\n";
    const std::string upgrade = "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n";
    const std::string version = "Sec-WebSocket-Version: 13\r\n";
    const std::string key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    struct Row {
        std::string request;
        int status;
    };
    std::vector<Row> rows;
    rows.push_back({get, 426});
    rows.push_back({get + upgrade + key, 426});
    rows.push_back({get + upgrade + key + "Sec-WebSocket-Version: 8\r\n", 426});
    rows.push_back({get + version + key + "Connection: Upgrade\r\nUpgrade: h2c\r\n", 426});
    rows.push_back({get + version + key + "Upgrade: websocket\r\n", 426});
    rows.push_back({get + upgrade + version, 400});
    rows.push_back({get + upgrade + version + "Sec-WebSocket-Key: short==\r\n", 400});
    rows.push_back({get + upgrade + version + key + key, 400});
    rows.push_back({"GET /home HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example\r\n" + upgrade +
                        version + key,
                    403});
    rows.push_back({"GET /home HTTP/1.1\r\nHost: x\r\nOrigin: https://home.example\r\n" + upgrade +
                        version + key,
                    101});
    weft::Stream stream = co_await weft::open_connection("127.0.0.1", server.port());
    for (const Row& row : rows) {
        co_await stream.write(row.request, "\r\n");
        const std::string head = co_await stream.read_until("\r\n\r\n");
        CHECK(head.starts_with("HTTP/1.1 " + std::to_string(row.status)));
        CHECK((row.status == 426) == has(head, "Sec-WebSocket-Version: 13"));
        if (row.status == 101) {
            // RFC 6455, section 1.3
            CHECK(has(head, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
            continue;
        }
        const std::size_t length = head.find("Content-Length: ");
        co_await stream.read_exactly(std::stoul(head.substr(length + 16)));
    }
}

WEFT_TEST_CASE("frames that come with the handshake are not lost") {
    weft::http::Server server = co_await weft::http::start_server(routes(), "127.0.0.1", 0);
    weft::Stream stream = co_await weft::open_connection("127.0.0.1", server.port());
    co_await stream.write(
        "GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        "\x81\x85\x01\x01\x01\x01idmmn");
    (void)co_await stream.read_until("\r\n\r\n");
    const std::string frame = co_await stream.read_exactly(7);
    CHECK(frame == "\x81\x05hello");
}

WEFT_TEST_CASE("a client that breaks the protocol is no failure of a handler with several tasks") {
    std::vector<std::string> reports;
    weft::http::ServerOptions options;
    options.on_error = [&reports](const weft::ExceptionContext& context) {
        reports.emplace_back(context.message);
    };
    bool fails_itself = false;
    weft::http::Router router;
    const auto talk = [&](WebSocket& socket) -> weft::Coro<void> {
        weft::Event never;
        const auto sends = [&]() -> weft::Coro<void> { co_await never.wait(); };
        co_await weft::task_group([&](weft::TaskGroup& group) -> weft::Coro<void> {
            group.create_task(sends);
            if (fails_itself) throw std::runtime_error("a mistake of the handler's");
            while (auto message = co_await socket.recv()) co_await socket.send(message->data);
        });
    };
    router.get("/", [&](weft::http::Request& request) -> weft::Coro<weft::http::Response> {
        co_return weft::http::accept_websocket(request, talk);
    });
    weft::http::Server server =
        co_await weft::http::start_server(std::move(router), "127.0.0.1", 0, options);
    for (const bool fails : {false, true}) {
        fails_itself = fails;
        weft::Stream stream = co_await weft::open_connection("127.0.0.1", server.port());
        co_await stream.write(
            "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
        (void)co_await stream.read_until("\r\n\r\n");
        if (!fails) co_await stream.write("\x81\x05hello");  // which is not masked
        const std::string frame = co_await stream.read_exactly(4);
        CHECK(frame == (fails ? "\x88\x02\x03\xf3" : "\x88\x02\x03\xea"));
        co_await stream.close();
    }
    co_await server.shutdown();
    REQUIRE(reports.size() == 1);
    CHECK(reports.front().starts_with("HTTP: GET /"));
}

WEFT_TEST_CASE("a server that does not agree is refused with a reason, and the URL") {
    const std::string upgrade =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
    struct Row {
        std::string answer;
        const char* why;
    };
    std::vector<Row> rows;
    rows.push_back({Script::ok("no"), "the server answers 200 OK"});
    rows.push_back({"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", "the server answers 302"});
    rows.push_back({"HTTP/1.1 401 Who\r\nContent-Length: 0\r\n\r\n", "the server answers 401 Who"});
    rows.push_back({upgrade + "\r\n", "has not understood the key"});
    rows.push_back({upgrade + "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
                    "has not understood the key"});
    rows.push_back({"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
                    "upgrades to something else"});
    rows.push_back({std::string(Script::close), "has closed"});
    for (const Row& row : rows) {
        Script script;
        script.answer(row.answer);
        ScriptedServer server = co_await ScriptedServer::start(script);
        const std::string url = server.url("/chat", "ws");
        const std::string why = co_await refusal_of(url);
        UNSCOPED_INFO(why);
        CHECK(has(why, row.why));
        CHECK(has(why, url));
        const std::string& request = script.requests.at(0);
        CHECK(request.starts_with("GET /chat HTTP/1.1\r\n"));
        CHECK(has(request, "\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "));
    }
    Script script;
    script.answer(std::string(Script::stall));
    ScriptedServer server = co_await ScriptedServer::start(script);
    const std::string late = co_await refusal_of(server.url("/", "ws"));
    CHECK(has(late, "timed out: ws://"));
    const std::string http = co_await refusal_of("http://127.0.0.1/");
    CHECK(has(http, "no URL of a WebSocket"));
}

WEFT_TEST_CASE(
    "what the handshake says itself is no header field of the program's, but the host is") {
    for (const char* name : {"Content-Length", "transfer-encoding", "Upgrade", "Connection",
                             "Sec-WebSocket-Key", "Sec-WebSocket-Extensions"}) {
        ConnectWebSocketOptions options;
        options.headers.add(name, "1");
        const std::string why = co_await refusal_of("ws://127.0.0.1/", options);
        CHECK(has(why, "is set by the client"));
    }
    Script script;
    script.answer(Script::ok("no"));
    ScriptedServer server = co_await ScriptedServer::start(script);
    ConnectWebSocketOptions options;
    options.headers.add("Host", "virtual");
    (void)co_await refusal_of(server.url("/", "ws"), options);
    const std::string& request = script.requests.at(0);
    CHECK(has(request, "\r\nHost: virtual\r\n"));
    CHECK(request.find("Host:") == request.rfind("Host:"));
}

WEFT_TEST_CASE("a proxy is asked for the port that a WebSocket's URL means") {
    Script script;
    script.answer("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
    ScriptedServer proxy = co_await ScriptedServer::start(script);
    ConnectWebSocketOptions options;
    options.client.proxy = proxy.url();
    for (const char* url : {"ws://a.example/", "ws://a.example:443/", "wss://a.example/"})
        (void)co_await refusal_of(url, options);
    CHECK(script.requests.at(0).starts_with("CONNECT a.example:80 HTTP/1.1\r\n"));
    CHECK(script.requests.at(1).starts_with("CONNECT a.example:443 HTTP/1.1\r\n"));
    CHECK(script.requests.at(2).starts_with("CONNECT a.example:443 HTTP/1.1\r\n"));
}

TEST_CASE("an accepted key is the hash of RFC 6455, and each key is another") {
    using namespace weft::http::detail;
    CHECK(websocket_accept("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    const std::string key = websocket_key();
    CHECK(is_websocket_key(key));
    CHECK(key != websocket_key());
}

}  // namespace
}  // namespace websocket_handshake_test
