// SPDX-License-Identifier: MIT
// WebSocket with Python's `websockets` at the other end, on either side.
// timeout: 400
#include <weft/testing/catch.hpp>

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <utility>

#include <weft/deadline/move_on_after.hpp>
#include <weft/fs/temporary.hpp>
#include <weft/http/accept_websocket.hpp>
#include <weft/http/connect_websocket.hpp>
#include <weft/http/router.hpp>
#include <weft/http/server.hpp>
#include <weft/process/process.hpp>
#include <weft/process/run_process.hpp>
#include <weft/sync/event.hpp>
#include <weft/task/run.hpp>

namespace websocket_peers_test {
namespace {

using namespace std::chrono_literals;
using weft::Coro;
using weft::http::ConnectWebSocketOptions;
using weft::http::WebSocket;

constexpr char python_server[] = R"(
import asyncio, sys, websockets
async def echo(socket):
    async for message in socket:
        if message == "fragments":
            await socket.send(iter(["frag", "men", "ts"]))
        elif message == "close":
            await socket.close(4321, "as you like")
            return
        else:
            await socket.send(message)
async def main():
    async with websockets.serve(echo, "127.0.0.1", 0, max_size=None, subprotocols=["b", "a"]) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
asyncio.run(main())
)";

/// The Python that has the module; empty, after a line that says so: none.
Coro<std::string> python_with_websockets() {
    for (const char* python : {"python3", "/usr/bin/python3"}) {
        try {
            (void)co_await weft::run_process(weft::Command(python, "-c", "import websockets"));
            co_return python;
        } catch (const std::exception&) {
        }
    }
    std::printf("skipped: Python has no websockets here (Debian: python3-websockets)\n");
    co_return std::string();
}

TEST_CASE("a client and Python's websockets as the server understand each other") {
    weft::run([]() -> Coro<void> {
        const std::string program = co_await python_with_websockets();
        if (program.empty()) co_return;
        weft::ProcessOptions options;
        options.in = options.out = weft::Stdio::pipe();
        weft::Process python = co_await weft::create_subprocess_exec(
            weft::Command(program, "-c", python_server), options);
        std::string port = co_await python.out().read_line();
        port.pop_back();
        const std::string url = "ws://127.0.0.1:" + port + "/";
        ConnectWebSocketOptions how;
        how.subprotocols.push_back("c");
        how.subprotocols.push_back("a");
        how.max_message = 1 << 24;
        WebSocket socket = co_await weft::http::connect_websocket(url, how);
        CHECK(socket.subprotocol() == "a");
        for (const std::size_t size : {0u, 1u, 125u, 126u, 65535u, 65536u, 1'000'000u}) {
            const std::string text(size, 't');
            co_await socket.send(text);
            auto echoed = co_await socket.recv();
            REQUIRE(echoed);
            CHECK(echoed->is_text);
            CHECK((echoed->data == text));
            const std::string bytes(size, '\xfe');
            co_await socket.send_binary(bytes);
            auto back = co_await socket.recv();
            REQUIRE(back);
            CHECK(!back->is_text);
            CHECK((back->data == bytes));
        }
        const weft::Duration took = co_await socket.ping();
        CHECK(took > weft::Duration(0));
        co_await socket.send("fragments");
        auto fragments = co_await socket.recv();
        REQUIRE(fragments);
        CHECK(fragments->data == "fragments");
        auto writer = co_await socket.start_text();
        for (const char* part : {"one ", "two ", "three"}) co_await writer.write(part);
        co_await writer.finish();
        auto whole = co_await socket.recv();
        REQUIRE(whole);
        CHECK(whole->data == "one two three");
        co_await socket.send("close");
        auto end = co_await socket.recv();
        CHECK(!end);
        CHECK(socket.close_code() == 4321);
        CHECK(socket.close_reason() == "as you like");
        co_await socket.close();

        WebSocket other = co_await weft::http::connect_websocket(url);
        CHECK(other.subprotocol().empty());
        co_await other.close(1001, "enough");
        CHECK(other.close_code() == 1001);
        co_await python.close();
    });
}

constexpr char python_client[] = R"(
import asyncio, sys, websockets
async def main():
    async with websockets.connect(sys.argv[1], max_size=None, subprotocols=["b", "a"]) as socket:
        assert socket.subprotocol == "a", socket.subprotocol
        for size in 0, 1, 125, 126, 65535, 65536, 1000000:
            for message in "t" * size, b"\xfe" * size:
                await socket.send(message)
                assert await socket.recv() == message, size
        await socket.send(iter(["frag", "men", "ts"]))
        assert await socket.recv() == "fragments"
        await (await socket.ping())
        await asyncio.gather(*(socket.send(str(number)) for number in range(100)))
        for number in range(100):
            assert await socket.recv() == str(number)
        await socket.close(4321, "as you like")
        assert socket.close_code == 4321, socket.close_code
    try:
        async with websockets.connect(sys.argv[1]) as socket:
            await socket.send("x" * 2000001)
            await socket.recv()
    except websockets.ConnectionClosedError as error:
        assert error.code == 1009, error
    print("understood")
asyncio.run(main())
)";

Coro<void> echo(WebSocket& socket) {
    while (auto message = co_await socket.recv()) {
        if (message->is_text) {
            co_await socket.send(message->data);
        } else {
            co_await socket.send_binary(message->data);
        }
    }
}
Coro<weft::http::Response> at_root(weft::http::Request& request) {
    weft::http::AcceptWebSocketOptions options;
    options.subprotocols.push_back("a");
    options.max_message = 2'000'000;
    co_return weft::http::accept_websocket(request, &echo, options);
}

