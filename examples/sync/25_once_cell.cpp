// SPDX-License-Identifier: MIT
// Connect on first use: the first request connects, those that come meanwhile wait for it. When the
// attempt fails, its request hears of it and the next one tries.
#include <fmt/format.h>
#include <weft/sync/once_cell.hpp>
#include <weft/weft.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

using namespace std::chrono_literals;

struct Database {
    weft::OnceCell<std::string> connection;
    int attempts = 0;
};

weft::Coro<std::string> dial(Database* database) {
    const int attempt = ++database->attempts;
    fmt::print("connecting, attempt {}\n", attempt);
    co_await weft::sleep(10ms);
    if (attempt == 1) throw std::runtime_error("refused");
    co_return "connection " + std::to_string(attempt);
}

weft::Coro<void> request(Database& database, int number) {
    try {
        const std::string& connection = co_await database.connection.get_or_init(dial, &database);
        fmt::print("request {} over {}\n", number, connection);
    } catch (const std::runtime_error& error) {
        fmt::print("request {}: {}\n", number, error.what());
    }
}

weft::Coro<void> serve() {
    Database database;
    std::vector<weft::Task<void>> tasks;
    for (int number = 1; number <= 4; ++number) {
        tasks.push_back(weft::create_task(request(database, number)));
    }
    for (auto& task : tasks) co_await task;
    fmt::print("{} attempts\n", database.attempts);
}

int main() { weft::run(serve()); }
