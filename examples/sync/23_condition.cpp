// SPDX-License-Identifier: MIT
// A condition: consumers wait until the shelf holds what each of them needs.
#include <fmt/format.h>
#include <weft/sync/condition.hpp>
#include <weft/weft.hpp>

#include <chrono>
#include <vector>

using namespace std::chrono_literals;

struct Shelf {
    weft::Condition changed;  // with a lock of its own
    int loaves = 0;
};

weft::Coro<void> buy(Shelf& shelf, int wanted) {
    auto guard = co_await shelf.changed.scoped();
    while (shelf.loaves < wanted) co_await shelf.changed.wait();
    shelf.loaves -= wanted;
    fmt::print("bought {}, {} left\n", wanted, shelf.loaves);
}

weft::Coro<void> bake(Shelf& shelf) {
    for (int batch = 0; batch < 3; ++batch) {
        co_await weft::sleep(10ms);
        auto guard = co_await shelf.changed.scoped();
        shelf.loaves += 4;
        fmt::print("baked 4\n");
        shelf.changed.notify_all();
    }
}

weft::Coro<void> morning() {
    Shelf shelf;
    std::vector<weft::Task<void>> tasks;
    for (const int wanted : {3, 6, 1}) tasks.push_back(weft::create_task(buy(shelf, wanted)));
    tasks.push_back(weft::create_task(bake(shelf)));
    for (auto& task : tasks) co_await task;

    // The same in one call, with a predicate.
    auto guard = co_await shelf.changed.scoped();
    auto any = [&shelf] { return shelf.loaves; };
    const int left = co_await shelf.changed.wait_for(any);
    fmt::print("{} for the birds\n", left);
}

int main() { weft::run(morning()); }
