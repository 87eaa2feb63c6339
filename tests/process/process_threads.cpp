// SPDX-License-Identifier: MIT
// Children that are started on several threads at once.
// labels: threads
#include <weft/process/process.hpp>
#include <weft/process/run_process.hpp>
#include <weft/task/run.hpp>
#include <weft/testing/catch.hpp>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "../support/child_programs.hpp"

namespace process_threads_test {

using weft::Coro;

TEST_CASE("children started on several threads get their own descriptors alone",
          "[process_threads]") {
    constexpr int most_threads = 4, each = 25;
    std::atomic<int> right{0};
    auto start_some = [&]() -> Coro<void> {
        for (int count = 0; count < each; ++count) {
            // (Pipes of the other threads come and go meanwhile.)
            const weft::CompletedProcess end = co_await weft::run_process("ls", "/proc/self/fd");
            if (end.out == "0\n1\n2\n3\n") ++right;
        }
    };
    std::vector<std::thread> threads;
    for (int number = 0; number < most_threads; ++number)
        threads.emplace_back([&] { weft::run(start_some); });
    for (std::thread& thread : threads) thread.join();
    CHECK(right == most_threads * each);
    CHECK(support::no_children());
}

}  // namespace process_threads_test
