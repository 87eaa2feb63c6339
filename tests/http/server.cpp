// SPDX-License-Identifier: MIT
#include <weft/testing/catch.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
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

/// How many of something are done in one turn of the loop at most, and in how many turns.
struct Turns {
    long handled = 0;
    long most = 0;
    long turns = 0;
    bool done = false;
    Coro<void> watch() {
        for (long before = 0; !done; before = handled) {
            co_await weft::yield();
            ++turns;
            most = std::max(most, handled - before);
        }
    }
};

WEFT_TEST_CASE("a client that sends without end leaves others their turns") {
    // Handlers that never wait, for requests, pieces and frames that are all there.
    Turns counted;
    http::Router router;
    router.get("/", [&](Request&) -> Coro<Response> {
        ++counted.handled;
        co_return Response("x");
    });
    router.post("/", [&](Request& request) -> Coro<Response> {
        for (;;) {
            const std::string_view piece = co_await request.body().read_chunk();
            if (piece.empty()) break;
            ++counted.handled;
        }
        co_return Response("x");
    });
    router.get("/socket", [&](Request& request) -> Coro<Response> {
        auto receive = [&](http::WebSocket& socket) -> Coro<void> {
            while (auto message = co_await socket.recv()) counted.handled += 1000;
        };
        co_return http::accept_websocket(request, receive);
    });
    const auto many = [](std::string_view what, int count) {
        std::string all;
        for (int each = 0; each < count; ++each) all += what;
        return all;
    };
    const std::vector<std::string> all = {
        many(get("/"), 1000) + get("/", "Connection: close\r\n"),
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n" +
            many("1\r\nx\r\n", 200'000) + "0\r\n\r\n",
        get("/socket",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n") +
            many("\x89\x80xxxx", 200'000) + "\x81\x80xxxx\x88\x80xxxx"};
    http::Server server = co_await http::start_server(std::move(router), "127.0.0.1", 0);
    for (const std::string& sent : all) {
        counted = Turns();
        weft::Task<void> watching = weft::create_task(counted.watch());
        Stream client = co_await weft::open_connection("127.0.0.1", server.port());
        auto write = [&]() -> Coro<void> { co_await client.write(sent); };
        weft::Task<void> writing = weft::create_task(write);
        const std::string answer = co_await client.read_all(1 << 20);
        co_await writing;
        counted.done = true;
        co_await watching;
        CHECK(answer.find("HTTP/1.1 ") == 0);
        CHECK(counted.handled >= 1000);
        CHECK(counted.most <= std::max(1000L, counted.handled / 40));
        CHECK(counted.turns >= 14);
    }
    co_await server.shutdown();
}

struct Malformed {
    const char* name;
    std::string text;
    const char* status;
};

WEFT_TEST_CASE("what is no request is answered with a status, nothing behind it, and a close") {
    const std::vector<Malformed> all = {
        {"smuggled",
         "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: "
         "chunked\r\n\r\n0\r\n\r\n" +
             get("/"),
         "400 Bad Request"},
        {"two lengths",
         "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na" + get("/"),
         "400 Bad Request"},
        {"bare LF", "GET / HTTP/1.1\nHost: a\n\n" + get("/"), "400 Bad Request"},
        {"a folded field", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n" + get("/"),
         "400 Bad Request"},
        {"no host", "GET / HTTP/1.1\r\n\r\n" + get("/"), "400 Bad Request"},
        {"a bad chunk",
         "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n" + get("/"),
         "400 Bad Request"},
        {"a head that ends in the middle", "GET / HTTP/1.1\r\nHos", "400 Bad Request"},
        {"a body that ends in the middle",
         "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab", "400 Bad Request"},
        {"a long target", get("/" + std::string(9000, 'a')) + get("/"), "414 URI Too Long"},
        {"long fields", get("/", "X: " + std::string(40'000, 'a') + "\r\n") + get("/"),
         "431 Request Header Fields Too Large"},
        {"many fields",
         get("/",
             [] {
                 std::string many;
                 for (int i = 0; i < 200; ++i) many += "X: y\r\n";
                 return many;
             }()) +
             get("/"),
         "431 Request Header Fields Too Large"},
        {"another method", "BREW / HTTP/1.1\r\nHost: a\r\n\r\n" + get("/"), "501 Not Implemented"},
        {"another encoding",
         "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
         "501 Not Implemented"},
        {"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 HTTP Version Not Supported"},
        {"a body that is too large",
         "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n" +
             std::string(2'000'000, 'a'),
         "413 Content Too Large"},
        {"chunks that are too large",
         "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1e8480\r\n" +
             std::string(2'000'000, 'a') + "\r\n0\r\n\r\n",
         "413 Content Too Large"},
        {"a 413 that is told before the body",
         "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: "
         "2000000\r\n\r\n",
         "413 Content Too Large"},
        {"an expectation",
         "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: coffee\r\nContent-Length: 2\r\n\r\nab",
         "417 Expectation Failed"},
    };
    for (const Malformed& each : all) {
        INFO(each.name);
        http::Router router;
        router.get("/", &hello);
        router.post("/echo", &echo);
        const std::string before = get("/");
        const std::string answer = co_await talk(std::move(router), before + each.text);
        // The good one before it has its answer, the bad one has one, and what follows none.
        const std::size_t second = answer.find("HTTP/1.1", 1);
        REQUIRE(second != std::string::npos);
        CHECK(answer.substr(second + 9, answer.find("\r\n", second) - second - 9) == each.status);
        CHECK(answer.find("Connection: close\r\n", second) != std::string::npos);
        CHECK(answer.find("HTTP/1.1", second + 1) == std::string::npos);
    }
}

WEFT_TEST_CASE("a body that is refused is told to a client that has not sent all of it yet") {
    // Over a socket: without lingering the kernel would reset the connection, and the answer go.
    http::Router router;
    router.post("/", &echo);
    http::Server server = co_await http::start_server(std::move(router), "127.0.0.1", 0);
    Stream client = co_await weft::open_connection("127.0.0.1", server.port());
    const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n";
    co_await client.write(head);
    const std::string body(3'000'000, 'x');
    co_await client.write(body);
    co_await weft::sleep(1s);
    const std::string answer = co_await client.read_all(10'000);
    CHECK(answer.substr(0, 25) == "HTTP/1.1 413 Content Too ");
    co_await client.close();
    co_await server.shutdown();
}

// (g++ 12 takes no list in braces in an awaiting expression.)
template <class... Part>
std::vector<std::string> parts(Part... part) {
    std::vector<std::string> all;
    (all.emplace_back(std::move(part)), ...);
    return all;
}

/// A client that sends `first`, waits, sends `second`, and so on.
Coro<std::string> slowly(http::Router router, std::vector<std::string> sent,
                         std::chrono::seconds pause, http::ServerOptions options = {}) {
    weft::StreamPair pair = weft::memory_stream();
    weft::Task<void> serving = weft::create_task(
        http::serve_connection(std::move(router), std::move(pair.far), std::move(options)));
    std::string answer;
    try {
        for (const std::string& part : sent) {
            co_await pair.near.write(part);
            co_await weft::sleep(pause);
        }
    } catch (const std::system_error&) {
    }
    answer = co_await pair.near.read_all(1 << 20);
    co_await pair.near.close();
    co_await serving;
    co_return answer.substr(0, answer.find("\r\n"));
}

WEFT_TEST_CASE("a client that takes too long for a request's head or body is told so") {
    const auto routes = [] {
        http::Router router;
        router.get("/", &hello);
        router.post("/echo", &echo);
        return router;
    };
    weft::EventLoop& loop = weft::get_running_loop();
    auto begin = loop.time();
    auto line =
        co_await slowly(routes(), parts("GET / HTTP/1.1\r\n", "Host", ": a", "\r\n", "\r\n"), 3s);
    CHECK(line == "HTTP/1.1 408 Request Timeout");
    line =
        co_await slowly(routes(), parts("GET / HTTP/1.1\r\n", "Host", ": a", "\r\n", "\r\n"), 2s);
    CHECK(line == "HTTP/1.1 200 OK");
    // Nothing at all, or nothing more: no word.
    begin = loop.time();
    line = co_await slowly(routes(), parts(), 1s);
    CHECK(line == "");
    CHECK(loop.time() - begin == 10s);
    begin = loop.time();
    const std::string answer = co_await talk(routes(), get("/"), {}, false);
    CHECK(answer.find("HTTP", 1) == std::string::npos);
    CHECK(loop.time() - begin == 75s);
    // A body: 20 s, and a second more for each 500 bytes.
    const std::string head = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n";
    line = co_await slowly(routes(), parts(head, "a"), 30s);
    CHECK(line == "HTTP/1.1 408 Request Timeout");
    const std::string half(2500, 'x');
    line = co_await slowly(routes(), parts(head, half + half), 19s);
    CHECK(line == "HTTP/1.1 200 OK");
    line = co_await slowly(routes(), parts(head, "a", "b", "c", "d", "e", "f", "g", "h"), 4s);
    CHECK(line == "HTTP/1.1 408 Request Timeout");
}

WEFT_TEST_CASE("a handler that takes too long, or whose client has gone, is cancelled") {
    int cancelled = 0;
    http::Router router;
    router.get("/", [&cancelled](Request&) -> Coro<Response> {
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError&) {
            ++cancelled;
            throw;
        }
        co_return Response("late");
    });
    http::ServerOptions options;
    options.handler_timeout = 5s;
    const std::string answer = co_await talk(std::move(router), get("/"), options);
    CHECK(answer.substr(0, 12) == "HTTP/1.1 503");
    CHECK(cancelled == 1);

    http::Router other;
    other.get("/", [&cancelled](Request&) -> Coro<Response> {
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError&) {
            ++cancelled;
            throw;
        }
        co_return Response("late");
    });
    options.handler_timeout = weft::Duration(0);
    options.cancel_on_disconnect = true;
    http::Server server = co_await http::start_server(std::move(other), "127.0.0.1", 0, options);
    {
        Stream client = co_await weft::open_connection("127.0.0.1", server.port());
        const std::string request = get("/");
        co_await client.write(request);
        co_await weft::sleep(1s);
        co_await client.close();
    }
    while (server.connections() > 0) co_await weft::sleep(1ms);
    CHECK(cancelled == 2);
    co_await server.shutdown();
}

WEFT_TEST_CASE("a client that does not read its answer keeps it for so long and no longer") {
    bool ended = false;
    http::Router router;
    router.get("/", [&ended](Request&) -> Coro<Response> {
        auto write = [&ended](http::BodyWriter& out) -> Coro<void> {
            try {
                const std::string piece(10'000, 'x');
                for (;;) co_await out.write(piece);
            } catch (const weft::CancelledError&) {
                ended = true;
                throw;
            }
        };
        co_return Response(http::Body::written_by(std::move(write)), "text/plain");
    });
    weft::StreamPair pair = weft::memory_stream();
    weft::Task<void> serving =
        weft::create_task(http::serve_connection(std::move(router), std::move(pair.far)));
    const std::string request = get("/");
    co_await pair.near.write(request);
    const auto begin = weft::get_running_loop().time();
    co_await serving;
    CHECK(ended);
    CHECK(weft::get_running_loop().time() - begin == 60s);
    // What is cut short does not look like a whole answer.
    bool broken = false;
    try {
        for (;;) {
            const weft::Chunk chunk = co_await pair.near.read_chunk();
            if (chunk.empty()) break;
        }
    } catch (const std::system_error&) {
        broken = true;
    }
    CHECK(broken);
}

WEFT_TEST_CASE("100 is sent when a handler reads, and not when it does not want the body") {
    weft::StreamPair pair = weft::memory_stream();
    http::Router router;
    router.post("/echo", &echo);
    router.post("/no", [](Request&) -> Coro<Response> { co_return Response("no", 403); });
    weft::Task<void> serving =
        weft::create_task(http::serve_connection(std::move(router), std::move(pair.far)));
    const std::string fields =
        " HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n";
    const std::string first = "POST /echo" + fields;
    co_await pair.near.write(first);
    const std::string told = co_await pair.near.read_until("\r\n\r\n");
    CHECK(told == "HTTP/1.1 100 Continue\r\n\r\n");
    co_await pair.near.write("abc");
    const std::string head = co_await pair.near.read_until("\r\n\r\n");
    CHECK(head.substr(0, 15) == "HTTP/1.1 200 OK");
    const std::string body = co_await pair.near.read_exactly(3);
    CHECK(body == "abc");
    const std::string second = "POST /no" + fields;
    co_await pair.near.write(second);
    const std::string refused = co_await pair.near.read_all(1000);
    CHECK(refused.substr(0, 22) == "HTTP/1.1 403 Forbidden");
    CHECK(refused.find("Connection: close") != std::string::npos);
    co_await pair.near.close();
    co_await serving;
}

WEFT_TEST_CASE("what a handler throws is a 500 that says nothing of it, and is reported") {
    std::vector<std::string> reports;
    http::ServerOptions options;
    options.on_error = [&reports](const weft::ExceptionContext& context) {
        reports.emplace_back(context.message);
    };
    http::Router router;
    router.get("/", &hello);
    router.get("/fail", [](Request&) -> Coro<Response> {
        throw std::runtime_error("the password is 1234");
        co_return Response();
    });
    router.get("/int", [](Request&) -> Coro<Response> {
        throw 7;
        co_return Response();
    });
    router.get("/short", [](Request&) -> Coro<Response> {
        throw std::system_error(EMFILE, std::system_category(), "open");
        co_return Response();
    });
    router.get("/teapot", [](Request&) -> Coro<Response> {
        throw http::HttpError(418, "short and stout");
        co_return Response();
    });
    const std::string answer = co_await talk(
        std::move(router),
        get("/fail?a=b") + get("/int") + get("/short") + get("/teapot") + get("/"), options);
    CHECK(answer.find("1234") == std::string::npos);
    CHECK(answer.substr(0, 34) == "HTTP/1.1 500 Internal Server Error");
    // (A client may try that again.)
    CHECK(answer.find("HTTP/1.1 503 Service Unavailable") != std::string::npos);
    CHECK(answer.find("short and stout") != std::string::npos);
    CHECK(answer.find("hello") != std::string::npos);
    REQUIRE(reports.size() == 3);
    CHECK(reports[0] == "HTTP: GET /fail?a=b");
}

WEFT_TEST_CASE("a streamed answer is chunked, and is cut off where it fails") {
    http::Router router;
    const auto numbers = [](int count) -> weft::AsyncGenerator<std::string> {
        for (int number = 0; number < count; ++number) {
            co_await weft::sleep(1s);
            co_yield std::to_string(number) + "\n";
        }
        if (count > 2) throw std::runtime_error("no more");
    };
    router.get("/two", [numbers](Request&) -> Coro<Response> {
        co_return Response(http::Body::stream(numbers(2)), "text/plain");
    });
    router.get("/known", [numbers](Request&) -> Coro<Response> {
        co_return Response(http::Body::stream(numbers(2), 4), "text/plain");
    });
    router.get("/three", [numbers](Request&) -> Coro<Response> {
        co_return Response(http::Body::stream(numbers(3)), "text/plain");
    });
    std::vector<std::string> reports;
    http::ServerOptions options;
    options.on_error = [&reports](const weft::ExceptionContext& context) {
        reports.emplace_back(context.message);
    };
    const std::string head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
    const std::string answer =
        co_await talk(std::move(router),
                      get("/two") + get("/known") + "HEAD /two HTTP/1.1\r\nHost: a\r\n\r\n" +
                          "GET /two HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
                      options);
    CHECK(answer == head + "Transfer-Encoding: chunked\r\n\r\n2\r\n0\n\r\n2\r\n1\n\r\n0\r\n\r\n" +
                        head + "Content-Length: 4\r\n\r\n0\n1\n" + head +
                        "Transfer-Encoding: chunked\r\n\r\n" + head +
                        "Connection: close\r\n\r\n0\n1\n");
}

WEFT_TEST_CASE("an answer that breaks off is no whole one") {
    http::Router router;
    router.get("/", [](Request&) -> Coro<Response> {
        auto write = [](http::BodyWriter& out) -> Coro<void> {
            co_await out.write("begin");
            throw std::runtime_error("no more");
        };
        co_return Response(http::Body::written_by(std::move(write)), "text/plain");
    });
    std::vector<std::string> reports;
    http::ServerOptions options;
    options.on_error = [&reports](const weft::ExceptionContext& context) {
        reports.emplace_back(context.message);
    };
    weft::StreamPair pair = weft::memory_stream();
    weft::Task<void> serving = weft::create_task(
        http::serve_connection(std::move(router), std::move(pair.far), std::move(options)));
    const std::string request = get("/") + get("/");
    co_await pair.near.write(request);
    bool broken = false;
    std::string answer;
    try {
        answer = co_await pair.near.read_all(10'000);
    } catch (const std::system_error&) {
        broken = true;
    }
    CHECK((broken || answer.find("0\r\n\r\n") == std::string::npos));
    co_await serving;
    CHECK(reports.size() == 1);
}

WEFT_TEST_CASE("middleware goes around every request, the first outermost") {
    std::string order;
    http::Router router;
    for (const std::string name : {"a", "b"}) {
        router.use([name, &order](Request& request, http::Next next) -> Coro<Response> {
            order += name;
            Response response = co_await next(request);
            order += name;
            response.headers.add("X-" + name, std::to_string(response.status));
            co_return std::move(response);
        });
    }
    router.get("/", &hello);
    const std::string answer = co_await talk(std::move(router), get("/") + get("/none"));
    CHECK(order == "abbaabba");
    CHECK(answer.find("X-b: 200\r\nX-a: 200\r\n") != std::string::npos);
    CHECK(answer.find("X-b: 404\r\nX-a: 404\r\n") != std::string::npos);
}

struct Routed {
    const char* method;
    const char* path;
    const char* answer;
};

WEFT_TEST_CASE("a path goes to the pattern that says most about it") {
    const std::vector<Routed> all = {
        {"GET", "/users/7", "number 7"},
        {"GET", "/users/-7", "number -7"},
        {"GET", "/users/me", "me"},
        {"GET", "/users/you", "text you"},
        {"PUT", "/users/me", "put me"},
        {"GET", "/users/a%2Fb%20c", "text a/b c"},
        {"GET", "/users/", "404"},
        {"GET", "/users/7/posts/x", "posts 7 x"},
        {"GET", "/users/x/posts/x", "404"},
        {"GET", "/users/7/", "404"},
        {"GET", "/f/", "rest "},
        {"GET", "/f/a/b%2Fc", "rest a/b/c"},
        {"GET", "/f", "404"},
        {"POST", "/f/x", "405"},
        {"GET", "/users/%zz", "404"},
        {"GET", "http://b/users/me?x=y", "me"},
        {"GET", "//users/me", "404"},
        {"OPTIONS", "/f/x", "204"},
        {"DELETE", "/any", "any"},
        {"GET", "/users/99999999999999999999", "text 99999999999999999999"},
        {"GET", "/q?b=1&a=x%20y+z&a=2", "query x y z"},
    };
    for (const Routed& each : all) {
        INFO(each.method << " " << each.path);
        const auto say = [](std::string text) {
            return [text](Request& request) -> Coro<Response> {
                std::string all_of_it = text;
                for (const char* name : {"id", "post", "rest"}) {
                    const std::string_view value = request.param(name);
                    if (!value.empty() || text == "rest " + std::string(name))
                        all_of_it += " " + std::string(value);
                }
                co_return Response(std::move(all_of_it));
            };
        };
        http::Router router;
        router.get("/users/{id}", say("text"))
            .get("/users/{id:int}", say("number"))
            .get("/users/me", say("me"))
            .put("/users/{id}", say("put"))
            .get("/users/{id:int}/posts/{post}", say("posts"))
            .any("/any", say("any"))
            .get("/q",
                 [](Request& request) -> Coro<Response> {
                     co_return Response("query " + request.query("a").value_or("none"));
                 })
            .get("/f/{rest...}", [](Request& request) -> Coro<Response> {
                co_return Response("rest " + std::string(request.param("rest")));
            });
        const std::string answer =
            co_await talk(std::move(router), std::string(each.method) + " " + each.path +
                                                 " HTTP/1.1\r\nHost: a\r\n\r\n");
        const std::string status = answer.substr(9, 3);
        const std::string body = answer.substr(answer.find("\r\n\r\n") + 4);
        CHECK((status == "200" ? body : status) == each.answer);
    }
    http::Router router;
    router.get("/a", &hello);
    for (const char* bad : {"a", "/{", "/{}", "/{a...}/b", "/x{a}", "/a"}) {
        INFO(bad);
        CHECK_THROWS_AS(router.get(bad, &hello), std::invalid_argument);
    }
}

WEFT_TEST_CASE("what a handler has not read of a body is passed over, or the connection closed") {
    http::Router router;
    router.post("/", &hello);
    const std::string small =
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + std::string(100'000, 'x');
    const std::string large =
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n" +
        std::string(0x100000, 'x') + "\r\n0\r\n\r\n";
    const std::string answer = co_await talk(std::move(router), small + small + large + small);
    int answers = 0;
    for (std::size_t at = 0; (at = answer.find("HTTP/1.1 200", at)) != std::string::npos; ++at)
        ++answers;
    CHECK(answers == 3);
}

WEFT_TEST_CASE("no answer of a handler's ends its fields, or says how long it is itself") {
    http::Router router;
    std::string refused;
    router.get("/", [&refused](Request&) -> Coro<Response> {
        Response response("hello");
        try {
            response.headers.add("X", "a\r\nSet-Cookie: b");
        } catch (const std::invalid_argument& error) {
            refused = error.what();
        }
        response.headers.add("Content-Length", "99");
        response.headers.add("Transfer-Encoding", "chunked");
        co_return std::move(response);
    });
    const std::string answer = co_await talk(std::move(router), get("/"));
    CHECK(!refused.empty());
    CHECK(answer ==
          "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: "
          "5\r\n\r\nhello");
}

TEST_CASE("a field may be made of another one of the same message") {
    http::Headers headers;
    headers.add("A", std::string(100, 'a'));
    headers.add("B", headers.value("A"));
    headers.set("A", headers.value("B").substr(0, 50));
    headers.add(headers[0].name, "c").set(headers[0].name, headers[1].value);
    CHECK(headers.value("a") == std::string(100, 'a'));
    CHECK(headers.size() == 2);
}

WEFT_TEST_CASE("an answer is final: what another one would follow is a 500, and is reported") {
    std::vector<std::string> reports;
    http::ServerOptions options;
    options.on_error = [&reports](const weft::ExceptionContext& context) {
        reports.emplace_back(context.message);
    };
    for (const char* path :
         {"/status/0", "/status/100", "/status/101", "/status/199", "/status/600", "/error/102",
          "/upstream/101", "/upstream/200", "/upstream/400"}) {
        INFO(path);
        reports.clear();
        http::Router router;
        router.get("/", &hello);
        router.get("/status/{status:int}", [](Request& request) -> Coro<Response> {
            co_return Response("x", request.param<int>("status"));
        });
        router.get("/error/{status:int}", [](Request& request) -> Coro<Response> {
            throw http::HttpError(request.param<int>("status"));
            co_return Response();
        });
        // What another server has sent to this one is no fault of the client's.
        router.get("/upstream/{status:int}", [](Request& request) -> Coro<Response> {
            throw http::ProtocolError(request.param<int>("status"), "nonsense");
            co_return Response();
        });
        const std::string answer = co_await talk(std::move(router), get(path) + get("/"), options);
        CHECK(answer.starts_with("HTTP/1.1 500 Internal Server Error\r\n"));
        CHECK(answer.ends_with("hello"));
        CHECK(reports.size() == 1);
    }
}

WEFT_TEST_CASE("nothing of a body follows a write that was cut short") {
    http::Router router;
    router.get("/", [](Request&) -> Coro<Response> {
        auto write = [](http::BodyWriter& out) -> Coro<void> {
            const std::string large(1 << 20, 'x');
            try {
                co_await weft::timeout(1s, [&] { return out.write(large); });
            } catch (const weft::TimeoutError&) {
            }
            co_await out.write("more");
        };
        co_return Response(http::Body::written_by(std::move(write)), "text/plain");
    });
    std::vector<std::string> reports;
    http::ServerOptions options;
    options.on_error = [&reports](const weft::ExceptionContext& context) {
        reports.emplace_back(context.message);
    };
    weft::StreamPair pair = weft::memory_stream();
    weft::Task<void> serving = weft::create_task(
        http::serve_connection(std::move(router), std::move(pair.far), std::move(options)));
    const std::string request = get("/");
    co_await pair.near.write(request);
    co_await weft::sleep(2s);
    bool broken = false;
    std::string answer;
    try {
        for (;;) {
            const weft::Chunk chunk = co_await pair.near.read_chunk();
            if (chunk.empty()) break;
            answer += chunk.view();
            if (answer.ends_with("\r\n0\r\n\r\n")) break;
        }
    } catch (const std::system_error&) {
        broken = true;
    }
    CHECK(broken);
    CHECK(answer.find("HTTP/1.1", 1) == std::string::npos);
    co_await pair.near.close();
    co_await serving;
    CHECK(reports.size() == 1);
}

WEFT_TEST_CASE("a handler's time does not run while it waits for a body, and runs on then") {
    for (const auto body_timeout : {20s, 0s}) {
        http::Router router;
        router.post("/", [](Request& request) -> Coro<Response> {
            co_await request.read();
            co_await weft::sleep(1h);
            co_return Response("late");
        });
        http::ServerOptions options;
        options.handler_timeout = 5s;
        options.body_timeout = body_timeout;
        const auto begin = weft::get_running_loop().time();
        const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n";
        const std::string line =
            co_await slowly(std::move(router), parts(head, "a", "b"), 4s, options);
        CHECK(line == "HTTP/1.1 503 Service Unavailable");
        CHECK(weft::get_running_loop().time() - begin < 20s);
    }
}

WEFT_TEST_CASE("a handler can take the connection over for another protocol") {
    http::Router router;
    router.get("/shout", [](Request&) -> Coro<Response> {
        co_return Response::upgrade("shout", [](Stream stream, std::string read) -> Coro<void> {
            std::string text = read;
            text += co_await stream.read_all(1000);
            for (char& c : text) c = static_cast<char>(c - 'a' + 'A');
            co_await stream.write(text);
        });
    });
    const std::string answer = co_await talk(
        std::move(router), get("/shout", "Connection: upgrade\r\nUpgrade: shout\r\n") + "abc");
    CHECK(answer ==
          "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\nABC");
}

WEFT_TEST_CASE("another protocol begins behind its request's body, and where the answer is a 101") {
    const auto shout = [](Request&) -> Coro<Response> {
        co_return Response::upgrade("shout", [](Stream stream, std::string read) -> Coro<void> {
            read += co_await stream.read_all(1000);
            co_await stream.write(read);
        });
    };
    const std::string head =
        "POST /shout HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: shout\r\n";
    for (const char* body : {"Content-Length: 4\r\n\r\nbody",
                             "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"}) {
        http::Router router;
        router.post("/shout", shout);
        const std::string answer = co_await talk(std::move(router), head + body + "abc");
        CHECK(answer.starts_with("HTTP/1.1 101 "));
        CHECK(answer.substr(answer.find("\r\n\r\n")) == "\r\n\r\nabc");
    }
    http::Router large;
    large.post("/shout", shout);
    std::string answer = co_await talk(std::move(large), head + "Content-Length: 4000000\r\n\r\n" +
                                                             std::string(4'000'000, 'x') + "abc");
    CHECK(answer.starts_with("HTTP/1.1 413 "));
    // What goes around a handler can refuse it.
    http::Router guarded;
    guarded.post("/shout", shout);
    guarded.use([](Request& request, http::Next next) -> Coro<Response> {
        Response response = co_await next(request);
        response.status = 403;
        co_return std::move(response);
    });
    answer = co_await talk(std::move(guarded), head + "\r\nabc");
    CHECK(answer.starts_with("HTTP/1.1 403 "));
    CHECK(answer.find("\r\n\r\nHTTP/1.1 400 ") != std::string::npos);  // "abc" is no request
}

WEFT_TEST_CASE("what another protocol's code throws is reported, whatever it is") {
    std::vector<std::string> reports;
    http::ServerOptions options;
    options.on_error = [&reports](const weft::ExceptionContext& context) {
        try {
            std::rethrow_exception(context.exception);
        } catch (const std::exception& error) {
            reports.push_back(std::string(context.message) + ": " + error.what());
        }
    };
    const std::vector<std::exception_ptr> errors = {
        std::make_exception_ptr(http::ProtocolError(400, "nonsense from elsewhere")),
        std::make_exception_ptr(weft::TimeoutError("too late")),
        std::make_exception_ptr(std::system_error(ENOENT, std::generic_category(), "open")),
        std::make_exception_ptr(std::runtime_error("a mistake")),
    };
    for (const std::exception_ptr& error : errors) {
        http::Router router;
        router.get("/shout", [error](Request&) -> Coro<Response> {
            co_return Response::upgrade("shout", [error](Stream, std::string) -> Coro<void> {
                std::rethrow_exception(error);
                co_return;
            });
        });
        const std::string answer = co_await talk(std::move(router), get("/shout"), options);
        CHECK(answer.starts_with("HTTP/1.1 101 "));
        CHECK(answer.find("HTTP/1.1", 1) == std::string::npos);
    }
    REQUIRE(reports.size() == 4);
    CHECK(reports[0] == "HTTP: GET /shout: nonsense from elsewhere");
    CHECK(reports[1].ends_with("too late"));
    CHECK(reports[2].find("open") != std::string::npos);
    CHECK(reports[3].ends_with("a mistake"));
}

WEFT_TEST_CASE("a server that stops answers who is being served, and closes who waits") {
    http::Router router;
    router.get("/slow", [](Request&) -> Coro<Response> {
        co_await weft::sleep(2s);
        co_return Response("slow");
    });
    router.post("/echo", &echo);
    http::Server server = co_await http::start_server(std::move(router), "127.0.0.1", 0);
    Stream idle = co_await weft::open_connection("127.0.0.1", server.port());
    Stream slow = co_await weft::open_connection("127.0.0.1", server.port());
    Stream upload = co_await weft::open_connection("127.0.0.1", server.port());
    const std::string request = get("/slow");
    co_await slow.write(request);
    co_await upload.write("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc");
    co_await weft::sleep(100ms);
    weft::Task<void> stopping = weft::create_task(server.shutdown());
    const std::string nothing = co_await idle.read_all(100);
    CHECK(nothing == "");
    co_await upload.write("def");
    const std::string uploaded = co_await upload.read_all(1000);
    CHECK(uploaded.find("Connection: close") != std::string::npos);
    CHECK(uploaded.substr(uploaded.size() - 6) == "abcdef");
    const std::string answer = co_await slow.read_all(1000);
    CHECK(answer.find("Connection: close") != std::string::npos);
    CHECK(answer.substr(answer.size() - 4) == "slow");
    co_await stopping;
    CHECK(server.connections() == 0);
}

WEFT_TEST_CASE("events go out as they come") {
    http::Router router;
    router.get("/events", [](Request&) -> Coro<Response> {
        co_return http::server_sent_events([](http::EventWriter& events) -> Coro<void> {
            co_await events.send("one\ntwo", "news", "7");
            co_await weft::sleep(10min);
            co_await events.keep_alive();
            co_await events.send("last");
        });
    });
    const std::string answer =
        co_await talk(std::move(router), get("/events", "Connection: close\r\n"));
    CHECK(answer.find("Content-Type: text/event-stream\r\n") != std::string::npos);
    CHECK(answer.find("event: news\nid: 7\ndata: one\ndata: two\n\n\r\n") != std::string::npos);
    CHECK(answer.find(":\n\n\r\n") != std::string::npos);
    CHECK(answer.find("data: last\n\n\r\n0\r\n\r\n") != std::string::npos);
}

}  // namespace
}  // namespace server_test
