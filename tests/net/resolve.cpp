// SPDX-License-Identifier: MIT
// Looking names up: bounded threads, a queue that can be left, and who waits for whom
// (SEMANTICS 106, 107).
// program: own
// labels: threads
#include <dlfcn.h>
#include <netdb.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <weft/testing/catch.hpp>
#include <weft/weft.hpp>
#include "../support/thread_wait.hpp"

namespace resolve_test {

namespace {

using weft::Address;
using weft::Coro;
using Addresses = std::vector<Address>;

/// What the C library is asked for, and when it answers. Names that begin with "slow" wait until
/// they are let go.
class Names {
public:
    void ask(const std::string& name) {
        std::unique_lock lock(mutex_);
        ++asked_[name];
        order_.push_back(name);
        if (name.compare(0, 4, "slow") != 0) return;
        ++stuck_;
        changed_.notify_all();
        support::wait_until(changed_, lock, [this] { return open_ || may_go_ > 0; });
        if (may_go_ > 0) --may_go_;
        --stuck_;
        changed_.notify_all();
    }
    int asked(const std::string& name) {
        const std::lock_guard lock(mutex_);
        return asked_[name];
    }
    std::vector<std::string> order() {
        const std::lock_guard lock(mutex_);
        return order_;
    }
    void wait_for_stuck(int count) {
        std::unique_lock lock(mutex_);
        support::wait_until(changed_, lock, [&] { return stuck_ >= count; });
    }
    void let_go(int count) {
        const std::lock_guard lock(mutex_);
        may_go_ += count;
        changed_.notify_all();
    }
    /// Lets one go, and waits until `count` are stuck again.
    void replace_one(int count) {
        std::unique_lock lock(mutex_);
        ++may_go_;
        changed_.notify_all();
        support::wait_until(changed_, lock, [&] { return may_go_ == 0 && stuck_ >= count; });
    }
    /// Lets everybody go, and begins anew.
    void reset() {
        std::unique_lock lock(mutex_);
        open_ = true;
        changed_.notify_all();
        support::wait_until(changed_, lock, [this] { return stuck_ == 0; });
        open_ = false;
        may_go_ = 0;
        asked_.clear();
        order_.clear();
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::map<std::string, int> asked_;
    std::vector<std::string> order_;
    int stuck_ = 0;
    int may_go_ = 0;
    bool open_ = false;
};

Names& names() {
    static Names* const all = new Names;  // outlives the threads, which outlive everything
    return *all;
}

[[maybe_unused]] bool no_threads = false;  // can be started

}  // namespace

extern "C" int getaddrinfo(const char* node, const char* service, const addrinfo* hints,
                           addrinfo** found) {
    using Lookup = int (*)(const char*, const char*, const addrinfo*, addrinfo**);
    static const auto libc = reinterpret_cast<Lookup>(::dlsym(RTLD_NEXT, "getaddrinfo"));
    const std::string name = node ? node : "";
    names().ask(name);
    if (name.find("nowhere") != std::string::npos) return EAI_NONAME;
    return libc("127.0.0.1", service, hints, found);
}

extern "C" int getnameinfo(const sockaddr* address, socklen_t size, char* host, socklen_t host_size,
                           char* service, socklen_t service_size, int flags) {
    using Lookup = int (*)(const sockaddr*, socklen_t, char*, socklen_t, char*, socklen_t, int);
    static const auto libc = reinterpret_cast<Lookup>(::dlsym(RTLD_NEXT, "getnameinfo"));
    const Address asked = Address::from(address, size);
    if (flags & NI_NUMERICHOST) {
        return libc(address, size, host, host_size, service, service_size, flags);
    }
    names().ask(asked.to_string());
    if (asked.port() == 1) return EAI_NONAME;
    std::strcpy(host, "a.name.test");
    std::strcpy(service, "a-service");
    return 0;
}

#if !WEFT_ASAN && !defined(__SANITIZE_THREAD__)
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                              void* (*body)(void*), void* argument) {
    using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
    static const auto libc = reinterpret_cast<Create>(::dlsym(RTLD_NEXT, "pthread_create"));
    return no_threads ? EAGAIN : libc(thread, attributes, body, argument);
}
#endif

namespace {

std::size_t threads() {
    const std::filesystem::directory_iterator tasks("/proc/self/task");
    return static_cast<std::size_t>(std::distance(begin(tasks), end(tasks)));
}

/// Starts to look up NAME-0.test and its like.
std::vector<weft::Task<Addresses>> look_up_many(const std::string& name, int count) {
    std::vector<weft::Task<Addresses>> tasks;
    for (int number = 0; number < count; ++number) {
        tasks.push_back(weft::create_task(
            weft::getaddrinfo(name + "-" + std::to_string(number) + ".test", 80)));
    }
    return tasks;
}

Coro<std::string> error_of(Coro<Addresses> lookup) {
    try {
        co_await std::move(lookup);
    } catch (const std::system_error& error) {
        co_return error.what();
    }
    co_return "no error";
}

constexpr int most_threads = 32;

}  // namespace

// (First: no thread of the resolver's is there yet.)
#if !WEFT_ASAN && !defined(__SANITIZE_THREAD__)
WEFT_TEST_CASE("a lookup for which no thread can be started is an error that names the host") {
    no_threads = true;
    const std::string text = co_await error_of(weft::getaddrinfo("quick.test", 80));
    no_threads = false;
    CHECK(text.find("pthread_create") != std::string::npos);
    CHECK(text.find("quick.test") != std::string::npos);
    const Addresses found = co_await weft::getaddrinfo("quick.test", 80);
    CHECK(found.size() == 1);
    names().reset();
}

WEFT_TEST_CASE("a thread that is refused while the others are stuck is asked for again") {
    // As many as there are threads, so that none is idle, or on its way from a lookup before.
    std::vector<weft::Task<Addresses>> slow;
    do {
        const std::string name = "slow-" + std::to_string(slow.size()) + ".test";
        slow.push_back(weft::create_task(weft::getaddrinfo(name, 80)));
        co_await weft::yield();
        names().wait_for_stuck(static_cast<int>(slow.size()));
    } while (threads() > slow.size() + 1);
    no_threads = true;
    auto quick = weft::create_task(weft::getaddrinfo("quick.test", 80));
    co_await weft::yield();
    co_await weft::sleep(std::chrono::milliseconds(250));
    CHECK_FALSE(quick.done());
    no_threads = false;
    const Addresses found = co_await quick;
    CHECK(found.size() == 1);
    for (const weft::Task<Addresses>& lookup : slow) CHECK_FALSE(lookup.done());
    names().reset();
    for (weft::Task<Addresses>& lookup : slow) co_await lookup;
}
#endif

WEFT_TEST_CASE("20,000 lookups take a few threads, and each gets its answer") {
    std::vector<weft::Task<Addresses>> lookups = look_up_many("quick", 20'000);
    std::size_t most = 0;
    for (std::size_t index = 0; index < lookups.size(); ++index) {
        const Addresses found = co_await lookups[index];
        REQUIRE(found.size() == 1);
        if (index % 256 == 0) most = std::max(most, threads());
    }
    CHECK(most <= most_threads + 4);  // with the main thread, and a sanitizer's
    names().reset();
}

WEFT_TEST_CASE("a name that is asked for many times while it is looked up is looked up once") {
    std::vector<weft::Task<Addresses>> lookups;
    for (int number = 0; number < 1'000; ++number) {
        lookups.push_back(weft::create_task(weft::getaddrinfo("slow.test", 80)));
    }
    weft::Task<Addresses> other_port = weft::create_task(weft::getaddrinfo("slow.test", 81));
    co_await weft::yield();
    names().wait_for_stuck(2);
    lookups[7].cancel();
    names().let_go(2);
    for (weft::Task<Addresses>& lookup : lookups) {
        co_await lookup.wait();
        if (&lookup == &lookups[7]) {
            CHECK(lookup.cancelled());
            continue;
        }
        const Addresses found = lookup.result();
        REQUIRE(found.size() == 1);
        REQUIRE(found.front().port() == 80);
    }
    const Addresses found = co_await other_port;
    CHECK(found.front().port() == 81);
    CHECK(names().asked("slow.test") == 2);
    names().reset();
}

WEFT_TEST_CASE("an abandoned lookup that is asked for again is joined, and answers the newcomer") {
    for (int round = 0; round < 100; ++round) {
        weft::Task<Addresses> lookup = weft::create_task(weft::getaddrinfo("slow.test", 80));
        co_await weft::yield();
        names().wait_for_stuck(1);
        lookup.cancel();
        co_await lookup.wait();
        CHECK(lookup.cancelled());
    }
    weft::Task<Addresses> last = weft::create_task(weft::getaddrinfo("slow.test", 80));
    co_await weft::yield();
    names().let_go(1);
    const Addresses found = co_await last;
    CHECK(found.size() == 1);
    CHECK(names().asked("slow.test") == 1);
    names().reset();
}

WEFT_TEST_CASE("a name is looked up again when its lookup has ended") {
    for (int round = 0; round < 3; ++round) {
        const Addresses found = co_await weft::getaddrinfo("quick.test", 80);
        CHECK(found.size() == 1);
    }
    CHECK(names().asked("quick.test") == 3);
    names().reset();
}

WEFT_TEST_CASE("quick names pass slow ones, although these hold more than the usual threads") {
    std::vector<weft::Task<Addresses>> slow = look_up_many("slow", 12);
    co_await weft::yield();
    for (int number = 0; number < 100; ++number) {
        const Addresses found =
            co_await weft::getaddrinfo("quick-" + std::to_string(number) + ".test", 80);
        REQUIRE(found.size() == 1);
    }
    for (const weft::Task<Addresses>& lookup : slow) CHECK_FALSE(lookup.done());
    names().let_go(12);
    for (weft::Task<Addresses>& lookup : slow) co_await lookup;
    names().reset();
}

WEFT_TEST_CASE(
    "however many names are slow, threads are bounded; who leaves the queue is never begun") {
    std::vector<weft::Task<Addresses>> slow = look_up_many("slow", most_threads + 10);
    co_await weft::yield();
    names().wait_for_stuck(most_threads);
    CHECK(threads() <= most_threads + 4);
    weft::Task<Addresses> leaves = weft::create_task(weft::getaddrinfo("leaves.test", 80));
    weft::Task<Addresses> stays = weft::create_task(weft::getaddrinfo("stays.test", 80));
    co_await weft::yield();
    leaves.cancel();
    for (int number = most_threads; number < most_threads + 10; ++number) {
        slow[static_cast<std::size_t>(number)].cancel();
    }
    co_await leaves.wait();
    CHECK(leaves.cancelled());
    CHECK_FALSE(stays.done());
    names().let_go(1);
    const Addresses found = co_await stays;
    CHECK(found.size() == 1);
    names().let_go(most_threads - 1);
    for (weft::Task<Addresses>& lookup : slow) co_await lookup.wait();
    CHECK(names().asked("leaves.test") == 0);
    CHECK(names().asked("slow-" + std::to_string(most_threads) + ".test") == 0);
    names().reset();
}

namespace {

Coro<std::size_t> look_up_from_another_loop(std::atomic<bool>& is_queued) {
    weft::Task<Addresses> lookup = weft::create_task(weft::getaddrinfo("other.test", 80));
    co_await weft::yield();
    is_queued = true;
    const Addresses found = co_await lookup;
    co_return found.size();
}

}  // namespace

WEFT_TEST_CASE("loops take turns: one with a long queue does not keep another one waiting") {
    std::vector<weft::Task<Addresses>> slow = look_up_many("slow", most_threads + 50);
    co_await weft::yield();
    names().wait_for_stuck(most_threads);
    std::size_t other_found = 0;
    std::atomic<bool> is_queued{false};
    std::thread other(
        [&] { other_found = weft::run([&] { return look_up_from_another_loop(is_queued); }); });
    while (!is_queued) ::sched_yield();
    // It comes after at most one more of ours.
    for (int ours = 0; ours < 2 && names().asked("other.test") == 0; ++ours) {
        names().replace_one(most_threads);
    }
    CHECK(names().asked("other.test") == 1);
    names().let_go(2 * most_threads + 50);
    for (weft::Task<Addresses>& lookup : slow) co_await lookup;
    other.join();
    CHECK(other_found == 1);
    names().reset();
}

TEST_CASE("a lookup that runs holds up neither the end of its loop nor the next loop") {
    for (int round = 0; round < 20; ++round) {
        weft::testing::run([]() -> Coro<void> {
            (void)weft::create_task(weft::getaddrinfo("slow.test", 80));
            co_await weft::yield();
            names().wait_for_stuck(1);
        });
    }
    weft::testing::run([]() -> Coro<void> {
        const Addresses found = co_await weft::getaddrinfo("quick.test", 80);
        CHECK(found.size() == 1);
    });
    names().reset();
}

TEST_CASE("answers that arrive while loops close, on three threads at once, are dropped") {
    std::vector<std::thread> loops;
    for (int thread = 0; thread < 3; ++thread) {
        loops.emplace_back([thread] {
            for (int round = 0; round < 100; ++round) {
                weft::run([=]() -> Coro<void> {
                    std::vector<weft::Task<Addresses>> lookups =
                        look_up_many("quick" + std::to_string(thread), 5);
                    for (int turn = 0; turn < round % 10; ++turn) co_await weft::yield();
                    lookups[0].cancel();
                    if (round % 3 == 0) co_await lookups[1];
                });
            }
        });
    }
    for (std::thread& loop : loops) loop.join();
    names().reset();
}

WEFT_TEST_CASE("a name that is not found is an error that names the call and the host") {
    const std::string text = co_await error_of(weft::getaddrinfo("nowhere.test", 80));
    CHECK(text == std::string("getaddrinfo \"nowhere.test\": ") + ::gai_strerror(EAI_NONAME));
    names().reset();
}

WEFT_TEST_CASE("a name that is not found for want of descriptors is an error that says so") {
    if (WEFT_ASAN != 0) co_return;  // UBSan needs a pipe, and takes a failure for a bad pointer
    (void)co_await error_of(weft::getaddrinfo("nowhere.test", 80));  // (a thread is there now)
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    const weft::Fd first_free(::dup(0));
    rlimit few = before;
    few.rlim_cur = static_cast<rlim_t>(first_free.get());
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
    const std::string text = co_await error_of(weft::getaddrinfo("nowhere.test", 80));
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK(text == "getaddrinfo \"nowhere.test\": Too many open files");
    names().reset();
}

WEFT_TEST_CASE("a deadline around a lookup names the host") {
    std::string text;
    try {
        co_await weft::wait_for(weft::getaddrinfo("slow.test", 80), std::chrono::milliseconds(1));
    } catch (const weft::TimeoutError& error) {
        text = error.what();
    }
    CHECK(text == "timed out: getaddrinfo \"slow.test\"");
    names().reset();
}

// --- getnameinfo ---

WEFT_TEST_CASE("an address is looked up on the same threads; in numbers it needs none") {
    const weft::NameInfo found = co_await weft::getnameinfo(Address::ip("127.0.0.1", 80));
    CHECK(found.host == "a.name.test");
    CHECK(found.service == "a-service");
    CHECK(names().asked("127.0.0.1:80") == 1);
    const weft::NameInfo numbers =
        co_await weft::getnameinfo(Address::ip("::1", 80), NI_NUMERICHOST | NI_NUMERICSERV);
    CHECK(numbers.host == "::1");
    CHECK(numbers.service == "80");
    CHECK(names().asked("[::1]:80") == 0);
    names().reset();
}

WEFT_TEST_CASE("an address without a name is an error that names it") {
    std::string text;
    try {
        co_await weft::getnameinfo(Address::ip("127.0.0.1", 1), NI_NAMEREQD);
    } catch (const std::system_error& error) {
        text = error.what();
    }
    CHECK(text == std::string("getnameinfo 127.0.0.1:1: ") + ::gai_strerror(EAI_NONAME));
    names().reset();
}

}  // namespace resolve_test
