// SPDX-License-Identifier: MIT
// needs: weft::http
// run: --try
// A chat in the browser: `websocket_chat 8080`, and open http://localhost:8080/ twice. Ctrl-C, or
// SIGTERM, sends everybody home. With --try it talks to itself and stops.
#include <fmt/format.h>
#include <signal.h>
#include <weft/http.hpp>
#include <weft/weft.hpp>

#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace http = weft::http;

constexpr std::string_view page = R"page(<!doctype html>
<meta charset="utf-8"><title>chat</title>
<style>body { font: 16px sans-serif; max-width: 40em; margin: 2em auto } input { width: 100% }</style>
<h1>chat</h1><p id="state">connecting</p><div id="log"></div>
<form><input id="text" placeholder="say something" autofocus></form>
<script>
const at = id => document.getElementById(id)
const socket = new WebSocket(location.href.replace(/^http/, "ws").replace(/[?#].*/, "") + "chat")
socket.onopen = () => {
    at("state").textContent = "connected"
    if (location.search) socket.send(decodeURIComponent(location.search.slice(1)))
}
socket.onclose = event => at("state").textContent = "closed (" + event.code + ")"
socket.onmessage = event => {
    const line = document.createElement("p")
    line.textContent = event.data  // as text: nobody's message becomes part of the page
    at("log").append(line)
}
document.querySelector("form").onsubmit = event => {
    event.preventDefault()
    if (at("text").value) socket.send(at("text").value)
    at("text").value = ""
}
</script>
)page";

// Everybody has a queue of what was said, and a task that sends it. Whoever does not read misses
// the rest: the others do not wait.
class Room {
public:
    weft::Coro<void> join(http::WebSocket& socket) {
        const std::string name = fmt::format("guest {}", ++guests_);
        weft::Queue<Line> outbox(100);
        members_.insert(&outbox);
        say(name + " comes");
        co_await weft::task_group([&](weft::TaskGroup& group) -> weft::Coro<void> {
            group.create_task(deliver(outbox, socket));
            while (auto message = co_await socket.recv()) {
                if (message->is_text) say(name + ": " + message->data);
            }
            leave(outbox, name);
            group.cancel();
        });
        leave(outbox, name);  // if the sending has failed
    }

private:
    using Line = std::shared_ptr<const std::string>;  // one for all

    static weft::Coro<void> deliver(weft::Queue<Line>& outbox, http::WebSocket& socket) {
        for (;;) {
            const Line line = co_await outbox.get();
            co_await socket.send(*line);
        }
    }
    void say(std::string text) {
        const auto line = std::make_shared<const std::string>(std::move(text));
        for (weft::Queue<Line>* const each : members_) (void)each->try_put(line);
    }
    void leave(weft::Queue<Line>& outbox, const std::string& name) {
        if (members_.erase(&outbox) > 0) say(name + " goes");
    }

    std::set<weft::Queue<Line>*> members_;
    int guests_ = 0;
};

http::Router routes(Room& room) {
    http::Router router;
    router.get("/", [](http::Request&) -> weft::Coro<http::Response> {
        co_return http::Response::html(std::string(page));
    });
    router.get("/chat", [&room](http::Request& request) -> weft::Coro<http::Response> {
        http::AcceptWebSocketOptions options;
        options.max_message = 1000;
        auto join = [&room](http::WebSocket& socket) { return room.join(socket); };
        co_return http::accept_websocket(request, join, options);
    });
    return router;
}

// Two who talk to each other, as a browser would.
weft::Coro<void> try_it(std::uint16_t port) {
    const std::string url = fmt::format("ws://127.0.0.1:{}/chat", port);
    http::WebSocket one = co_await http::connect_websocket(url);
    (void)co_await one.recv();  // "guest 1 comes"
    http::WebSocket two = co_await http::connect_websocket(url);
    co_await two.send("is anybody there?");
    for (int line = 0; line < 2; ++line) {
        auto heard = co_await one.recv();
        if (heard) fmt::print("{}\n", heard->data);
    }
    co_await two.close();
    auto last = co_await one.recv();
    if (last) fmt::print("{}\n", last->data);
    weft::request_stop();
    auto end = co_await one.recv();
    fmt::print("the server has closed: {}\n", end ? "no" : fmt::format("{}", *one.close_code()));
}

weft::Coro<void> serve(std::string argument) {
    Room room;
    const bool tries = argument == "--try";
    const int port = tries ? 0 : std::atoi(argument.c_str());
    http::Server server =
        co_await http::start_server(routes(room), "", static_cast<std::uint16_t>(port));
    if (tries) {
        co_await try_it(server.port());
    } else {
        fmt::print("http://localhost:{}/\n", server.port());
        std::fflush(stdout);
    }
    co_await weft::wait_for_stop();
    co_await server.shutdown();
}

int main(int argc, char** argv) {
    weft::RunOptions options;
    options.stop_signal = SIGTERM;
    try {
        weft::run(serve(argc > 1 ? argv[1] : "8080"), options);
    } catch (const weft::KeyboardInterrupt&) {
        fmt::print("\n");
    }
}
