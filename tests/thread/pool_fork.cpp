// SPDX-License-Identifier: MIT
// The process's thread pool and fork(2). (A file of its own: ThreadSanitizer starts no threads in a
// forked child.)
#include <weft/task/run.hpp>
#include <weft/testing/catch.hpp>
#include <weft/thread/thread_pool.hpp>

#include <sys/wait.h>
#include <unistd.h>

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

}  // namespace pool_fork_test
