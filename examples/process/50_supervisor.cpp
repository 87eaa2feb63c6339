// SPDX-License-Identifier: MIT
// A supervisor: jobs of the system run a few at a time, each with a time limit. One that takes too
// long is asked to end (SIGTERM), and killed if it does not; what it has started goes with it.
#include <fmt/format.h>
#include <weft/process.hpp>
#include <weft/weft.hpp>

#include <chrono>
#include <string>
#include <vector>

using namespace std::chrono_literals;

struct Job {
    const char* name;
    const char* script;
};

weft::Coro<std::string> run_job(Job job) {
    weft::RunProcessOptions options;
    options.process_group = 0;  // with everything that it starts
    options.grace = 50ms;
    try {
        auto script = [&] { return weft::run_process("sh", "-c", job.script, options); };
        const weft::CompletedProcess done = co_await weft::wait_for(script, 300ms);
        co_return fmt::format("{}: {}", job.name, done.out);
    } catch (const weft::TimeoutError&) {
        co_return fmt::format("{}: took too long, and has ended\n", job.name);
    } catch (const weft::ProcessError& error) {
        co_return fmt::format("{}: {}\n", job.name, error.what());
    }
}

weft::Coro<void> supervise() {
    const std::vector<Job> jobs = {
        {"quick", "echo done"},
        {"broken", "echo 'no such table' >&2; exit 3"},
        {"slow", "sleep 1000"},
        {"stubborn", "trap '' TERM; while true; do sleep 1000; done"},
    };
    const std::vector<std::string> lines = co_await weft::map_limit(jobs, 2, &run_job);
    for (const std::string& line : lines) fmt::print("{}", line);
}

int main() { weft::run(supervise()); }
