// SPDX-License-Identifier: MIT
#include <weft/testing/catch.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <weft/http.hpp>
#include <weft/weft.hpp>

namespace server_test {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
namespace http = weft::http;
using http::Request;
using http::Response;
using weft::Coro;
using weft::Stream;

Coro<Response> hello(Request&) { co_return Response("hello"); }
Coro<Response> echo(Request& request) {
    std::string body = co_await request.read();
    co_return Response(std::move(body));
}

/// Sends `sent` over a connection in memory and says what came back until its end.
Coro<std::string> talk(http::Router router, std::string sent, http::ServerOptions options = {},
                       bool half_closes = true) {
    weft::StreamPair pair = weft::memory_stream();
    weft::Task<void> serving = weft::create_task(
        http::serve_connection(std::move(router), std::move(pair.far), std::move(options)));
    co_await pair.near.write(sent);
    if (half_closes) co_await pair.near.write_eof();
    std::string answer = co_await pair.near.read_all(1 << 24);
    co_await pair.near.close();
    co_await serving;
    // The date is of no interest.
    for (std::size_t at; (at = answer.find("Date: ")) != std::string::npos;)
        answer.erase(at, answer.find("\r\n", at) + 2 - at);
    co_return answer;
}

std::string get(std::string_view path, std::string_view fields = {}) {
    return "GET " + std::string(path) + " HTTP/1.1\r\nHost: a\r\n" + std::string(fields) + "\r\n";
}

WEFT_TEST_CASE("pipelined requests are answered in order, a half-closed client gets its answers") {
    http::Router router;
    router.get("/slow", [](Request&) -> Coro<Response> {
        co_await weft::sleep(5s);
        co_return Response("slow");
    });
    router.get("/", &hello);
    router.post("/echo", &echo);
    const std::string answer =
        co_await talk(std::move(router),
                      get("/slow") + get("/") +
                          "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
                          "chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n" +
                          "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + get("/none") +
                          "PUT /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + get("/"));
    CHECK(answer ==
          "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: "
          "4\r\n\r\nslow"
          "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: "
          "5\r\n\r\nhello"
          "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: "
          "5\r\n\r\nabcde"
          "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n\r\n"
          "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: "
          "9\r\n\r\nNot Found"
          "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain; charset=utf-8\r\nAllow: "
          "POST\r\n"
          "Connection: close\r\nContent-Length: 18\r\n\r\nMethod Not Allowed");
}

}  // namespace
}  // namespace server_test
