// SPDX-License-Identifier: MIT
// A user's program of two files that both include all of weft, and one that sees declarations
// alone: it must link, and run.
#include <weft/weft.hpp>

#include <cstdio>

weft::Coro<int> (*choose_answer())();

int main() {
    const int result = weft::run(choose_answer()());
    std::printf("weft %d.%d.%d: %d\n", WEFT_VERSION_MAJOR, WEFT_VERSION_MINOR, WEFT_VERSION_PATCH,
                result);
    return result == 42 ? 0 : 1;
}
