// SPDX-License-Identifier: MIT
// What the times of an HTTP server's, a client's and a WebSocket's options say.
#include <weft/testing/catch.hpp>

#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <weft/http.hpp>
#include <weft/weft.hpp>

#include "probe.hpp"

namespace times_test {
namespace {

using namespace std::chrono_literals;
namespace http = weft::http;
using weft::Coro;
using weft::Duration;

Coro<http::Response> slow_echo(http::Request& request) {
    std::string body = co_await request.read();
    co_await weft::sleep(100h);
    co_return http::Response(std::move(body));
}

Coro<void> answers(http::WebSocket& socket) {
    while (auto message = co_await socket.recv()) co_await socket.send(message->data);
}

WEFT_TEST_CASE("times of max() are no limits: of a server, of a client, of a WebSocket") {
    constexpr Duration none = Duration::max();
    http::ServerOptions options;
    options.head_timeout = options.idle_timeout = options.body_timeout = none;
    options.write_timeout = options.handler_timeout = options.grace = none;
    http::AcceptWebSocketOptions accepting;
    accepting.ping_interval = accepting.ping_timeout = accepting.close_timeout = none;
    http::Router router;
    router.post("/", &slow_echo);
    router.get("/socket", [accepting](http::Request& request) -> Coro<http::Response> {
        co_return http::accept_websocket(request, &answers, accepting);
    });
    http::Server server =
        co_await http::start_server(std::move(router), "127.0.0.1", 0, std::move(options));
    const std::string port = std::to_string(server.port());

    http::ClientOptions asking;
    asking.idle_timeout = asking.connect_timeout = asking.header_timeout = none;
    asking.body_timeout = asking.total_timeout = none;
    asking.connect.attempt_delay = asking.connect.attempt_timeout = none;
    asking.retry.longest = none;
    http::Client client(asking);
    for (int round = 0; round < 2; ++round) {
        const auto slowly = [](http::BodyWriter& out) -> Coro<void> {
            co_await out.write("so ");
            co_await weft::sleep(100h);
            co_await out.write("slow");
        };
        http::ClientResponse response =
            co_await client.post("http://127.0.0.1:" + port + "/", http::Body::written_by(slowly));
        const std::string text = co_await response.text();
        CHECK(text == "so slow");
    }
    CHECK(client.idle_connections() == 1);
    co_await client.close();

    http::ConnectWebSocketOptions connecting;
    connecting.ping_interval = connecting.ping_timeout = connecting.close_timeout = none;
    http::WebSocket socket =
        co_await http::connect_websocket("ws://127.0.0.1:" + port + "/socket", connecting);
    co_await weft::sleep(100h);
    co_await socket.send("still there");
    const auto message = co_await socket.recv();
    CHECK(message->data == "still there");
    co_await socket.close();
    co_await server.shutdown(std::chrono::hours::max());
}

struct Refused {
    const char* name;
    std::function<void()> make;
};

WEFT_TEST_CASE("a time that is negative where zero is no limit is refused by its name") {
    const auto of_server = [](Duration http::ServerOptions::*which) {
        return [which] {
            http::ServerOptions options;
            options.*which = -1ns;
            (void)http::serve_connection(http::Router(), weft::memory_stream().near, options);
        };
    };
    const auto of_client = [](Duration http::ClientOptions::*which) {
        return [which] {
            http::ClientOptions options;
            options.*which = Duration::min();
            http::Client client(options);
        };
    };
    const std::vector<Refused> all = {
        {"head_timeout", of_server(&http::ServerOptions::head_timeout)},
        {"idle_timeout", of_server(&http::ServerOptions::idle_timeout)},
        {"body_timeout", of_server(&http::ServerOptions::body_timeout)},
        {"write_timeout", of_server(&http::ServerOptions::write_timeout)},
        {"handler_timeout", of_server(&http::ServerOptions::handler_timeout)},
        {"connect_timeout", of_client(&http::ClientOptions::connect_timeout)},
        {"idle_timeout", of_client(&http::ClientOptions::idle_timeout)},
        {"header_timeout", of_client(&http::ClientOptions::header_timeout)},
        {"body_timeout", of_client(&http::ClientOptions::body_timeout)},
        {"total_timeout", of_client(&http::ClientOptions::total_timeout)},
        {"ping_interval",
         [] {
             http::WebSocketOptions options;
             options.ping_interval = -1s;
             http::WebSocket(weft::memory_stream().near, http::WebSocket::Role::client, options);
         }},
    };
    for (const Refused& each : all) {
        INFO(each.name);
        const std::string message = probe::message_of<std::invalid_argument>(each.make);
        CHECK(message.find(each.name) != std::string::npos);
    }
    co_await weft::sleep(1ms);
}

/// Sends `burst` bytes of a body at once, and then one each `pause`.
/// Returns:  when it is cut off; zero: it is not for some hours.
Coro<Duration> dribble(http::ServerOptions options, std::size_t burst, Duration pause) {
    http::Router router;
    router.post("/", [](http::Request& request) -> Coro<http::Response> {
        request.set_max_body(1 << 30);
        for (;;) {
            const std::string_view piece = co_await request.body().read_chunk();
            if (piece.empty()) co_return http::Response("all");
        }
    });
    weft::StreamPair pair = weft::memory_stream();
    weft::Task<void> serving = weft::create_task(
        http::serve_connection(std::move(router), std::move(pair.far), std::move(options)));
    const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n" +
                             std::string(burst, 'x');
    co_await pair.near.write(head);
    const weft::TimePoint begin = weft::get_running_loop().time();
    Duration cut(0);
    char byte;
    while (cut == Duration(0) && weft::get_running_loop().time() - begin < 1h) {
        co_await weft::sleep(pause);
        if (pair.near.try_read(weft::MutableBuffer(&byte, 1))) {
            cut = weft::get_running_loop().time() - begin;
        } else {
            co_await pair.near.write("x");
        }
    }
    co_await pair.near.close();
    co_await serving;
    co_return cut;
}

WEFT_TEST_CASE("who has sent much of a body at once has not earned the time to be slow then") {
    http::ServerOptions options;
    options.body_timeout = 20s;
    options.min_body_rate = 500;
    Duration cut = co_await dribble(options, 10'000'000, 1s);  // it was 5 hours and a half
    CHECK(cut >= 20s);
    CHECK(cut <= 22s);
    cut = co_await dribble(options, 0, 1s);
    CHECK(cut >= 20s);
    CHECK(cut <= 22s);
    cut = co_await dribble(options, 10'000'000, 30s);
    CHECK(cut == 30s);
    options.min_body_rate = 1;
    cut = co_await dribble(options, 1000, 990ms);  // as fast as it has to be
    CHECK(cut == 0s);
    options.min_body_rate = 0;  // nothing is given back
    cut = co_await dribble(options, 10'000'000, 1s);
    CHECK(cut >= 20s);
    CHECK(cut <= 22s);
    options.min_body_rate = 1;
    options.body_timeout = Duration::max();
    cut = co_await dribble(options, 10'000'000, 1h);
    CHECK(cut == 0s);
}

}  // namespace
}  // namespace times_test
