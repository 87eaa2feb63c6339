// SPDX-License-Identifier: MIT
// A small database that talks in lines: `set KEY VALUE`, `get KEY`, `quit`.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <map>
#include <string>
#include <utility>

// All handlers run on one thread and switch only where they await: no lock.
using Store = std::map<std::string, std::string>;

std::string answer_to(Store& store, const std::string& line) {
    const std::string verb = line.substr(0, line.find(' '));
    const std::string rest = line.size() > verb.size() ? line.substr(verb.size() + 1) : "";
    const std::string key = rest.substr(0, rest.find(' '));
    if (verb == "get") return store.contains(key) ? store[key] : "(nothing)";
    if (verb != "set" || key.size() == rest.size()) return "? set KEY VALUE, get KEY, quit";
    store[key] = rest.substr(key.size() + 1);
    return "ok";
}

weft::Coro<void> serve(Store& store, weft::Stream client) {
    for (;;) {
        std::string line = co_await client.read_line();
        if (line.empty()) co_return;  // the client has gone
        line.pop_back();              // the '\n'
        if (line == "quit") co_return;
        const std::string answer = answer_to(store, line) + "\n";
        co_await client.write(answer);
    }
}

weft::Coro<void> run_store() {
    Store store;
    const auto handler = [&store](weft::Stream client) { return serve(store, std::move(client)); };
    weft::Server server = co_await weft::start_server(handler, "127.0.0.1", 0);

    weft::Stream client = co_await weft::open_connection(server.address());
    for (const char* const command : {"get colour", "set colour dark blue", "get colour", "hm?"}) {
        co_await client.write(fmt::format("{}\n", command));
        const std::string answer = co_await client.read_line();
        fmt::print("{:<20}  -> {}", command, answer);
    }
    co_await client.write("quit\n");
    server.close();
    co_await server.wait_closed();
}

int main() { weft::run(run_store()); }
