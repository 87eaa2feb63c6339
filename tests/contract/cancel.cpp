// SPDX-License-Identifier: MIT
// Cancelling an operation at every moment of its life: it did not happen, or its result is
// delivered.
#include <weft/net/io.hpp>
#include <weft/testing/catch.hpp>

#include "stage.hpp"

namespace cancel_test {

using namespace support;
using weft::create_task;
namespace io = weft::io;

namespace {

/// Performs `kind` on the stage as a task.
weft::Task<long> performing(Stage& stage, Kind kind) { return create_task(stage.perform(kind)); }

/// The operation can still be done, and does what it should: the cancelled one took nothing.
weft::Coro<bool> works_after(Stage& stage, Kind kind) {
    if (!stage.untouched()) co_return false;
    weft::Task<long> again = performing(stage, kind);
    co_await turns(3);
    if (again.done()) co_return false;
    if (kind == Kind::connect) {  // the kernel tries again after a second: not waited for here
        again.cancel();
        const End end = co_await ending(again);
        co_return end == End::cancelled;
    }
    stage.release(kind);
    const End end = co_await ending(again);
    co_return end == End::value;
}

}  // namespace

WEFT_TEST_CASE("an operation begun under a pending cancel does not happen", "[cancel]") {
    for (const Kind kind : every_kind) {
        CAPTURE(name_of(kind));
        Stage stage;
        bool struck = false;
        auto body = [&]() -> weft::Coro<void> {
            weft::current_task().cancel();
            try {
                co_await stage.perform(kind);
            } catch (const weft::CancelledError&) {
                struck = true;
            }
        };
        co_await create_task(body);
        CHECK(struck);
        const bool works = co_await works_after(stage, kind);
        CHECK(works);
    }
}

WEFT_TEST_CASE("a task cancelled before its first step has CancelledError as its result",
               "[cancel]") {
    Stage stage;
    for (const Kind kind : every_kind) {
        CAPTURE(name_of(kind));
        weft::Task<long> task = performing(stage, kind);
        CHECK(task.cancel());
        const End end = co_await ending(task);
        CHECK(end == End::cancelled);
    }
    CHECK(stage.untouched());
}

WEFT_TEST_CASE(
    "a pending cancel strikes an operation that could succeed at once, and takes nothing",
    "[cancel]") {
    for (const Kind kind : every_kind) {
        if (kind == Kind::connect) continue;
        CAPTURE(name_of(kind));
        Stage stage;
        stage.release(kind);
        bool struck = false;
        long second = -1;
        auto body = [&]() -> weft::Coro<void> {
            weft::current_task().cancel();
            try {
                co_await stage.perform(kind);
            } catch (const weft::CancelledError&) {
                struck = true;
            }
            second = co_await stage.perform(kind);
        };
        co_await create_task(body);
        CHECK(struck);
        CHECK(second > 0);
    }
}

WEFT_TEST_CASE("an operation cancelled in the turn that began it does not happen", "[cancel]") {
    for (const Kind kind : every_kind) {
        CAPTURE(name_of(kind));
        Stage stage;
        weft::Task<long> task = performing(stage, kind);
        co_await weft::yield();
        task.cancel();
        const End end = co_await ending(task);
        CHECK(end == End::cancelled);
        const bool works = co_await works_after(stage, kind);
        CHECK(works);
    }
}

WEFT_TEST_CASE("an operation cancelled in flight does not happen", "[cancel]") {
    for (const Kind kind : every_kind) {
        for (int after = 2; after < 6; ++after) {
            CAPTURE(name_of(kind), after);
            Stage stage;
            weft::Task<long> task = performing(stage, kind);
            co_await turns(after);
            REQUIRE_FALSE(task.done());
            task.cancel();
            const End end = co_await ending(task);
            CHECK(end == End::cancelled);
            const bool works = co_await works_after(stage, kind);
            CHECK(works);
        }
    }
}

WEFT_TEST_CASE("two cancels of one operation are one CancelledError", "[cancel]") {
    for (const Kind kind : every_kind) {
        for (int between = 0; between < 3; ++between) {
            CAPTURE(name_of(kind), between);
            Stage stage;
            int struck = 0;
            int counted = 0;
            auto body = [&]() -> weft::Coro<void> {
                try {
                    co_await stage.perform(kind);
                } catch (const weft::CancelledError&) {
                    ++struck;
                    counted = weft::current_task().cancelling();
                }
                co_await weft::yield();
            };
            auto task = create_task(body);
            co_await turns(3);
            CHECK(task.cancel());
            CHECK(task.cancel());
            const End end = co_await ending(task);
            CHECK(end == End::value);
            CHECK(struck == 1);
            CHECK(counted == 2);
        }
    }
}

WEFT_TEST_CASE("a task that survives a cancel can wait and be cancelled again", "[cancel]") {
    for (const Kind kind : every_kind) {
        CAPTURE(name_of(kind));
        Stage stage;
        int struck = 0;
        auto body = [&]() -> weft::Coro<void> {
            while (struck < 5) {
                try {
                    co_await stage.perform(kind);
                } catch (const weft::CancelledError&) {
                    ++struck;
                }
            }
        };
        auto task = create_task(body);
        for (int round = 0; round < 5; ++round) {
            co_await turns(round + 1);
            while (struck == round && !task.done()) {
                task.cancel();
                co_await turns(4);
            }
        }
        const End end = co_await ending(task);
        CHECK(end == End::value);
        const bool works = co_await works_after(stage, kind);
        CHECK(works);
    }
}

WEFT_TEST_CASE("a cancel in the turn of the completion loses neither the result nor the cancel",
               "[cancel]") {
    for (const Kind kind : every_kind) {
        if (kind == Kind::connect) continue;
        for (int gap = 0; gap < 4; ++gap) {
            for (int start = 0; start < 4; ++start) {
                CAPTURE(name_of(kind), start, gap);
                Stage stage;
                long got = -1;
                bool struck_inside = false;
                bool struck_after = false;
                auto body = [&]() -> weft::Coro<void> {
                    try {
                        got = co_await stage.perform(kind);
                    } catch (const weft::CancelledError&) {
                        struck_inside = true;
                        co_return;
                    }
                    try {
                        co_await weft::yield();
                    } catch (const weft::CancelledError&) {
                        struck_after = true;
                    }
                };
                auto task = create_task(body);
                co_await turns(start);
                stage.release(kind);
                co_await turns(gap);
                const bool cancelled = task.cancel();
                co_await task.wait();
                if (got < 0) {
                    // Struck before the operation ended: then it did not happen.
                    CHECK(cancelled);
                    if (start > 0) CHECK(struck_inside);
                    const long again = co_await stage.perform(kind);
                    CHECK(again > 0);
                } else {
                    CHECK_FALSE(struck_inside);
                    CHECK(struck_after == cancelled);
                }
            }
        }
    }
}

WEFT_TEST_CASE("cancelling a task whose operation has completed changes nothing", "[cancel]") {
    for (const Kind kind : every_kind) {
        if (kind == Kind::connect) continue;
        CAPTURE(name_of(kind));
        Stage stage;
        stage.release(kind);
        weft::Task<long> task = performing(stage, kind);
        co_await task.wait();
        CHECK_FALSE(task.cancel());
        const long got = task.result();
        CHECK(got > 0);
    }
}

WEFT_TEST_CASE("the bytes of a cancelled read go to the next reader", "[cancel]") {
    for (int between = 0; between < 4; ++between) {
        CAPTURE(between);
        Pair ends = unix_pair();
        std::string got;
        std::vector<weft::Task<std::string>> readers;
        for (int index = 0; index < 3; ++index)
            readers.push_back(create_task(recv_some(ends.a.get(), 16)));
        co_await turns(between);
        readers[0].cancel();
        put(ends.b.get(), "data");
        co_await turns(4);
        ends.b.reset();  // the others see the end
        for (auto& reader : readers) {
            const End end = co_await ending(reader);
            if (end == End::value) got += reader.result();
        }
        CHECK(got == "data");
    }
}

WEFT_TEST_CASE("a cancel of one of many operations leaves the others alone", "[cancel]") {
    std::vector<Pair> pairs;
    std::vector<weft::Task<std::string>> tasks;
    for (int index = 0; index < 64; ++index) {
        pairs.push_back(unix_pair());
        tasks.push_back(create_task(recv_some(pairs.back().a.get(), 8)));
    }
    co_await turns(2);
    for (std::size_t index = 0; index < tasks.size(); index += 2) tasks[index].cancel();
    co_await turns(2);
    for (Pair& pair : pairs) put(pair.b.get(), "x");
    for (std::size_t index = 0; index < tasks.size(); ++index) {
        const End end = co_await ending(tasks[index]);
        if (index % 2 == 0) {
            CHECK(end == End::cancelled);
        } else {
            CHECK(end == End::value);
        }
    }
}

WEFT_TEST_CASE("a receive of all bytes that is cancelled half-way returns the half", "[cancel]") {
    for (const int after : {0, 1, 2, 3}) {
        CAPTURE(after);
        Pair ends = unix_pair();
        std::string got;
        auto body = [&]() -> weft::Coro<void> {
            got = co_await recv_some(ends.a.get(), 64, MSG_WAITALL);
        };
        auto task = create_task(body);
        co_await turns(2);
        put(ends.b.get(), "0123456789");
        co_await turns(after);
        task.cancel();
        co_await task.wait();
        CHECK(got + drain(ends.a.get()) == "0123456789");
    }
}

WEFT_TEST_CASE("a message reaches the CancelledError that an operation throws", "[cancel]") {
    Pair ends = unix_pair();
    std::string message;
    auto body = [&]() -> weft::Coro<void> {
        try {
            co_await recv_some(ends.a.get(), 1);
        } catch (const weft::CancelledError& error) {
            message = error.message();
        }
    };
    auto task = create_task(body);
    co_await turns(3);
    task.cancel("the reason");
    co_await task.wait();
    CHECK(message == "the reason");
}

}  // namespace cancel_test
