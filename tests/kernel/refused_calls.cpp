// SPDX-License-Identifier: MIT
// Every system call that weft can do without, refused one at a time with every error that filters
// and old kernels use (a seccomp filter in a forked child): programs run all the same.
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <weft/fs/aligned_buffer.hpp>
#include <weft/fs/atomic_write.hpp>
#include <weft/fs/copy_file.hpp>
#include <weft/fs/paths.hpp>
#include <weft/fs/temporary.hpp>
#include <weft/net/connect.hpp>
#include <weft/net/io.hpp>
#include <weft/net/server.hpp>
#include <weft/streams/copy.hpp>
#include <weft/streams/pipe.hpp>
#include <weft/streams/send_file.hpp>
#include <weft/sync/event.hpp>
#include <weft/task/run.hpp>
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include "awaiting.hpp"
#include "descriptors.hpp"

namespace refused_calls_test {

using namespace support;
namespace io = weft::io;

namespace {

/// A call, or those of them that have `value` as their argument number `argument`.
struct Call {
    const char* name;
    long number;
    int argument = -1;
    std::uint32_t value = 0;
};

/// Calls that have a substitute. A new one is a new line.
constexpr Call optional_calls[] = {
    {"epoll_pwait2", SYS_epoll_pwait2},
    {"preadv2", SYS_preadv2},
    {"pwritev2", SYS_pwritev2},
    {"statx", SYS_statx},
    {"copy_file_range", SYS_copy_file_range},
    {"sendfile", SYS_sendfile},
    {"splice", SYS_splice},
    {"getrandom", SYS_getrandom},
    {"io_uring_register: buffers", SYS_io_uring_register, 1, 15},
    {"io_uring_register: one buffer", SYS_io_uring_register, 1, 16},
    {"io_uring_setup", SYS_io_uring_setup},
    {"io_uring_enter", SYS_io_uring_enter},
    {"io_uring_register", SYS_io_uring_register},
    {"io_uring_register: probe", SYS_io_uring_register, 1, 8},
    {"io_uring_register: ring descriptors", SYS_io_uring_register, 1, 20},
    {"io_uring_register: ring of buffers", SYS_io_uring_register, 1, 22},
    {"prctl: timer slack", SYS_prctl, 0, PR_SET_TIMERSLACK},
    {"getsockopt: SO_COOKIE", SYS_getsockopt, 2, SO_COOKIE},
    {"getsockopt: SO_DOMAIN", SYS_getsockopt, 2, SO_DOMAIN},
};
constexpr int errors[] = {EPERM, ENOSYS, EINVAL, EOPNOTSUPP, EACCES, ENOMEM};

/// From here on `call` answers `error` in this process.
void refuse(const Call& call, int error) {
    const auto word = [](int code, std::uint32_t operand, int if_true, int if_false) {
        return sock_filter{static_cast<std::uint16_t>(code), static_cast<std::uint8_t>(if_true),
                           static_cast<std::uint8_t>(if_false), operand};
    };
    std::vector<sock_filter> program;
    program.push_back(word(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr), 0, 0));
    const bool looks = call.argument >= 0;
    program.push_back(
        word(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call.number), 0, looks ? 3 : 1));
    if (looks) {
        const auto at = offsetof(seccomp_data, args) + 8 * static_cast<std::size_t>(call.argument);
        program.push_back(word(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(at), 0, 0));
        program.push_back(word(BPF_JMP | BPF_JEQ | BPF_K, call.value, 0, 1));
    }
    program.push_back(
        word(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error), 0, 0));
    program.push_back(word(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0));
    const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    checked(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl");
    checked(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), "seccomp");
}

/// What is wrong after `body()` in a child, which throws then; empty: nothing.
template <class Body>
std::string in_child(Body body) {
    Pair pipe = pipe_pair();
    const pid_t child = checked(::fork(), "fork");
    if (child == 0) {
        std::string text;
        try {
            body();
        } catch (const std::exception& error) {
            text = error.what();
        } catch (...) {
            text = "threw something else";
        }
        const bool written = ::write(pipe.b.get(), text.data(), text.size()) >= 0;
        ::_exit(written ? 0 : 1);
    }
    pipe.b.reset();
    std::string text = text_to_end(pipe.a.get());
    int status = 0;
    checked(::waitpid(child, &status, 0), "waitpid");
    if (status != 0) text += " (the child ended with status " + std::to_string(status) + ")";
    return text;
}

void expect(bool holds, const char* what) {
    if (!holds) throw std::runtime_error(what);
}

weft::Coro<void> echo(weft::Stream stream) {
    for (;;) {
        weft::Chunk chunk = co_await stream.read_chunk();
        if (chunk.size() == 0) co_return;
        co_await stream.write(chunk);
    }
}

