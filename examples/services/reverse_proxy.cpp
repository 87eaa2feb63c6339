// SPDX-License-Identifier: MIT
// needs: weft::http
// run: --try
// A reverse proxy: `reverse_proxy 8080 http://localhost:9000`. It keeps connections to the server
// behind it, hands its answers on as they come, and says 502 or 504 where there are none. With
// --try it proxies a server of its own.
#include <fmt/format.h>
#include <signal.h>
#include <weft/http.hpp>
#include <weft/weft.hpp>

#include <array>
#include <cctype>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

using namespace std::chrono_literals;
namespace http = weft::http;

// What is between two neighbours, and not between the ends (RFC 9110, section 7.6.1).
bool is_for_one_hop(const http::Headers& headers, std::string_view name) {
    constexpr std::array<std::string_view, 9> names = {
        "connection", "content-length", "expect",  "keep-alive",       "proxy-connection",
        "te",         "trailer",        "upgrade", "transfer-encoding"};
    std::string small(name);
    for (char& letter : small) letter = static_cast<char>(std::tolower(letter));
    for (const std::string_view each : names) {
        if (small == each) return true;
    }
    return headers.has_token("Connection", name);
}

class Proxy {
public:
    explicit Proxy(std::string upstream)
        : upstream_(std::move(upstream)), client_(client_options()) {}

    weft::Coro<http::Response> forward(http::Request& request) {
        http::ClientRequest onward(std::string(request.method()),
                                   upstream_ + std::string(request.target()));
        for (const auto field : request.headers()) {
            if (!is_for_one_hop(request.headers(), field.name))
                onward.headers.add(field.name, field.value);
        }
        const std::string client = request.stream().peer_address().to_string();
        onward.headers.add("X-Forwarded-For", client.substr(0, client.rfind(':')));
        // Whole, up to ServerOptions::max_body: the server behind is not kept waiting by a slow
        // client.
        onward.body = co_await request.read();
        std::optional<http::Response> failed;
        try {
            http::ClientResponse answer = co_await client_.request(std::move(onward));
            co_return hand_on(std::move(answer));
        } catch (const weft::TimeoutError&) {
            failed.emplace("the server behind takes too long\n", 504);
        } catch (const std::exception& error) {
            fmt::print(stderr, "{}\n", error.what());
            failed.emplace("the server behind does not answer\n", 502);
        }
        co_return std::move(*failed);
    }

private:
    static http::ClientOptions client_options() {
        http::ClientOptions options;
        options.max_redirects = 0;   // they are the client's to follow
        options.decompress = false;  // and so is this
        options.max_per_host = 100;
        options.header_timeout = 30s;
        options.retry.attempts = 2;
        return options;
    }

    static http::Response hand_on(http::ClientResponse answer) {
        http::Response response(answer.status());
        for (const auto field : answer.headers()) {
            if (!is_for_one_hop(answer.headers(), field.name))
                response.headers.add(field.name, field.value);
        }
        std::optional<std::uint64_t> length;
        if (const auto told = answer.headers().get("Content-Length"))
            length = std::strtoull(std::string(*told).c_str(), nullptr, 10);
        if (answer.status() == 204 || answer.status() == 304) return response;
        auto copy = [answer =
                         std::move(answer)](http::BodyWriter& out) mutable -> weft::Coro<void> {
            http::BodyReader body = answer.body();
            for (;;) {
                const std::string_view piece = co_await body.read_chunk();
                if (piece.empty()) co_return;
                co_await out.write(piece);
            }
        };
        response.body = http::Body::written_by(std::move(copy), length);
        return response;
    }

    std::string upstream_;
    http::Client client_;
};

http::Router proxy_routes(Proxy& proxy) {
    http::Router router;
    router.any("/{path...}", [&proxy](http::Request& request) { return proxy.forward(request); });
    return router;
}

weft::Coro<void> serve(std::uint16_t port, std::string upstream) {
    Proxy proxy(std::move(upstream));
    fmt::print("http://localhost:{}/\n", port);
    co_await http::serve(proxy_routes(proxy), "", port);
}

weft::Coro<void> try_it() {
    http::Router behind;
    behind.get("/hello/{name}", [](http::Request& request) -> weft::Coro<http::Response> {
        co_return http::Response(fmt::format("hello {}, you come from {}\n", request.param("name"),
                                             request.headers().value("X-Forwarded-For")));
    });
    behind.post("/twice", [](http::Request& request) -> weft::Coro<http::Response> {
        const std::string text = co_await request.read();
        co_return http::Response(text + text);
    });
    http::Server server = co_await http::start_server(std::move(behind), "127.0.0.1", 0);
    Proxy proxy(fmt::format("http://127.0.0.1:{}", server.port()));
    http::Server front = co_await http::start_server(proxy_routes(proxy), "127.0.0.1", 0);

    http::Client client;
    const std::string url = fmt::format("http://127.0.0.1:{}", front.port());
    http::ClientResponse hello = co_await client.get(url + "/hello/you");
    const std::string text = co_await hello.text();
    fmt::print("{} {}", hello.status(), text);
    http::ClientResponse twice = co_await client.post(url + "/twice", "bye ");
    const std::string byes = co_await twice.text();
    fmt::print("{} {}\n", twice.status(), byes);
    http::ClientResponse none = co_await client.get(url + "/none");
    fmt::print("{}\n", none.status());
    co_await server.shutdown(0s);
    http::ClientResponse gone = co_await client.get(url + "/hello/again");
    fmt::print("{}\n", gone.status());
}

int main(int argc, char** argv) {
    weft::RunOptions options;
    options.stop_signal = SIGTERM;
    if (argc < 3) {
        weft::run(try_it(), options);
    } else {
        weft::run(serve(static_cast<std::uint16_t>(std::atoi(argv[1])), argv[2]), options);
    }
}
