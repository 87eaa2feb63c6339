// SPDX-License-Identifier: MIT
// WebSocket with Python's `websockets` at the other end, on either side.
#include <weft/testing/catch.hpp>

#include <chrono>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include <weft/http/accept_websocket.hpp>
#include <weft/http/connect_websocket.hpp>
#include <weft/http/router.hpp>
#include <weft/http/server.hpp>
#include <weft/process/process.hpp>
#include <weft/process/run_process.hpp>
#include <weft/task/run.hpp>

namespace websocket_peers_test {
namespace {

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

}  // namespace
}  // namespace websocket_peers_test
