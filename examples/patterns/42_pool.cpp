// SPDX-License-Identifier: MIT
// A pool of connections: two at most, made when they are needed and lent again.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <chrono>
#include <string>
#include <string_view>
#include <utility>

using namespace std::chrono_literals;

struct Connection {
    explicit Connection(int which) : number(which) {}
    weft::Coro<std::string> query(std::string_view text) {
        co_await weft::sleep(10ms);
        co_return fmt::format("{} by connection {}", text, number);
    }
    int number;
};

weft::Coro<Connection> dial() {
    static int number = 0;
    co_await weft::sleep(5ms);
    fmt::print("connection {} opens\n", ++number);
    co_return Connection(number);
}

weft::Coro<void> hang_up(Connection& connection) {
    co_await weft::sleep(5ms);
    fmt::print("connection {} closes\n", connection.number);
}

weft::Coro<void> ask(weft::Pool<Connection>& pool, std::string text) {
    auto connection = co_await pool.acquire();
    const std::string answer = co_await connection->query(text);
    fmt::print("{}\n", answer);
    if (text == "second") connection.discard();  // broken: it is closed and not lent again
}

weft::Coro<void> use_pool() {
    weft::PoolOptions<Connection> options(2, 1min);  // idle for a minute: closed
    options.close = &hang_up;
    weft::Pool<Connection> pool(&dial, std::move(options));
    co_await weft::task_group([&](weft::TaskGroup& group) -> weft::Coro<void> {
        for (const char* text : {"first", "second", "third", "fourth"}) {
            group.create_task(ask(pool, text));
        }
        co_return;
    });
    co_await pool.close();
}

int main() { weft::run(use_pool()); }
