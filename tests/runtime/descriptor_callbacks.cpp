// SPDX-License-Identifier: MIT
// add_reader, add_writer: called for as long as it holds, and never for another file.
// rungs: all
#include <weft/weft.hpp>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <weft/testing/catch.hpp>

#include "awaiting.hpp"
#include "descriptors.hpp"
#include "probe.hpp"

namespace descriptor_callbacks_test {

using namespace std::chrono_literals;
using namespace support;
using weft::Coro;
using weft::EventLoop;

namespace {

char take(int fd) {
    char byte = 0;
    checked(static_cast<int>(::read(fd, &byte, 1)), "read");
    return byte;
}

/// In turns, not in time: virtual time stands still for as long as something is always ready.
template <class Is>
Coro<void> until(Is is) {
    for (int turn = 0; turn < 1000 && !is(); ++turn) co_await weft::yield();
}

/// Turns that are sure to see what the kernel has by now.
Coro<void> settled() {
    co_await turns(5);
    co_await weft::sleep(1ms);
    co_await turns(5);
}

}  // namespace

WEFT_TEST_CASE("a reader is called for as long as there is something to read", "[reader]") {
    EventLoop& loop = weft::get_running_loop();
    const Pair ends = unix_pair();
    std::string got;
    loop.add_reader(ends.a.get(), [&] { got += take(ends.a.get()); });
    co_await settled();
    CHECK(got == "");
    put(ends.b.get(), "three");  // one byte a call, and nothing more arrives
    co_await until([&] { return got.size() == 5; });
    CHECK(got == "three");
    co_await settled();
    CHECK(got == "three");
    CHECK(loop.remove_reader(ends.a.get()));
    CHECK_FALSE(loop.remove_reader(ends.a.get()));
    put(ends.b.get(), "more");
    co_await settled();
    CHECK(got == "three");
}

WEFT_TEST_CASE("a writer is called while there is room, beside a reader of the same descriptor",
               "[reader]") {
    EventLoop& loop = weft::get_running_loop();
    const Pair ends = unix_pair();
    int writable = 0;
    int readable = 0;
    loop.add_writer(ends.a.get(), [&] { ++writable; });
    loop.add_reader(ends.a.get(), [&] { ++readable; });
    co_await until([&] { return writable >= 3; });
    CHECK(writable >= 3);
    CHECK(readable == 0);
    CHECK(loop.remove_writer(ends.a.get()));
    const int before = writable;
    put(ends.b.get(), "x");
    co_await until([&] { return readable >= 3; });
    CHECK(readable >= 3);
    CHECK(writable == before);
    CHECK(loop.remove_reader(ends.a.get()));
}

WEFT_TEST_CASE("a callback takes the place of another, also from inside of it", "[reader]") {
    EventLoop& loop = weft::get_running_loop();
    const Pair ends = unix_pair();
    put(ends.b.get(), "x");
    std::vector<int> calls;
    loop.add_reader(ends.a.get(), [&] { calls.push_back(0); });
    loop.add_reader(ends.a.get(), [&, own = std::make_shared<int>(1)] {
        loop.add_reader(ends.a.get(), [&] {
            calls.push_back(2);
            loop.remove_reader(ends.a.get());
        });
        calls.push_back(*own);  // it lives on until it returns
    });
    co_await until([&] { return calls.size() == 2; });
    co_await settled();
    CHECK(calls == std::vector<int>({1, 2}));
}

WEFT_TEST_CASE("one that is removed when its turn has come is not called", "[reader]") {
    EventLoop& loop = weft::get_running_loop();
    const Pair first = unix_pair();
    const Pair second = unix_pair();
    int calls = 0;
    const auto only_one = [&] {
        ++calls;
        loop.remove_reader(first.a.get());
        loop.remove_reader(second.a.get());
    };
    loop.add_reader(first.a.get(), only_one);
    loop.add_reader(second.a.get(), only_one);
    put(first.b.get(), "x");
    put(second.b.get(), "x");
    co_await until([&] { return calls > 0; });
    co_await settled();
    CHECK(calls == 1);
}

WEFT_TEST_CASE("a number that others close in the same turn, and that comes again, is not mixed up",
               "[reader]") {
    EventLoop& loop = weft::get_running_loop();
    for (int round = 0; round < 4; ++round) {
        const bool own = round % 2 == 0;  // its own number, or that of the one whose turn is next
        const bool comes_again = round < 2;
        CAPTURE(own, comes_again);
        Pair first = unix_pair();
        Pair second = unix_pair();
        const Pair other = unix_pair();  // readable, too
        put(first.b.get(), "x");
        put(second.b.get(), "x");
        put(other.b.get(), "x");
        const int numbers[] = {::fcntl(first.a.get(), F_DUPFD_CLOEXEC, 200),
                               ::fcntl(second.a.get(), F_DUPFD_CLOEXEC, 201)};
        int calls[] = {0, 0};
        const auto replace = [&](int number) {
            ::close(number);  // as a C library does it: nobody is told
            if (comes_again) checked(::dup3(other.a.get(), number, O_CLOEXEC), "dup3");
        };
        for (const int which : {0, 1}) {
            loop.add_reader(numbers[which], [&, which] {
                ++calls[which];
                if (calls[0] + calls[1] == 1) replace(numbers[own ? which : 1 - which]);
            });
        }
        co_await until([&] { return calls[0] + calls[1] >= 4; });
        // One of them goes on; the other one was called once, or never.
        CHECK(std::min(calls[0], calls[1]) == (own ? 1 : 0));
        CHECK(std::max(calls[0], calls[1]) >= 3);
        // Who takes up the number anew is told of the new file.
        if (comes_again) {
            bool told = false;
            const int number = numbers[calls[0] < calls[1] ? 0 : 1];
            loop.add_reader(number, [&] {
                told = true;
                loop.remove_reader(number);
            });
            co_await until([&] { return told; });
            CHECK(told);
        }
        for (const int number : numbers) {
            loop.remove_reader(number);
            ::close(number);
        }
        co_await settled();
    }
}

WEFT_TEST_CASE("a descriptor that the loop is told of when it closes is watched no more",
               "[reader]") {
    EventLoop& loop = weft::get_running_loop();
    for (const bool awaits : {false, true}) {
        Pair ends = unix_pair();
        auto alive = std::make_shared<int>(0);
        loop.add_reader(ends.a.get(), [alive] { ++*alive; });
        co_await settled();
        CHECK(alive.use_count() == 2);
        if (awaits) {
            co_await weft::io::close(std::move(ends.a));
        } else {
            ends.a.reset();
        }
        co_await settled();
        CHECK(alive.use_count() == 1);
        CHECK(*alive == 0);
    }
}

WEFT_TEST_CASE("a callback that throws is reported, and goes on", "[reader]") {
    EventLoop& loop = weft::get_running_loop();
    const Pair ends = unix_pair();
    put(ends.b.get(), "x");
    int reports = 0;
    int calls = 0;
    loop.set_exception_handler([&](const weft::ExceptionContext& context) {
        if (std::string(context.message) == "exception in a descriptor's callback") ++reports;
    });
    loop.add_reader(ends.a.get(), [&] {
        if (++calls == 2) loop.remove_reader(ends.a.get());
        throw std::runtime_error("from a callback");
    });
    co_await until([&] { return calls == 2; });
    CHECK(reports == 2);
}

WEFT_TEST_CASE("a writer whose peer writes no more does not spin while there is no room",
               "[reader]") {
    EventLoop& loop = weft::get_running_loop();
    const Pair ends = unix_pair();
    fill(ends.a.get());
    ::shutdown(ends.b.get(), SHUT_WR);
    int calls = 0;
    loop.add_writer(ends.a.get(), [&] {
        ++calls;
        loop.remove_writer(ends.a.get());
    });
    const std::uint64_t before = loop.kernel_entries();
    co_await weft::sleep(20ms);
    CHECK(calls == 0);
    CHECK(loop.kernel_entries() - before < 100);
    std::string all(1 << 20, '\0');
    checked(static_cast<int>(::recv(ends.b.get(), all.data(), all.size(), MSG_DONTWAIT)), "recv");
    for (int turn = 0; turn < 100 && calls == 0; ++turn) co_await weft::sleep(5ms);
    CHECK(calls == 1);
}

WEFT_TEST_CASE("a callback has the context of whoever added it, and changes nobody's", "[reader]") {
    const weft::ContextVar<int> number("number", 0);
    EventLoop& loop = weft::get_running_loop();
    const Pair ends = unix_pair();
    put(ends.b.get(), "x");
    number.set(7);
    std::vector<int> seen;
    loop.add_reader(ends.a.get(), [&] {
        seen.push_back(number.get());
        number.set(8);
        if (seen.size() == 2) loop.remove_reader(ends.a.get());
    });
    number.set(9);
    co_await until([&] { return seen.size() == 2; });
    CHECK(seen == std::vector<int>({7, 7}));
    CHECK(number.get() == 9);
}

WEFT_TEST_CASE("a file on a disk is always readable", "[reader]") {
    EventLoop& loop = weft::get_running_loop();
    const Fd file(checked(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC), "open"));
    int calls = 0;
    loop.add_reader(file.get(), [&] {
        if (++calls == 3) loop.remove_reader(file.get());
    });
    co_await until([&] { return calls == 3; });
    CHECK(calls == 3);
}

