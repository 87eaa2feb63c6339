// SPDX-License-Identifier: MIT
// A chat: what one client writes goes to every client through a Broadcast, one write a message.
// How many lines does a receiver miss because its writes are slower than what comes in, and what
// does a line cost? --clients N --talkers N (of them) --lines N (that each of these writes)
// --kept N (by the Broadcast).
// Both ends are tasks of one loop; the backend is WEFT_BACKEND's.
#include <weft/weft.hpp>

#include <sys/socket.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "measure.hpp"

namespace {

struct Room {
    explicit Room(std::size_t kept) : chat(kept) {}
    weft::Broadcast<std::string> chat;
    long sent = 0;
    long missed = 0;
    long delivered = 0;
};

weft::Coro<void> hand_out(Room& room, weft::Stream& stream,
                          weft::Broadcast<std::string>::Receiver lines) {
    while (auto line = co_await lines.recv()) {
        room.missed += static_cast<long>(line.missed());
        co_await stream.write(*line);
        ++room.delivered;
    }
}

/// The server's side of a client.
weft::Coro<void> serve(Room& room, weft::Stream stream) {
    auto writing =
        weft::create_task(hand_out, std::ref(room), std::ref(stream), room.chat.subscribe());
    for (;;) {
        const std::string line = co_await stream.read_line();
        if (line.empty()) break;
        ++room.sent;
        room.chat.send(line);
    }
    writing.cancel();
    co_await writing.wait();
}

weft::Coro<void> listen_to_all(weft::Stream& stream) {
    for (;;) {
        const weft::Chunk chunk = co_await stream.read_chunk();
        if (chunk.empty()) co_return;
    }
}

weft::Coro<void> talk(weft::Stream& stream, long lines) {
    for (long line = 0; line < lines; ++line)
        co_await stream.write("a line of a chat, number " + std::to_string(line) + "\n");
}

weft::Coro<void> run_chat(long clients, long talkers, long lines, long kept) {
    Room room(static_cast<std::size_t>(kept));
    weft::Server server = co_await weft::start_server(
        [&room](weft::Stream stream) { return serve(room, std::move(stream)); }, "127.0.0.1", 0);
    std::vector<weft::Stream> streams;
    for (long index = 0; index < clients; ++index)
        streams.push_back(co_await weft::open_connection("127.0.0.1", server.port()));
    std::vector<weft::Task<void>> listeners;
    for (weft::Stream& stream : streams)
        listeners.push_back(weft::create_task(listen_to_all, std::ref(stream)));
    co_await weft::sleep(std::chrono::milliseconds(20));

    const auto began = std::chrono::steady_clock::now();
    const std::int64_t cpu = bench::cpu_us();
    std::vector<weft::Task<void>> talking;
    for (long index = 0; index < talkers; ++index)
        talking.push_back(
            weft::create_task(talk, std::ref(streams[static_cast<std::size_t>(index)]), lines));
    for (auto& task : talking) co_await task.wait();
    while (room.delivered + room.missed < talkers * lines * clients)
        co_await weft::sleep(std::chrono::microseconds(50));
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - began;
    const auto delivered = static_cast<double>(room.delivered);
    std::printf("sent=%ld delivered=%ld missed=%ld ns_per_line=%.0f cpu_ns_per_line=%.0f\n",
                room.sent, room.delivered, room.missed, took.count() / delivered,
                static_cast<double>(bench::cpu_us() - cpu) * 1000 / delivered);
    for (auto& task : listeners) task.cancel();
    for (auto& task : listeners) co_await task.wait();
    streams.clear();
    server.close();
    co_await server.wait_closed();
}

}  // namespace

int main(int argc, char** argv) {
    const auto number = [&](const char* name, long fallback) {
        return bench::number_option(argc, argv, name, fallback);
    };
    weft::run(run_chat(number("--clients", 20), number("--talkers", 1), number("--lines", 12000),
                       number("--kept", 64)));
}