weft::Coro<void> use_sockets() {
    weft::Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
    weft::Stream stream = co_await weft::open_connection("127.0.0.1", server.port());
    co_await stream.write("hello\n");
    const std::string line = co_await stream.read_line();
    expect(line == "hello\n", "no echo");
    co_await stream.close();
    server.close();
    co_await server.wait_closed();

    const Listener listener = unix_listener();
    const Fd client = new_socket(AF_UNIX);
    co_await io::connect(client.get(), listener.address);
    io::Accepted connection = co_await io::accept(listener.fd.get());
    co_await send_all(client.get(), "over unix");
    const std::string text = co_await recv_some(connection.fd.get(), 64);
    expect(text == "over unix", "nothing over a Unix socket");
    weft::Stream chunks(std::move(connection.fd));
    co_await send_all(client.get(), "chunk");
    const weft::Chunk chunk = co_await chunks.read_chunk();
    expect(chunk.size() == 5, "no chunk");
}

weft::Coro<void> use_files() {
    Folder folder;
    const std::string path = folder.file("f");
    Fd file = co_await io::open(path.c_str(), O_RDWR | O_CREAT);
    const std::size_t written = co_await io::write(file.get(), "content");
    expect(written == 7, "not written");
    co_await io::fsync(file.get());
    char buffer[16];
    const std::size_t got = co_await io::read_at(file.get(), buffer, 0);
    expect(got == 7, "not read at an offset");
    const Fd again = co_await io::open(path.c_str(), O_RDONLY);
    const std::string text = co_await read_some(again.get(), 64);
    expect(text == "content", "not read");
    co_await io::close(std::move(file));
    Pair pipe = pipe_pair();
    co_await write_all(pipe.b.get(), "through a pipe");
    co_await weft::wait_readable(pipe.a.get());
    const std::string piped = co_await read_some(pipe.a.get(), 64);
    expect(piped == "through a pipe", "nothing through a pipe");
    pipe.a.reset();
    const Failure broken = co_await failure([&] { return io::write(pipe.b.get(), "x"); });
    expect(broken.error == EPIPE, "no EPIPE from a pipe");
    Pair ends = unix_pair();
    ends.a.reset();
    const Failure dead = co_await failure([&] { return io::write(ends.b.get(), "x"); });
    expect(dead.error == EPIPE, "no EPIPE from a socket");
}

weft::Coro<void> put_all(weft::Stream& into, std::string text) {
    co_await into.write(text);
    co_await into.write_eof();
}
weft::Coro<void> hand_on(weft::Stream& from, weft::Stream& to) {
    (void)co_await weft::copy(from, to);
    co_await to.write_eof();
}

