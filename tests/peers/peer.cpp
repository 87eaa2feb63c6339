// SPDX-License-Identifier: MIT
// weft's side of a conversation with somebody else's program (see `run` in this folder):
//   peer echo HOST         sends back what it gets, until SIGTERM; prints its port first
//   peer echo-unix PATH    the same on a Unix socket; a leading @ means an abstract name
//   peer echo-passed       the same on the sockets that it was started with; prints their names
//   peer slow HOST         answers each line after 300 ms, and prints a line when it begins
//   peer talk HOST PORT    sends its standard input, and that this was all, and prints what comes
//   peer ask HOST PORT     the same without saying that this was all
//   peer postgres PATH SQL asks the server on that Unix socket, and prints the first column
#include <weft/weft.hpp>

#include <signal.h>
#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "postgres.hpp"

namespace {

using namespace std::chrono_literals;
using weft::Coro;
using weft::Server;
using weft::Stream;

void say(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
}

Coro<void> echo(Stream client) {
    for (;;) {
        const weft::Chunk chunk = co_await client.read_chunk();
        if (chunk.empty()) co_return;
        co_await client.write(chunk);
    }
}

Coro<void> answer_slowly(Stream client) {
    for (;;) {
        const std::string line = co_await client.read_line();
        if (line.empty()) break;
        say("working\n");
        co_await weft::sleep(300ms);
        co_await client.write(line);
    }
    co_await client.write("goodbye\n");
}

/// Says what to connect to, and serves until somebody asks for an end.
Coro<void> until_stopped(Server server, std::string what) {
    auto body = [&](Server&) -> Coro<void> {
        say(what);
        co_await weft::wait_for_stop();
    };
    co_await weft::serve(std::move(server), body);
}

Coro<void> serve_on(std::string host, bool slowly) {
    Server server =
        co_await weft::start_server(slowly ? &answer_slowly : &echo, std::move(host), 0);
    std::string what = std::to_string(server.port()) + "\n";
    co_await until_stopped(std::move(server), std::move(what));
}

Coro<void> serve_on_path(std::string path) {
    if (path.front() == '@') path.front() = '\0';
    Server server = co_await weft::start_unix_server(&echo, std::move(path));
    co_await until_stopped(std::move(server), "ready\n");
}

Coro<void> serve_passed() {
    std::vector<weft::Fd> sockets;
    std::string names;
    for (weft::ListenFd& passed : weft::listen_fds()) {
        names += passed.name + " ";
        sockets.push_back(std::move(passed.fd));
    }
    Server server = co_await weft::start_server(&echo, std::move(sockets));
    co_await until_stopped(std::move(server), names + "\n");
}

Coro<void> send_all(Stream& stream, const std::string& text, bool is_all) {
    co_await stream.write(text);
    if (is_all) ::shutdown(stream.fd(), SHUT_WR);
}

Coro<void> talk(std::string host, std::uint16_t port, bool is_all) {
    std::string text;
    char buffer[65536];
    while (const std::size_t count = std::fread(buffer, 1, sizeof buffer, stdin)) {
        text.append(buffer, count);
    }
    Stream stream = co_await weft::open_connection(std::move(host), port);
    const auto sending = weft::create_task(send_all(stream, text, is_all));
    for (;;) {
        const std::size_t count = co_await stream.read(buffer);
        if (count == 0) break;
        std::fwrite(buffer, 1, count, stdout);
    }
    co_await sending;
}

Coro<void> ask_postgres(std::string path, std::string question) {
    Stream stream = co_await weft::open_unix_connection(std::move(path));
    const std::string rows = co_await postgres::ask(stream, "trust", "weft", std::move(question));
    say(rows);
    co_await stream.close();
}

Coro<void> run(int count, char** words) {
    const std::string command = count > 1 ? words[1] : "";
    const std::string where = count > 2 ? words[2] : "";
    if (command == "echo" || command == "slow") return serve_on(where, command == "slow");
    if (command == "echo-unix" && count > 2) return serve_on_path(where);
    if (command == "echo-passed") return serve_passed();
    if ((command == "talk" || command == "ask") && count > 3) {
        return talk(where, static_cast<std::uint16_t>(std::atoi(words[3])), command == "talk");
    }
    if (command == "postgres" && count > 3) return ask_postgres(where, words[3]);
    throw std::runtime_error("peer: see the comment at the top of peer.cpp");
}

}  // namespace

int main(int count, char** words) {
    weft::RunOptions options;
    options.stop_signal = SIGTERM;
    try {
        weft::run(run(count, words), options);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
