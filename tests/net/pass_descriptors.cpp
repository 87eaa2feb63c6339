// SPDX-License-Identifier: MIT
// Descriptors that travel over a Unix socket: all arrive, and none is leaked on the way
// (SEMANTICS 28, 91).
// rungs: all
// program: own
#include <weft/net/pass_descriptors.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include <cerrno>
#include <cstddef>
#include <new>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "../support/awaiting.hpp"
#include "../support/descriptors.hpp"
#include "../support/failing_new.hpp"

namespace pass_descriptors_test {

using support::Failure;
using support::failure;
using support::Pair;
using support::turns;
using weft::Coro;
using weft::Fd;
namespace io = weft::io;

WEFT_TEST_CASE("a descriptor arrives with the bytes that it was sent with", "[pass_descriptors]") {
    for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
        const Pair ends = support::unix_pair(type);
        const Pair pipe = support::pipe_pair();
        const std::vector<int> passed{pipe.a.get(), pipe.b.get()};
        co_await io::send_descriptors(ends.a.get(), "two", passed);
        char buffer[8];
        io::ReceivedDescriptors got = co_await io::receive_descriptors(ends.b.get(), buffer);
        CHECK(std::string(buffer, got.size) == "two");
        REQUIRE(got.descriptors.size() == 2);
        CHECK_FALSE(got.truncated);
        CHECK((::fcntl(got.descriptors[0].get(), F_GETFD) & FD_CLOEXEC) != 0);
        co_await support::write_all(got.descriptors[1].get(), "through it");
        const std::string text = co_await support::read_some(pipe.a.get(), 10);
        CHECK(text == "through it");
    }
}

WEFT_TEST_CASE("descriptors for which there is no room are closed, and told",
               "[pass_descriptors]") {
    const Pair ends = support::unix_pair();
    const std::vector<int> passed(5, ends.a.get());
    char buffer[8];
    for (const std::size_t most : {0U, 1U, 2U, 3U, 5U}) {
        co_await io::send_descriptors(ends.a.get(), "five", passed);
        const io::ReceivedDescriptors got =
            co_await io::receive_descriptors(ends.b.get(), buffer, most);
        CHECK(got.descriptors.size() == most);
        CHECK(got.truncated == (most < 5));
    }
}

WEFT_TEST_CASE("what else a socket tells of a message takes no descriptor's room",
               "[pass_descriptors]") {
    constexpr int pass_pidfd = 76;  // SO_PASSPIDFD, Linux 6.5
    const Pair ends = support::unix_pair();
    const int on = 1;
    for (const int option : {SO_PASSCRED, SO_PASSSEC, SO_TIMESTAMP, pass_pidfd})
        ::setsockopt(ends.b.get(), SOL_SOCKET, option, &on, sizeof on);
    const weft::testing::DescriptorCensus before;
    const std::vector<int> passed(3, ends.a.get());
    char buffer[8];
    for (const std::size_t count : {0U, 1U, 3U}) {
        co_await io::send_descriptors(ends.a.get(), "x", std::span(passed).first(count));
        const io::ReceivedDescriptors got =
            co_await io::receive_descriptors(ends.b.get(), buffer, count);
        CHECK(got.descriptors.size() == count);
        CHECK_FALSE(got.truncated);
    }
    CHECK(before.leaked() == "");
}

WEFT_TEST_CASE("bytes without descriptors, and the end, are received as such",
               "[pass_descriptors]") {
    Pair ends = support::unix_pair();
    co_await io::send_descriptors(ends.a.get(), "none", {});
    char buffer[8];
    io::ReceivedDescriptors got = co_await io::receive_descriptors(ends.b.get(), buffer);
    CHECK(got.size == 4);
    CHECK(got.descriptors.empty());
    ends.a.reset();
    got = co_await io::receive_descriptors(ends.b.get(), buffer);
    CHECK(got.size == 0);
}

WEFT_TEST_CASE("what cannot be sent is refused", "[pass_descriptors]") {
    const Pair ends = support::unix_pair();
    const std::vector<int> one{ends.a.get()};
    const std::vector<int> too_many(io::most_passed_descriptors + 1, ends.a.get());
    auto no_byte = [&]() -> Coro<void> { co_await io::send_descriptors(ends.a.get(), "", one); };
    auto crowd = [&]() -> Coro<void> {
        co_await io::send_descriptors(ends.a.get(), "x", too_many);
    };
    const Failure empty = co_await failure(no_byte);
    CHECK(empty.error == EINVAL);
    const Failure many = co_await failure(crowd);
    CHECK(many.error == EINVAL);
}

WEFT_TEST_CASE("a receive that lacks memory leaves its descriptors to the next one",
               "[pass_descriptors]") {
    const Pair ends = support::unix_pair();
    const std::vector<int> passed(5, ends.a.get());
    const weft::testing::DescriptorCensus before;
    char buffer[8];
    int failures = 0;
    bool is_sent = false;
    for (long allocations = 0; allocations < 12; ++allocations) {
        if (!is_sent) co_await io::send_descriptors(ends.a.get(), "five", passed);
        is_sent = true;
        std::size_t got = 0;
        shortage.set(allocations, 1);
        try {
            const io::ReceivedDescriptors all =
                co_await io::receive_descriptors(ends.b.get(), buffer, 5);
            got = all.descriptors.size();
            is_sent = false;
        } catch (const std::bad_alloc&) {
            ++failures;
        } catch (const std::system_error& failed) {  // (of the loop's own)
            failures += failed.code().value() == ENOMEM;
        }
        shortage.end();
        CHECK(before.leaked() == "");
        CHECK(before.vanished() == "");
        CHECK(got == (is_sent ? 0 : 5));
    }
    CHECK(failures > 1);
    CHECK(!is_sent);
}

TEST_CASE("a receive that is cancelled or killed at any step leaks no descriptor",
          "[pass_descriptors]") {
    const weft::testing::DescriptorCensus before;
    auto scenario = []() -> Coro<void> {
        const Pair ends = support::unix_pair();
        const std::vector<int> passed{ends.a.get()};
        auto receive = [&]() -> Coro<std::size_t> {
            char buffer[4];
            const io::ReceivedDescriptors got =
                co_await io::receive_descriptors(ends.b.get(), buffer);
            co_return got.descriptors.size();
        };
        weft::Task<std::size_t> waits = weft::create_task(receive);
        co_await turns(2);
        co_await io::send_descriptors(ends.a.get(), "x", passed);
        waits.cancel();
        const std::size_t count = co_await waits;
        CHECK(count == 1);
    };
    auto tolerant = [&]() -> Coro<void> {
        try {
            co_await scenario();
        } catch (const weft::CancelledError&) {
        }
    };
    weft::testing::kill_at_every_step(tolerant);
    weft::testing::cancel_at_every_step(tolerant, [](weft::Task<void>&) {});
    CHECK(before.leaked() == "");
}

}  // namespace pass_descriptors_test
