// SPDX-License-Identifier: MIT
// A child's pipes and its terminal as Streams, and communicate (SEMANTICS 28, 93, 94).
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <string>
#include <system_error>
#include <utility>

#include <weft/process.hpp>
#include <weft/testing/catch.hpp>
#include <weft/weft.hpp>

#include "../support/awaiting.hpp"
#include "../support/child_programs.hpp"
#include "../support/cut_everywhere.hpp"
#include "../support/probe.hpp"

namespace communicate_test {

namespace {

using namespace std::chrono_literals;
using support::no_children;
using weft::CompletedProcess;
using weft::Coro;
using weft::create_subprocess_exec;
using weft::create_subprocess_shell;
using weft::ExitStatus;
using weft::Process;
using weft::ProcessOptions;
using weft::Stdio;

ProcessOptions with_pipes() {
    ProcessOptions options;
    options.in = Stdio::pipe();
    options.out = Stdio::pipe();
    options.err = Stdio::pipe();
    return options;
}

#if WEFT_ASAN || defined(__SANITIZE_THREAD__)
constexpr std::size_t much = std::size_t{4} << 20;
#else
constexpr std::size_t much = std::size_t{64} << 20;
#endif

}  // namespace

WEFT_TEST_CASE("a child is talked to line by line, and its pipes are read after its end",
               "[communicate]") {
    Process child = co_await create_subprocess_shell(
        "while read line; do echo got $line; done; echo bye >&2; exit 4", with_pipes());
    for (const char* const word : {"one", "two"}) {
        co_await child.in().write(std::string(word) + "\n");
        const std::string answer = co_await child.out().read_line();
        CHECK(answer == "got " + std::string(word) + "\n");
    }
    co_await child.in().close();
    const ExitStatus end = co_await child.wait();
    CHECK(end.code() == 4);
    const std::string rest = co_await child.out().read_all(10);
    CHECK(rest.empty());
    const std::string last = co_await child.err().read_line();
    CHECK(last == "bye\n");
}

WEFT_TEST_CASE("an end that is no pipe says so", "[communicate]") {
    ProcessOptions options;
    options.in = Stdio::null();
    Process child = co_await create_subprocess_exec("true", options);
    std::string text;
    try {
        child.in();
    } catch (const weft::RuntimeError& error) {
        text = error.what();
    }
    CHECK(text == "weft: process \"true\" (pid " + std::to_string(child.pid()) +
                      ") has no pipe for in (ProcessOptions)");
    bool refused = false;
    try {
        (void)child.communicate("input");
    } catch (const weft::RuntimeError&) {
        refused = true;
    }
    CHECK(refused);
    const CompletedProcess end = co_await child.communicate();
    CHECK(end.status.ok());
    CHECK(end.out.empty());
}

WEFT_TEST_CASE("communicate carries much, both ways at once", "[communicate]") {
    std::string input(much, 'x');
    for (std::size_t at = 0; at < input.size(); at += 997) input[at] = static_cast<char>(at);
    ProcessOptions options = with_pipes();
    Process child = co_await create_subprocess_exec("cat", options);
    const CompletedProcess end = co_await child.communicate(input, much);
    CHECK(end.code() == 0);
    CHECK(end.out.size() == much);
    const bool same = end.out == input;
    CHECK(same);
    CHECK(!end.cut);
}

WEFT_TEST_CASE("a child that does not read its input, or closes its ends early, is no error",
               "[communicate]") {
    const std::string input(1 << 20, 'x');
    Process deaf = co_await create_subprocess_shell("exec <&-; echo deaf; exit 2", with_pipes());
    const CompletedProcess end = co_await deaf.communicate(input);
    CHECK(end.out == "deaf\n");
    CHECK(end.code() == 2);
    Process silent =
        co_await create_subprocess_shell("exec >&- 2>&-; cat > /dev/null; exit 3", with_pipes());
    const CompletedProcess other = co_await silent.communicate(input);
    CHECK(other.code() == 3);
    // (SIGPIPE would have ended us, had it come.)
    Process gone = co_await create_subprocess_exec("true", with_pipes());
    co_await gone.wait();
    const auto failed = co_await support::failure([&] { return gone.in().write("x"); });
    CHECK(failed.error == EPIPE);
}

WEFT_TEST_CASE("more than the limit is an error that keeps the data readable", "[communicate]") {
    Process child =
        co_await create_subprocess_shell("head -c 100000 /dev/zero; exec sleep 1000", with_pipes());
    std::string text;
    try {
        co_await child.communicate("", 5000);
    } catch (const weft::LimitOverrunError& error) {
        text = error.what();
    }
    CHECK(text.substr(0, 11) == "read from \"");
    CHECK(text.find("within the limit of 5000 bytes") != std::string::npos);
    const std::string data = co_await child.out().read_exactly(100000);
    CHECK(data == std::string(100000, '\0'));
}

WEFT_TEST_CASE("a cancelled communicate loses nothing, and the child goes on", "[communicate]") {
    support::Pair input = support::pipe_pair();
    ProcessOptions options = with_pipes();
    options.in = Stdio::descriptor(input.a.get());
    Process child = co_await create_subprocess_exec("cat", options);
    co_await support::write_all(input.b.get(), "first\n");
    const std::string first = co_await child.out().read_exactly(1);
    for (int round = 0; round < 3; ++round) {
        weft::Task<CompletedProcess> cut_short = weft::create_task(child.communicate());
        co_await support::write_all(input.b.get(), "x");
        co_await weft::sleep(1ms);  // (and until nothing happens any more)
        cut_short.cancel();
        co_await cut_short.wait();
        CHECK(cut_short.cancelled());
    }
    CHECK(!child.status());
    input.b.reset();
    const CompletedProcess end = co_await child.communicate();
    CHECK(first + end.out == "first\nxxx");
    CHECK(end.status.ok());
}

WEFT_TEST_CASE("a grandchild that keeps a pipe open is not waited for", "[communicate]") {
    ProcessOptions options = with_pipes();
    options.drain = 20ms;
    options.process_group = 0;
    Process child = co_await create_subprocess_shell("sleep 1000 & echo $!; echo err >&2", options);
    const CompletedProcess end = co_await child.communicate();
    CHECK(end.cut);
    CHECK(end.code() == 0);
    CHECK(end.err == "err\n");
    const int grandchild = std::stoi(end.out);
    CHECK(::kill(grandchild, SIGKILL) == 0);
}

TEST_CASE("a communicate that is cut off anywhere leaves no child and no descriptor",
          "[communicate]") {
    support::cut_everywhere([](int& alive) -> Coro<void> {
        const probe::Alive counted(alive);
        ProcessOptions options = with_pipes();
        options.grace = 0s;
        Process child = co_await create_subprocess_exec("cat", options);
        const CompletedProcess end = co_await child.communicate("some text");
        if (end.out != "some text") throw std::runtime_error("lost: " + end.out);
    });
    CHECK(no_children());
}

WEFT_TEST_CASE("a child with a terminal finds it in all of its ends", "[communicate]") {
    ProcessOptions options;
    options.terminal = weft::TerminalSize{33, 101};
    Process child = co_await create_subprocess_shell(
        "stty -echo; test -t 0 && test -t 1 && test -t 2 && stty size; read line; "
        "echo got $line; : < /dev/tty && echo controlled; stty size",
        options);
    weft::Stream& terminal = child.terminal();
    const std::string size = co_await terminal.read_line();
    CHECK(size == "33 101\r\n");
    child.resize({20, 40});
    co_await terminal.write("typed\n");
    const std::string rest = co_await terminal.read_all(1000);
    CHECK(rest == "got typed\r\ncontrolled\r\n20 40\r\n");
    const ExitStatus end = co_await child.wait();
    CHECK(end.ok());
}

WEFT_TEST_CASE("one end of a child with a terminal may still be a pipe", "[communicate]") {
    ProcessOptions options;
    options.terminal = weft::TerminalSize();
    options.out = Stdio::pipe();
    Process child = co_await create_subprocess_shell(
        "test -t 0 && test -t 2 && test ! -t 1 && echo piped", options);
    const CompletedProcess end = co_await child.communicate();
    CHECK(end.out == "piped\n");
    CHECK(end.status.ok());
}

WEFT_TEST_CASE("what a child prints on a terminal of its own is read, however much it is",
               "[communicate]") {
    const char* const line = "seq 20000; echo end >&2";
    ProcessOptions options;
    options.terminal = weft::TerminalSize();
    Process both = co_await weft::create_subprocess_shell(line, options);
    const CompletedProcess printed = co_await both.communicate();
    CHECK(printed.out.substr(0, 6) == "1\r\n2\r\n");
    CHECK(printed.out.size() > 120'000);
    CHECK(printed.out.substr(printed.out.size() - 12) == "20000\r\nend\r\n");
    CHECK(printed.err.empty());
    options.out = Stdio::pipe();
    Process one = co_await weft::create_subprocess_shell(line, options);
    const CompletedProcess apart = co_await one.communicate();
    CHECK(apart.out.substr(apart.out.size() - 6) == "20000\n");
    CHECK(apart.err == "end\r\n");
}

}  // namespace communicate_test
