// SPDX-License-Identifier: MIT
// recv, send, accept and connect do what their man pages say, and errors name the call.
#include <weft/net/io.hpp>
#include <weft/net/stream.hpp>
#include <weft/testing/catch.hpp>

#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include "stage.hpp"

namespace sockets_test {

using namespace support;
using weft::create_task;
namespace io = weft::io;

namespace {

int signals_seen = 0;

/// Counts a signal while it lives.
class Counted {
public:
    explicit Counted(int signal) : signal_(signal) {
        signals_seen = 0;
        struct sigaction action {};
        action.sa_handler = [](int) { signals_seen = signals_seen + 1; };
        ::sigaction(signal, &action, &before_);
    }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
    ~Counted() { ::sigaction(signal_, &before_, nullptr); }

private:
    int signal_;
    struct sigaction before_ {};
};

/// Keeps SIGALRM away from the test's own system calls.
class Masked {
public:
    Masked() {
        ::sigemptyset(&alarm_);
        ::sigaddset(&alarm_, SIGALRM);
        ::pthread_sigmask(SIG_BLOCK, &alarm_, nullptr);
    }
    Masked(const Masked&) = delete;
    Masked& operator=(const Masked&) = delete;
    ~Masked() { ::pthread_sigmask(SIG_UNBLOCK, &alarm_, nullptr); }

private:
    sigset_t alarm_;
};

/// Raises SIGALRM every 200 microseconds while it lives.
class Often {
public:
    Often() {
        itimerval often{};
        often.it_value.tv_usec = often.it_interval.tv_usec = 200;
        ::setitimer(ITIMER_REAL, &often, nullptr);
    }
    Often(const Often&) = delete;
    Often& operator=(const Often&) = delete;
    ~Often() {
        const itimerval never{};
        ::setitimer(ITIMER_REAL, &never, nullptr);
    }
};

}  // namespace

WEFT_TEST_CASE("MSG_PEEK with MSG_WAITALL shows what is there, each byte once", "[sockets]") {
    for (const bool tcp : {false, true}) {
        Pair ends = tcp ? tcp_pair() : unix_pair();
        auto peeking = create_task(recv_some(ends.a.get(), 9, MSG_PEEK | MSG_WAITALL));
        co_await turns(3);
        put(ends.b.get(), "abc");
        const std::string peeked = co_await std::move(peeking);
        CHECK(peeked == "abc");
        CHECK(drain(ends.a.get()) == "abc");
    }
}

WEFT_TEST_CASE("MSG_PEEK leaves the bytes, MSG_WAITALL waits for all of them", "[sockets]") {
    for (const bool tcp : {false, true}) {
        CAPTURE(tcp);
        Pair ends = tcp ? tcp_pair() : unix_pair();
        put(ends.b.get(), "0123456789");
        const std::string peeked = co_await recv_some(ends.a.get(), 4, MSG_PEEK);
        CHECK(peeked == "0123");
        const std::string again = co_await recv_some(ends.a.get(), 64, MSG_PEEK);
        CHECK(again == "0123456789");
        auto all = create_task(recv_some(ends.a.get(), 14, MSG_WAITALL));
        co_await turns(5);
        CHECK_FALSE(all.done());
        put(ends.b.get(), "ab");
        co_await turns(5);
        CHECK_FALSE(all.done());
        put(ends.b.get(), "cdef");
        const std::string whole = co_await std::move(all);
        CHECK(whole == "0123456789abcd");
        auto partial = create_task(recv_some(ends.a.get(), 100, MSG_WAITALL));
        co_await turns(3);
        co_await io::close(std::move(ends.b));
        const std::string last = co_await std::move(partial);
        CHECK(last == "ef");
    }
}

WEFT_TEST_CASE("a receive with MSG_DONTWAIT takes what is there, and is EAGAIN where nothing is",
               "[sockets]") {
    for (const bool tcp : {false, true}) {
        CAPTURE(tcp);
        Pair ends = tcp ? tcp_pair() : unix_pair();
        const int fd = ends.a.get();
        char byte = 0;
        auto receive = [&] { return io::recv(fd, weft::MutableBuffer(&byte, 1), MSG_DONTWAIT); };
        Failure failed = co_await failure(receive);
        CHECK(failed.error == EAGAIN);
        CHECK(failed.names("recv"));
        put(ends.b.get(), "xy");
        co_await weft::wait_readable(fd);
        failed = co_await failure(receive);
        CHECK(failed.error == 0);
        CHECK(byte == 'x');
        failed = co_await failure(receive);
        CHECK(byte == 'y');
        failed = co_await failure(receive);
        CHECK(failed.error == EAGAIN);
        // Past those who wait it takes nothing.
        auto waits = create_task(recv_some(fd, 8));
        co_await turns(3);
        failed = co_await failure(receive);
        CHECK(failed.error == EAGAIN);
        put(ends.b.get(), "z");
        const std::string got = co_await std::move(waits);
        CHECK(got == "z");
        ends.b.reset();
        co_await weft::wait_readable(fd);
        const std::string end = co_await recv_some(fd, 8, MSG_DONTWAIT);
        CHECK(end.empty());
    }
}

WEFT_TEST_CASE("a receive with MSG_DONTWAIT and MSG_WAITALL gives what there is", "[sockets]") {
    Pair ends = unix_pair();
    put(ends.b.get(), "abc");
    const std::string some = co_await recv_some(ends.a.get(), 8, MSG_DONTWAIT | MSG_WAITALL);
    CHECK(some == "abc");
}

WEFT_TEST_CASE("a send with MSG_DONTWAIT is EAGAIN where there is no room", "[sockets]") {
    Pair ends = unix_pair();
    const int fd = ends.a.get();
    const std::size_t sent = co_await io::send(fd, "first", MSG_DONTWAIT);
    CHECK(sent == 5);
    fill(fd);
    auto send = [&] { return io::send(fd, "y", MSG_DONTWAIT); };
    Failure failed = co_await failure(send);
    CHECK(failed.error == EAGAIN);
    CHECK(failed.names("send"));
    drain(ends.b.get());
    failed = co_await failure(send);
    CHECK(failed.error == 0);
    ends.b.reset();
    failed = co_await failure(send);
    CHECK(failed.error == EPIPE);
}

WEFT_TEST_CASE("a datagram is received whole or cut, one for each receive", "[sockets]") {
    Pair ends = unix_pair(SOCK_DGRAM);
    for (const char* text : {"first", "second", "third"}) put(ends.b.get(), text);
    const std::string first = co_await recv_some(ends.a.get(), 64);
    CHECK(first == "first");
    const std::string cut = co_await recv_some(ends.a.get(), 3);
    CHECK(cut == "sec");
    const std::string third = co_await recv_some(ends.a.get(), 64);
    CHECK(third == "third");
    put(ends.b.get(), "");
    const std::string empty = co_await recv_some(ends.a.get(), 64);
    CHECK(empty == "");
    auto waiting = create_task(recv_some(ends.a.get(), 64));
    co_await turns(3);
    CHECK_FALSE(waiting.done());
    const std::size_t sent = co_await io::send(ends.b.get(), "late");
    CHECK(sent == 4);
    const std::string late = co_await std::move(waiting);
    CHECK(late == "late");
}

WEFT_TEST_CASE("an accepted connection is close-on-exec and knows its peer", "[sockets]") {
    for (const bool nonblocking : {false, true}) {
        const Listener listener = tcp_listener();
        if (nonblocking) make_nonblocking(listener.fd.get());
        auto accepting = create_task([&]() -> weft::Coro<io::Accepted> {
            co_return co_await io::accept(listener.fd.get());
        });
        co_await turns(3);
        const Fd client = new_socket(AF_INET);
        co_await io::connect(client.get(), listener.address);
        io::Accepted connection = co_await std::move(accepting);
        CHECK((::fcntl(connection.fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
        CHECK(connection.peer.to_string() == Address::of_socket(client.get()).to_string());
        const std::size_t sent = co_await io::send(client.get(), "hi");
        CHECK(sent == 2);
        const std::string got = co_await recv_some(connection.fd.get(), 8);
        CHECK(got == "hi");
    }
    const Listener local = unix_listener();
    const Fd client = connected_to(local.address);
    const io::Accepted connection = co_await io::accept(local.fd.get());
    CHECK(connection.peer.family() == AF_UNIX);
    CHECK(connection.peer.to_string() == "unix:");
}

WEFT_TEST_CASE("many connections at once are each accepted by one of many acceptors", "[sockets]") {
    const Listener listener = tcp_listener();
    std::vector<weft::Task<io::Accepted>> acceptors;
    auto accept = [&]() -> weft::Coro<io::Accepted> {
        co_return co_await io::accept(listener.fd.get());
    };
    for (int index = 0; index < 100; ++index) acceptors.push_back(create_task(accept));
    co_await turns(2);
    std::vector<Fd> clients;
    for (int index = 0; index < 100; ++index) clients.push_back(connected_to(listener.address));
    for (auto& task : acceptors) {
        io::Accepted connection = co_await std::move(task);
        CHECK(connection.fd.get() >= 0);
    }
}

WEFT_TEST_CASE("a connect succeeds, or is refused, on blocking and non-blocking sockets",
               "[sockets]") {
    for (const int flags : {0, int{SOCK_NONBLOCK}}) {
        for (const bool local : {false, true}) {
            CAPTURE(flags, local);
            Listener listener =
                local ? unix_listener() : listen_at(Address::ip(own_host(), 0), 128);
            const int family = listener.address.family();
            const Fd client = new_socket(family, flags);
            co_await io::connect(client.get(), listener.address);
            // The mode of the descriptor is the user's.
            CHECK((::fcntl(client.get(), F_GETFL) & O_NONBLOCK) == (flags ? O_NONBLOCK : 0));
            const Failure again =
                co_await failure([&] { return io::connect(client.get(), listener.address); });
            CHECK(again.error == EISCONN);
            listener.fd.reset();
            const Fd late = new_socket(family, flags);
            const Failure refused =
                co_await failure([&] { return io::connect(late.get(), listener.address); });
            CHECK(refused.error == ECONNREFUSED);
            CHECK(refused.names("connect"));
        }
    }
    const Fd client = new_socket(AF_UNIX);
    const Failure missing = co_await failure(
        [&] { return io::connect(client.get(), Address::unix_path("/tmp/weft-no-such-socket")); });
    CHECK(missing.error == ENOENT);
}

WEFT_TEST_CASE("a connect that meets a full queue waits until it is accepted", "[sockets]") {
    for (const int flags : {0, int{SOCK_NONBLOCK}}) {
        CAPTURE(flags);
        BusyListener busy(unix_listener(0));
        const Fd client = new_socket(AF_UNIX, flags);
        auto connecting = create_task([&]() -> weft::Coro<void> {
            co_await io::connect(client.get(), busy.listener.address);
        });
        co_await turns(50);
        CHECK_FALSE(connecting.done());
        std::vector<Fd> accepted;
        for (std::size_t index = 0; index < busy.fillers.size(); ++index) {
            io::Accepted connection = co_await io::accept(busy.listener.fd.get());
            accepted.push_back(std::move(connection.fd));
        }
        co_await connecting;
        sockaddr_storage peer{};
        socklen_t size = sizeof peer;
        CHECK(::getpeername(client.get(), reinterpret_cast<sockaddr*>(&peer), &size) == 0);
    }
}

WEFT_TEST_CASE("errors name the call and carry its errno", "[sockets]") {
    Pair pipe = pipe_pair();
    Pair pair = unix_pair();
    const Fd file = nameless_file("text");
    const Fd folder = co_await io::open("/tmp", O_RDONLY | O_DIRECTORY);
    const Fd lonely = new_socket(AF_INET);
    char byte;
    const weft::MutableBuffer one(&byte, 1);
    const int used_up = pair.b.get();
    pair.b.reset();
    for (const int fd : {-1, 999, used_up}) {
        CAPTURE(fd);
        Failure failed = co_await failure([&] { return io::read(fd, one); });
        CHECK((failed.error == EBADF && failed.names("read fd ")));
        failed = co_await failure([&] { return io::write(fd, "x"); });
        CHECK((failed.error == EBADF && failed.names("write fd ")));
        failed = co_await failure([&] { return io::read_at(fd, one, 0); });
        CHECK((failed.error == EBADF && failed.names("read fd ")));
        failed = co_await failure([&] { return io::recv(fd, one); });
        CHECK((failed.error == EBADF && failed.names("recv fd ")));
        failed = co_await failure([&] { return io::send(fd, "x"); });
        CHECK((failed.error == EBADF && failed.names("send fd ")));
        failed = co_await failure([&] { return io::accept(fd); });
        CHECK((failed.error == EBADF && failed.names("accept fd ")));
        failed = co_await failure([&] { return io::connect(fd, Address::ip("127.0.0.1", 1)); });
        CHECK((failed.error == EBADF && failed.names("connect ")));
        failed = co_await failure([&] { return io::poll(fd, POLLIN); });
        CHECK((failed.error == EBADF && failed.names("poll fd ")));
        failed = co_await failure([&] { return io::close(fd); });
        CHECK((failed.error == EBADF && failed.names("close fd ")));
        failed = co_await failure([&] { return io::fsync(fd); });
        CHECK((failed.error == EBADF && failed.names("fsync fd ")));
    }
    Failure failed = co_await failure([&] { return io::recv(pipe.a.get(), one); });
    CHECK(failed.error == ENOTSOCK);
    failed = co_await failure([&] { return io::send(file.get(), "x"); });
    CHECK(failed.error == ENOTSOCK);
    failed = co_await failure([&] { return io::accept(pipe.a.get()); });
    CHECK(failed.error == ENOTSOCK);
    failed = co_await failure([&] { return io::accept(lonely.get()); });
    CHECK(failed.error == EINVAL);
    failed = co_await failure([&] { return io::recv(lonely.get(), one); });
    CHECK(failed.error == ENOTCONN);
    failed = co_await failure([&] { return io::write(pipe.a.get(), "x"); });
    CHECK(failed.error == EBADF);
    failed = co_await failure([&] { return io::read(pipe.b.get(), one); });
    CHECK(failed.error == EBADF);
    failed = co_await failure([&] { return io::read(folder.get(), one); });
    CHECK(failed.error == EISDIR);
    failed = co_await failure([&] { return io::write(folder.get(), "x"); });
    CHECK(failed.error == EBADF);
    failed = co_await failure([&] { return io::read_at(file.get(), {nullptr, 1}, 0); });
    CHECK(failed.error == EFAULT);
}

WEFT_TEST_CASE("sending to a dead peer is EPIPE or ECONNRESET, never SIGPIPE", "[sockets]") {
    const Counted pipes(SIGPIPE);
    Pair ends = unix_pair();
    ends.b.reset();
    const Failure broken = co_await failure([&] { return io::send(ends.a.get(), "x"); });
    CHECK(broken.error == EPIPE);
    CHECK(broken.names("send fd "));
    Pair tcp = tcp_pair();
    tcp.b.reset();
    int error = 0;
    for (int attempt = 0; attempt < 1000 && error == 0; ++attempt) {
        const Failure failed = co_await failure([&] { return io::send(tcp.a.get(), "x"); });
        error = failed.error;
    }
    CHECK((error == EPIPE || error == ECONNRESET));
    // A sender that waits learns of it too.
    Pair full = unix_pair();
    fill(full.a.get());
    auto waiting = create_task(send_all(full.a.get(), "more"));
    co_await turns(3);
    full.b.reset();
    const End end = co_await ending(waiting);
    CHECK(end == End::failed);
    CHECK(signals_seen == 0);
}

WEFT_TEST_CASE("a write to a pipe without a reader is EPIPE, while it waits too", "[sockets]") {
    Pair ends = pipe_pair();
    fill(ends.b.get());
    auto waiting = create_task(write_all(ends.b.get(), "more"));
    co_await turns(3);
    ends.a.reset();
    const End end = co_await ending(waiting);
    CHECK(end == End::failed);
    const Failure failed = co_await failure([&] { return io::write(ends.b.get(), "x"); });
    CHECK(failed.error == EPIPE);
}

WEFT_TEST_CASE("signals during waits disturb nobody: EINTR never reaches the user", "[sockets]") {
    const Counted alarms(SIGALRM);
    Stage stage;
    std::vector<weft::Task<long>> waiting;
    const auto each = [](auto visit) {
        // One reader of the stream is enough: the others would wait for more bytes.
        for (const Kind kind : every_kind) {
            if (kind != Kind::connect && kind != Kind::read_socket) visit(kind);
        }
    };
    each([&](Kind kind) { waiting.push_back(create_task(stage.perform(kind))); });
    {
        const Often often;
        while (signals_seen < 50) co_await weft::sleep(std::chrono::milliseconds(1));
        for (auto& task : waiting) CHECK_FALSE(task.done());
        const auto release = [&](Kind kind) {
            const Masked masked;
            stage.release(kind);
        };
        release(Kind::recv);
        co_await turns(20);
        each([&](Kind kind) {
            if (kind != Kind::recv && kind != Kind::recv_peek) release(kind);
        });
        for (auto& task : waiting) {
            const End end = co_await ending(task);
            CHECK(end == End::value);
        }
    }
    CHECK(signals_seen >= 50);
}

WEFT_TEST_CASE("receivers on one socket are served in the order in which they came", "[sockets]") {
    for (const bool tcp : {false, true}) {
        CAPTURE(tcp);
        Pair ends = tcp ? tcp_pair() : unix_pair();
        std::string order;
        auto receive = [&](char name) -> weft::Coro<void> {
            const std::string byte = co_await recv_some(ends.a.get(), 1);
            order += name;
            order += byte;
        };
        std::vector<weft::Task<void>> readers;
        for (char name = 'A'; name < 'A' + 8; ++name) readers.push_back(create_task(receive, name));
        co_await turns(2);
        put(ends.b.get(), "0");
        co_await turns(3);
        put(ends.b.get(), "1234567");
        for (auto& reader : readers) co_await reader;
        CHECK(order == "A0B1C2D3E4F5G6H7");
    }
}

WEFT_TEST_CASE("senders on one full socket are served in the order in which they came",
               "[sockets]") {
    Pair ends = unix_pair();
    const std::size_t before = fill(ends.b.get());
    std::vector<weft::Task<void>> writers;
    for (const char* text : {"one ", "two ", "three ", "four "})
        writers.push_back(create_task(send_all(ends.b.get(), text)));
    co_await turns(3);
    const std::string all = co_await read_exactly(ends.a.get(), before + 19);
    for (auto& writer : writers) co_await writer;
    CHECK(all.substr(before) == "one two three four ");
}

WEFT_TEST_CASE("a poll for data beside one for room is told of data that comes with the room",
               "[poll]") {
    Pair ends = unix_pair();
    make_nonblocking(ends.a.get());
    std::string block(4096, 'x');
    while (::send(ends.a.get(), block.data(), block.size(), MSG_NOSIGNAL) > 0) {
    }
    auto polls = [](int fd, short events) -> weft::Coro<short> {
        co_return co_await io::poll(fd, events);
    };
    auto room = create_task(polls, ends.a.get(), short{POLLOUT});
    auto data = create_task(polls, ends.a.get(), short{POLLIN});
    co_await turns(3);
    // Both become true in one event.
    while (::recv(ends.b.get(), block.data(), block.size(), MSG_DONTWAIT) > 0) {
    }
    CHECK(::send(ends.b.get(), "x", 1, MSG_NOSIGNAL) == 1);
    const short writable = co_await room;
    const short readable = co_await data;
    CHECK((writable & POLLOUT) != 0);
    CHECK((readable & POLLIN) != 0);
}

TEST_CASE("a Unix address is its path, whatever was in memory before", "[sockets]") {
    for (const std::size_t size :
         {std::size_t{1}, std::size_t{13}, std::size_t{14}, std::size_t{40}, std::size_t{107}}) {
        CAPTURE(size);
        const std::string path = "/" + std::string(size - 1, 'p');
        // Where the address is made there was something else.
        alignas(Address) unsigned char memory[sizeof(Address)];
        std::memset(memory, 'Z', sizeof memory);
        Address& address = *new (memory) Address(Address::unix_path(path));
        CHECK(address.to_string() == "unix:" + path);
        const auto& raw = *reinterpret_cast<const sockaddr_un*>(address.data());
        CHECK(address.size() == offsetof(sockaddr_un, sun_path) + size + 1);
        CHECK(std::string(raw.sun_path) == path);
        address.~Address();
    }
    const std::string abstract = std::string(1, '\0') + "name";
    CHECK(Address::unix_path(abstract).to_string() == "unix:@name");
}

WEFT_TEST_CASE("a long Unix path is bound, connected to and found under its name", "[sockets]") {
    char folder[] = "/tmp/weft-a-folder-for-sockets-XXXXXX";
    REQUIRE(::mkdtemp(folder) != nullptr);
    const std::string path = std::string(folder) + "/the.socket";
    const Address address = Address::unix_path(path);
    {
        const Fd listener = new_socket(AF_UNIX);
        checked(::bind(listener.get(), address.data(), address.size()), "bind");
        checked(::listen(listener.get(), 1), "listen");
        CHECK(::access(path.c_str(), F_OK) == 0);
        const Fd client = new_socket(AF_UNIX);
        co_await io::connect(client.get(), address);
        CHECK(Address::of_peer(client.get()).to_string() == "unix:" + path);
    }
    CHECK(::unlink(path.c_str()) == 0);
    CHECK(::rmdir(folder) == 0);
}

WEFT_TEST_CASE("messages that are sent one after the other do not wait for a turn each",
               "[sockets]") {
    for (const bool tcp : {false, true}) {
        CAPTURE(tcp);
        Pair ends = tcp ? tcp_pair() : unix_pair();
        weft::Stream stream(Fd(::fcntl(ends.a.get(), F_DUPFD_CLOEXEC, 0)));
        bool over = false;
        int passed = 0;
        auto count = create_task([&]() -> weft::Coro<void> {
            while (true) {
                if (over) co_return;
                co_await weft::yield();
                ++passed;
            }
        });
        std::string expected;
        for (int row = 0; row < 3; ++row) {
            co_await turns(5);
            const int before = passed;
            for (int message = 0; message < 40; ++message) {
                const std::string text = std::to_string(message) + ' ';
                if (row == 1) {
                    co_await stream.write(text);
                } else {
                    co_await io::send(ends.a.get(), text);
                }
                expected += text;
            }
            CHECK(passed - before < 10);
        }
        over = true;
        co_await count;
        const std::string got = co_await read_exactly(ends.b.get(), expected.size());
        CHECK(got == expected);
    }
}

WEFT_TEST_CASE("a row of sends that fills the socket goes on in order when there is room",
               "[sockets]") {
    Pair ends = unix_pair();
    const std::string text(1000, 'm');
    constexpr int messages = 2'000;
    auto sending = create_task([&]() -> weft::Coro<void> {
        for (int message = 0; message < messages; ++message) {
            std::string numbered = text;
            numbered[0] = static_cast<char>('a' + message % 26);
            co_await send_all(ends.a.get(), numbered);
        }
    });
    co_await turns(5);
    bool in_order = true;
    for (int message = 0; message < messages; ++message) {
        const std::string got = co_await read_exactly(ends.b.get(), text.size());
        in_order = in_order && got[0] == static_cast<char>('a' + message % 26);
    }
    CHECK(in_order);
    co_await sending;
}

}  // namespace sockets_test
