// SPDX-License-Identifier: MIT
// Looking names up in a forked child, which has none of its parent's threads.
// program: own
// sanitizers: no, their allocator is locked by another thread when a process with threads forks
#include <dlfcn.h>
#include <netdb.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include <weft/testing/catch.hpp>
#include <weft/weft.hpp>
#include "../support/thread_wait.hpp"

namespace resolve_fork_test {

namespace {

using weft::Coro;
using Addresses = std::vector<weft::Address>;

/// Opens once.
struct Gate {
    std::mutex mutex;
    std::condition_variable changed;
    int waiting = 0;
    bool open = false;
};
Gate& gate() {
    static Gate* const one = new Gate;  // outlives the threads
    return *one;
}

}  // namespace

extern "C" int getaddrinfo(const char* node, const char* service, const addrinfo* hints,
                           addrinfo** found) {
    using Lookup = int (*)(const char*, const char*, const addrinfo*, addrinfo**);
    static const auto libc = reinterpret_cast<Lookup>(::dlsym(RTLD_NEXT, "getaddrinfo"));
    if (std::string_view(node).substr(0, 4) == "slow") {
        std::unique_lock lock(gate().mutex);
        ++gate().waiting;
        gate().changed.notify_all();
        support::wait_until(gate().changed, lock, [] { return gate().open; });
    }
    return libc("127.0.0.1", service, hints, found);
}

namespace {

Coro<bool> looks_up(int count) {
    std::vector<weft::Task<Addresses>> lookups;
    for (int number = 0; number < count; ++number) {
        lookups.push_back(
            weft::create_task(weft::getaddrinfo("quick-" + std::to_string(number) + ".test", 80)));
    }
    bool all = true;
    for (weft::Task<Addresses>& lookup : lookups) {
        const Addresses found = co_await lookup;
        all = all && found.size() == 1;
    }
    co_return all;
}

/// The exit code of a child that runs `body`.
template <class Body>
int in_child(Body body) {
    const pid_t child = ::fork();
    if (child == 0) {
        int code = 2;
        try {
            code = body() ? 0 : 1;
        } catch (...) {
        }
        ::_exit(code);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    return WEXITSTATUS(status);
}

}  // namespace

TEST_CASE("a forked child looks names up with threads of its own, while its parent's are stuck") {
    weft::testing::run([]() -> Coro<void> {
        std::vector<weft::Task<Addresses>> slow;
        for (int number = 0; number < 8; ++number) {
            slow.push_back(weft::create_task(
                weft::getaddrinfo("slow-" + std::to_string(number) + ".test", 80)));
        }
        co_await weft::yield();
        {
            std::unique_lock lock(gate().mutex);
            support::wait_until(gate().changed, lock, [] { return gate().waiting >= 4; });
        }
        // A loop of its own; and a grandchild has one, too.
        const int code = in_child([] {
            const bool own = weft::run(looks_up(20));
            return own && in_child([] { return weft::run(looks_up(20)); }) == 0 &&
                   weft::run(looks_up(20));
        });
        CHECK(code == 0);
        // One that cancels, or destroys, what it has of its parent's is not held up by it.
        const int cancels = in_child([&] {
            for (weft::Task<Addresses>& lookup : slow) lookup.cancel();
            slow.clear();
            return weft::run(looks_up(1));
        });
        CHECK(cancels == 0);
        {
            const std::lock_guard lock(gate().mutex);
            gate().open = true;
            gate().changed.notify_all();
        }
        for (weft::Task<Addresses>& lookup : slow) {
            const Addresses found = co_await lookup;
            CHECK(found.size() == 1);
        }
    });
}

TEST_CASE("children forked while threads look names up look up their own") {
    weft::testing::run([]() -> Coro<void> {
        for (int round = 0; round < 20; ++round) {
            weft::Task<bool> lookups = weft::create_task(looks_up(50));
            co_await weft::yield();
            const int code = in_child([] { return weft::run(looks_up(5)); });
            CHECK(code == 0);
            const bool found = co_await lookups;
            CHECK(found);
        }
    });
}

TEST_CASE("a process ends while a lookup runs") {
    const pid_t child = ::fork();
    if (child == 0) {
        {
            const std::lock_guard lock(gate().mutex);
            gate().open = false;
        }
        weft::run([]() -> Coro<void> {
            (void)weft::create_task(weft::getaddrinfo("slow.test", 80));
            co_await weft::yield();
        });
        std::exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
}

}  // namespace resolve_fork_test
