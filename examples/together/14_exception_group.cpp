// SPDX-License-Identifier: MIT
// ExceptionGroup: several failures at once, handled by type; the rest goes on.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <cerrno>
#include <stdexcept>
#include <system_error>

weft::Coro<void> fetch() {
    throw std::system_error(ECONNREFUSED, std::system_category(), "connect");
    co_return;
}
weft::Coro<void> parse() {
    throw std::invalid_argument("line 3: not a number");
    co_return;
}

weft::Coro<void> work() {
    co_await weft::task_group([](weft::TaskGroup& group) -> weft::Coro<void> {
        group.create_task(fetch());
        group.create_task(parse());
        co_return;
    });
}

weft::Coro<void> handle_some() {
    try {
        try {
            co_await work();
        } catch (const weft::ExceptionGroup& errors) {
            fmt::print("{}\n", errors.what());
            // Like Python's except*: one type is handled, the others are thrown on.
            errors.handle([](const std::system_error& error) {
                fmt::print("handled: error {}\n", error.code().value() == ECONNREFUSED
                                                      ? "ECONNREFUSED"
                                                      : "of another kind");
            });
        }
    } catch (const weft::ExceptionGroup& rest) {
        const auto [invalid, others] = rest.split<std::invalid_argument>();
        fmt::print("left: {} invalid, {} others\n", invalid ? invalid->exceptions().size() : 0,
                   others ? others->exceptions().size() : 0);
    }
}

int main() { weft::run(handle_some()); }
