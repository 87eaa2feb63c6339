// SPDX-License-Identifier: MIT
// A walk through a tree, deepest first: the newest find is the next to be looked at.
#include <fmt/format.h>
#include <weft/weft.hpp>

#include <string>

weft::Coro<void> look_at(weft::LifoQueue<std::string>& to_do) {
    for (;;) {
        const std::string folder = co_await to_do.get();
        fmt::print("{}\n", folder);
        co_await weft::yield();  // reading it takes a while
        if (folder.size() < 3) {
            to_do.put_nowait(folder + "b");
            to_do.put_nowait(folder + "a");
        }
        to_do.task_done();
    }
}

weft::Coro<void> walk() {
    weft::LifoQueue<std::string> to_do;
    to_do.put_nowait("/");
    auto looking = weft::create_task(look_at(to_do));
    co_await to_do.join();  // nothing is left, and nothing was added meanwhile
    looking.cancel();
}

int main() { weft::run(walk()); }