TEST_CASE("a server and Python's websockets as the client understand each other") {
    weft::run([]() -> Coro<void> {
        const std::string program = co_await python_with_websockets();
        if (program.empty()) co_return;
        weft::http::Router router;
        router.get("/", &at_root);
        weft::http::Server server =
            co_await weft::http::start_server(std::move(router), "127.0.0.1", 0);
        const std::string url = "ws://127.0.0.1:" + std::to_string(server.port()) + "/";
        const auto python =
            co_await weft::run_process(weft::Command(program, "-c", python_client, url));
        CHECK(python.out == "understood\n");
        co_await server.shutdown();
    });
}

constexpr char page[] = R"page(<!doctype html><title>test</title><script>
const socket = new WebSocket(location.href.replace("http", "ws") + "talk", ["one", "weft"])
socket.binaryType = "arraybuffer"
socket.onopen = () => socket.send("open " + socket.protocol + "|" + socket.extensions)
socket.onmessage = event => {
    if (typeof event.data === "string") socket.send("text " + event.data.length)
    else socket.send(new Uint8Array(event.data).reverse())
}
socket.onclose = event => fetch("/closed?" + event.code + "," + event.reason + "," + event.wasClean)
</script>)page";

struct Seen {
    std::string log;
    weft::Event closed;
};

Coro<void> talk(WebSocket& socket, Seen& seen) {
    const auto hear = [&socket]() -> Coro<std::string> {
        auto message = co_await socket.recv();
        co_return message ? message->data : std::string("(end)");
    };
    seen.log += co_await hear() + "\n";
    co_await socket.send(std::string(70'000, 'x'));
    seen.log += co_await hear() + "\n";
    auto writer = co_await socket.start_text();
    for (const char* part : {"\xe2\x82", "\xac and ", "more"}) co_await writer.write(part);
    co_await writer.finish();
    seen.log += co_await hear() + "\n";
    co_await socket.send_binary("\x01\x02\xff");
    seen.log += co_await hear() == "\xff\x02\x01" ? "reversed\n" : "wrong\n";
    co_await socket.ping();
    co_await socket.close(4000, "enough");
}

/// Opens the page, and waits until it has done what it is there for.
Coro<bool> browse(std::string url, weft::Event& done) {
    const weft::TemporaryDirectory profile = co_await weft::temporary_directory();
    weft::ProcessOptions options;
    options.out = options.err = weft::Stdio::null();
    options.process_group = 0;
    weft::Command command("/usr/bin/chromium", "--headless", "--no-sandbox", "--disable-gpu",
                          "--disable-dev-shm-usage", "--remote-debugging-port=0",
                          "--user-data-dir=" + profile.path(), std::move(url));
    weft::Process chromium = co_await weft::create_subprocess_exec(std::move(command), options);
    const bool is_done = co_await weft::move_on_after(150s, done.wait());
    chromium.kill();
    co_await chromium.wait();
    co_return is_done;
}

/// What examples/services/websocket_chat.cpp shows.
std::string page_of_chat() {
    const std::string here = __FILE__;
    std::ifstream file(here.substr(0, here.rfind("tests/")) +
                       "examples/services/websocket_chat.cpp");
    const std::string source((std::istreambuf_iterator<char>(file)), {});
    const std::size_t begin = source.find("R\"page(") + 7;
    return source.substr(begin, source.find(")page\"") - begin);
}

Coro<void> chat(WebSocket& socket, Seen& seen) {
    auto message = co_await socket.recv();
    if (message) seen.log += message->data;
    co_await socket.send("welcome");
    seen.closed.set();
    (void)co_await socket.recv();
}

TEST_CASE("pages in a browser talk with the server, that of the chat as well") {
    if (::access("/usr/bin/chromium", X_OK) != 0) {
        std::printf("skipped: there is no chromium here\n");
        return;
    }
    weft::run([]() -> Coro<void> {
        Seen seen;
        Seen in_chat;
        weft::http::Router router;
        router.get("/", [](weft::http::Request&) -> Coro<weft::http::Response> {
            co_return weft::http::Response::html(page);
        });
        router.get("/talk", [&seen](weft::http::Request& request) -> Coro<weft::http::Response> {
            weft::http::AcceptWebSocketOptions options;
            options.subprotocols.push_back("weft");
            auto with = [&seen](WebSocket& socket) { return talk(socket, seen); };
            co_return weft::http::accept_websocket(request, with, options);
        });
        router.get("/closed", [&seen](weft::http::Request& request) -> Coro<weft::http::Response> {
            seen.log += std::string(request.query_string()) + "\n";
            seen.closed.set();
            co_return weft::http::Response(204);
        });
        router.get("/room/", [](weft::http::Request&) -> Coro<weft::http::Response> {
            co_return weft::http::Response::html(page_of_chat());
        });
        router.get("/room/chat",
                   [&in_chat](weft::http::Request& request) -> Coro<weft::http::Response> {
                       auto with = [&in_chat](WebSocket& socket) { return chat(socket, in_chat); };
                       co_return weft::http::accept_websocket(request, with);
                   });
        weft::http::Server server =
            co_await weft::http::start_server(std::move(router), "127.0.0.1", 0);
        const std::string url = "http://127.0.0.1:" + std::to_string(server.port());
        const bool has_closed = co_await browse(url + "/", seen.closed);
        CHECK(has_closed);
        CHECK(seen.log == "open weft|\ntext 70000\ntext 10\nreversed\n4000,enough,true\n");
        const bool has_chatted = co_await browse(url + "/room/?hello%20there", in_chat.closed);
        CHECK(has_chatted);
        CHECK(in_chat.log == "hello there");
        co_await server.shutdown(0s);
    });
}

}  // namespace
}  // namespace websocket_peers_test
