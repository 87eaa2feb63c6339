// SPDX-License-Identifier: MIT
// curl::Client: nginx, a server of the test's own, and files at the other end.
#include <weft/curl.hpp>
#include <weft/weft.hpp>

#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <weft/testing/catch.hpp>
#include <weft/testing/census.hpp>
#include <weft/testing/step_kill.hpp>

#include "descriptors.hpp"
#include "probe.hpp"
#include "service.hpp"

namespace client_test {

using namespace std::chrono_literals;
using weft::Coro;
using weft::Stream;
using weft::curl::Client;
using weft::curl::Request;
using weft::curl::Response;
using weft::curl::Transfer;

namespace {

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != text.npos;
}

/// What it throws. `start` is a lambda with reference captures alone (g++ 12).
template <class Error, class Start>
Coro<std::string> failure(Start start) {
    try {
        (void)co_await start();
    } catch (const Error& error) {
        co_return error.what();
    }
    co_return "";
}

/// Answers by the path, and closes; what it was sent is in `seen`.
struct Server {
    static Coro<void> handle(Server& self, Stream stream) {
        const std::string head = co_await stream.read_until("\r\n\r\n");
        self.seen = head;
        const std::string path =
            head.substr(head.find(' ') + 1, head.find(' ', 5) - head.find(' ') - 1);
        if (path == "/hangs") {
            ++self.hanging;
            (void)co_await stream.read_all(1 << 20);  // until the client has gone
            --self.hanging;
        } else if (path == "/begins") {
            co_await stream.write(
                std::string_view("HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-One: 1\r\n\r\nbegin"));
            co_await self.go_on.wait();
            co_await stream.write(std::string_view("s.end"));
        } else if (path == "/head") {
            co_await stream.write(std::string_view("HTTP/1.1 200 OK\r\nX-Late: no\r\n\r\n"));
            co_await self.go_on.wait();
        } else if (path == "/cut") {
            co_await stream.write(
                std::string_view("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"));
        } else if (path == "/endless") {
            co_await stream.write(std::string_view("HTTP/1.1 200 OK\r\n\r\n"));
            const std::string piece(16 * 1024, '.');
            for (self.sent = 0; self.sent < 64 * 1024 * 1024; self.sent += piece.size())
                co_await stream.write(piece);
        } else if (path == "/early") {
            co_await stream.write(std::string_view(
                "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
        } else {
            std::string body;
            if (contains(head, "100-continue"))
                co_await stream.write(std::string_view("HTTP/1.1 100 Continue\r\n\r\n"));
            if (contains(head, "chunked")) {
                for (;;) {
                    const std::string size = co_await stream.read_line();
                    const std::size_t bytes = std::stoul(size, nullptr, 16);
                    body += (co_await stream.read_exactly(bytes + 2)).substr(0, bytes);
                    if (bytes == 0) break;
                }
            } else if (const std::size_t at = head.find("Content-Length: "); at != head.npos) {
                body = co_await stream.read_exactly(std::stoul(head.substr(at + 16)));
            }
            const std::string answer =
                "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
                body;
            co_await stream.write(answer);
        }
    }
    std::string seen;
    int hanging = 0;
    std::size_t sent = 0;
    weft::Event go_on;
};

/// `body(client, server, url)` with a server of ours at `url`, on real time.
template <class Body>
void with_server(Body body) {
    const weft::testing::DescriptorCensus before;
    weft::run([&]() -> Coro<void> {
        Server self;
        auto handler = [&self](Stream stream) -> Coro<void> {
            try {
                co_await Server::handle(self, std::move(stream));
            } catch (const std::exception&) {  // the client has gone
            }
        };
        auto server = co_await weft::start_server(handler, "127.0.0.1", 0);
        const std::string url = "http://127.0.0.1:" + std::to_string(server.port());
        {
            Client curl;
            co_await body(curl, self, url);
        }
        server.close();
        server.close_clients();
        co_await server.wait_closed();
    });
    CHECK(before.leaked() == "");
}

const std::vector<std::string>& nginx_lines() {
    static const std::vector<std::string> lines{
        "location = /moved { return 302 /hello; }",
        "location = /hello { default_type text/plain; add_header X-Weft thread; return 200 woven; "
        "}",
        "location = /gone { return 410 'not here'; }",
    };
    return lines;
}

}  // namespace

TEST_CASE("a real server: body, headers, redirects, status, HEAD, ten thousand of them", "[curl]") {
    const support::Service server("nginx", nginx_lines());
    if (!server.is_there()) return;
    const weft::testing::DescriptorCensus before;
    weft::run([&server]() -> Coro<void> {
        const std::string base = "http://127.0.0.1:" + server.fact("port");
        Client curl;
        const Response moved = co_await curl.get(base + "/moved");
        CHECK(moved.status == 200);
        CHECK(moved.body == "woven");
        CHECK(moved.url == base + "/hello");
        CHECK(moved.redirects == 1);
        CHECK(moved.header("x-WEFT") == "thread");
        CHECK(moved.header("location") == std::nullopt);
        CHECK(moved.downloaded == 5);
        CHECK(moved.elapsed > 0s);
        Request strict(base + "/moved");
        strict.max_redirects = 0;
        const Response not_followed = co_await curl.fetch(std::move(strict));
        CHECK(not_followed.status == 302);
        const Response gone = co_await curl.get(base + "/gone");
        CHECK(gone.status == 410);
        CHECK_FALSE(gone.ok());
        CHECK(gone.body == "not here");
        const std::string refused = co_await failure<weft::curl::Error>([&] {
            Request request(base + "/gone");
            request.fail_on_error = true;
            return curl.fetch(std::move(request));
        });
        CHECK(contains(refused, "GET " + base + "/gone: The requested URL returned error: 410"));
        const Response head = co_await curl.head(base + "/hello");
        CHECK(head.status == 200);
        CHECK(head.body.empty());
        int right = 0;
        auto gets = [&](int) -> Coro<void> {
            for (int round = 0; round < 200; ++round) {
                const Response hello = co_await curl.get(base + "/hello");
                right += hello.body == "woven";
            }
        };
        std::vector<weft::Task<void>> tasks;
        for (int number = 0; number < 50; ++number)
            tasks.push_back(weft::create_task(gets, number));
        for (auto& task : tasks) co_await task;
        CHECK(right == 10'000);
        if (!server.fact("tls_port").empty()) {
            const std::string secure = "https://localhost:" + server.fact("tls_port") + "/hello";
            Request request(secure);
            request.ca_file = server.fact("certificate");
            const Response woven = co_await curl.fetch(std::move(request));
            CHECK(woven.body == "woven");
            const std::string unknown =
                co_await failure<weft::curl::Error>([&] { return curl.get(secure); });
            CHECK(contains(unknown, "SSL certificate problem"));
        }
    });
    CHECK(before.leaked() == "");
}

TEST_CASE("a body goes up whole, in one piece or as somebody makes it", "[curl]") {
    with_server([](Client& curl, Server& server, const std::string& url) -> Coro<void> {
        const Response posted = co_await curl.post(url + "/echo", "{\"a\":1}");
        CHECK(posted.body == "{\"a\":1}");
        CHECK(contains(server.seen, "POST /echo HTTP/1.1"));
        CHECK(contains(server.seen, "Content-Type: application/json"));
        const std::string big(300'000, 'b');
        const Response put = co_await curl.put(url + "/echo", big, "text/plain");
        CHECK(put.body == big);
        CHECK(contains(server.seen, "PUT /echo"));
        Request remove("DELETE", url + "/thing");
        remove.headers.push_back("X-Why: because");
        remove.username = "Ada";
        remove.password = "secret";
        const Response removed = co_await curl.fetch(std::move(remove));
        CHECK(removed.status == 200);
        CHECK(contains(server.seen, "DELETE /thing"));
        CHECK(contains(server.seen, "X-Why: because"));
        CHECK(contains(server.seen, "Authorization: Basic QWRhOnNlY3JldA=="));

        for (const bool size_is_known : {false, true}) {
            CAPTURE(size_is_known);
            auto makes = []() -> weft::AsyncGenerator<std::string> {
                for (int index = 0; index < 20; ++index) {
                    co_await weft::yield();
                    if (index == 5) co_yield std::string();
                    co_yield std::string(10'000, static_cast<char>('a' + index));
                }
            };
            Request request("POST", url + "/echo");
            std::optional<std::uint64_t> size;
            if (size_is_known) size = 200'000;
            request.upload(makes(), size);
            weft::curl::Progress last;
            request.on_progress([&](const weft::curl::Progress& now) { last = now; });
            const Response echoed = co_await curl.fetch(std::move(request));
            CHECK(echoed.body.size() == 200'000);
            CHECK(echoed.body[199'999] == 'a' + 19);
            CHECK(echoed.uploaded >= 200'000);  // (with the lengths of chunks)
            CHECK(last.uploaded == echoed.uploaded);
            CHECK(last.downloaded == 200'000);
        }
        // What the upload throws is thrown; a server that has had enough is not kept waiting.
        Request failing(url + "/echo");
        failing.upload([]() -> Coro<std::string> {
            throw std::logic_error("nothing to send");
            co_return "";
        });
        const std::string why =
            co_await failure<std::logic_error>([&] { return curl.fetch(std::move(failing)); });
        CHECK(why == "nothing to send");
        Request endless(url + "/early");
        endless.headers.push_back("Expect:");
        int pieces = 0;
        endless.upload([&pieces]() -> Coro<std::string> {
            if (++pieces > 1) co_await weft::sleep(1h);
            co_return "piece";
        });
        const Response early = co_await curl.fetch(std::move(endless));
        CHECK(early.status == 413);
    });
}

TEST_CASE("a body is read as it comes, and a server waits for a reader that does not read",
          "[curl]") {
    with_server([](Client& curl, Server& server, const std::string& url) -> Coro<void> {
        Transfer transfer = co_await curl.open(url + "/begins");
        CHECK(transfer.status() == 200);
        CHECK(transfer.head().header("X-One") == "1");
        const std::string begin = co_await transfer.read();
        CHECK(begin == "begin");
        const auto nothing = co_await weft::move_on_after(5ms, transfer.read());
        CHECK_FALSE(nothing.has_value());
        server.go_on.set();
        auto rest = transfer.pieces();
        std::string text;
        while (auto piece = co_await rest.next()) text += *piece;
        CHECK(text == "s.end");
        const std::string end = co_await transfer.read();
        CHECK(end.empty());

        server.go_on.clear();
        Transfer only_head = co_await curl.open(url + "/head");
        CHECK(only_head.head().header("x-late") == "no");
        server.go_on.set();

        Transfer endless = co_await curl.open(url + "/endless");
        std::size_t before = 1;
        while (before != server.sent) {  // until it is stuck
            before = server.sent;
            co_await weft::sleep(50ms);
        }
        CHECK(server.sent < 32 * 1024 * 1024);
        std::size_t got = 0;
        while (got < 40 * 1024 * 1024) got += (co_await endless.read()).size();
        CHECK(server.sent > 32 * 1024 * 1024);
    });
}

TEST_CASE("what goes wrong is said in libcurl's words, with the URL and without the password",
          "[curl]") {
    with_server([](Client& curl, Server&, const std::string& url) -> Coro<void> {
        const std::string cut =
            co_await failure<weft::curl::Error>([&] { return curl.get(url + "/cut"); });
        CHECK(contains(cut, "GET " + url + "/cut: transfer closed with 6 bytes remaining"));
        const std::string refused = co_await failure<weft::curl::Error>(
            [&] { return curl.get("http://user:secret@127.0.0.1:1/x"); });
        CAPTURE(refused);
        CHECK(contains(refused, "GET http://127.0.0.1:1/x: Failed to connect"));
        CHECK_FALSE(contains(refused, "secret"));
        const std::string unknown =
            co_await failure<weft::curl::Error>([&] { return curl.get("weft://x"); });
        CHECK(contains(unknown, "not supported"));
        const std::string late = co_await failure<weft::TimeoutError>([&] {
            Request request(url + "/hangs");
            request.timeout = 50ms;
            return curl.fetch(std::move(request));
        });
        // (Where it is late it has not seen yet that it is connected, and says so.)
        CHECK(contains(late, "GET " + url + "/hangs: "));
        CHECK((contains(late, " timed out after ") || contains(late, " timeout after ")));
        const std::string large = co_await failure<weft::LimitOverrunError>([&] {
            Request request(url + "/endless");
            request.body_limit = 100'000;
            return curl.fetch(std::move(request));
        });
        CHECK(contains(large, "within the limit of 100000 bytes"));
        const std::string thrown = co_await failure<std::logic_error>([&] {
            Request request(url + "/endless");
            request.on_progress(
                [](const weft::curl::Progress&) { throw std::logic_error("enough"); });
            return curl.fetch(std::move(request));
        });
        CHECK(thrown == "enough");
    });
}

TEST_CASE("a transfer that is cancelled leaves libcurl, and its connection is closed", "[curl]") {
    with_server([](Client& curl, Server& server, const std::string& url) -> Coro<void> {
        std::vector<weft::Task<Response>> tasks;
        for (int number = 0; number < 20; ++number)
            tasks.push_back(weft::create_task(curl.get(url + "/hangs")));
        // (One that has failed would never hang there.)
        while (server.hanging < 20 && !tasks[0].done()) co_await weft::sleep(1ms);
        CHECK(server.hanging == 20);
        for (auto& task : tasks) task.cancel();
        for (auto& task : tasks) co_await task.wait();
        CHECK(tasks[7].cancelled());
        while (server.hanging > 0) co_await weft::sleep(1ms);
        CHECK(server.hanging == 0);
        const Response after = co_await curl.post(url + "/echo", "still there");
        CHECK(after.body == "still there");
    });
}

TEST_CASE("files are URLs too, and a transfer cut off anywhere leaves nothing behind", "[curl]") {
    support::Folder folder;
    const std::string path = folder.file("text");
    const std::string content(200'000, 'f');
    std::ofstream(path) << content;
    const weft::testing::DescriptorCensus before;
    int alive = 0;
    const auto scenario = [&]() -> Coro<void> {
        Client curl;
        const probe::Alive one(alive);
        co_await curl.put("file://" + path + "2", "abcabcabc");
        const Response copy = co_await curl.get("file://" + path + "2");
        if (copy.body != "abcabcabc") throw std::logic_error("not what was sent");
        Transfer transfer = co_await curl.open("file://" + path);
        std::size_t size = 0;
        for (std::string piece; !(piece = co_await transfer.read()).empty();) size += piece.size();
        if (size != content.size()) throw std::logic_error("not the whole file");
    };
    (void)folder.file("text2");
    const std::size_t turns = weft::testing::kill_at_every_step(scenario);
    CHECK(alive == 0);
    CHECK(turns > 3);
    int cancelled = 0;
    weft::testing::cancel_at_every_step(
        scenario, [&](const weft::Task<void>& task) { cancelled += task.cancelled() ? 1 : 0; });
    CHECK(cancelled > 0);
    CHECK(alive == 0);
    CHECK(before.leaked() == "");
}

TEST_CASE("a transfer over the net that is cut off anywhere leaves nothing behind", "[curl]") {
    const weft::testing::DescriptorCensus before;
    int alive = 0;
    const auto scenario = [&]() -> Coro<void> {
        Server self;
        auto handler = [&self](Stream stream) -> Coro<void> {
            try {
                co_await Server::handle(self, std::move(stream));
            } catch (const std::exception&) {
            }
        };
        auto server = co_await weft::start_server(handler, "127.0.0.1", 0);
        const std::string url = "http://127.0.0.1:" + std::to_string(server.port());
        auto makes = [](int& counted) -> weft::AsyncGenerator<std::string> {
            const probe::Alive one(counted);
            for (int index = 0; index < 3; ++index) {
                co_await weft::yield();
                co_yield "abc";
            }
        };
        Client curl;
        Request upload("POST", url + "/echo");
        upload.headers.push_back("Expect:");
        upload.upload(makes(alive));
        const Response echoed = co_await curl.fetch(std::move(upload));
        if (echoed.body != "abcabcabc") throw std::logic_error("not what was sent");
        self.go_on.set();
        Transfer transfer = co_await curl.open(url + "/begins");
        std::string text;
        for (std::string piece; !(piece = co_await transfer.read()).empty();) text += piece;
        if (text != "begins.end") throw std::logic_error("not what was answered");
    };
    const std::size_t turns = weft::testing::kill_at_every_step(scenario);
    CHECK(turns > 10);
    CHECK(alive == 0);
    int cancelled = 0;
    weft::testing::cancel_at_every_step(
        scenario, [&](const weft::Task<void>& task) { cancelled += task.cancelled() ? 1 : 0; });
    CHECK(cancelled > 10);
    CHECK(alive == 0);
    CHECK(before.leaked() == "");
}

TEST_CASE("what would not fit into one line of a request is refused", "[curl]") {
    with_server([](Client& curl, Server&, std::string url) -> Coro<void> {
        const auto refused = [&](Request& request) -> Coro<std::string> {
            const auto start = [&] { return curl.fetch(std::move(request)); };
            std::string why = co_await failure<std::exception>(start);
            co_return why;
        };
        Request header(url);
        header.headers.push_back("X-One: 1\r\nX-Two: 2");
        Request method("GET / HTTP/1.1\r\nX: ", url);
        Request zero(url + std::string("/\0x", 3));
        for (Request* each : {&header, &method}) {
            const std::string why = co_await refused(*each);
            CHECK(contains(why, "a line break in"));
        }
        const std::string why = co_await refused(zero);
        CHECK(contains(why, "a zero byte"));
    });
}

TEST_CASE("a reader that wants nothing ahead gets the body all the same", "[curl]") {
    with_server([](Client& curl, Server& server, std::string url) -> Coro<void> {
        server.go_on.set();
        Request request(url + "/begins");
        request.read_ahead = 0;
        request.timeout = weft::Duration::max();
        Transfer transfer = co_await curl.open(std::move(request));
        std::string body;
        for (;;) {
            const std::string piece = co_await transfer.read();
            if (piece.empty()) break;
            body += piece;
        }
        CHECK(body == "begins.end");
    });
}

TEST_CASE("a client or a transfer that was moved from says so", "[curl]") {
    with_server([](Client& curl, Server& server, std::string url) -> Coro<void> {
        server.go_on.set();
        Transfer first = co_await curl.open(url + "/begins");
        const Transfer second = std::move(first);
        Client mine;
        const Client other = std::move(mine);
        int refused = 0;
        const auto refuses = [&](auto use) -> Coro<void> {
            try {
                (void)co_await use();
            } catch (const weft::RuntimeError& error) {
                refused += contains(error.what(), "weft: an empty curl::") ? 1 : 0;
            }
        };
        co_await refuses([&] { return mine.get(url); });
        co_await refuses([&] { return mine.open(url); });
        co_await refuses([&] { return mine.post(url, ""); });
        co_await refuses([&] { return first.read(); });
        co_await refuses([&] { return first.pieces().next(); });
        co_await refuses([&] { return first.head(), weft::sleep(0s); });
        CHECK(refused == 6);
        CHECK(second.status() == 200);
    });
}

}  // namespace client_test
