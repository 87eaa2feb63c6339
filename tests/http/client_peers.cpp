// SPDX-License-Identifier: MIT
// The client and other people's servers.
#include <weft/testing/catch.hpp>

#include <chrono>
#include <string>
#include <utility>

#include <weft/http/client.hpp>
#include <weft/net/connect.hpp>
#include <weft/process/process.hpp>
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>

#include "certificates.hpp"
#include "service.hpp"

namespace client_peers_test {
namespace {

using namespace std::chrono_literals;
using weft::Coro;
using weft::http::Client;
using weft::http::ClientOptions;
using weft::http::ClientResponse;

Coro<std::string> text_of(Client& client, std::string url) {
    ClientResponse response = co_await client.get(std::move(url));
    std::string text = co_await response.text();
    co_return std::to_string(response.status()) + " " + text;
}

TEST_CASE("nginx answers: chunked, compressed, redirected, by TLS, and after it was restarted") {
    support::Service nginx(
        "nginx",
        {"location /text { default_type text/plain; return 200 'hello'; }",
         "location /away { return 302 /text; }",
         "location /zipped { gzip on; gzip_min_length 1; gzip_types text/plain; default_type "
         "text/plain; return 200 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'; }",
         "location /none { return 204; }"});
    if (!nginx.is_there()) return;
    weft::run([&nginx]() -> Coro<void> {
        const std::string url = "http://127.0.0.1:" + std::to_string(nginx.port());
        Client client;
        for (int round = 0; round < 3; ++round) {
            const std::string text = co_await text_of(client, url + "/text");
            CHECK(text == "200 hello");
        }
        CHECK(client.idle_connections() == 1);
        const std::string away = co_await text_of(client, url + "/away");
        CHECK(away == "200 hello");
        const std::string none = co_await text_of(client, url + "/none");
        CHECK(none == "204 ");
        ClientResponse zipped = co_await client.get(url + "/zipped");
        const std::string unzipped = co_await zipped.text();
        CHECK(zipped.headers().value("content-encoding") == "gzip");
        CHECK(unzipped == std::string(60, 'x'));
        nginx.stop();
        nginx.start();
        const std::string again = co_await text_of(client, url + "/text");
        CHECK(again == "200 hello");
        if (nginx.fact("tls_port").empty()) co_return;
        ClientOptions options;
        weft::TlsContext context = weft::TlsContext::client(weft::TlsRoots::none);
        context.load_verify_locations(nginx.fact("certificate"));
        options.tls = weft::TlsOptions(context);
        Client secure(options);
        const std::string tls =
            co_await text_of(secure, "https://localhost:" + nginx.fact("tls_port") + "/text");
        CHECK(tls == "200 hello");
    });
}

}  // namespace
}  // namespace client_peers_test
