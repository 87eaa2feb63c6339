// SPDX-License-Identifier: MIT
// A chat room: everybody gets every message, nobody waits for the slowest, who is told what it
// missed.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <chrono>
#include <memory>
#include <string>

using namespace std::chrono_literals;

using Room = weft::Broadcast<std::string>;

weft::Coro<void> read_messages(std::string name, weft::Duration time_to_read,
                               Room::Receiver messages) {
    while (auto message = co_await messages.recv()) {
        if (message.missed() > 0) fmt::print("{}: ... {} missed ...\n", name, message.missed());
        fmt::print("{}: {}\n", name, *message);
        co_await weft::sleep(time_to_read);
    }
    fmt::print("{}: the room is closed\n", name);
}

weft::Coro<void> chat() {
    auto room = std::make_unique<Room>(2);  // the last two messages are kept for who is late
    const auto ann = weft::create_task(read_messages("ann", 1ms, room->subscribe()));
    const auto bob = weft::create_task(read_messages("bob", 150ms, room->subscribe()));
    for (const char* const text : {"hello", "is anybody there?", "hello?", "so be it", "bye"}) {
        room->send(text);
        co_await weft::sleep(20ms);
    }
    room.reset();
    co_await ann;
    co_await bob;
}

int main() { weft::run(chat()); }
