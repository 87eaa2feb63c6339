// SPDX-License-Identifier: MIT
// Process: how children are started, waited for and ended (SEMANTICS 93, 94, 107, 122).
// timeout: 240
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <weft/process.hpp>
#include <weft/testing/catch.hpp>
#include <weft/weft.hpp>

#include "../support/awaiting.hpp"
#include "../support/child_programs.hpp"
#include "../support/cut_everywhere.hpp"
#include "../support/descriptors.hpp"
#include "../support/probe.hpp"

namespace process_test {

namespace {

using namespace std::chrono_literals;
using support::Fd;
using support::no_children;
using support::printed_by;
using support::printed_by_shell;
using weft::Command;
using weft::Coro;
using weft::create_subprocess_exec;
using weft::ExitStatus;
using weft::Process;
using weft::ProcessOptions;
using weft::Stdio;

/// A child that prints "ready" when it has done `preparation`, and then sleeps.
struct Sleeper {
    Sleeper(Process started, Fd pipe) noexcept : child(std::move(started)), out(std::move(pipe)) {}
    Process child;
    Fd out;
};
Coro<Sleeper> sleeper(std::string preparation, ProcessOptions options = {}) {
    support::Pair pipe = support::pipe_pair();
    options.out = Stdio::descriptor(pipe.b.get());
    options.process_group = 0;
    // (A shell tells of a signal only when what it waits for has ended.)
    const char* const sleeps = preparation.empty()
                                   ? "echo ready; exec sleep 1000"
                                   : "echo ready; while true; do sleep 1000 & wait; done";
    Process child = co_await weft::create_subprocess_shell(preparation + sleeps, options);
    pipe.b.reset();
    const std::string line = co_await support::first_line(pipe.a.get());
    if (line != "ready\n") throw std::runtime_error("it is not ready: " + line);
    co_return Sleeper(std::move(child), std::move(pipe.a));
}

// UBSan's check of virtual calls opens a pipe of its own, and takes a failure for a bad pointer.
constexpr bool sanitizer_needs_descriptors = WEFT_ASAN != 0;
#if WEFT_ASAN || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif

std::string text_of_file(const std::string& path) {
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    return support::text_to_end(file.get());
}

}  // namespace

TEST_CASE("a child gets default signal dispositions and an empty mask", "[process]") {
    struct sigaction ignored {};
    struct sigaction before {};
    ignored.sa_handler = SIG_IGN;
    REQUIRE(::sigaction(SIGUSR2, &ignored, &before) == 0);
    sigset_t blocked, mask;
    ::sigemptyset(&blocked);
    ::sigaddset(&blocked, SIGUSR1);
    REQUIRE(::pthread_sigmask(SIG_BLOCK, &blocked, &mask) == 0);
    const auto end = weft::testing::run([]() -> Coro<support::Printed> {
        // (A loop ignores SIGPIPE, too.)
        return printed_by(Command("grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"));
    });
    sigset_t now;
    ::pthread_sigmask(SIG_SETMASK, &mask, &now);
    ::sigaction(SIGUSR2, &before, nullptr);
    CHECK(end.text == "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    // Ours are as they were.
    CHECK(::sigismember(&now, SIGUSR1) == 1);
    CHECK(::sigismember(&now, SIGTERM) == 0);
}

WEFT_TEST_CASE("a child gets no descriptor that was not asked for", "[process]") {
    // Some without the mark, as other libraries leave them.
    std::vector<Fd> others;
    for (int count = 0; count < 6; ++count) others.emplace_back(::dup(2));
    const auto none = co_await printed_by(Command("ls", "/proc/self/fd"));
    CHECK(none.text == "0\n1\n2\n3\n");  // (the last one is that of `ls`)
    ProcessOptions options;
    options.pass_descriptors = {others[4].get(), others[1].get(), others[4].get(), 1};
    ::fcntl(others[1].get(), F_SETFD, FD_CLOEXEC);
    const std::string tests = "test -e /proc/self/fd/" + std::to_string(others[1].get()) +
                              " -a -e /proc/self/fd/" + std::to_string(others[4].get()) +
                              " -a ! -e /proc/self/fd/" + std::to_string(others[2].get()) +
                              " -a ! -e /proc/self/fd/" + std::to_string(others[5].get());
    const auto two = co_await printed_by_shell(tests, options);
    CHECK(two.status == ExitStatus::exited(0));
}

TEST_CASE("a child's descriptors are right wherever they come from", "[process]") {
    // Ours are close-on-exec pipes for once, and each end of the child is one of these three, so
    // that sources are each other's targets, and their own.
    support::Pair pipes[3] = {support::pipe_pair(), support::pipe_pair(), support::pipe_pair()};
    int wrong = 0;
    std::string names[3];
    for (int number = 0; number < 3; ++number) {
        struct stat status {};
        ::fstat(pipes[number].b.get(), &status);
        names[number] = "pipe:[" + std::to_string(status.st_ino) + "]\n";
    }
    const Fd saved[3] = {Fd(::fcntl(0, F_DUPFD_CLOEXEC, 3)), Fd(::fcntl(1, F_DUPFD_CLOEXEC, 3)),
                         Fd(::fcntl(2, F_DUPFD_CLOEXEC, 3))};
    for (int number = 0; number < 3; ++number) ::dup3(pipes[number].b.get(), number, O_CLOEXEC);
    for (int assignment = 0; assignment < 27; ++assignment) {
        const int from[3] = {assignment % 3, assignment / 3 % 3, assignment / 9};
        std::string expected;
        for (const int each : from) expected += names[each];
        weft::testing::run([&]() -> Coro<void> {
            ProcessOptions options;
            options.in = Stdio::descriptor(from[0]);
            options.out = Stdio::descriptor(from[1]);
            options.err = Stdio::descriptor(from[2]);
            Process child = co_await create_subprocess_exec(
                "readlink", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2", options);
            co_await child.wait();
        });
        std::string text(expected.size() + 10, '\0');
        const ssize_t got = ::read(pipes[from[1]].a.get(), text.data(), text.size());
        text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
        if (text != expected) ++wrong;
    }
    for (int number = 0; number < 3; ++number) ::dup2(saved[number].get(), number);
    CHECK(wrong == 0);
}

TEST_CASE("what has got the number of an end that is closed here is not inherited", "[process]") {
    const Fd saved[2] = {Fd(::fcntl(0, F_DUPFD_CLOEXEC, 3)), Fd(::fcntl(2, F_DUPFD_CLOEXEC, 3))};
    ::close(0);
    ::close(2);
    std::string text;
    weft::testing::run([&]() -> Coro<void> {  // its ring, or its epoll instance, is number 0
        ProcessOptions options;
        options.out = Stdio::pipe();
        Process child = co_await create_subprocess_exec("readlink", "/proc/self/fd/0",
                                                        "/proc/self/fd/2", options);
        const weft::CompletedProcess done = co_await child.communicate();
        text = done.out;
    });
    ::dup2(saved[0].get(), 0);
    ::dup2(saved[1].get(), 2);
    CHECK(text == "/dev/null\n/dev/null\n");
}

WEFT_TEST_CASE("a child's ends may be files, nothing, or one another", "[process]") {
    support::Folder folder;
    const std::string file = folder.file("file");
    {
        ProcessOptions options;
        options.out = Stdio::file(file);
        options.err = Stdio::same_as_out();
        Process child =
            co_await weft::create_subprocess_shell("echo first; echo second >&2", options);
        co_await child.wait();
    }
    CHECK(text_of_file(file) == "first\nsecond\n");
    {
        ProcessOptions options;
        options.out = Stdio::append(file);
        Process child = co_await create_subprocess_exec("echo", "third", options);
        co_await child.wait();
    }
    CHECK(text_of_file(file) == "first\nsecond\nthird\n");
    ProcessOptions options;
    options.in = Stdio::file(file);
    const auto head = co_await printed_by(Command("head", "-n", "1"), options);
    CHECK(head.text == "first\n");
    options.in = Stdio::null();
    const auto nothing = co_await printed_by(Command("cat"), options);
    CHECK(nothing.text.empty());
    CHECK(nothing.status.ok());
}

WEFT_TEST_CASE("a child works where it is told, with the variables that it is given", "[process]") {
    ProcessOptions options;
    options.directory = "/proc";
    options.environment = weft::Environment::inherited();
    options.environment->set("WEFT_A", "1").set("WEFT_A", "2").set("WEFT_B", "").unset("HOME");
    const auto changed =
        co_await printed_by_shell("pwd; echo $WEFT_A ${WEFT_B-unset} ${HOME-unset}", options);
    CHECK(changed.text == "/proc\n2 unset\n" + std::string());
    ProcessOptions bare;
    bare.environment = weft::Environment();
    bare.environment->set("ONLY", "this one");
    const auto only = co_await printed_by(Command("/usr/bin/env"), bare);
    CHECK(only.text == "ONLY=this one\n");
    // A program is looked for where the child's PATH says.
    bare.environment->set("PATH", "/nowhere::/bin");
    const auto found = co_await printed_by(Command("echo", "found"), bare);
    CHECK(found.text == "found\n");
    bare.environment->set("PATH", "/nowhere");
    const auto failed = co_await support::failure([&] { return printed_by(Command("ls"), bare); });
    CHECK(failed.error == ENOENT);
}

namespace {

struct BadStart {
    int error;
    const char* text;
    Command command;
    void (*set)(ProcessOptions&);
};

}  // namespace

WEFT_TEST_CASE("an error of a start names the call, the program and what it was about",
               "[process]") {
    support::Folder folder;
    const std::string no_format = folder.file("no_format");
    Fd(::open(no_format.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0755)).reset();
    const auto nothing = [](ProcessOptions&) {};
    const BadStart table[] = {
        {ENOENT, "exec \"no-such-program\"", Command("no-such-program"), nothing},
        {ENOENT, "exec \"./no/such/program\"", Command("./no/such/program"), nothing},
        {ENOENT, "exec \"\"", Command(""), nothing},
        {EACCES, "exec \"/etc/passwd\"", Command("/etc/passwd"), nothing},
        {EACCES, "exec \"/\"", Command("/"), nothing},
        {EINVAL, "exec: a command without a program", Command(std::vector<std::string>()), nothing},
        {EINVAL, "exec \"a\\x00b\"", Command(std::string("a\0b", 3)), nothing},
        {ENOENT, "chdir \"/no/where\" (exec \"true\")", Command("true"),
         [](ProcessOptions& options) { options.directory = "/no/where"; }},
        {EINVAL, "chdir \"/\\x00\"", Command("true"),
         [](ProcessOptions& options) { options.directory = std::string("/\0", 2); }},
        {EPERM, "setpgid (exec \"true\")", Command("true"),
         [](ProcessOptions& options) { options.process_group = 1; }},
        {EBADF, "dup fd 987 (exec \"true\")", Command("true"),
         [](ProcessOptions& options) { options.in = Stdio::descriptor(987); }},
        {EBADF, "pass fd 987 (exec \"true\")", Command("true"),
         [](ProcessOptions& options) { options.pass_descriptors = {987}; }},
        {ENOENT, "open \"/no/file\"", Command("true"),
         [](ProcessOptions& options) { options.in = Stdio::file("/no/file"); }},
        {ENOEXEC, "", Command(no_format), nothing},
    };
    for (const BadStart& each : table) {
        ProcessOptions options;
        each.set(options);
        const auto failed = co_await support::failure(
            [&] { return create_subprocess_exec(each.command, options); });
        INFO(failed.what);
        CHECK(failed.error == each.error);
        CHECK(failed.names(each.text));
    }
    CHECK(no_children());
}

WEFT_TEST_CASE("any number of tasks wait for a child, as often as they like", "[process]") {
    Sleeper first = co_await sleeper("");
    std::vector<weft::Task<ExitStatus>> waits;
    for (int count = 0; count < 5; ++count) waits.push_back(weft::create_task(first.child.wait()));
    co_await support::turns(3);
    CHECK(!first.child.status());
    // One that gives up is of no concern to the others, nor to the child.
    waits[2].cancel();
    co_await waits[2].wait();
    CHECK(waits[2].cancelled());
    CHECK(first.child.kill());
    for (int count : {0, 1, 3, 4}) {
        const ExitStatus end = co_await waits[static_cast<std::size_t>(count)];
        CHECK(end == ExitStatus::killed(SIGKILL));
        CHECK(end.code() == -SIGKILL);
        CHECK(end.signal() == SIGKILL);
        CHECK(end.to_string() == "killed by SIGKILL");
    }
    const ExitStatus again = co_await first.child.wait();
    CHECK(again.code() == -9);
    CHECK(first.child.status() == again);
    // What it had is its own no more: no signal goes to whoever has the number now.
    CHECK(!first.child.kill());
    CHECK(!first.child.send_signal(SIGUSR1));
    Process failed = co_await weft::create_subprocess_shell("exit 3");
    const ExitStatus three = co_await failed.wait();
    CHECK(three.code() == 3);
    CHECK(!three.ok());
    CHECK(three.to_string() == "exit code 3");
}

WEFT_TEST_CASE("a Process may go, or be moved, while tasks wait for its child", "[process]") {
    std::optional<Process> child(co_await create_subprocess_exec("sleep", "1000"));
    weft::Task<ExitStatus> wait = weft::create_task(child->wait());
    ProcessOptions options;
    options.in = options.out = Stdio::pipe();
    std::optional<Process> deaf(co_await create_subprocess_exec("sleep", "1000", options));
    weft::Task<weft::CompletedProcess> talk =
        weft::create_task(deaf->communicate(std::string(1 << 20, 'x')));
    co_await support::turns(3);
    Process moved = std::move(*child);
    std::string text;
    try {
        (void)child->pid();
    } catch (const weft::RuntimeError& error) {
        text = error.what();
    }
    CHECK(text == "weft: an empty Process: it was moved from");
    child.reset();
    CHECK(!wait.done());
    const std::string name = "wait for \"sleep\" (pid " + std::to_string(moved.pid()) + ")";
    const auto late = [&] { return moved.wait(); };
    std::string timeout;
    try {
        co_await weft::wait_for(late, 1ms);
    } catch (const weft::TimeoutError& error) {
        timeout = error.what();
    }
    CHECK(timeout == "timed out: " + name);
    { const Process gone = std::move(moved); }
    const ExitStatus end = co_await wait;
    CHECK(end.signal() != 0);
    deaf.reset();
    const support::End talked = co_await support::ending(std::move(talk));
    CHECK(talked == support::End::closed);
}

WEFT_TEST_CASE("a signal reaches the child, and no signal is an error", "[process]") {
    Sleeper first = co_await sleeper("trap 'kill $! 2>/dev/null; echo caught; exit 7' USR1; ");
    CHECK(first.child.send_signal(SIGUSR1));
    const std::string line = co_await support::first_line(first.out.get());
    CHECK(line == "caught\n");
    const ExitStatus end = co_await first.child.wait();
    CHECK(end.code() == 7);
    Sleeper second = co_await sleeper("");
    std::string text;
    try {
        second.child.send_signal(12345);
    } catch (const std::system_error& error) {
        text = error.what();
    }
    CHECK(text.substr(0, 28) == "kill signal 12345 \"/bin/sh\" ");
    second.child.terminate();
    const ExitStatus terminated = co_await second.child.wait();
    CHECK(terminated.code() == -SIGTERM);
}

WEFT_TEST_CASE("a child that still runs ends with its scope", "[process]") {
    Fd out;
    Fd stubborn_out;
    {
        Sleeper first = co_await sleeper("");
        out = std::move(first.out);
    }
    {
        // It does not care for SIGTERM.
        Sleeper first = co_await sleeper("trap '' TERM; ");
        stubborn_out = std::move(first.out);
    }
    // Nobody has the other ends any more.
    const std::string rest = co_await support::read_some(out.get(), 1);
    CHECK(rest.empty());
    const std::string stubborn_rest = co_await support::read_some(stubborn_out.get(), 1);
    CHECK(stubborn_rest.empty());
    while (!no_children()) co_await weft::sleep(1ms);
}

namespace {

Coro<void> close_three() {
    ProcessOptions options;
    // (The shell ends, and what it has started does not care.)
    Sleeper first =
        co_await sleeper("sh -c 'trap \"\" TERM; sleep 1000' & trap 'exit 5' TERM; ", options);
    co_await first.child.close();
    CHECK(first.child.status() == ExitStatus::exited(5));
    // The grandchildren too: the pipe is at its end.
    const std::string rest = co_await support::read_some(first.out.get(), 1);
    CHECK(rest.empty());
    co_await first.child.close();

    options.grace = 20ms;
    Sleeper second = co_await sleeper("trap '' TERM; ", options);
    co_await second.child.close();
    CHECK(second.child.status() == ExitStatus::killed(SIGKILL));
    const std::string nothing = co_await support::read_some(second.out.get(), 1);
    CHECK(nothing.empty());

    // A stopped one gets the word, too.
    options.grace = 10s;
    Sleeper stopped = co_await sleeper("trap 'exit 6' TERM; ", options);
    stopped.child.send_signal(SIGSTOP);
    co_await stopped.child.close();
    CHECK(stopped.child.status() == ExitStatus::exited(6));

    options.grace = 0s;
    Sleeper third = co_await sleeper("", options);
    co_await third.child.close();
    CHECK(third.child.status() == ExitStatus::killed(SIGKILL));
    CHECK(no_children());
}

}  // namespace

TEST_CASE("close ends a child and waits for it, with its group", "[process]") {
    // (Virtual time does not wait for how long a child takes to end.)
    weft::RunOptions options;
    options.hang_limit = 20s;
    weft::run(close_three(), options);
}

WEFT_TEST_CASE("a start without descriptors for it names the call, and leaves none open",
               "[process]") {
    if (sanitizer_needs_descriptors) co_return;
    ProcessOptions options;
    options.in = Stdio::pipe();
    options.out = Stdio::pipe();
    options.err = Stdio::null();
    const weft::testing::DescriptorCensus before;
    std::string calls;
    bool started = false;
    for (int spare = 0; spare < 20 && !started; ++spare) {
        std::string text;
        {
            const support::FewDescriptors few(spare);
            try {
                Process child = co_await create_subprocess_exec("true", options);
                started = true;
                co_await child.close();
            } catch (const std::system_error& error) {
                text = error.what();
                if (error.code().value() != EMFILE) calls += "(not EMFILE) ";
            }
        }
        const std::string call = text.substr(0, text.find(' '));
        if (!call.empty() && calls.find(call) == std::string::npos) calls += call + " ";
        const std::string leaked = before.leaked();
        CHECK(leaked == "");
    }
    CHECK(started);
    CHECK(calls == "pipe2 open clone ");
    CHECK(no_children());
}

TEST_CASE("a start that is cut off anywhere leaves no child and no descriptor", "[process]") {
    support::cut_everywhere([](int& alive) -> Coro<void> {
        const probe::Alive counted(alive);
        ProcessOptions options;
        options.grace = 0s;
        options.process_group = 0;
        options.out = Stdio::file("/dev/null");
        Process child = co_await create_subprocess_exec("sleep", "1000", options);
        const std::optional<ExitStatus> end = co_await weft::move_on_after(1ms, child.wait());
        if (end) throw std::runtime_error("it has ended");
        co_await child.close();
    });
    CHECK(no_children());
}

TEST_CASE("run waits at its end for the grace of a child that was let go of", "[process]") {
    std::optional<Fd> out;
    const auto body = [&]() -> Coro<void> {
        // (It takes its time to end, and a SIGKILL meanwhile would be seen.)
        Sleeper last = co_await sleeper("trap 'sleep 0.1; echo in order; exit 0' TERM; ");
        out.emplace(std::move(last.out));
    };
    weft::run(body());
    CHECK(no_children());
    CHECK(support::text_to_end(out->get()) == "in order\n");
}

TEST_CASE("a child whose Process outlives the loop is killed and reaped with it", "[process]") {
    std::optional<Process> kept;
    weft::testing::run(
        [&]() -> Coro<void> { kept.emplace(co_await create_subprocess_exec("sleep", "1000")); });
    CHECK(!no_children());
    kept.reset();
    CHECK(no_children());
}

TEST_CASE("a child that is traced is reaped with its Process, once its tracer has been told",
          "[process]") {
    std::optional<Process> kept;
    weft::testing::run(
        [&]() -> Coro<void> { kept.emplace(co_await create_subprocess_exec("sleep", "1000")); });
    const pid_t traced = kept->pid();
    support::Pair pipe = support::pipe_pair();
    const pid_t tracer = ::fork();
    REQUIRE(tracer >= 0);
    if (tracer == 0) {
        const bool traces = ::ptrace(PTRACE_SEIZE, traced, nullptr, nullptr) == 0;
        support::put(pipe.b.get(), traces ? "y" : "n");
        siginfo_t end{};
        if (traces) ::waitid(P_PID, static_cast<id_t>(traced), &end, WEXITED | WNOWAIT);
        ::usleep(50'000);  // (for so long nobody but us is told)
        ::_exit(0);        // and lets go of it
    }
    char traces = 0;
    REQUIRE(::read(pipe.a.get(), &traces, 1) == 1);
    kept.reset();
    REQUIRE(::waitpid(tracer, nullptr, 0) == tracer);
    CHECK(no_children());
    if (traces != 'y') WARN("no process may trace another one here: nothing was tested");
}

WEFT_TEST_CASE("a descriptor that is closed is refused, whoever gets its number in the start",
               "[process]") {
    // (The pipes of the start itself would be the next to get it.)
    Fd gone(::open("/dev/null", O_RDWR | O_CLOEXEC));
    const int number = gone.get();
    gone.reset();
    for (const bool as_end : {true, false}) {
        ProcessOptions options;
        options.in = Stdio::pipe();
        if (as_end) options.out = Stdio::descriptor(number);
        if (!as_end) options.pass_descriptors = {number};
        const auto failed =
            co_await support::failure([&] { return create_subprocess_exec("true", options); });
        INFO(failed.what);
        CHECK(failed.error == EBADF);
        CHECK(failed.names((as_end ? "dup fd " : "pass fd ") + std::to_string(number)));
    }
}

WEFT_TEST_CASE("a program that is not there is ENOENT, whatever stands in memory behind its name",
               "[process]") {
    const std::string name = "/no/such/program";
    // What the allocator gives next for a text of this length has a path behind the name's place.
    constexpr std::size_t size = 31;
    constexpr std::string_view path = "/bin/true";
    std::vector<char*> blocks;
    for (int count = 0; count < 200; ++count) {
        blocks.push_back(static_cast<char*>(::operator new(size)));
        std::memset(blocks.back(), 0, size);
        std::memcpy(blocks.back() + name.size() + 1, path.data(), path.size());
    }
    for (char* const block : blocks) ::operator delete(block);
    const auto failed = co_await support::failure([&] { return create_subprocess_exec(name); });
    CHECK(failed.error == ENOENT);
}

TEST_CASE("a child whose tracer was not told yet is waited for with pauses", "[process]") {
    weft::run([]() -> Coro<void> {
        Process child = co_await create_subprocess_exec("sleep", "1000");
        support::Pair pipe = support::pipe_pair();
        support::Pair until = support::pipe_pair();
        const pid_t tracer = ::fork();
        REQUIRE(tracer >= 0);
        if (tracer == 0) {
            const bool traces = ::ptrace(PTRACE_SEIZE, child.pid(), nullptr, nullptr) == 0;
            support::put(pipe.b.get(), traces ? "y" : "n");
            char go_on = 0;
            ::_exit(::read(until.a.get(), &go_on, 1) == 1 ? 0 : 1);
        }
        char traces = 0;
        REQUIRE(::read(pipe.a.get(), &traces, 1) == 1);
        child.kill();
        const weft::EventLoop& loop = weft::get_running_loop();
        const std::uint64_t before = loop.kernel_entries();
        const std::optional<ExitStatus> early = co_await weft::move_on_after(200ms, child.wait());
        CHECK(early.has_value() == (traces != 'y'));
        CHECK(loop.kernel_entries() - before < 200);
        support::put(until.b.get(), "y");
        REQUIRE(::waitpid(tracer, nullptr, 0) == tracer);
        const ExitStatus end = co_await child.wait();
        CHECK(end.signal() == SIGKILL);
    });
}

TEST_CASE("a forked child leaves its parent's children alone", "[process]") {
    std::vector<Process> kept;
    weft::testing::run(
        [&]() -> Coro<void> { kept.push_back(co_await create_subprocess_exec("sleep", "1000")); });
    const pid_t fork_of_us = ::fork();
    REQUIRE(fork_of_us >= 0);
    if (fork_of_us == 0) {
        kept.clear();
        ::_exit(0);
    }
    REQUIRE(::waitpid(fork_of_us, nullptr, 0) == fork_of_us);
    CHECK(!kept.front().status());
    kept.clear();
}

TEST_CASE("how a child ended is told although somebody else has reaped it", "[process]") {
    struct sigaction ignored {};
    struct sigaction before {};
    ignored.sa_handler = SIG_IGN;
    REQUIRE(::sigaction(SIGCHLD, &ignored, &before) == 0);
    weft::testing::run([]() -> Coro<void> {
        Process child = co_await weft::create_subprocess_shell("exit 3");
        const ExitStatus end = co_await child.wait();
        CHECK((end == ExitStatus::exited(3) || !end.is_known()));
        CHECK(!end.ok());
        Process running = co_await create_subprocess_exec("sleep", "1000");
        CHECK(!running.status());
        co_await running.close();
        CHECK((running.status()->signal() != 0 || !running.status()->is_known()));
        const auto failed =
            co_await support::failure([] { return create_subprocess_exec("no-such-program"); });
        CHECK(failed.error == ENOENT);
    });
    ::sigaction(SIGCHLD, &before, nullptr);
    weft::testing::run([]() -> Coro<void> {
        Process child = co_await weft::create_subprocess_shell("exit 3");
        int status = 0;
        CHECK(::waitpid(-1, &status, 0) == child.pid());
        const ExitStatus end = co_await child.wait();
        CHECK((end == ExitStatus::exited(3) || !end.is_known()));
        CHECK(!child.terminate());
        CHECK(ExitStatus::unknown().code() == 255);
    });
}

WEFT_TEST_CASE("children by the thousand leave no descriptor and no zombie", "[process]") {
    const int each = sanitized ? 10 : 150;
    auto starts = [&](int) -> Coro<int> {
        int ended = 0;
        for (int count = 0; count < each; ++count) {
            Process child = co_await create_subprocess_exec("/bin/true");
            const ExitStatus end = co_await child.wait();
            if (end.ok()) ++ended;
        }
        co_return ended;
    };
    std::vector<weft::Task<int>> starters;
    for (int starter = 0; starter < 8; ++starter)
        starters.push_back(weft::create_task(starts, starter));
    for (weft::Task<int>& starter : starters) {
        const int ended = co_await starter;
        CHECK(ended == each);
    }
    CHECK(no_children());
}

}  // namespace process_test
