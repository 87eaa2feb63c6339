// SPDX-License-Identifier: MIT
// A service that stops on SIGTERM: it takes no more connections, lets those that are there finish,
// and is cancelled if that takes too long. Ctrl-C needs no code at all.
#include <fmt/format.h>
#include <signal.h>
#include <weft/weft.hpp>

#include <chrono>
#include <cstdio>
#include <string>

using namespace std::chrono_literals;

weft::Coro<void> answer(weft::Stream client) {
    while (true) {
        const std::string question = co_await client.read_line();
        if (question.empty()) co_return;
        co_await weft::sleep(5ms);  // the work
        co_await client.write("answer to " + question);
    }
}

weft::Coro<void> ask(weft::Address server) {
    weft::Stream stream = co_await weft::open_connection(server);
    co_await stream.write("the last question\n");
    co_await weft::sleep(1ms);
    ::raise(SIGTERM);  // somebody stops the service while it works for us
    const std::string line = co_await stream.read_line();
    fmt::print("client: {}", line);
}

weft::Coro<void> serve() {
    weft::Server server = co_await weft::start_server(&answer, "127.0.0.1", 0);
    const auto client = weft::create_task(ask(server.address()));
    co_await weft::wait_for_stop();
    fmt::print("stopping\n");
    co_await server.shutdown(1s);
    co_await client;
    fmt::print("stopped\n");
}

int main() {
    weft::RunOptions options;
    options.stop_signal = SIGTERM;
    options.grace = 5s;
    try {
        weft::run(serve(), options);
    } catch (const weft::StoppedBySignal& stopped) {  // Ctrl-C, or the grace was not enough
        fmt::print(stderr, "{}\n", stopped.what());
        return 1;
    }
}
