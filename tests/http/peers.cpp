// SPDX-License-Identifier: MIT
#include <weft/testing/catch.hpp>

#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <weft/fs.hpp>
#include <weft/http.hpp>
#include <weft/http/tls_server.hpp>
#include <weft/process.hpp>
#include <weft/weft.hpp>

#include "../support/cut_everywhere.hpp"
#include "../support/descriptors.hpp"
#include "../support/probe.hpp"
#include "../support/tls_peers.hpp"

namespace peers_test {
namespace {

using namespace std::chrono_literals;
namespace http = weft::http;
using http::Request;
using http::Response;
using weft::Coro;
using weft::Stream;

Coro<Response> hello(Request&) { co_return Response("hello\n"); }
Coro<Response> echo(Request& request) {
    request.set_max_body(10'000'000);
    std::string body = co_await request.read();
    co_return Response(std::move(body));
}

http::Router routes(std::string file = {}) {
    http::Router router;
    router.get("/", &hello).post("/echo", &echo).put("/echo", &echo);
    router.get("/file", [file](Request& request) { return http::send_file(request, file); });
    router.get("/chunks", [](Request&) -> Coro<Response> {
        auto write = [](http::BodyWriter& out) -> Coro<void> {
            for (int i = 0; i < 100; ++i) co_await out.write("chunk ");
        };
        co_return Response(http::Body::written_by(std::move(write)), "text/plain");
    });
    return router;
}

/// curl works in real time, which a virtual clock would jump over: so these run on `weft::run`.
Coro<std::string> curl(std::vector<std::string> arguments) {
    weft::Command command("curl", "-q", "-sS", "--noproxy", "*", "--max-time", "60");
    for (const std::string& word : arguments) command.add(word);
    weft::RunProcessOptions options;
    options.check = false;
    const weft::CompletedProcess end = co_await weft::run_process(std::move(command), options);
    co_return end.out + end.err;
}
template <class... Word>
Coro<std::string> curl_with(Word... word) {
    std::vector<std::string> words;
    (words.emplace_back(word), ...);
    return curl(std::move(words));
}

bool has_curl() {
    if (::access("/usr/bin/curl", X_OK) == 0) return true;
    std::puts("no curl: what it says of our server is not tested");
    return false;
}

TEST_CASE("curl gets what it asks for: keep-alive, uploads, 100-continue, ranges, HEAD, chunks") {
    if (!has_curl()) return;
    const weft::testing::DescriptorCensus before;
    weft::run([]() -> Coro<void> {
        weft::TemporaryDirectory folder = co_await weft::temporary_directory();
        const std::string file = folder.file("data");
        std::string content;
        for (int i = 0; i < 20'000; ++i) content += std::to_string(i) + "\n";
        co_await weft::write_file(file, content);
        http::Server server = co_await http::start_server(routes(file), "127.0.0.1", 0);
        const std::string at = "http://127.0.0.1:" + std::to_string(server.port());

        std::string said = co_await curl_with(at + "/", at + "/", at + "/chunks", at + "/", "-w",
                                              "[%{num_connects}]");
        CHECK(said.find("hello\n[1]hello\n[0]chunk ") == 0);
        CHECK(said.substr(said.size() - 9) == "hello\n[0]");
        said = co_await curl_with("-I", at + "/file");
        CHECK(said.find("Content-Length: " + std::to_string(content.size())) != std::string::npos);
        said = co_await curl_with("-r", "10-19", at + "/file");
        CHECK(said == content.substr(10, 10));
        said = co_await curl_with(at + "/file");
        CHECK(said == content);
        said = co_await curl_with("-T", file, at + "/echo");  // asks for 100-continue
        CHECK(said == content);
        said = co_await curl_with("-T", file, "-H", "Transfer-Encoding: chunked", at + "/echo");
        CHECK(said == content);
        said = co_await curl_with("--data-binary", "@" + file, "-H", "Expect:", at + "/echo");
        CHECK(said == content);
        said = co_await curl_with("-0", "--data-binary", "@" + file, at + "/echo");
        CHECK(said == content);
        said =
            co_await curl_with("-o", "/dev/null", "-w", "%{http_code}", "-X", "DELETE", at + "/");
        CHECK(said == "405");
        co_await server.shutdown();

        const std::string path = folder.file("socket");
        http::Server local = co_await http::start_unix_server(routes(file), path);
        said = co_await curl_with("--unix-socket", path, "http://a/");
        CHECK(said == "hello\n");
        co_await local.shutdown();

        co_await weft::write_file(folder.file("ca"), support::trusted_authority().pem());
        const weft::TlsOptions tls(support::server_context());
        http::Server secure = co_await http::start_server(routes(file), "127.0.0.1", 0, tls);
        const std::string there = "https://localhost:" + std::to_string(secure.port());
        said = co_await curl_with("--cacert", folder.file("ca"), there + "/file", there + "/");
        CHECK(said == content + "hello\n");
        said = co_await curl_with("--cacert", folder.file("ca"), "-T", file, there + "/echo");
        CHECK(said == content);
        co_await secure.shutdown();
        co_await folder.close();
    });
    CHECK(before.leaked() == "");
}

WEFT_TEST_CASE("ten thousand requests on connections that come and go leave nothing behind") {
    http::Server server = co_await http::start_server(routes(), "127.0.0.1", 0);
    const std::uint16_t port = server.port();
    const auto client = [port](int seed) -> Coro<int> {
        std::mt19937 random(static_cast<unsigned>(seed));
        int answers = 0;
        const std::string one = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for (int left = 1000; left > 0;) {
            weft::Stream stream = co_await weft::open_connection("127.0.0.1", port);
            const int here = std::min<int>(left, 1 + static_cast<int>(random() % 100));
            std::string sent;
            for (int i = 0; i < here; ++i) sent += one;
            co_await stream.write(sent);
            left -= here;
            if (random() % 4 == 0) {
                stream.abort();
                answers += here;
                continue;
            }
            std::size_t seen = 0;
            std::string text;
            while (seen < static_cast<std::size_t>(here)) {
                const weft::Chunk chunk = co_await stream.read_chunk();
                if (chunk.empty()) break;
                text += chunk.view();
                seen = 0;
                for (std::size_t at = 0; (at = text.find("hello\n", at)) != std::string::npos; ++at)
                    ++seen;
            }
            answers += static_cast<int>(seen);
        }
        co_return answers;
    };
    std::vector<weft::Task<int>> clients;
    for (int seed = 0; seed < 10; ++seed) clients.push_back(weft::create_task(client, seed));
    int answers = 0;
    for (weft::Task<int>& each : clients) answers += co_await each;
    CHECK(answers == 10'000);
    while (server.connections() > 0) co_await weft::sleep(1ms);
    co_await server.shutdown();
}

TEST_CASE("servers on several loops share a port, and one stop ends them all") {
    // Bound and not listening: nobody else is given the port, and no connection comes here.
    const weft::Fd holder = support::new_socket(AF_INET);
    const int on = 1;
    support::checked(::setsockopt(holder.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on),
                     "setsockopt");
    const weft::Address any = weft::Address::ip("127.0.0.1", 0);
    support::checked(::bind(holder.get(), any.data(), any.size()), "bind");
    const std::uint16_t port = weft::Address::of_socket(holder.get()).port();
    std::atomic<int> answers{0};
    weft::run_workers(2, [port, &answers](weft::Worker worker) -> Coro<void> {
        http::ServerOptions options;
        options.reuse_port = true;
        http::Router router;
        router.get("/", [&answers](Request&) -> Coro<Response> {
            ++answers;
            co_return Response("hello");
        });
        http::Server server =
            co_await http::start_server(std::move(router), "127.0.0.1", port, options);
        for (int count = 0; worker.index() == 0 && count < 20; ++count) {
            Stream client = co_await weft::open_connection("127.0.0.1", port);
            co_await client.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            const std::string answer = co_await client.read_all(1000);
            if (answer.substr(0, 15) != "HTTP/1.1 200 OK") throw std::runtime_error(answer);
        }
        if (worker.index() == 0) weft::request_stop();
        co_await weft::wait_for_stop();
        co_await server.shutdown(5s);
    });
    CHECK(answers == 20);
}

TEST_CASE("a connection can be cut off after every turn", "[step_kill]") {
    support::cut_everywhere([](int& alive) -> Coro<void> {
        const probe::Alive here(alive);
        http::Router router;
        router.post("/echo", [&alive](Request& request) -> Coro<Response> {
            const probe::Alive in_handler(alive);
            std::string body;
            for (;;) {
                const std::string_view piece = co_await request.body().read_chunk();
                if (piece.empty()) break;
                body += piece;
            }
            co_return Response(std::move(body));
        });
        weft::StreamPair pair = weft::memory_stream(64);
        weft::Task<void> serving =
            weft::create_task(http::serve_connection(std::move(router), std::move(pair.far)));
        const std::string request =
            "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: "
            "chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        weft::Task<void> writing = weft::create_task(
            [](weft::Stream& stream, std::string text) -> Coro<void> {
                co_await stream.write(text);
                co_await stream.write_eof();
            },
            std::ref(pair.near), request + request);
        const std::string answer = co_await pair.near.read_all(10'000);
        co_await writing;
        co_await serving;
        if (answer.substr(answer.size() - 3) != "abc") throw std::runtime_error(answer);
    });
}

TEST_CASE("random bytes end in an answer or a close, and break nothing") {
    // (A whole server; the parser alone has its random requests in tests/http/parser.cpp.)
    static const char* const words[] = {"GET ",
                                        "POST ",
                                        "/ ",
                                        "HTTP/1.1",
                                        "HTTP/1.0",
                                        "\r\n",
                                        "\n",
                                        "\r",
                                        "Host: a\r\n",
                                        "Content-Length: 3\r\n",
                                        "Content-Length: ",
                                        "Transfer-Encoding: chunked\r\n",
                                        "0\r\n\r\n",
                                        "3\r\nabc\r\n",
                                        ";x=y",
                                        ": ",
                                        " ",
                                        "\t",
                                        "Expect: 100-continue\r\n",
                                        "Connection: close\r\n",
                                        "Connection: upgrade\r\nUpgrade: x\r\n",
                                        "18446744073709551615",
                                        "abc",
                                        "\xff"};
    const auto hostile = [](unsigned seed) {
        std::mt19937 random(seed);
        std::string text = random() % 2 ? "POST /echo HTTP/1.1\r\nHost: a\r\n" : "";
        for (auto count = random() % 20; count > 0; --count) {
            if (random() % 8 == 0) {
                text.push_back(static_cast<char>(random()));
            } else {
                text += words[random() % std::size(words)];
            }
        }
        return text;
    };
    weft::testing::run([&hostile]() -> Coro<void> {
        for (unsigned seed = 0; seed < 400; ++seed) {
            weft::StreamPair pair = weft::memory_stream();
            weft::Task<void> serving =
                weft::create_task(http::serve_connection(routes(), std::move(pair.far)));
            const std::string text = hostile(seed);
            co_await pair.near.write(text);
            co_await pair.near.write_eof();
            const std::string answer = co_await pair.near.read_all(1 << 20);
            co_await serving;
            if (!answer.empty() && answer.substr(0, 9) != "HTTP/1.1 ")
                throw std::runtime_error(std::to_string(seed) + ": " + answer);
        }
    });
}

}  // namespace
}  // namespace peers_test
