// SPDX-License-Identifier: MIT
// An HTTP server with a loop for each core. All share the port, one SIGTERM stops all of them in
// order (requests that have begun are answered), and what they count goes through a channel to the
// one that reports. It answers each GET alike; a service that does more takes a parser of its
// field.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>
#include <weft/weft.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

using namespace std::chrono_literals;

constexpr std::string_view page = "the same for everybody\n";

std::string response(std::string_view status, std::string_view body) {
    return fmt::format("HTTP/1.1 {}\r\nContent-Length: {}\r\n\r\n{}", status, body.size(), body);
}

struct Report {
    std::size_t worker;
    int answers;
};

class Service {
public:
    // Each worker runs this on its own thread. What they share is made for threads.
    weft::Coro<void> work(weft::Worker self) {
        int answers = 0;
        auto answer = [&answers](weft::Stream client) -> weft::Coro<void> {
            client.set_limit(8 * 1024);  // no head is longer
            while (true) {
                const std::string head = co_await client.read_until("\r\n\r\n");
                if (head.empty()) co_return;  // the client has gone, or the server stops
                const bool understood = head.starts_with("GET ");
                const std::string text =
                    understood ? response("200 OK", page) : response("405 Method Not Allowed", "");
                co_await client.write(text);
                if (!understood) co_return;
                ++answers;  // of this worker's loop alone: no lock
            }
        };
        weft::ServerOptions shared;
        shared.reuse_port = true;  // the kernel gives each connection to one of the workers
        std::uint16_t port = 0;
        if (self.index() > 0) port = *co_await ports_.recv();
        weft::Server server = co_await weft::start_server(answer, "127.0.0.1", port, shared);
        if (self.index() == 0) {
            for (std::size_t i = 1; i < self.count(); ++i) co_await ports_.send(server.port());
            weft::Task<void> asking = weft::create_task(&ask_and_stop, server.port());
            co_await weft::wait_for_stop();
            co_await asking;
        } else {
            co_await weft::wait_for_stop();
        }
        co_await server.shutdown(5s);
        co_await reports_.send(Report{self.index(), answers});
        if (self.index() == 0) co_await report(self.count());
    }

private:
    // Stands for the world: a few clients, and whoever stops the service.
    static weft::Coro<void> ask_and_stop(std::uint16_t port) {
        for (int client = 0; client < 20; ++client) {
            weft::Stream stream = co_await weft::open_connection("127.0.0.1", port);
            co_await stream.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
            co_await stream.read_until("\r\n\r\n");
            co_await stream.read_exactly(page.size());
        }
        ::kill(::getpid(), SIGTERM);
    }
    weft::Coro<void> report(std::size_t workers) {
        int all = 0;
        for (std::size_t i = 0; i < workers; ++i) all += (co_await reports_.recv())->answers;
        fmt::print("{} answers by {} workers\n", all, workers);
    }

    weft::ThreadChannel<std::uint16_t> ports_{16};
    weft::ThreadChannel<Report> reports_{64};
};

int main() {
    Service service;
    weft::WorkersOptions options;
    options.pin = true;
    options.run.stop_signal = SIGTERM;
    options.run.grace = 10s;
    // 2, so that it prints the same everywhere; 0 means one for each core.
    weft::run_workers(
        2, [&service](weft::Worker self) { return service.work(self); }, options);
}
