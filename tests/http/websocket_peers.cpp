// SPDX-License-Identifier: MIT
// WebSocket with Python's `websockets` at the other end, on either side.
#include <weft/testing/catch.hpp>

#include <chrono>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include <weft/http/connect_websocket.hpp>
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

}  // namespace
}  // namespace websocket_peers_test
