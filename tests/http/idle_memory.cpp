// SPDX-License-Identifier: MIT
// What an idle connection holds, whatever went through it before.
#include <weft/testing/catch.hpp>

#include <chrono>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <weft/http.hpp>
#include <weft/weft.hpp>

#include "heap.hpp"

namespace idle_memory_test {
namespace {

using namespace std::chrono_literals;
namespace http = weft::http;
using http::Request;
using http::Response;
using weft::Coro;

constexpr std::size_t connections = 40;
/// What one may hold when it is idle: a frame or two, the parser, room for the next head. (Of those
/// that have a client of ours at the other end too it is a multiple.)
constexpr std::size_t small = 4 * 1024;

Coro<Response> answer(Request& request) {
    const std::string body = co_await request.read();
    const std::size_t size =
        static_cast<std::size_t>(std::stoul(request.query("size").value_or("5")));
    co_return Response(std::string(size, 'x'));
}

Coro<Response> large_head(Request&) {
    Response response("ok");
    for (int field = 0; field < 40; ++field)
        response.headers.add("X-Field-" + std::to_string(field), std::string(1000, 'v'));
    co_return std::move(response);
}

Coro<Response> streamed(Request&) {
    auto write = [](http::BodyWriter& out) -> Coro<void> {
        for (int piece = 0; piece < 20; ++piece) co_await out.write(std::string(10'000, 'p'));
    };
    co_return Response(http::Body::written_by(write), "text/plain");
}

Coro<void> at_socket(http::WebSocket& socket) {
    while (auto message = co_await socket.recv()) co_await socket.send(std::move(message->data));
}

Coro<Response> at_websocket(Request& request) {
    co_return http::accept_websocket(request, &at_socket);
}

http::Router routes() {
    http::Router router;
    router.get("/", &answer);
    router.get("/{path...}", &answer);
    router.post("/", &answer);
    router.get("/head", &large_head);
    router.get("/streamed", &streamed);
    router.get("/ws", &at_websocket);
    return router;
}

/// Reads one response, and keeps nothing of it: its head, and the body of the length that it says,
/// or its chunks.
Coro<void> read_response(weft::Stream& stream) {
    std::string last;
    std::size_t end = std::string::npos;
    while (end == std::string::npos) {
        const weft::Chunk piece = co_await stream.read_chunk();
        last.append(piece.view());
        end = last.find("\r\n\r\n");
    }
    const std::size_t at = last.find("Content-Length: ");
    std::size_t left = at < end ? std::stoul(last.substr(at + 16)) : std::string::npos;
    if (at < end) left -= last.size() - end - 4;
    while (left > 0 && (at < end || !last.ends_with("\r\n0\r\n\r\n"))) {
        const weft::Chunk piece = co_await stream.read_chunk();
        last.append(piece.view());
        left -= piece.size();
    }
}

struct Traffic {
    const char* name;
    std::string sent;
};

WEFT_TEST_CASE("an idle connection of a server holds the same few bytes, whatever it has served") {
    if (support::has_sanitizer) co_return;  // which has a heap of its own
    const std::string begin = "GET / HTTP/1.1\r\nHost: a\r\n";
    std::string fields = begin;
    for (int field = 0; field < 90; ++field)
        fields += "X-" + std::to_string(field) + ": " + std::string(330, 'v') + "\r\n";
    const std::string large(900'000, 'b');
    std::string chunks;
    for (int chunk = 0; chunk < 3000; ++chunk) chunks += "1\r\nc\r\n";
    std::vector<Traffic> all;
    all.push_back({"small", begin + "\r\n"});
    all.push_back({"a large head", fields + "\r\n"});
    all.push_back(
        {"a long target", "GET /" + std::string(8000, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n"});
    all.push_back(
        {"a large body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n" + large});
    all.push_back(
        {"many chunks", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" +
                            chunks + "0\r\n\r\n"});
    all.push_back({"a large answer", "GET /?size=900000 HTTP/1.1\r\nHost: a\r\n\r\n"});
    all.push_back(
        {"an answer that fits in one write", "GET /?size=16000 HTTP/1.1\r\nHost: a\r\n\r\n"});
    all.push_back({"an answer with a large head", "GET /head HTTP/1.1\r\nHost: a\r\n\r\n"});
    all.push_back({"a streamed answer", "GET /streamed HTTP/1.1\r\nHost: a\r\n\r\n"});
    http::Server server = co_await http::start_server(routes(), "127.0.0.1", 0);
    for (const Traffic& each : all) {
        INFO(each.name);
        std::vector<weft::Stream> clients;
        clients.reserve(connections);
        // (The first makes what is made once.)
        std::size_t before = 0;
        for (std::size_t made = 0; made <= connections; ++made) {
            if (made == 1) before = support::bytes_in_use();
            weft::Stream client = co_await weft::open_connection("127.0.0.1", server.port());
            co_await client.write(each.sent);
            co_await read_response(client);
            clients.push_back(std::move(client));
        }
        co_await weft::sleep(1ms);
        const std::size_t after = support::bytes_in_use();
        CHECK((after - before) / connections < small);
        for (weft::Stream& client : clients) co_await client.close();
        co_await weft::sleep(1ms);
    }
    co_await server.shutdown();
}

WEFT_TEST_CASE("an idle WebSocket holds the same few bytes, whatever it has received and sent") {
    if (support::has_sanitizer) co_return;
    http::Server server = co_await http::start_server(routes(), "127.0.0.1", 0);
    const std::string url = "ws://127.0.0.1:" + std::to_string(server.port()) + "/ws";
    constexpr std::size_t sizes[] = {10, 600, 3000, 20'000, 900'000};
    for (const std::size_t size : sizes) {
        INFO(size);
        const std::size_t count = size < 100 ? 1000 : 3;
        std::vector<http::WebSocket> sockets;
        sockets.reserve(connections);
        std::size_t before = 0;
        for (std::size_t made = 0; made <= connections; ++made) {
            if (made == 1) before = support::bytes_in_use();
            http::WebSocket socket = co_await http::connect_websocket(url);
            // (Several at once: what waits to be written behind another one, or to be received.)
            const std::string message(size, 'm');
            std::vector<weft::Task<void>> senders;
            for (std::size_t each = 0; each < count; ++each)
                senders.push_back(weft::create_task(socket.send(message)));
            for (std::size_t each = 0; each < count; ++each) {
                const auto received = co_await socket.recv();
            }
            for (weft::Task<void>& sender : senders) co_await sender;
            sockets.push_back(std::move(socket));
        }
        co_await weft::sleep(1ms);
        const std::size_t after = support::bytes_in_use();
        CHECK((after - before) / connections < 3 * small);
        for (http::WebSocket& socket : sockets) co_await socket.close();
    }
    co_await server.shutdown();
}

struct Fetch {
    const char* name;
    const char* path;
    std::size_t body;
    std::size_t fields;
};

WEFT_TEST_CASE("an idle connection of a client holds the same few bytes, whatever came by it") {
    if (support::has_sanitizer) co_return;
    http::Server server = co_await http::start_server(routes(), "127.0.0.1", 0);
    const std::string base = "http://127.0.0.1:" + std::to_string(server.port());
    const std::vector<Fetch> all = {{"small", "/", 0, 0},
                                    {"a large response", "/?size=900000", 0, 0},
                                    {"a large head", "/head", 0, 0},
                                    {"a streamed response", "/streamed", 0, 0},
                                    {"many fields", "/", 0, 25},
                                    {"a large body", "/", 900'000, 0},
                                    {"a body that fits", "/", 60'000, 0}};
    for (const Fetch& each : all) {
        INFO(each.name);
        http::Headers fields;
        for (std::size_t field = 0; field < each.fields; ++field)
            fields.add("X-" + std::to_string(field), std::string(1000, 'v'));
        std::vector<weft::detail::Owned<http::Client>> clients;
        clients.reserve(connections + 1);
        std::size_t before = 0;
        for (std::size_t made = 0; made <= connections; ++made) {
            if (made == 1) before = support::bytes_in_use();
            weft::detail::Owned<http::Client> client(new http::Client);
            http::ClientRequest request(each.body > 0 ? "POST" : "GET", base + each.path);
            request.headers = fields;
            request.body = http::Body(std::string(each.body, 'b'));
            http::ClientResponse response = co_await client->request(std::move(request));
            const std::string text = co_await response.text();
            CHECK(client->idle_connections() == 1);
            clients.push_back(std::move(client));
        }
        co_await weft::sleep(1ms);
        const std::size_t after = support::bytes_in_use();
        CHECK((after - before) / connections < 2 * small);
        for (auto& client : clients) co_await client->close();
        clients.clear();
        co_await weft::sleep(1ms);
    }
    co_await server.shutdown();
}

}  // namespace
}  // namespace idle_memory_test