weft::Coro<void> use_stream_calls() {
    weft::Pipe pipe = weft::pipe();
    char one[2];
    expect(!pipe.reader.try_read(one), "something in an empty pipe");
    co_await pipe.writer.write("x");
    expect(pipe.reader.try_read(one) == std::size_t{1}, "nothing tried from a pipe");

    const std::string text(400'000, 't');
    Pair first = unix_pair();
    Pair second = unix_pair();
    weft::Stream source(std::move(first.a));
    weft::Stream from(std::move(first.b));
    weft::Stream to(std::move(second.a));
    weft::Stream target(std::move(second.b));
    weft::Task<void> puts = weft::create_task(put_all(source, text));
    weft::Task<void> copies = weft::create_task(hand_on(from, to));
    std::string arrived = co_await target.read_all(1'000'000);
    expect(arrived == text, "not copied between sockets");
    co_await puts;
    co_await copies;

    const Fd file = nameless_file(text);
    Pair ends = unix_pair();
    weft::Stream out(std::move(ends.a));
    weft::Stream in(std::move(ends.b));
    weft::Task<std::uint64_t> sends = weft::create_task(weft::send_file(out, file.get()));
    arrived = co_await in.read_exactly(text.size());
    expect(arrived == text, "no file over a socket");
    co_await sends;
}

weft::Coro<void> use_whole_files() {
    weft::TemporaryDirectory folder = co_await weft::temporary_directory();
    const std::string path = folder.file("f");
    co_await weft::atomic_write(path, "old");
    co_await weft::atomic_write(path, "content");
    weft::FileInfo info = co_await weft::files::stat(path);
    expect(info.size() == 7 && info.is_file() && info.modified().count() > 0, "no metadata");
    const std::uint64_t copied = co_await weft::files::copy(path, folder.file("g"));
    expect(copied == 7, "not copied");
    weft::File file = co_await weft::open_file(folder.file("g"), weft::OpenMode::read_write);
    weft::AlignedBuffer buffer(4096);
    buffer.pin();
    const std::size_t got = co_await file.read(buffer);
    expect(buffer.text(got) == "content", "not read");
    info = co_await file.stat();
    expect(info.size() == 7, "no metadata of an open file");
    co_await folder.close();
}

weft::Coro<void> use_time_and_threads() {
    for (const auto time : {std::chrono::nanoseconds(100), std::chrono::nanoseconds(20'000),
                            std::chrono::nanoseconds(2'000'000)}) {
        co_await weft::sleep(time);
    }
    bool posted = false;
    weft::Remote remote = weft::get_running_loop().remote();
    std::thread thread([&] { remote.call_soon_threadsafe([&posted] { posted = true; }); });
    while (!posted) co_await weft::sleep(std::chrono::milliseconds(1));
    thread.join();
}

weft::Coro<void> use_everything() {
    co_await use_sockets();
    co_await use_files();
    co_await use_stream_calls();
    co_await use_whole_files();
    co_await use_time_and_threads();
}

}  // namespace

TEST_CASE("a call that has a substitute may be refused, by any error", "[refused]") {
    for (const Call& call : optional_calls) {
        for (const int error : errors) {
            for (const bool by_name : {true, false}) {
                CAPTURE(call.name, error, by_name);
                const std::string wrong = in_child([&] {
                    ::unsetenv("WEFT_BACKEND");
                    weft::RunOptions options;
                    options.ignore_sigpipe = false;
                    if (by_name) options.backend = weft::BackendKind::epoll;
                    refuse(call, error);
                    weft::run(use_everything(), options);
                });
                CHECK(wrong == "");
            }
        }
    }
}

TEST_CASE("a loop that the kernel fails while it is open ends, and what outlives it may go",
          "[refused]") {
    const std::string wrong = in_child([] {
        auto event = std::make_unique<weft::Event>();
        auto future = std::make_unique<weft::Future<int>>();
        Pair ends = unix_pair();
        int reports = 0;
        weft::RunOptions options;
        options.exception_handler = [&](const weft::ExceptionContext&) { ++reports; };
        auto loop = std::make_unique<weft::EventLoop>(options);
        const weft::Remote remote = loop->remote();
        auto waits = [&]() -> weft::Coro<void> { co_await event->wait(); };
        auto asks = [&]() -> weft::Coro<void> { (void)co_await *future; };
        *future = loop->create_future<int>();
        weft::Task<void> task = loop->create_task(waits);
        (void)loop->create_task(asks);
        (void)loop->create_task(recv_some(ends.a.get(), 64));
        loop->add_signal_handler(SIGUSR1, [] {});
        for (int turn = 0; turn < 3; ++turn) loop->run_once();
        std::vector<long> waiting{SYS_io_uring_enter, SYS_epoll_pwait, SYS_epoll_pwait2};
#ifdef SYS_epoll_wait  // which newer machines have never had
        waiting.push_back(SYS_epoll_wait);
#endif
        for (const long number : waiting) refuse({"", number}, EBADF);
        ::signal(SIGUSR1, SIG_IGN);
        loop->remove_signal_handler(SIGUSR1);
        loop->add_signal_handler(SIGUSR1, [] {});
        ::raise(SIGUSR1);
        loop.reset();
        task.cancel();
        if (!future->done()) future->set_result(3);
        event->set();
        event.reset();
        future.reset();
        bool refused = false;
        try {
            remote.call_soon_threadsafe([] {});
        } catch (const weft::RuntimeError&) {
            refused = true;
        }
        expect(refused, "a post was taken");
        expect(reports <= 1, "more than one report");
    });
    CHECK(wrong == "");
}

TEST_CASE("a temporary file that has a name for want of O_TMPFILE goes with a loop that goes",
          "[refused]") {
    Folder folder;
    const std::string wrong = in_child([&] {
        weft::RunOptions options;
        options.backend = weft::BackendKind::epoll;  // (the ring makes no call to be refused)
        constexpr auto how =
            static_cast<std::uint32_t>(O_RDWR | O_TMPFILE | O_EXCL | O_CLOEXEC | O_NONBLOCK);
        refuse({"openat: O_TMPFILE", SYS_openat, 2, how}, EOPNOTSUPP);
        const std::size_t turns = weft::testing::kill_at_every_step(
            [&]() -> weft::Coro<void> {
                weft::File file = co_await weft::temporary_file(folder.path());
                co_await file.write("x");
            },
            100, options);
        expect(turns > 2, "too few turns");
    });
    CHECK(wrong == "");
    CHECK(::rmdir(folder.path().c_str()) == 0);
}

TEST_CASE("an atomic_write that cannot ask for the old file's permissions leaves it as it is",
          "[refused]") {
    Folder folder;
    const std::string path = folder.file("secret");
    const std::string wrong = in_child([&] {
        put(Fd(::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)).get(), "old");
        weft::RunOptions options;
        options.backend = weft::BackendKind::epoll;  // (the ring makes no call to be refused)
        refuse({"statx of a path", SYS_statx, 2, 0}, EIO);
#ifdef SYS_newfstatat
        refuse({"fstatat of a path", SYS_newfstatat, 3, 0}, EIO);
#endif
        int error = 0;
        try {
            weft::run([&] { return weft::atomic_write(path, "new"); }, options);
        } catch (const std::system_error& failed) {
            error = failed.code().value();
        }
        expect(error == EIO, "it did not say that it cannot ask");
    });
    CHECK(wrong == "");
    struct stat now {};
    checked(::stat(path.c_str(), &now), "stat");
    CHECK((now.st_mode & 07777) == 0600);
    CHECK(now.st_size == 3);
}

}  // namespace refused_calls_test
