// SPDX-License-Identifier: MIT
// A user's program of one file, which includes what it needs.
#include <weft/task/run.hpp>
#include <weft/task/sleep.hpp>

#include <chrono>
#include <cstdio>

weft::Coro<int> answer() {
    co_await weft::sleep(std::chrono::milliseconds(1));
    co_return 42;
}

int main() {
    const int result = weft::run(answer());
    std::printf("one file: %d\n", result);
    return result == 42 ? 0 : 1;
}