WEFT_TEST_CASE("a number that is no descriptor is refused by name", "[reader]") {
    EventLoop& loop = weft::get_running_loop();
    const Failure failed = co_await failure([&]() -> Coro<void> {
        loop.add_writer(987'654, [] {});
        co_return;
    });
    CHECK(failed.error == EBADF);
    CHECK(failed.names("add_writer fd 987654"));
    CHECK_FALSE(loop.remove_writer(987'654));
    CHECK_FALSE(loop.remove_reader(-1));
}

TEST_CASE("readers are called no more when main has ended, and what they hold goes", "[reader]") {
    const Pair ends = unix_pair();
    auto alive = std::make_shared<int>(0);
    weft::testing::run([&]() -> Coro<void> {
        EventLoop& loop = weft::get_running_loop();
        auto lingers = [&]() -> Coro<void> {
            try {
                co_await weft::sleep(1h);
            } catch (const weft::CancelledError&) {
            }
            *alive = 100;
            for (int turn = 0; turn < 5; ++turn) co_await weft::yield();
        };
        loop.add_reader(ends.a.get(), [alive] { ++*alive; });
        auto task = weft::create_task(lingers);
        co_await weft::yield();
        put(ends.b.get(), "x");
    });
    CHECK(*alive == 100);
    CHECK(alive.use_count() == 1);
}

}  // namespace descriptor_callbacks_test
