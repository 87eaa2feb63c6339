// SPDX-License-Identifier: MIT
// run_process: a program from its start to its end (SEMANTICS 94, 99, 107).
#include <signal.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include <weft/process.hpp>
#include <weft/testing/catch.hpp>
#include <weft/weft.hpp>

#include "../support/child_programs.hpp"
#include "../support/cut_everywhere.hpp"
#include "../support/probe.hpp"

namespace run_process_test {

namespace {

using namespace std::chrono_literals;
using support::no_children;
using weft::CompletedProcess;
using weft::Coro;
using weft::run_process;
using weft::RunProcessOptions;

/// On real time: virtual time does not wait for how long a child takes to end.
template <class Body>
void run_in_real_time(Body body) {
    weft::RunOptions options;
    options.hang_limit = 20s;
    weft::run(body, options);
    CHECK(no_children());
}

Coro<std::string> failure_of(weft::Command command, RunProcessOptions options = {}) {
    try {
        co_await run_process(std::move(command), std::move(options));
    } catch (const weft::ProcessError& error) {
        co_return error.what();
    }
    co_return "none";
}

}  // namespace

WEFT_TEST_CASE("run_process returns the code and what was written", "[run_process]") {
    RunProcessOptions options;
    options.input = "b\na\n";
    const CompletedProcess sorted = co_await run_process("sort", options);
    CHECK(sorted.code() == 0);
    CHECK(sorted.out == "a\nb\n");
    CHECK(sorted.err.empty());
    options.check = false;
    const CompletedProcess both =
        co_await run_process("sh", "-c", "cat; echo out; echo err >&2; exit 3", options);
    CHECK(both.code() == 3);
    CHECK(both.out == "b\na\nout\n");
    CHECK(both.err == "err\n");
    options.err = weft::Stdio::same_as_out();
    options.input.clear();  // without any it reads nothing
    const CompletedProcess merged =
        co_await run_process("sh", "-c", "cat; echo 1; echo 2 >&2; echo 3", options);
    CHECK(merged.out == "1\n2\n3\n");
    const CompletedProcess killed = co_await run_process("sh", "-c", "kill -KILL $$", options);
    CHECK(killed.code() == -SIGKILL);
}

WEFT_TEST_CASE("a program that fails is an error with its name, its end and its last words",
               "[run_process]") {
    const std::string code =
        co_await failure_of(weft::Command("sh", "-c", "echo it is late >&2; exit 3"));
    CHECK(code == "\"sh\": exit code 3: it is late");
    const std::string silent = co_await failure_of(weft::Command("false"));
    CHECK(silent == "\"false\": exit code 1");
    const std::string killed = co_await failure_of(weft::Command("sh", "-c", "kill -TERM $$"));
    CHECK(killed == "\"sh\": killed by SIGTERM");
    // The end of a long story.
    const std::string cut = co_await failure_of(weft::Command(
        "sh", "-c", "i=0; while test $i -lt 500; do echo line $i; i=$((i+1)); done >&2; exit 1"));
    CHECK(cut.size() < 1100);
    CHECK(cut.substr(0, 29) == "\"sh\": exit code 1: ... line 3");
    CHECK(cut.substr(cut.size() - 8) == "line 499");
}

TEST_CASE("a deadline around run_process is a time limit for the program", "[run_process]") {
    run_in_real_time([]() -> Coro<void> {
        RunProcessOptions options;
        options.process_group = 0;
        options.grace = 50ms;
        const char* const scripts[] = {"exec sleep 1000", "sleep 1000; true",
                                       "trap '' TERM; while true; do sleep 1000; done"};
        for (const char* const script : scripts) {
            auto program = [&] { return run_process("sh", "-c", script, options); };
            const std::optional<CompletedProcess> end = co_await weft::move_on_after(20ms, program);
            CHECK(!end);
            CHECK(no_children());
        }
    });
}

TEST_CASE("a program that writes more than its limit is ended", "[run_process]") {
    run_in_real_time([]() -> Coro<void> {
        RunProcessOptions options;
        options.limit = 1000;
        bool overrun = false;
        try {
            co_await run_process("cat", "/dev/zero", options);
        } catch (const weft::LimitOverrunError&) {
            overrun = true;
        }
        CHECK(overrun);
        CHECK(no_children());
    });
}

TEST_CASE("a run_process that is cut off anywhere leaves no child and no descriptor",
          "[run_process]") {
    support::cut_everywhere([](int& alive) -> Coro<void> {
        const probe::Alive counted(alive);
        RunProcessOptions options;
        options.input = "some text";
        options.grace = 0s;
        const CompletedProcess end = co_await run_process("cat", options);
        if (end.out != "some text") throw std::runtime_error("lost: " + end.out);
    });
    CHECK(no_children());
}

}  // namespace run_process_test
