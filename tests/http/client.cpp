// SPDX-License-Identifier: MIT
#include <weft/testing/catch.hpp>

#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <unistd.h>
#include <zlib.h>

#include <weft/http/client.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/census.hpp>
#include <weft/testing/step_kill.hpp>

#include "awaiting.hpp"
#include "descriptors.hpp"
#include "scripted_server.hpp"
#include "tls_peers.hpp"

namespace client_test {
namespace {

using namespace std::chrono_literals;
using support::Script;
using support::ScriptedServer;
using weft::Coro;
using weft::Task;
using weft::http::Body;
using weft::http::BodyWriter;
using weft::http::Client;
using weft::http::ClientOptions;
using weft::http::ClientRequest;
using weft::http::ClientResponse;
using weft::http::Headers;

Coro<std::string> text_of(Client& client, std::string url) {
    ClientResponse response = co_await client.get(std::move(url));
    co_return co_await response.text();
}
Coro<std::string> posted(Client& client, std::string url, std::string body) {
    ClientResponse response = co_await client.post(std::move(url), Body(std::move(body)));
    co_return co_await response.text();
}
/// The body, or what was thrown: "timeout: ...", "protocol 400: ...", "system 104: ...".
Coro<std::string> outcome_of(Coro<std::string> fetching) {
    try {
        co_return co_await std::move(fetching);
    } catch (const weft::TimeoutError& error) {
        co_return std::string("timeout: ") + error.what();
    } catch (const weft::http::ProtocolError& error) {
        co_return "protocol " + std::to_string(error.status()) + ": " + error.what();
    } catch (const weft::TlsError& error) {
        co_return std::string("tls: ") + error.what();
    } catch (const std::system_error& error) {
        co_return "system " + std::to_string(error.code().value()) + ": " + error.what();
    } catch (const std::exception& error) {
        co_return std::string("other: ") + error.what();
    }
}
bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

WEFT_TEST_CASE("requests go out as they should, and connections are used again") {
    Script script;
    script.answer(Script::ok("one"));
    script.answer("HTTP/1.1 201 Made\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n");
    script.answer("HTTP/1.1 204 No Content\r\n\r\n");
    script.answer("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");  // to HEAD
    script.answer(Script::ok("five"));
    ScriptedServer server = co_await ScriptedServer::start(script);
    ClientOptions options;
    options.headers.add("X-Of-All", "1");
    Client client(options);
    const std::string base = "127.0.0.1:" + std::to_string(server.port());
    const std::string one = co_await text_of(client, server.url("/a?b=c#d"));
    CHECK(one == "one");
    CHECK(client.idle_connections() == 1);
    const Headers mine{{"X-Mine", "2"}};
    ClientResponse two = co_await client.post(server.url("/p"), "body", mine);
    CHECK(two.status() == 201);
    CHECK(two.reason() == "Made");
    CHECK(two.is_ok());
    CHECK(client.busy_connections() == 1);
    const std::string two_text = co_await two.text();
    CHECK(two_text == "two");
    const std::string again = co_await two.text();
    CHECK(again.empty());
    const ClientResponse three = co_await client.remove(server.url("/d"));
    CHECK(three.status() == 204);
    const ClientResponse four = co_await client.head(server.url("/h"));
    CHECK(four.headers().value("content-length") == "1000");
    CHECK(client.idle_connections() == 1);
    const std::string five =
        co_await text_of(client, "http://me:secret@" + base + "/with%20blank and more");
    CHECK(five == "five");
    CHECK(script.connections == 1);
    const std::string rest =
        "X-Of-All: 1\r\nUser-Agent: weft\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n";
    CHECK(script.requests.at(0) == "GET /a?b=c HTTP/1.1\r\nHost: " + base + "\r\n" + rest + "\r\n");
    CHECK(script.requests.at(1) == "POST /p HTTP/1.1\r\nHost: " + base + "\r\nX-Mine: 2\r\n" +
                                       rest + "Content-Length: 4\r\n\r\nbody");
    CHECK(script.requests.at(2).starts_with("DELETE /d HTTP/1.1\r\n"));
    CHECK(has(script.requests.at(4), "\r\nAuthorization: Basic bWU6c2VjcmV0\r\n"));
    CHECK(script.requests.at(4).starts_with("GET /with%20blank%20and%20more HTTP/1.1"));
    co_await client.close();
    const std::string closed = co_await outcome_of(text_of(client, server.url()));
    CHECK(has(closed, "closed"));
}

std::string repeated(std::string_view text, int count) {
    std::string all;
    for (; count > 0; --count) all += text;
    return all;
}

struct Row {
    const char* name;
    std::string answer;
    std::string outcome;   // what it begins with, without method and URL; the body where it is one
    bool is_kept = false;  // the connection
};

WEFT_TEST_CASE("a response is taken as RFC 9112 wants it, and a wrong one ends its connection") {
    const std::string ok = "HTTP/1.1 200 OK\r\n";
    const std::string close(Script::close);
    const std::vector<Row> rows = {
        {"length", Script::ok("body"), "body", true},
        {"no body", ok + "Content-Length: 0\r\n\r\n", "", true},
        {"chunks", ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n", "body",
         true},
        {"chunks with trailers",
         ok + "Transfer-Encoding: chunked\r\n\r\n4;x=y\r\nbody\r\n0\r\nA: b\r\n\r\n", "body", true},
        {"to the end", ok + "\r\nbody" + close, "body"},
        {"to the end of HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nbody" + close, "body"},
        {"it says that it closes", Script::ok("body", "Connection: close\r\n"), "body"},
        {"HTTP/1.0 closes", "HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbody", "body"},
        {"304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n", "", true},
        {"1xx before it",
         "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" +
             Script::ok("body"),
         "body", true},
        {"1xx without end", repeated("HTTP/1.1 100 Continue\r\n\r\n", 200) + Script::ok("body"),
         "protocol 400: "},
        {"more behind it", Script::ok("body") + "HTTP/1.1 200 OK\r\n", "body"},
        {"another protocol", "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
         "protocol 400: "},
        {"closed at once", close, "system 104: "},
        {"reset at once", std::string(Script::reset), "system 104: "},
        {"closed in the head", "HTTP/1.1 200 OK\r\nContent-Le" + close, "protocol 400: "},
        {"closed in the body", ok + "Content-Length: 10\r\n\r\nbody" + close, "protocol 400: "},
        {"reset in the body", ok + "Content-Length: 10\r\n\r\nbody" + std::string(Script::reset),
         "system 104: "},
        {"closed in a chunk", ok + "Transfer-Encoding: chunked\r\n\r\n9\r\nbody" + close,
         "protocol 400: "},
        {"closed before the last chunk",
         ok + "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n" + close, "protocol 400: "},
        {"both lengths", ok + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         "protocol 400: "},
        {"two lengths", ok + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
         "protocol 400: "},
        {"a length with a sign", ok + "Content-Length: +4\r\n\r\nbody", "protocol 400: "},
        {"a chunk that is none", ok + "Transfer-Encoding: chunked\r\n\r\nx\r\n", "protocol 400: "},
        {"bare line feeds", "HTTP/1.1 200 OK\nContent-Length: 4\n\nbody", "protocol 400: "},
        {"a folded field", ok + "A: b\r\n c\r\nContent-Length: 0\r\n\r\n", "protocol 400: "},
        {"a blank before the colon", ok + "Content-Length : 4\r\n\r\nbody", "protocol 400: "},
        {"no HTTP", "SSH-2.0-OpenSSH_9.2\r\n", "protocol 400: "},
        {"HTTP/2", "HTTP/2 200\r\n\r\n", "protocol 505: "},
        {"an endless head", ok + "A: " + std::string(100'000, 'x'), "protocol 431: "},
    };
    for (const Row& row : rows) {
        Script script;
        script.answer(row.answer);
        ScriptedServer server = co_await ScriptedServer::start(script);
        Client client;
        const std::string outcome = co_await outcome_of(text_of(client, server.url("/x")));
        const bool is_error = row.outcome.find(": ") != std::string::npos;
        const bool is_right = is_error ? outcome.starts_with(row.outcome) : outcome == row.outcome;
        const bool names_it = !is_error || has(outcome, "GET " + server.url("/x"));
        const std::size_t kept = client.idle_connections();
        UNSCOPED_INFO(row.name << ": " << outcome);
        CHECK(is_right);
        CHECK(names_it);
        CHECK(kept == (row.is_kept ? 1u : 0u));
    }
}

WEFT_TEST_CASE("a connection that its server has closed is noticed, or the request repeated") {
    Script script;
    script.answer(Script::ok("first"));
    script.answer(std::string(Script::close));  // in the moment of the second request
    script.answer(Script::ok("second"));
    script.answer(Script::ok("third") + std::string(Script::close));  // after the response
    script.answer(Script::ok("fourth"));
    ScriptedServer server = co_await ScriptedServer::start(script);
    Client client;
    const std::string first = co_await text_of(client, server.url());
    const std::string second = co_await text_of(client, server.url());
    CHECK(first == "first");
    CHECK(second == "second");
    CHECK(script.connections == 2);
    const std::string third = co_await text_of(client, server.url());
    CHECK(third == "third");
    co_await support::turns(10);
    const std::string fourth = co_await posted(client, server.url(), "body");
    CHECK(fourth == "fourth");
    CHECK(script.connections == 3);
}

WEFT_TEST_CASE("a POST is not repeated when the server has closed instead of answering") {
    Script script;
    script.answer(Script::ok("first"));
    script.answer(std::string(Script::close));
    script.answer(Script::ok("second"));
    ScriptedServer server = co_await ScriptedServer::start(script);
    Client client;
    co_await text_of(client, server.url());
    const std::string outcome = co_await outcome_of(posted(client, server.url(), "pay"));
    CHECK(outcome.starts_with("system 104: POST "));
    CHECK(script.requests.size() == 2);
}

WEFT_TEST_CASE("a response that is not read to its end closes its connection") {
    Script script;
    script.answer(Script::ok(std::string(100'000, 'x')));
    ScriptedServer server = co_await ScriptedServer::start(script);
    Client client;
    {
        const ClientResponse response = co_await client.get(server.url());
        CHECK(response.status() == 200);
        CHECK(client.busy_connections() == 1);
    }
    CHECK(client.busy_connections() == 0);
    CHECK(client.idle_connections() == 0);
    ClientResponse response = co_await client.get(server.url());
    auto body = response.body();
    std::size_t size = 0;
    while (size < 100'000) size += (co_await body.read_chunk()).size();
    { const ClientResponse gone = std::move(response); }
    CHECK(client.idle_connections() == 1);  // (it was, although nobody has seen the end)
}

WEFT_TEST_CASE("a response that goes while its body is read ends the read, and is no whole one") {
    Script script;
    script.answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf" + std::string(Script::stall));
    ScriptedServer server = co_await ScriptedServer::start(script);
    Client client;
    std::optional<ClientResponse> response(co_await client.get(server.url()));
    Task<std::string> reading = weft::create_task(outcome_of(response->text()));
    co_await support::turns(10);
    response.reset();
    CHECK(client.busy_connections() == 0);
    const std::string outcome = co_await reading;
    CHECK(outcome.starts_with("system 125: GET "));
    response.emplace(co_await client.get(server.url()));
    Coro<std::string> late = response->text();
    response.reset();
    const std::string after = co_await outcome_of(std::move(late));
    CHECK(after == "other: weft: the body of a response that has gone is read");
    server.server().abort_clients();
}

WEFT_TEST_CASE("a client may go while it is being closed") {
    Script script;
    script.answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf" + std::string(Script::stall));
    ScriptedServer first = co_await ScriptedServer::start(script);
    ScriptedServer second = co_await ScriptedServer::start(script);
    auto client = std::make_unique<Client>();
    std::optional<ClientResponse> one(co_await client->get(first.url()));
    std::optional<ClientResponse> other(co_await client->get(second.url()));
    Task<void> closing = weft::create_task(client->close());
    co_await support::turns(10);
    client.reset();
    one.reset();
    co_await support::turns(10);
    CHECK(!closing.done());
    other.reset();
    co_await closing;
    first.server().abort_clients();
    second.server().abort_clients();
}

WEFT_TEST_CASE("redirects are followed as RFC 9110 has it") {
    struct Redirect {
        int status;
        const char* method;
        const char* then;
        bool keeps_body;
    };
    for (const Redirect& row :
         {Redirect{301, "POST", "GET", false}, Redirect{302, "POST", "GET", false},
          Redirect{302, "PUT", "PUT", true}, Redirect{303, "PUT", "GET", false},
          Redirect{307, "POST", "POST", true}, Redirect{308, "POST", "POST", true},
          Redirect{301, "GET", "GET", false}, Redirect{303, "HEAD", "HEAD", false}}) {
        Script script;
        script.answer("HTTP/1.1 " + std::to_string(row.status) +
                      " Elsewhere\r\nLocation: there?x\r\nContent-Length: 0\r\n\r\n");
        script.answer("HTTP/1.1 204 Done\r\n\r\n");
        ScriptedServer server = co_await ScriptedServer::start(script);
        Client client;
        ClientRequest request(row.method, server.url("/a/b"));
        request.headers.add("Authorization", "mine");
        request.headers.add("Content-Type", "text/plain");
        if (row.keeps_body || std::string_view(row.method) != row.then) request.body = "body";
        const ClientResponse response = co_await client.request(std::move(request));
        CHECK(response.status() == 204);
        CHECK(response.redirects() == 1);
        CHECK(response.url().to_string() == server.url("/a/there?x"));
        const std::string& second = script.requests.at(1);
        CHECK(second.starts_with(std::string(row.then) + " /a/there?x HTTP/1.1"));
        CHECK(second.ends_with("body") == row.keeps_body);
        CHECK(has(second, "Content-Type") ==
              (row.keeps_body || std::string_view(row.method) == row.then));
        CHECK(has(second, "Authorization: mine"));
        CHECK(script.connections == 1);
    }
}

WEFT_TEST_CASE("what is for one host alone does not go to another") {
    Script there;
    there.answer(Script::ok("there"));
    ScriptedServer other = co_await ScriptedServer::start(there);
    Script script;
    script.answer("HTTP/1.1 302 Elsewhere\r\nLocation: " + other.url("/t") +
                  "\r\nContent-Length: 0\r\n\r\n");
    ScriptedServer server = co_await ScriptedServer::start(script);
    ClientOptions options;
    options.headers.add("Cookie", "secret=1").add("X-Other", "2");
    Client client(options);
    ClientRequest request("GET", server.url("/"));
    request.headers.add("Authorization", "secret").add("Host", "virtual");
    ClientResponse response = co_await client.request(std::move(request));
    const std::string text = co_await response.text();
    CHECK(text == "there");
    CHECK(has(script.requests.at(0), "Authorization: secret"));
    CHECK(has(script.requests.at(0), "Host: virtual"));
    CHECK(!has(there.requests.at(0), "secret"));
    CHECK(!has(there.requests.at(0), "virtual"));
    CHECK(has(there.requests.at(0), "X-Other: 2"));
}

WEFT_TEST_CASE("redirects end: too many, to nowhere, to another protocol, or not wanted") {
    Script script;
    script.answer("HTTP/1.1 302 Elsewhere\r\nLocation: /\r\nContent-Length: 0\r\n\r\n");
    ScriptedServer server = co_await ScriptedServer::start(script);
    Client client;
    const std::string loop = co_await outcome_of(text_of(client, server.url()));
    CHECK(has(loop, "too many redirects"));
    CHECK(script.requests.size() == 11);
    script.answers[0] =
        "HTTP/1.1 302 X\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n";
    const std::string file = co_await outcome_of(text_of(client, server.url()));
    CHECK(has(file, "a redirect to"));
    script.answers[0] =
        "HTTP/1.1 302 X\r\nLocation: http+unix://%2Frun%2Fx/\r\nContent-Length: 0\r\n\r\n";
    const std::string unix_socket = co_await outcome_of(text_of(client, server.url()));
    CHECK(has(unix_socket, "a redirect to"));
    script.answers[0] = "HTTP/1.1 302 X\r\nContent-Length: 4\r\n\r\nhere";
    const std::string nowhere = co_await text_of(client, server.url());
    CHECK(nowhere == "here");
    ClientOptions options;
    options.max_redirects = 0;
    Client other(options);
    script.answers[0] = "HTTP/1.1 302 X\r\nLocation: /\r\nContent-Length: 4\r\n\r\nhere";
    const std::string unwanted = co_await text_of(other, server.url());
    CHECK(unwanted == "here");
}

WEFT_TEST_CASE("each time limit strikes in its phase, and says so") {
    struct Limit {
        const char* answer;
        weft::Duration ClientOptions::*limit;
        const char* phase;
    };
    for (const Limit& row :
         {Limit{"<stall>", &ClientOptions::header_timeout, ": wait for the response"},
          Limit{"HTTP/1.1 100 Continue\r\n\r\n<stall>", &ClientOptions::header_timeout,
                ": wait for the response"},
          Limit{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbo<stall>",
                &ClientOptions::body_timeout, ": read the body"},
          Limit{"<stall>", &ClientOptions::total_timeout, ": wait for the response"},
          Limit{"HTTP/1.1 200 OK\r\n\r\nbo<stall>", &ClientOptions::total_timeout,
                ": read the body"}}) {
        Script script;
        script.answer(row.answer);
        ScriptedServer server = co_await ScriptedServer::start(script);
        ClientOptions options;
        options.*row.limit = 3s;
        Client client(options);
        const weft::TimePoint begin = weft::get_running_loop().time();
        const std::string outcome = co_await outcome_of(text_of(client, server.url()));
        const weft::Duration took = weft::get_running_loop().time() - begin;
        UNSCOPED_INFO(outcome);
        CHECK(outcome.starts_with("timeout: timed out: GET http://127.0.0.1:"));
        CHECK(has(outcome, row.phase));
        CHECK(took == 3s);
        CHECK(client.busy_connections() + client.idle_connections() == 0);
        server.server().abort_clients();
    }
}

WEFT_TEST_CASE("a host's connections are limited, and who waits for one is under the total limit") {
    Script script;
    script.answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbo<stall>");
    ScriptedServer server = co_await ScriptedServer::start(script);
    ClientOptions options;
    options.max_per_host = 1;
    options.total_timeout = 5s;
    Client client(options);
    const ClientResponse first = co_await client.get(server.url());
    const std::string second = co_await outcome_of(text_of(client, server.url()));
    CHECK(has(second, ": wait for a connection: as many as max_per_host are in use"));
    CHECK(second.starts_with("timeout: "));
    CHECK(script.connections == 1);
}

Coro<void> write_parts(BodyWriter& out) {
    for (int part = 0; part < 3; ++part) {
        co_await weft::sleep(40s);  // longer in all than the limit for the head
        co_await out.write("part ");
    }
}

WEFT_TEST_CASE("who waits for a connection gets one, however many other hosts are visited") {
    Script script;
    script.answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbo<stall>");
    script.answer(Script::ok("x"));
    auto handler = [script](weft::Stream stream) {
        return support::serve_script(std::move(stream), script);
    };
    weft::Server server = co_await weft::start_server(handler, "0.0.0.0", 0);
    const std::string here = "http://127.0.0.1:" + std::to_string(server.port());
    ClientOptions options;
    options.max_per_host = 1;
    Client client(options);
    const std::string port = ":" + std::to_string(server.port());
    std::optional<ClientResponse> first(co_await client.get(here));
    for (int host = 2; host < 70; ++host)
        co_await text_of(client, "http://127.0.0." + std::to_string(host) + port);
    Task<std::string> waiting = weft::create_task(outcome_of(text_of(client, here)));
    co_await support::turns(5);
    first.reset();  // the one who waits has its turn, but has not run yet
    const std::string other = co_await text_of(client, "http://127.0.0.80" + port);
    CHECK(other == "x");
    const std::string text = co_await waiting;
    CHECK(text == "x");
    server.abort_clients();
}

WEFT_TEST_CASE("a body is sent as it comes") {
    Script script;
    script.answer(Script::ok("thanks"));
    ScriptedServer server = co_await ScriptedServer::start(script);
    Client client;
    ClientResponse chunked = co_await client.post(server.url(), Body::written_by(&write_parts));
    const std::string thanks = co_await chunked.text();
    CHECK(thanks == "thanks");
    CHECK(has(script.requests.at(0), "Transfer-Encoding: chunked\r\n\r\n5\r\npart \r\n"));
    ClientResponse known = co_await client.put(server.url(), Body::written_by(&write_parts, 15));
    co_await known.text();
    CHECK(script.requests.at(1).ends_with("Content-Length: 15\r\n\r\npart part part "));
    const std::string large(1'000'000, 'x');
    const std::string third = co_await posted(client, server.url(), large);
    CHECK(third == "thanks");
    CHECK(script.requests.at(2).ends_with("\r\n\r\n" + large));
    CHECK(script.connections == 1);
    CHECK(client.idle_connections() == 1);
}

Coro<void> fail_halfway(BodyWriter& out) {
    co_await out.write("half");
    throw std::runtime_error("the other half is missing");
}

WEFT_TEST_CASE("a body that cannot be made ends its request with its error") {
    Script script;
    script.answer(Script::ok("thanks"));
    ScriptedServer server = co_await ScriptedServer::start(script);
    Client client;
    const std::string outcome = co_await outcome_of([&]() -> Coro<std::string> {
        ClientResponse response =
            co_await client.post(server.url(), Body::written_by(&fail_halfway));
        co_return co_await response.text();
    }());
    CHECK(outcome == "other: the other half is missing");
    CHECK(client.busy_connections() + client.idle_connections() == 0);
    CHECK(script.requests.empty());
}

WEFT_TEST_CASE(
    "a response that comes before the body is sent is given, and the connection closed") {
    Script script;
    script.ignores_bodies = true;
    script.answer("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno" +
                  std::string(Script::close));
    ScriptedServer server = co_await ScriptedServer::start(script);
    Client client;
    ClientResponse response = co_await client.post(server.url(), std::string(32'000'000, 'x'));
    CHECK(response.status() == 413);
    // (What is unread when the server closes may take what it has said along.)
    const std::string text = co_await outcome_of(response.text());
    UNSCOPED_INFO(text);
    CHECK(client.busy_connections() + client.idle_connections() == 0);
    CHECK_THROWS_AS(response.raise_for_status(), weft::http::StatusError);
}

WEFT_TEST_CASE("a request that fails behind its head ends, although its body is still being sent") {
    Script script;
    script.ignores_bodies = true;
    script.answer("HTTP/1.1 307 There\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n" +
                  std::string(Script::stall));
    ScriptedServer server = co_await ScriptedServer::start(script);
    Client client;
    bool has_ended = false;
    auto endless = [&has_ended](BodyWriter& out) -> Coro<void> {
        try {
            co_await out.write("begin");
            co_await weft::sleep_forever();
        } catch (const weft::CancelledError&) {
            has_ended = true;
            throw;
        }
    };
    const std::string outcome = co_await outcome_of([&]() -> Coro<std::string> {
        ClientResponse response = co_await client.post(server.url(), Body::written_by(endless));
        co_return co_await response.text();
    }());
    CHECK(has(outcome, "a body that is gone"));
    co_await support::turns(10);
    CHECK(has_ended);
    CHECK(client.busy_connections() + client.idle_connections() == 0);
    server.server().abort_clients();
}

std::string gzipped(const std::string& text, int window = 15 + 16) {
    z_stream stream{};
    deflateInit2(&stream, 9, Z_DEFLATED, window, 9, Z_DEFAULT_STRATEGY);
    std::string out(deflateBound(&stream, text.size()) + 64, '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    stream.avail_in = static_cast<uInt>(text.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    deflate(&stream, Z_FINISH);
    out.resize(stream.total_out);
    deflateEnd(&stream);
    return out;
}

WEFT_TEST_CASE("compressed bodies are taken back, within their limit, and cut ones are errors") {
    const std::string text(1'000'000, 'z');
    const std::string zipped = gzipped(text);
    struct Zipped {
        std::string body;
        const char* encoding;
        std::string outcome;
    };
    for (const Zipped& row :
         {Zipped{zipped, "gzip", text}, Zipped{gzipped(text, 15), "deflate", text},
          Zipped{gzipped(text, -15), "deflate", text}, Zipped{"as it is", "br", "as it is"},
          Zipped{"", "gzip", ""}, Zipped{gzipped(text + "!"), "gzip", "protocol 413: "},
          Zipped{zipped.substr(0, zipped.size() - 9), "gzip", "protocol 400: "},
          Zipped{zipped + "more", "gzip", "protocol 400: "},
          Zipped{"no gzip at all", "gzip", "protocol 400: "}}) {
        Script script;
        script.answer(
            Script::ok(row.body, "Content-Encoding: " + std::string(row.encoding) + "\r\n"));
        ScriptedServer server = co_await ScriptedServer::start(script);
        ClientOptions options;
        options.max_decompressed = 1'000'000;
        Client client(options);
        const std::string outcome = co_await outcome_of(text_of(client, server.url()));
        const bool is_error = row.outcome.starts_with("protocol");
        CHECK((is_error ? outcome.substr(0, row.outcome.size()) : outcome) == row.outcome);
    }
}

WEFT_TEST_CASE("requests that may be repeated are, with pauses, as long as the server is busy") {
    Script script;
    script.answer("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy");
    script.answer(std::string(Script::close));
    script.answer(Script::ok("done"));
    ScriptedServer server = co_await ScriptedServer::start(script);
    ClientOptions options;
    options.retry.attempts = 3;
    Client client(options);
    const weft::TimePoint begin = weft::get_running_loop().time();
    const std::string done = co_await text_of(client, server.url());
    CHECK(done == "done");
    CHECK(weft::get_running_loop().time() - begin >= 7s);
    CHECK(script.requests.size() == 3);
    script.requests.clear();
    script.answers = {"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"};
    const std::string post = co_await posted(client, server.url(), "x");
    CHECK(post == "busy");
    CHECK(script.requests.size() == 1);
    const std::string last = co_await text_of(client, server.url());
    CHECK(last == "busy");
    CHECK(script.requests.size() == 4);
}

WEFT_TEST_CASE("where there is no time for another try, the last one tells what was wrong") {
    Script script;
    script.answer("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy");
    script.answer(std::string(Script::stall));
    ScriptedServer server = co_await ScriptedServer::start(script);
    ClientOptions options;
    options.retry = weft::RetryOptions(5, 2s);
    options.retry.jitter = 0;
    options.header_timeout = 3s;
    options.total_timeout = 5s;
    Client client(options);
    const weft::TimePoint begin = weft::get_running_loop().time();
    const std::string busy = co_await text_of(client, server.url());
    CHECK(busy == "busy");
    CHECK(weft::get_running_loop().time() - begin < 1s);
    const std::string silent = co_await outcome_of(text_of(client, server.url()));
    CHECK(has(silent, "wait for the response"));
    CHECK(weft::get_running_loop().time() - begin <= 5s);
    CHECK(script.requests.size() == 2);
}

WEFT_TEST_CASE("an idle connection is closed in time") {
    Script script;
    script.answer(Script::ok("x"));
    ScriptedServer server = co_await ScriptedServer::start(script);
    Client client;
    co_await text_of(client, server.url());
    CHECK(client.idle_connections() == 1);
    co_await weft::sleep(16s);
    CHECK(client.idle_connections() == 0);
}

WEFT_TEST_CASE("errors of the connection name the request") {
    Client client;
    const weft::Fd nobody = support::new_socket(AF_INET);
    const weft::Address any = weft::Address::ip("127.0.0.1", 0);
    support::checked(::bind(nobody.get(), any.data(), any.size()), "bind");
    const std::string url =
        "http://127.0.0.1:" + std::to_string(weft::Address::of_socket(nobody.get()).port()) + "/x";
    const std::string refused = co_await outcome_of(text_of(client, url));
    CHECK(refused.starts_with("system 111: GET " + url + ": connect: "));
    const std::string no_url = co_await outcome_of(text_of(client, "no url"));
    CHECK(has(no_url, "not a URL"));
    const std::string smuggled = co_await outcome_of([&]() -> Coro<std::string> {
        ClientRequest request("GET / HTTP/1.1\r\nX:", "http://127.0.0.1/");
        (void)co_await client.request(std::move(request));
        co_return "sent";
    }());
    CHECK(has(smuggled, "no method"));
    const std::string framing = co_await outcome_of([&]() -> Coro<std::string> {
        const Headers wrong{{"content-length", "2"}};
        (void)co_await client.post("http://127.0.0.1/", "x", wrong);
        co_return "sent";
    }());
    CHECK(has(framing, "set by the client"));
    ClientOptions split;
    split.user_agent = "me\r\nX-Other: 1";
    CHECK_THROWS_AS(Client(split), std::invalid_argument);
}

/// A proxy that is asked for a whole URL answers itself; one that is asked to connect does so.
Coro<void> proxy(weft::Stream client, std::vector<std::string>& requests) {
    std::exception_ptr ignored;
    try {
        std::string head = co_await client.read_until("\r\n\r\n");
        requests.push_back(head);
        if (!head.starts_with("CONNECT ")) {
            co_await client.write(Script::ok("by proxy"));
            (void)co_await client.read_until("\r\n\r\n");
            co_return;
        }
        if (!has(head, "Basic cHJveHk6c2VjcmV0")) {
            co_await client.write("HTTP/1.1 407 Who Are You\r\nContent-Length: 0\r\n\r\n");
            co_return;
        }
        const std::size_t colon = head.find(':');
        const auto port = static_cast<std::uint16_t>(std::stoi(head.substr(colon + 1)));
        weft::Stream server = co_await weft::open_connection("127.0.0.1", port);
        co_await client.write("HTTP/1.1 200 Connected\r\n\r\n");
        auto pump = [](weft::Stream& from, weft::Stream& to) -> Coro<void> {
            char buffer[1000];
            while (const std::size_t size = co_await from.read(buffer))
                co_await to.write(weft::ConstBuffer(buffer, size));
            co_await to.write_eof();
        };
        Task<void> back = weft::create_task(pump(server, client));
        co_await pump(client, server);
        co_await back;
    } catch (const weft::IncompleteReadError&) {
    } catch (const std::system_error&) {
    }
}

WEFT_TEST_CASE("a proxy is asked for whole URLs, and to connect where there is TLS") {
    Script script;
    script.answer(Script::ok("by TLS"));
    auto handler = [script](weft::Stream stream) {
        return support::serve_script(std::move(stream), script);
    };
    weft::TlsOptions server_tls(support::server_context());
    weft::Server secure = co_await weft::start_server(handler, "127.0.0.1", 0, server_tls);
    std::vector<std::string> requests;
    auto handle = [&requests](weft::Stream stream) { return proxy(std::move(stream), requests); };
    weft::Server server = co_await weft::start_server(handle, "127.0.0.1", 0);
    const std::string at = "127.0.0.1:" + std::to_string(server.port());
    const std::string secure_at = "127.0.0.1:" + std::to_string(secure.port());
    ClientOptions options;
    options.proxy = "http://proxy:secret@" + at;
    options.tls = weft::TlsOptions(support::client_context());
    {
        Client client(options);
        const std::string plain = co_await text_of(client, "http://example.com/x");
        CHECK(plain == "by proxy");
        const std::string tls = co_await text_of(client, "https://" + secure_at + "/y");
        CHECK(tls == "by TLS");
    }
    CHECK(requests.at(0).starts_with("GET http://example.com/x HTTP/1.1\r\nHost: example.com\r\n"));
    CHECK(has(requests.at(0), "Proxy-Authorization: Basic cHJveHk6c2VjcmV0\r\n"));
    CHECK(requests.at(1).starts_with("CONNECT " + secure_at + " HTTP/1.1\r\n"));
    CHECK(script.requests.at(0).starts_with("GET /y HTTP/1.1\r\n"));
    CHECK(!has(script.requests.at(0), "Proxy-"));
    options.proxy = "http://" + at;
    Client nobody(options);
    const std::string unknown = co_await outcome_of(text_of(nobody, "https://" + secure_at + "/"));
    CHECK(unknown.starts_with("protocol 407: "));
}

WEFT_TEST_CASE("https: the server is who it says, and its connections are used again") {
    Script script;
    script.answer(Script::ok("by TLS"));
    auto handler = [script](weft::Stream stream) {
        return support::serve_script(std::move(stream), script);
    };
    weft::TlsOptions server_tls(support::server_context());
    weft::Server server = co_await weft::start_server(handler, "127.0.0.1", 0, server_tls);
    const std::string url = "https://127.0.0.1:" + std::to_string(server.port()) + "/";
    ClientOptions options;
    options.tls = weft::TlsOptions(support::client_context());
    Client client(options);
    const std::string one = co_await text_of(client, url);
    const std::string two = co_await text_of(client, url);
    CHECK(one == "by TLS");
    CHECK(two == "by TLS");
    CHECK(script.connections == 1);
}

WEFT_TEST_CASE("a Unix socket is a URL's host") {
    Script script;
    script.answer(Script::ok("by Unix socket"));
    auto handler = [script](weft::Stream stream) {
        return support::serve_script(std::move(stream), script);
    };
    const std::string path = std::string(1, '\0') + "weft-client-" + std::to_string(::getpid());
    weft::Server server = co_await weft::start_unix_server(handler, path);
    Client client;
    const std::string text =
        co_await text_of(client, "http+unix://" + weft::http::percent_encoded(path) + "/x?y");
    CHECK(text == "by Unix socket");
    CHECK(script.requests.at(0).starts_with("GET /x?y HTTP/1.1\r\nHost: localhost\r\n"));
    // A redirect that stays there is followed.
    script.answers = {"x", "HTTP/1.1 302 X\r\nLocation: z\r\nContent-Length: 0\r\n\r\n",
                      Script::ok("there")};
    const std::string there =
        co_await text_of(client, "http+unix://" + weft::http::percent_encoded(path) + "/x?y");
    CHECK(there == "there");
    CHECK(script.requests.at(2).starts_with("GET /z HTTP/1.1\r\nHost: localhost\r\n"));
}

/// Several at once on two connections; each gets what is its own.
Coro<std::string> echoed(Client& client, std::string url, std::string what) {
    std::string got;
    if (what.size() % 2 == 0) {
        ClientResponse response = co_await client.post(std::move(url), Body(what));
        got = co_await response.text();
    } else {
        auto write = [what](BodyWriter& out) -> Coro<void> {
            // (Its captures live as long as the body.)
            for (std::size_t at = 0; at < what.size(); ++at) co_await out.write(what.substr(at, 1));
        };
        ClientResponse response = co_await client.post(std::move(url), Body::written_by(write));
        got = co_await response.text();
    }
    co_return got == what ? "right" : "wrong: " + got;
}

Coro<void> echo_bodies(weft::Stream stream) {
    try {
        for (;;) {
            const std::string request = co_await support::read_request(stream, false);
            if (request.empty()) co_return;
            const std::size_t head = request.find("\r\n\r\n") + 4;
            std::string body = request.substr(head);
            if (has(request.substr(0, head), "chunked")) {
                std::string plain;
                for (std::size_t at = 0; body[at] != '0'; at += 6) plain += body[at + 3];
                body = plain;
            }
            co_await stream.write(Script::ok(body));
        }
    } catch (const std::exception&) {
    }
}

struct World {
    explicit World(weft::Server started) : server(std::move(started)) {
        url = "http://127.0.0.1:" + std::to_string(server.port()) + "/";
    }
    weft::Server server;
    std::string url;
};

Coro<void> disturbed(bool& was_wrong, bool goes_on) {
    weft::Server started = co_await weft::start_server(&echo_bodies, "127.0.0.1", 0);
    World world(std::move(started));
    ClientOptions options;
    options.max_per_host = 2;
    Client client(options);
    std::exception_ptr cancelled;
    std::vector<Task<std::string>> others;
    for (const char* what : {"a", "bb", "ccc"})
        others.push_back(weft::create_task(echoed(client, world.url, what)));
    try {
        const std::string text = co_await echoed(client, world.url, "mine");
        if (text != "right") was_wrong = true;
        for (Task<std::string>& other : others) {
            const std::string theirs = co_await other;
            if (theirs != "right") was_wrong = true;
        }
    } catch (const weft::CancelledError&) {
        cancelled = std::current_exception();
    }
    if (!cancelled) co_return;
    if (!goes_on) std::rethrow_exception(cancelled);
    // Some were cancelled in the middle. Whatever is in the pool is good for others.
    others.front().cancel();
    for (Task<std::string>& other : others) co_await other.wait();
    for (const char* what : {"after", "that"}) {
        const std::string text = co_await echoed(client, world.url, what);
        if (text != "right") was_wrong = true;
    }
    std::rethrow_exception(cancelled);
}

TEST_CASE("a request can be cancelled, or its loop end, at every step, and no answer is mixed up") {
    const weft::testing::DescriptorCensus before;
    bool was_wrong = false;
    int cancels = 0;
    const std::size_t steps =
        weft::testing::kill_at_every_step([&] { return disturbed(was_wrong, false); });
    weft::testing::cancel_at_every_step(
        [&] { return disturbed(was_wrong, true); },
        [&](const Task<void>& task) { cancels += task.cancelled() ? 1 : 0; });
    CHECK(steps > 5);
    CHECK(cancels > 3);
    CHECK(!was_wrong);
    CHECK(before.leaked() == "");
}

WEFT_TEST_CASE("10,000 requests leak nothing, on as many connections as are allowed") {
    weft::Server server = co_await weft::start_server(&echo_bodies, "127.0.0.1", 0);
    World world(std::move(server));
    ClientOptions options;
    options.max_per_host = 10;
    Client client(options);
    std::size_t right = 0;
    auto worker = [&]() -> Coro<void> {
        for (int round = 0; round < 500; ++round) {
            const std::string text = co_await echoed(client, world.url, "22");
            right += text == "right" ? 1u : 0u;
        }
    };
    std::vector<Task<void>> workers;
    for (int each = 0; each < 20; ++each) workers.push_back(weft::create_task(worker()));
    for (Task<void>& each : workers) co_await each;
    CHECK(right == 10'000);
    CHECK(client.idle_connections() == 10);
    CHECK(world.server.connections() == 10);
    co_await client.close();
}

}  // namespace
}  // namespace client_test
