// SPDX-License-Identifier: MIT
// The process's thread pool and fork(2). (A file of its own: ThreadSanitizer starts no threads in a
// forked child.)
#include <weft/task/run.hpp>
#include <weft/testing/catch.hpp>
#include <weft/thread/thread_pool.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <string>

namespace pool_fork_test {

using weft::Coro;
using weft::to_thread;

TEST_CASE("a forked child has a pool of its own", "[pool_fork]") {
    auto ask = []() -> Coro<int> {
        auto work = [] { return 7; };
        co_return co_await to_thread(work);
    };
    CHECK(weft::run(ask()) == 7);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) ::_exit(weft::run(ask()));
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 7);
}

TEST_CASE("a forked child is told that a pool is its parent's", "[pool_fork]") {
    weft::ThreadPoolOptions options;
    options.name = "mine";
    weft::ThreadPool pool(options);
    auto work = [] { return 7; };
    auto ask = [&]() -> Coro<int> { co_return co_await pool.run(work); };
    CHECK(weft::run(ask()) == 7);  // and from now on it has an idle thread
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ::alarm(20);
        std::string said;
        try {
            weft::run(ask());
        } catch (const weft::RuntimeError& error) {
            said = error.what();
        }
        const bool is_named =
            said == "ThreadPool 'mine': it belongs to the parent of this forked process";
        ::_exit(is_named && pool.threads() == 0 && pool.join(std::chrono::hours(1)) ? 7 : 8);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 7);
    CHECK(weft::run(ask()) == 7);
}

}  // namespace pool_fork_test
