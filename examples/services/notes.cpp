// SPDX-License-Identifier: MIT
// A small service: notes as JSON, a page, a stream of events, and an orderly stop.
//     notes 8080       then: curl localhost:8080/notes -d "buy milk"; curl -N localhost:8080/events
// Without a port it tries itself out.
// needs: weft::http
#include <fmt/format.h>
#include <weft/fs.hpp>
#include <weft/http.hpp>
#include <weft/http/client.hpp>
#include <weft/weft.hpp>

#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>
#include <utility>

namespace {

using namespace std::chrono_literals;
namespace http = weft::http;
using weft::Coro;

std::string json_text(std::string_view text) {
    std::string quoted = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') quoted.push_back('\\');
        if (static_cast<unsigned char>(c) < 0x20) {
            quoted += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
            quoted.push_back(c);
        }
    }
    return quoted + "\"";
}

class Notes {
public:
    Coro<http::Response> list(http::Request&) {
        std::string all;
        for (const auto& [id, text] : notes_) all += (all.empty() ? "" : ",") + json_of(id, text);
        co_return http::Response::json("[" + all + "]");
    }
    Coro<http::Response> show(http::Request& request) {
        const auto found = notes_.find(request.param<int>("id"));
        if (found == notes_.end()) throw http::HttpError(404, "no such note");
        co_return http::Response::json(json_of(found->first, found->second));
    }
    Coro<http::Response> add(http::Request& request) {
        std::string text = co_await request.read();
        if (text.empty()) throw http::HttpError(400, "an empty note");
        const int id = ++last_;
        std::string said = json_of(id, text);
        notes_[id] = std::move(text);
        changes_.set(said);
        http::Response response = http::Response::json(std::move(said), 201);
        response.headers.add("Location", fmt::format("/notes/{}", id));
        co_return std::move(response);
    }
    Coro<http::Response> remove(http::Request& request) {
        if (notes_.erase(request.param<int>("id")) == 0) throw http::HttpError(404);
        co_return http::Response(204);
    }
    /// Each change as it comes, until the client goes, or the service stops.
    Coro<http::Response> events(http::Request&) {
        auto tell = [changes = changes_.subscribe()](http::EventWriter& out) mutable -> Coro<void> {
            co_await out.keep_alive();  // the client sees that it is there
            while (auto change = co_await changes.next()) co_await out.send(*change, "note");
        };
        co_return http::server_sent_events(std::move(tell));
    }
    void end_events() { changes_ = weft::Watch<std::string>(std::string()); }

private:
    static std::string json_of(int id, const std::string& text) {
        return fmt::format(R"({{"id":{},"text":{}}})", id, json_text(text));
    }

    std::map<int, std::string> notes_;
    int last_ = 0;
    weft::Watch<std::string> changes_{std::string()};
};

constexpr std::string_view page =
    "<!doctype html><title>Notes</title><ul id=all></ul><script>"
    "new EventSource('/events').addEventListener('note', e => {"
    " const li = document.createElement('li'); li.textContent = JSON.parse(e.data).text;"
    " all.append(li); });</script>";

/// What a client would do, and then the stop that SIGTERM is in the end.
Coro<void> try_out(std::uint16_t port) {
    http::Client client;
    const std::string at = fmt::format("http://127.0.0.1:{}", port);
    http::ClientResponse events = co_await client.get(at + "/events");
    http::BodyReader stream = events.body();
    co_await stream.read_chunk();
    http::ClientResponse made = co_await client.post(at + "/notes", "buy \"milk\"");
    const std::string_view event = co_await stream.read_chunk();
    fmt::print("{} {}\n{}", made.status(), made.headers().value("location"), event);
    http::ClientResponse missing = co_await client.get(at + "/notes/7");
    const std::string why = co_await missing.text();
    fmt::print("{} {}\n", missing.status(), why);
    weft::request_stop();
    const std::string_view last = co_await stream.read_chunk();
    fmt::print("the events have ended: {}\n", last.empty());
}

Coro<void> serve(std::uint16_t port) {
    Notes notes;
    http::Router router;
    router.get("/", [](http::Request&) -> Coro<http::Response> {
        co_return http::Response::html(std::string(page));
    });
    router.get("/notes", [&notes](http::Request& request) { return notes.list(request); });
    router.post("/notes", [&notes](http::Request& request) { return notes.add(request); });
    router.get("/notes/{id:int}", [&notes](http::Request& request) { return notes.show(request); });
    router.remove("/notes/{id:int}",
                  [&notes](http::Request& request) { return notes.remove(request); });
    router.get("/events", [&notes](http::Request& request) { return notes.events(request); });
    router.get("/files/{path...}", http::static_files("."));
    http::Server server = co_await http::start_server(std::move(router), "127.0.0.1", port);
    weft::Task<void> trial;
    if (port == 0) trial = weft::create_task(try_out(server.port()));
    co_await weft::wait_for_stop();
    notes.end_events();
    co_await server.shutdown(5s);
    if (trial) co_await trial;
}

}  // namespace

int main(int argc, char** argv) {
    weft::RunOptions options;
    options.stop_signal = SIGTERM;
    const int port = argc > 1 ? std::atoi(argv[1]) : 0;
    weft::run(serve(static_cast<std::uint16_t>(port)), options);
}
