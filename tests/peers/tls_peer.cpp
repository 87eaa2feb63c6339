// SPDX-License-Identifier: MIT
// weft's side of a TLS conversation with somebody else's program (see `run` in this folder); PEM is
// a file with a certificate, and its key where it is a server's:
//   tls_peer lines PEM            answers each line with itself, "quit" with the end, until
//   SIGTERM;
//                                 prints its port first
//   tls_peer http PEM             the same for HTTP: a megabyte for whoever asks
//   tls_peer talk HOST PORT PEM   sends its standard input line by line, and prints the line that
//                                 answers each
//   tls_peer fetch HOST PORT PEM  sends its standard input, and prints what comes until the end
//   tls_peer postgres HOST PORT PEM SQL   begins in the clear, asks, and prints the first column
#include <weft/net/tls.hpp>
#include <weft/weft.hpp>

#include <signal.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <utility>

#include "postgres.hpp"

namespace {

using weft::Coro;
using weft::Stream;

void say(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
}

Coro<void> answer_lines(Stream client) {
    for (;;) {
        const std::string line = co_await client.read_line();
        if (line.empty() || line == "quit\n") break;
        co_await client.write(line);
    }
    co_await client.close();
}

Coro<void> answer_request(Stream client) {
    (void)co_await client.read_until("\r\n\r\n");
    co_await client.write(
        "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n");
    co_await client.write(std::string(1000000, 'w'));
    co_await client.close();
}

Coro<void> serve(std::string pem, bool http) {
    weft::TlsContext context = weft::TlsContext::server();
    context.load_cert_chain(pem).set_alpn_protocols({"http/1.1", "weft"});
    weft::Server server = co_await weft::start_server(http ? &answer_request : &answer_lines,
                                                      "127.0.0.1", 0, context);
    auto body = [](weft::Server& served) -> Coro<void> {
        say(std::to_string(served.port()) + "\n");
        co_await weft::wait_for_stop();
    };
    co_await weft::serve(std::move(server), body);
}

std::string standard_input() {
    std::string text;
    char buffer[65536];
    while (const std::size_t count = std::fread(buffer, 1, sizeof buffer, stdin))
        text.append(buffer, count);
    return text;
}

Coro<void> talk(std::string host, std::uint16_t port, std::string pem, bool by_line) {
    std::string text = standard_input();
    weft::TlsContext context = weft::TlsContext::client(weft::TlsRoots::none);
    context.load_verify_locations(pem);
    Stream stream = co_await weft::open_connection(std::move(host), port, context);
    if (!by_line) {
        co_await stream.write(text);
        const std::string answer = co_await stream.read_all(std::size_t(1) << 30);
        say(answer);
        co_return;
    }
    while (!text.empty()) {
        const std::size_t end = text.find('\n') + 1;
        co_await stream.write(text.substr(0, end));
        const std::string answer = co_await stream.read_line();
        say(answer);
        text.erase(0, end);
    }
    co_await stream.close();
}

Coro<void> ask_postgres(std::string host, std::uint16_t port, std::string pem,
                        std::string question) {
    weft::TlsOptions tls(weft::TlsContext::client(weft::TlsRoots::none));
    tls.context->load_verify_locations(pem);
    tls.server_hostname = host;
    Stream plain = co_await weft::open_connection(std::move(host), port);
    const bool agreed = co_await postgres::asks_for_tls(plain);
    if (!agreed) throw std::runtime_error("postgres: has no TLS");
    Stream stream = co_await weft::start_tls(std::move(plain), std::move(tls));
    const std::string rows = co_await postgres::ask(stream, "trust", "weft", std::move(question));
    say(rows);
    co_await stream.close();
}

Coro<void> run(int count, char** words) {
    const std::string command = count > 2 ? words[1] : "";
    if (command == "lines" || command == "http") return serve(words[2], command == "http");
    if ((command == "talk" || command == "fetch") && count > 4) {
        return talk(words[2], static_cast<std::uint16_t>(std::atoi(words[3])), words[4],
                    command == "talk");
    }
    if (command == "postgres" && count > 5) {
        return ask_postgres(words[2], static_cast<std::uint16_t>(std::atoi(words[3])), words[4],
                            words[5]);
    }
    throw std::runtime_error("tls_peer: see the comment at the top of tls_peer.cpp");
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
