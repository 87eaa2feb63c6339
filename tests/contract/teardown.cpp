// SPDX-License-Identifier: MIT
// A loop destroyed with operations pending: nothing leaks, hangs, or is written to afterwards.
#include <weft/net/io.hpp>
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include <algorithm>
#include <memory>

#include <sched.h>
#include <sys/stat.h>

#include "stage.hpp"

namespace teardown_test {

using namespace support;
using weft::EventLoop;
using weft::testing::DescriptorCensus;
namespace io = weft::io;

namespace {

/// Turns of the loop from outside.
void run_turns(EventLoop& loop, int count) {
    for (int turn = 0; turn < count; ++turn) loop.run_once();
}

/// An operation into memory of its own, which is gone (ASan looks) when the frame is.
weft::Coro<void> read_into_own_memory(int fd) {
    const auto buffer = std::make_unique<char[]>(4096);
    co_await io::read(fd, weft::MutableBuffer(buffer.get(), 4096));
}

}  // namespace

TEST_CASE("a loop destroyed with any kind of operation pending leaks nothing", "[teardown]") {
    const DescriptorCensus before;
    for (const Kind kind : every_kind) {
        for (int turns = 0; turns < 4; ++turns) {
            CAPTURE(name_of(kind), turns);
            Stage stage;
            bool unwound = false;
            struct Mark {
                explicit Mark(bool& flag) noexcept : set(flag) {}
                ~Mark() { set = true; }
                bool& set;
            };
            auto body = [&]() -> weft::Coro<void> {
                const Mark mark(unwound);
                co_await stage.perform(kind);
            };
            {
                EventLoop loop(weft::testing::options());
                auto task = loop.create_task(body());
                run_turns(loop, turns);
                CHECK_FALSE(task.done());
            }
            if (turns > 0) CHECK(unwound);
        }
    }
    CHECK(before.leaked() == "");
}

TEST_CASE("a loop destroyed as its operations complete keeps or closes every result",
          "[teardown]") {
    const DescriptorCensus before;
    for (const Kind kind : every_kind) {
        if (kind == Kind::connect) continue;
        for (int turns = 1; turns < 4; ++turns) {
            for (int after = 0; after < 2; ++after) {
                CAPTURE(name_of(kind), turns, after);
                Stage stage;
                EventLoop loop(weft::testing::options());
                auto task = loop.create_task(stage.perform(kind));
                run_turns(loop, turns);
                stage.release(kind);
                run_turns(loop, after);
            }
        }
    }
    CHECK(before.leaked() == "");
}

TEST_CASE("a loop destroyed with every kind of operation pending at once leaks nothing",
          "[teardown]") {
    const DescriptorCensus before;
    for (int turns = 0; turns < 5; ++turns) {
        Stage stage;
        EventLoop loop(weft::testing::options());
        std::vector<weft::Task<long>> tasks;
        for (int copy = 0; copy < 8; ++copy) {
            for (const Kind kind : every_kind)
                tasks.push_back(loop.create_task(stage.perform(kind)));
        }
        run_turns(loop, turns);
    }
    CHECK(before.leaked() == "");
}

TEST_CASE("a loop destroyed with a thousand operations pending ends each of them", "[teardown]") {
    const DescriptorCensus before;
    for (int turns = 1; turns < 4; ++turns) {
        std::vector<Pair> pairs;
        for (int index = 0; index < 1000; ++index) pairs.push_back(pipe_pair());
        std::vector<weft::Task<void>> tasks;
        {
            EventLoop loop(weft::testing::options());
            for (const Pair& pair : pairs)
                tasks.push_back(loop.create_task(read_into_own_memory(pair.a.get())));
            run_turns(loop, turns);
        }
        for (const Pair& pair : pairs) put(pair.b.get(), "too late for anybody");
        CHECK(std::all_of(tasks.begin(), tasks.end(), [](auto& task) { return task.cancelled(); }));
        tasks.clear();
    }
    CHECK(before.leaked() == "");
}

TEST_CASE("a loop destroyed with more operations than its ring holds ends each of them",
          "[teardown]") {
    weft::RunOptions small = weft::testing::options();
    small.ring_entries = 2;
    const Pair ends = unix_pair();
    const DescriptorCensus before;
    {
        EventLoop loop(small);
        std::vector<weft::Task<void>> tasks;
        for (int index = 0; index < 3000; ++index)
            tasks.push_back(loop.create_task(read_into_own_memory(ends.a.get())));
        run_turns(loop, 2);
    }
    put(ends.b.get(), std::string(10'000, 'x'));
    CHECK(drain(ends.a.get()).size() == 10'000);
    CHECK(before.leaked() == "");
}

TEST_CASE("a task that swallows cancels with an operation in flight is destroyed where it stands",
          "[teardown]") {
    const DescriptorCensus before;
    for (const Kind kind : every_kind) {
        CAPTURE(name_of(kind));
        Stage stage;
        int swallowed = 0;
        int reports = 0;
        auto body = [&]() -> weft::Coro<void> {
            for (;;) {
                try {
                    co_await stage.perform(kind);
                    co_return;
                } catch (const weft::CancelledError&) {
                    ++swallowed;
                }
            }
        };
        {
            EventLoop loop(weft::testing::options());
            loop.set_exception_handler([&](const weft::ExceptionContext&) { ++reports; });
            auto task = loop.create_task(body());
            run_turns(loop, 3);
        }
        CHECK(swallowed > 0);
        CHECK(reports == 1);
        CHECK(stage.untouched());
    }
    CHECK(before.leaked() == "");
}

TEST_CASE("a task that swallows cancels and never waits cannot keep its loop from being destroyed",
          "[teardown]") {
    constexpr int far_too_many = 10'000'000;
    int steps = 0;
    auto body = [&]() -> weft::Coro<void> {
        // The bound makes a failure of what would be a hang.
        while (steps < far_too_many) {
            try {
                ++steps;
                co_await weft::yield();
            } catch (const weft::CancelledError&) {
                continue;
            }
        }
    };
    int reports = 0;
    {
        EventLoop loop(weft::testing::options());
        loop.set_exception_handler([&](const weft::ExceptionContext&) { ++reports; });
        auto task = loop.create_task(body());
        run_turns(loop, 3);
    }
    CHECK(steps < far_too_many);
    CHECK(reports == 1);
}

TEST_CASE("clean-up code may wait for operations of its own while the loop closes", "[teardown]") {
    const DescriptorCensus before;
    Pair ends = unix_pair();
    std::string farewell;
    auto body = [&]() -> weft::Coro<void> {
        bool struck = false;
        try {
            char byte;
            co_await io::recv(ends.a.get(), weft::MutableBuffer(&byte, 1));
        } catch (const weft::CancelledError&) {
            struck = true;
        }
        if (!struck) co_return;
        co_await io::send(ends.a.get(), "bye");
        co_await io::close(std::move(ends.a));
        farewell = co_await read_exactly(ends.b.get(), 3);
    };
    {
        EventLoop loop(weft::testing::options());
        auto task = loop.create_task(body());
        run_turns(loop, 3);
    }
    CHECK(farewell == "bye");
    CHECK(ends.a.get() == -1);
}

TEST_CASE("a loop destroyed with file operations pending waits for those that run", "[teardown]") {
    const DescriptorCensus before;
    Folder folder;
    const std::string path = folder.file("data");
    for (int turns = 0; turns < 6; ++turns) {
        auto body = [&]() -> weft::Coro<void> {
            const Fd fd = co_await io::open(path.c_str(), O_RDWR | O_CREAT);
            const auto block = std::make_unique<char[]>(65536);
            for (std::uint64_t at = 0; at < 4; ++at) {
                co_await io::write_at(fd.get(), weft::ConstBuffer(block.get(), 65536), at * 65536);
                co_await io::fsync(fd.get());
                co_await io::read_at(fd.get(), weft::MutableBuffer(block.get(), 65536), at * 65536);
            }
        };
        EventLoop loop(weft::testing::options());
        std::vector<weft::Task<void>> tasks;
        for (int copy = 0; copy < 16; ++copy) tasks.push_back(loop.create_task(body()));
        run_turns(loop, turns);
    }
    CHECK(before.leaked() == "");
}

TEST_CASE("a loop destroyed while a FIFO without another end is opened does not hang",
          "[teardown]") {
    const DescriptorCensus before;
    Folder folder;
    const std::string path = folder.file("fifo");
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    {
        auto body = [&]() -> weft::Coro<void> {
            const Fd fd = co_await io::open(path.c_str(), O_RDONLY);
        };
        EventLoop loop(weft::testing::options());
        auto task = loop.create_task(body());
        // Turns enough for another thread to have begun the call.
        for (int turn = 0; turn < 2000; ++turn) {
            loop.run_once();
            ::sched_yield();
        }
        ::alarm(60);  // ends a hang that no task dump could describe
    }
    ::alarm(0);
    CHECK(before.leaked() == "");
}

TEST_CASE("a thousand loops on the same descriptors, one after another, leave no trace",
          "[teardown]") {
    Pair ends = unix_pair();
    const DescriptorCensus before;
    for (int round = 0; round < 1000; ++round) {
        EventLoop loop(weft::testing::options());
        auto pending = loop.create_task(read_some(ends.a.get(), 8));
        auto other = loop.create_task(read_some(ends.b.get(), 8));
        loop.run_once();
        put(ends.b.get(), "x");
        const std::string got =
            loop.run_until_complete(static_cast<weft::Future<std::string>>(pending));
        REQUIRE(got == "x");
    }
    CHECK(before.leaked() == "");
    CHECK(drain(ends.a.get()) == "");
}

}  // namespace teardown_test
