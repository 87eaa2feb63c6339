// SPDX-License-Identifier: MIT
// A chat server that stops in order: everybody hears what the others say until SIGTERM comes, and
// then that the room closes. What a handler does at the same time, hearing and speaking, is a task
// group of its own.
#include <fmt/format.h>
#include <signal.h>
#include <weft/weft.hpp>

#include <chrono>
#include <string>
#include <utility>

using namespace std::chrono_literals;

using Room = weft::Broadcast<std::string>;

/// Passes on what the others say. A client that does not read misses what is too old, and holds up
/// nobody.
weft::Coro<void> pass_on(weft::Stream& client, Room::Receiver messages) {
    while (auto message = co_await messages.recv()) {
        const std::string line = *message;
        co_await client.write(line);
    }
}

weft::Coro<void> chat_with(weft::Stream client, Room& room) {
    std::string name = co_await client.read_line();
    if (name.empty()) co_return;
    name.pop_back();
    auto listen_and_talk = [&](weft::TaskGroup& group) -> weft::Coro<void> {
        group.create_task(pass_on(client, room.subscribe()));
        for (;;) {
            const std::string line = co_await client.read_line();
            if (line.empty()) break;  // the client has left, or the server stops
            room.send(name + ": " + line);
        }
        group.cancel();
    };
    co_await weft::task_group(listen_and_talk);
    co_await client.write("the room is closed\n");
}

/// A client for this example: says what it has to say, and tells what it hears to the end.
weft::Coro<void> visit(weft::Address room, std::string name, std::string line) {
    weft::Stream stream = co_await weft::open_connection(room);
    const std::string introduction = name + "\n";
    co_await stream.write(introduction);
    co_await weft::sleep(20ms);  // until everybody is there
    co_await stream.write(line);
    for (;;) {
        const std::string heard = co_await stream.read_line();
        if (heard.empty()) break;
        fmt::print("{} hears: {}", name, heard);
    }
}

weft::Coro<void> run_until_stopped(weft::Server& server) {
    const auto ann = weft::create_task(visit(server.address(), "ann", "is anybody there?\n"));
    const auto bob = weft::create_task(visit(server.address(), "bob", "me\n"));
    co_await weft::sleep(50ms);
    ::raise(SIGTERM);  // what a service manager does
    co_await weft::wait_for_stop();
    fmt::print("stopping\n");
    co_await ann;
    co_await bob;
}

weft::Coro<void> serve() {
    Room room(16);  // declared around the server: its handlers use it to their end
    auto handler = [&room](weft::Stream client) { return chat_with(std::move(client), room); };
    weft::ServerOptions options;
    options.connection_limit = 100;
    options.grace = 2s;
    co_await weft::serve(handler, "127.0.0.1", 0, options, &run_until_stopped);
    fmt::print("stopped\n");
}

int main() {
    weft::RunOptions options;
    options.stop_signal = SIGTERM;
    weft::run(serve(), options);
}
