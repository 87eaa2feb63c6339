// SPDX-License-Identifier: MIT
// Every error of the world names the call and its object (SEMANTICS 107), and a deadline what it
// waited for. A new entry point, or a new error of one, joins by one line.
#include <weft/testing/catch.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <weft/weft.hpp>

#include "../support/descriptors.hpp"

namespace error_texts_test {

namespace {

using namespace std::chrono_literals;
using support::BusyListener;
using support::Fd;
using weft::Address;
using weft::Coro;
using weft::Stream;

/// What an entry works with, and what its error is to begin with.
struct World {
    support::Pair pipe = support::pipe_pair();      // `a` is read, `b` is written
    Fd unconnected = support::new_socket(AF_INET);  // neither connected nor listening
    support::Listener listener = support::tcp_listener();
    Address refusing = Address::ip("127.0.0.1", 1);  // (a port that nothing listens on here)
    int no_file = 900;
    char buffer[16] = {};
    std::string expected;
};

std::string fd_text(const char* call, int fd) {
    return std::string(call) + " fd " + std::to_string(fd);
}

using Call = Coro<void> (*)(World&);
struct Entry {
    const char* name;
    int code;
    Call call;
};

#define ENTRY(code, text, ...)                                                                \
    {                                                                                         \
#__VA_ARGS__, code, [](World& w) -> Coro<void> { w.expected = text; __VA_ARGS__; co_return; } \
    }

Coro<void> no_handler(Stream) { co_return; }

const std::vector<Entry> entries = {
    // the system calls on descriptors
    ENTRY(EBADF, fd_text("read", w.pipe.b.get()),
          co_await weft::io::read(w.pipe.b.get(), w.buffer)),
    ENTRY(EBADF, fd_text("read", w.no_file), co_await weft::io::read_at(w.no_file, w.buffer, 7)),
    ENTRY(EBADF, fd_text("write", w.pipe.a.get()),
          co_await weft::io::write(w.pipe.a.get(), w.buffer)),
    ENTRY(EBADF, fd_text("write", w.no_file), co_await weft::io::write_at(w.no_file, w.buffer, 7)),
    ENTRY(ENOTCONN, fd_text("recv", w.unconnected.get()),
          co_await weft::io::recv(w.unconnected.get(), w.buffer)),
    ENTRY(EPIPE, fd_text("send", w.unconnected.get()),
          co_await weft::io::send(w.unconnected.get(), w.buffer)),
    ENTRY(EINVAL, fd_text("accept", w.unconnected.get()),
          co_await weft::io::accept(w.unconnected.get())),
    ENTRY(EBADF, fd_text("poll", w.no_file), co_await weft::io::poll(w.no_file, POLLIN)),
    ENTRY(EBADF, fd_text("poll", w.no_file), co_await weft::wait_readable(w.no_file)),
    ENTRY(EBADF, fd_text("poll", w.no_file), co_await weft::wait_writable(w.no_file)),
    ENTRY(EBADF, fd_text("close", w.no_file), co_await weft::io::close(w.no_file)),
    ENTRY(EINVAL, fd_text("fsync", w.pipe.a.get()), co_await weft::io::fsync(w.pipe.a.get())),
    ENTRY(EINVAL, fd_text("fsync", w.pipe.a.get()), co_await weft::io::fdatasync(w.pipe.a.get())),
    ENTRY(ENOENT, "open \"/no/such \\\"file\\\"\\x0a\"",
          static_cast<void>(co_await weft::io::open("/no/such \"file\"\n", O_RDONLY))),
    ENTRY(ECONNREFUSED, "connect 127.0.0.1:1",
          co_await weft::io::connect(w.unconnected.get(), w.refusing)),
    // addresses
    ENTRY(EINVAL, "address \"localhost\"", (void)Address::ip("localhost", 1)),
    ENTRY(ENODEV, "address \"fe80::1%none-such\"", (void)Address::ip("fe80::1%none-such", 1)),
    ENTRY(EINVAL, "address \"127.0.0.1\"", (void)Address::parse("127.0.0.1")),
    ENTRY(EINVAL, "Unix socket path \"\"", (void)Address::unix_path("")),
    ENTRY(ENAMETOOLONG, "Unix socket path \"xxxxx",
          (void)Address::unix_path(std::string(200, 'x'))),
    ENTRY(EBADF, fd_text("getsockname", w.no_file), (void)Address::of_socket(w.no_file)),
    ENTRY(ENOTCONN, fd_text("getpeername", w.unconnected.get()),
          (void)Address::of_peer(w.unconnected.get())),
    // connections
    ENTRY(ECONNREFUSED, "connect 127.0.0.1:1", co_await weft::open_connection(w.refusing)),
    ENTRY(ENOENT, "connect unix:/no/such",
          co_await weft::open_connection(Address::unix_path("/no/such"))),
    ENTRY(ECONNREFUSED, "connect unix:@weft-none-such",
          co_await weft::open_connection(Address::parse("unix:@weft-none-such"))),
    ENTRY(ECONNREFUSED, "connect unix:@weft@none: ",  // an abstract name with a zero byte
          co_await weft::open_connection(Address::unix_path(std::string("\0weft\0none", 10)))),
    ENTRY(ECONNREFUSED, "connect 127.0.0.1:1", co_await weft::open_connection("127.0.0.1", 1)),
    ENTRY(ECONNREFUSED, "connect localhost:1 (tried ",
          co_await weft::open_connection("localhost", 1)),
    ENTRY(EAFNOSUPPORT, "socket for ", co_await weft::open_connection(Address())),
    // servers
    ENTRY(EADDRINUSE, "bind " + w.listener.address.to_string(),
          co_await weft::start_server(no_handler, "127.0.0.1", w.listener.address.port())),
    ENTRY(EADDRNOTAVAIL, "bind 192.0.2.1:0",
          co_await weft::start_server(no_handler, "192.0.2.1", 0)),
    // streams
    ENTRY(EINVAL, "Stream: not a stream socket: fd ",
          const Stream stream(Fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)))),
    ENTRY(ENOTCONN, fd_text("shutdown", w.unconnected.get()),
          Stream stream(std::move(w.unconnected));
          co_await stream.write_eof()),
    ENTRY(ENOTCONN, fd_text("getpeername", w.unconnected.get()),
          Stream stream(std::move(w.unconnected));
          (void)stream.peer_address()),
    ENTRY(ENOTCONN, fd_text("recv", w.unconnected.get()), Stream stream(std::move(w.unconnected));
          co_await stream.read(w.buffer)),
    ENTRY(ENOTCONN, fd_text("recv", w.unconnected.get()), Stream stream(std::move(w.unconnected));
          co_await stream.read_line()),
    ENTRY(EBADF, "recv fd -1 (closed)", Stream stream(std::move(w.unconnected));
          co_await stream.close(); co_await stream.read(w.buffer)),
    ENTRY(EBADF, "send fd -1 (closed)", Stream stream(std::move(w.unconnected));
          co_await stream.close(); co_await stream.write("x")),
    ENTRY(ENOTCONN, fd_text("recv", w.unconnected.get()), Stream stream(std::move(w.unconnected));
          static_cast<void>(co_await stream.read_chunk())),
    ENTRY(EPIPE, fd_text("send", w.unconnected.get()), Stream stream(std::move(w.unconnected));
          co_await stream.write("x")),
};

}  // namespace

