// SPDX-License-Identifier: MIT
// Scopes whose ends await: what is acquired is released on every way out.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>

using namespace std::chrono_literals;

struct Session {
    explicit Session(std::string user_name) : user(std::move(user_name)) {}
    std::string user;
};

weft::Coro<Session> log_in(std::string user) {
    co_await weft::sleep(5ms);
    fmt::print("{} logs in\n", user);
    co_return Session(std::move(user));
}

weft::Coro<void> log_out(Session& session) {
    co_await weft::sleep(5ms);
    fmt::print("{} logs out\n", session.user);
}

weft::Coro<int> work(Session& session) {
    co_await weft::sleep(5ms);
    if (session.user == "eve") throw std::runtime_error("permission denied");
    co_return 42;
}

weft::Coro<void> work_forever(Session&) { co_await weft::sleep(1h); }

weft::Coro<void> night_shift() {
    co_await weft::async_with(log_in("bob"), &work_forever, &log_out);
}

weft::Coro<void> echo(weft::Stream client) {
    const std::string line = co_await client.read_line();
    co_await client.write(line);
}

weft::Coro<std::string> greet(weft::Stream& stream) {
    co_await stream.write("good evening\n");
    co_return co_await stream.read_line();
}

weft::Coro<void> use_scopes() {
    const int result = co_await weft::async_with(log_in("ada"), &work, &log_out);
    fmt::print("result: {}\n", result);

    try {
        co_await weft::async_with(log_in("eve"), &work, &log_out);
    } catch (const std::runtime_error& error) {
        fmt::print("{}\n", error.what());
    }

    // A cancel ends the body. The release runs all the same, even if more cancels come.
    weft::Task<void> shift = weft::create_task(night_shift());
    co_await weft::sleep(20ms);
    shift.cancel();
    co_await shift.wait();
    fmt::print("cancelled: {}\n", shift.cancelled());

    // A resource with a `close()` that is awaited needs no release function.
    weft::Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
    const std::string answer =
        co_await weft::async_with(weft::open_connection("127.0.0.1", server.port()), &greet);
    fmt::print("{}", answer);
    server.close();
    co_await server.wait_closed();
}

int main() { weft::run(use_scopes()); }
