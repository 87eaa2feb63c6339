// SPDX-License-Identifier: MIT
// The second translation unit of the user's program.
#include "answer.hpp"

#include <weft/weft.hpp>

#include <chrono>

weft::Coro<int> answer() {
    co_await weft::sleep(std::chrono::milliseconds(1));
    co_return 42;
}