WEFT_TEST_CASE("an error of the world names the call and its object") {
    for (const Entry& entry : entries) {
        World world;
        std::string text = "no error";
        int code = 0;
        try {
            co_await entry.call(world);
        } catch (const std::system_error& error) {
            text = error.what();
            code = error.code().value();
        }
        CAPTURE(entry.name, text, world.expected);
        CHECK(text.substr(0, world.expected.size()) == world.expected);
        CHECK(code == entry.code);
        CHECK(text.find(std::system_category().message(entry.code)) != std::string::npos);
    }
}

namespace {

Stream connected_stream(support::Pair& pair) { return Stream(std::move(pair.a)); }

template <class Error>
Coro<std::string> text_of(Coro<std::string> read) {
    try {
        co_await std::move(read);
    } catch (const Error& error) {
        co_return error.what();
    }
    co_return "no error";
}

}  // namespace

WEFT_TEST_CASE("a read that ends too early, or finds no separator, names its descriptor") {
    support::Pair pair = support::unix_pair();
    Stream stream = connected_stream(pair);
    const std::string at = fd_text("recv", stream.fd()) + ": ";
    stream.set_limit(4);
    support::put(pair.b.get(), "abcdefgh");
    const std::string overrun = co_await text_of<weft::LimitOverrunError>(stream.read_line());
    CHECK(overrun == at + "no separator within the limit of 4 bytes");
    pair.b.reset();
    const std::string early =
        co_await text_of<weft::IncompleteReadError>(stream.read_exactly(std::size_t{20}));
    CHECK(early == at + "connection closed after 8 of 20 bytes");
}

// --- deadlines ---

namespace {

Coro<void> receive(int fd) {
    char buffer[4];
    co_await weft::io::recv(fd, buffer);
}
Coro<void> receive_in_task(int fd) {
    weft::Task<void> task = weft::create_task(receive(fd), weft::TaskOptions("fetch"));
    co_await task;
}
Coro<void> connect_to(int fd, Address to) { co_await weft::io::connect(fd, to); }
Coro<void> open_to(Address to) { co_await weft::open_connection(to); }

template <class Wait>
Coro<std::string> timed_out(Wait wait) {
    try {
        static_cast<void>(co_await wait());
    } catch (const weft::TimeoutError& error) {
        co_return error.what();
    }
    co_return "no TimeoutError";
}

}  // namespace

