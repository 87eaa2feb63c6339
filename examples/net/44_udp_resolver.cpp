// SPDX-License-Identifier: MIT
// Questions and answers over UDP, where either may get lost: who asks asks again, waiting longer
// each time.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

using namespace std::chrono_literals;

// Answers "NUMBER NAME" with "NUMBER ADDRESS", and loses two datagrams of three, like a bad
// network.
weft::Coro<void> name_server(weft::Datagram& socket) {
    const std::map<std::string, std::string, std::less<>> names{{"loom.example", "192.0.2.1"},
                                                                {"weft.example", "192.0.2.7"}};
    char buffer[512];
    for (int count = 1;; ++count) {
        const weft::ReceivedDatagram question = co_await socket.receive_from(buffer);
        if (question.truncated() || count % 3 != 0) continue;
        const std::string_view text(buffer, question.size);
        const std::size_t space = text.find(' ');
        const auto known = names.find(text.substr(space + 1));
        const std::string answer =
            fmt::format("{} {}", text.substr(0, space), known == names.end() ? "?" : known->second);
        co_await socket.send_to(answer, question.from);
    }
}

// An answer to an older question may still arrive: the number tells which one it belongs to.
weft::Coro<std::string> answer_to(weft::Datagram& socket, std::string number) {
    char buffer[512];
    while (true) {
        const weft::ReceivedDatagram answer = co_await socket.receive_from(buffer);
        const std::string_view text(buffer, answer.size);
        if (text.substr(0, text.find(' ')) == number)
            co_return std::string(text.substr(number.size() + 1));
    }
}

weft::Coro<std::string> resolve(weft::Address server, std::string name) {
    weft::Datagram socket = weft::Datagram::connect(server);
    auto patience = 20ms;
    for (int attempt = 1; attempt <= 9; ++attempt, patience *= 2) {
        const std::string number = fmt::format("{}", attempt);
        co_await socket.send(number + " " + name);
        const std::optional<std::string> answer =
            co_await weft::move_on_after(patience, answer_to(socket, number));
        if (answer) co_return fmt::format("{} is {}, after {} questions", name, *answer, attempt);
    }
    throw weft::TimeoutError("no answer about " + name);
}

weft::Coro<void> ask_around() {
    weft::Datagram socket = co_await weft::bind_datagram("127.0.0.1", 0);
    const weft::Address server = socket.local_address();
    const auto serving = weft::create_task(name_server(socket));
    for (const char* const name : {"weft.example", "loom.example", "nobody.example"}) {
        const std::string line = co_await resolve(server, name);
        fmt::print("{}\n", line);
    }
    serving.cancel();
    co_await serving.wait();
}

int main() { weft::run(ask_around()); }