WEFT_TEST_CASE("what goes wrong on a connection names its peer, also one that has reset it") {
    for (const bool early : {false, true}) {
        support::Pair pair = support::tcp_pair();
        Stream stream = connected_stream(pair);
        const std::string who = " (" + stream.peer_address().to_string() + ")";
        const std::string received = fd_text("recv", stream.fd()) + who;
        const std::string sent = fd_text("send", stream.fd()) + who;
        char buffer[4];
        auto reads = [&] { return weft::wait_for([&] { return stream.read(buffer); }, 1ms); };
        std::string text = co_await timed_out(reads);
        CHECK(text == "timed out: " + received);
        if (early) {
            support::put(pair.b.get(), "abc");
            pair.b.reset();
            text = co_await text_of<weft::IncompleteReadError>(stream.read_line());
            CHECK(text.find(received + ": ") == 0);
            continue;
        }
        support::reset_on_close(pair.b.get());
        weft::Task<std::string> reading =
            weft::create_task(text_of<std::system_error>(stream.read_line()));
        co_await weft::yield();
        pair.b.reset();
        text = co_await reading;
        CHECK(text.find(received + ": ") == 0);
        text = "no error";
        try {
            co_await stream.write("x");
        } catch (const std::system_error& error) {
            text = error.what();
        }
        CHECK(text.find(sent + ": ") == 0);
        text = "no error";
        try {
            co_await stream.write("x", "y");
        } catch (const std::system_error& error) {
            text = error.what();
        }
        CHECK(text.find(sent + ": ") == 0);
    }
}

WEFT_TEST_CASE("a deadline around one operation names it") {
    const support::Pair pair = support::unix_pair();
    const int fd = pair.a.get();
    char buffer[4];
    auto receives = [&] { return weft::wait_for([&] { return weft::io::recv(fd, buffer); }, 1ms); };
    std::string text = co_await timed_out(receives);
    CHECK(text == "timed out: " + fd_text("recv", fd));
    auto polls = [&] { return weft::wait_for([&] { return weft::wait_readable(fd); }, 1ms); };
    text = co_await timed_out(polls);
    CHECK(text == "timed out: " + fd_text("poll", fd));
    const BusyListener busy(support::unix_listener(0));
    const Fd socket = support::new_socket(AF_UNIX);
    auto connects = [&] {
        return weft::wait_for(
            [&] { return weft::io::connect(socket.get(), busy.listener.address); }, 1ms);
    };
    text = co_await timed_out(connects);
    CHECK(text == "timed out: connect " + busy.listener.address.to_string());
    Stream stream(Fd(::dup(fd)));
    auto reads = [&] { return weft::wait_for([&] { return stream.read(buffer); }, 1ms); };
    text = co_await timed_out(reads);
    CHECK(text == "timed out: " + fd_text("recv", stream.fd()));
    auto reads_chunk = [&] { return weft::wait_for([&] { return stream.read_chunk(); }, 1ms); };
    text = co_await timed_out(reads_chunk);
    CHECK(text == "timed out: " + fd_text("recv", stream.fd()));
    co_await stream.close();
}

WEFT_TEST_CASE("a deadline around a coroutine names what it waited for at the end") {
    const support::Pair pair = support::unix_pair();
    const int fd = pair.a.get();
    auto receives = [&] { return weft::wait_for(receive(fd), 1ms); };
    std::string text = co_await timed_out(receives);
    CHECK(text == "timed out: " + fd_text("recv", fd));
    auto in_body = [&] { return weft::timeout(1ms, &receive, fd); };
    text = co_await timed_out(in_body);
    CHECK(text == "timed out: " + fd_text("recv", fd));
    auto in_task = [&] { return weft::timeout(1ms, &receive_in_task, fd); };
    text = co_await timed_out(in_task);
    CHECK(text == "timed out: task 'fetch' (" + fd_text("recv", fd) + ")");
    const BusyListener busy(support::unix_listener(0));
    auto opens = [&] { return weft::wait_for(open_to(busy.listener.address), 1ms); };
    text = co_await timed_out(opens);
    CHECK(text == "timed out: connect " + busy.listener.address.to_string());
    const Fd socket = support::new_socket(AF_UNIX);
    auto connects = [&] {
        return weft::timeout(1ms, &connect_to, socket.get(), busy.listener.address);
    };
    text = co_await timed_out(connects);
    CHECK(text == "timed out: connect " + busy.listener.address.to_string());
}

WEFT_TEST_CASE("a deadline around a task, a future, a lock names what it waited for") {
    const support::Pair pair = support::unix_pair();
    weft::Task<void> task = weft::create_task(receive(pair.a.get()), weft::TaskOptions("download"));
    auto for_task = [&] { return weft::wait_for(task, 1ms); };
    std::string text = co_await timed_out(for_task);
    CHECK(text == "timed out: task 'download'");
    weft::Future<void> future = weft::get_running_loop().create_future<void>();
    auto for_future = [&] { return weft::wait_for(future, 1ms); };
    text = co_await timed_out(for_future);
    CHECK(text == "timed out: future");
    weft::Lock lock;
    co_await lock.acquire();
    auto for_lock = [&] { return weft::wait_for([&] { return lock.acquire(); }, 1ms); };
    text = co_await timed_out(for_lock);
    CHECK(text == "timed out: lock");
    lock.release();
}

}  // namespace error_texts_test
