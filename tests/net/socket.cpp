// SPDX-License-Identifier: MIT
// Socket: the raw calls and options, with the guarantees of everything else (SEMANTICS 28, 29, 87,
// 91, 97, 107).
// rungs: all
#include <weft/deadline/wait_for.hpp>
#include <weft/net/datagram.hpp>
#include <weft/net/server.hpp>
#include <weft/net/socket.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>
#include <weft/together/gather.hpp>

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "../support/awaiting.hpp"
#include "../support/descriptors.hpp"

namespace socket_test {

using support::End;
using support::ending;
using support::Failure;
using support::failure;
using support::turns;
using weft::AcceptedSocket;
using weft::Address;
using weft::Coro;
using weft::create_task;
using weft::ReceivedDatagram;
using weft::Socket;

namespace {

Address loopback() { return Address::ip(support::own_host(), 0); }

Socket listening() {
    Socket socket(AF_INET, SOCK_STREAM);
    socket.set_option(SOL_SOCKET, SO_REUSEADDR, 1);
    socket.bind(loopback());
    socket.listen();
    return socket;
}

/// What a call that does not wait throws.
template <class Fn>
Failure failure_of(Fn&& fn) {
    try {
        fn();
    } catch (const std::system_error& error) {
        return Failure(error);
    }
    return Failure();
}

template <class Fn>
std::string runtime_error_of(Fn&& fn) {
    try {
        fn();
    } catch (const weft::RuntimeError& error) {
        return error.what();
    }
    return "nothing was thrown";
}

Coro<void> wait_for_byte(Socket& socket) {
    char byte = 0;
    (void)co_await socket.recv(weft::MutableBuffer(&byte, 1));
}

}  // namespace

WEFT_TEST_CASE("a socket is made, bound, listens, connects, accepts, and says where it is",
               "[socket]") {
    Socket server = listening();
    Socket client(AF_INET, SOCK_STREAM, IPPROTO_TCP);
    client.bind(loopback());
    co_await client.connect(server.local_address());
    AcceptedSocket accepted = co_await server.accept();
    CHECK(accepted.peer == client.local_address());
    CHECK(accepted.socket.peer_address() == client.local_address());
    CHECK(client.peer_address() == server.local_address());

    co_await client.send_all("a question");
    const std::string some = co_await accepted.socket.recv(1, MSG_PEEK);
    CHECK(some == "a");
    const std::string question = co_await accepted.socket.recv(100);
    CHECK(question == "a question");
    const std::size_t sent = co_await accepted.socket.send("an answer");
    CHECK(sent == 9);
    char buffer[100];
    const std::size_t got = co_await client.recv(buffer);
    CHECK(std::string(buffer, got) == "an answer");

    co_await client.shutdown(SHUT_WR);
    const std::string end = co_await accepted.socket.recv(100);
    CHECK(end.empty());
    co_await accepted.socket.send_all("after your end");
    const std::string after = co_await client.recv(100);
    CHECK(after == "after your end");
}

WEFT_TEST_CASE("a socket that is O_NONBLOCK waits like any other", "[socket]") {
    Socket server(AF_INET, SOCK_STREAM | SOCK_NONBLOCK);
    server.bind(loopback());
    server.listen();
    Socket client(AF_INET, SOCK_STREAM | SOCK_NONBLOCK);
    auto accept = [&]() -> Coro<Socket> {
        AcceptedSocket accepted = co_await server.accept();
        co_return std::move(accepted.socket);
    };
    auto accepting = create_task(accept);
    co_await turns(3);
    co_await client.connect(server.local_address());
    Socket served = co_await std::move(accepting);
    auto receive = [&]() -> Coro<std::string> { return client.recv(10); };
    auto receiving = create_task(receive);
    co_await turns(3);
    CHECK_FALSE(receiving.done());
    co_await served.send_all("late");
    const std::string late = co_await receiving;
    CHECK(late == "late");
}

WEFT_TEST_CASE("a datagram comes with its sender and its length", "[socket]") {
    Socket server(AF_INET, SOCK_DGRAM);
    server.bind(loopback());
    Socket client(AF_INET, SOCK_DGRAM);
    client.bind(loopback());
    const std::size_t sent = co_await client.send_to("0123456789", server.local_address());
    CHECK(sent == 10);
    char buffer[4];
    const ReceivedDatagram got = co_await server.recv_from(buffer);
    CHECK(got.from == client.local_address());
    CHECK(std::string(buffer, got.size) == "0123");
    CHECK(got.truncated());
    CHECK(got.length == 10);
}

WEFT_TEST_CASE("recv_from on a stream socket takes the bytes that it returns, and no more",
               "[socket]") {
    Socket server = listening();
    Socket client(AF_INET, SOCK_STREAM);
    co_await client.connect(server.local_address());
    AcceptedSocket accepted = co_await server.accept();
    co_await client.send_all("0123456789");
    char buffer[4];
    const ReceivedDatagram got = co_await accepted.socket.recv_from(buffer);
    CHECK(std::string(buffer, got.size) == "0123");
    CHECK_FALSE(got.truncated());
    const std::string rest = co_await accepted.socket.recv(100);
    CHECK(rest == "456789");
}

WEFT_TEST_CASE("options are set and read with their type", "[socket]") {
    Socket socket(AF_INET, SOCK_STREAM);
    socket.set_option(IPPROTO_TCP, TCP_NODELAY, 1);
    CHECK(socket.option<int>(IPPROTO_TCP, TCP_NODELAY) == 1);
    CHECK(socket.option<int>(SOL_SOCKET, SO_TYPE) == SOCK_STREAM);
    socket.set_option(SOL_SOCKET, SO_LINGER, linger{1, 7});
    CHECK(socket.option<linger>(SOL_SOCKET, SO_LINGER).l_linger == 7);
    co_return;
}

WEFT_TEST_CASE("send_all goes on where a send was short, and ends when the peer has read",
               "[socket]") {
    auto [near, far] = Socket::pair();
    const std::string much(3'000'000, 'x');
    auto send = [&]() -> Coro<void> { co_await near.send_all(much); };
    auto sending = create_task(send);
    std::size_t got = 0;
    while (got < much.size()) {
        const std::string some = co_await far.recv(100'000);
        got += some.size();
    }
    co_await sending;
    CHECK(got == much.size());
}

WEFT_TEST_CASE("wait_readable and wait_writable say when", "[socket]") {
    auto [near, far] = Socket::pair();
    short ready = co_await near.wait_writable();
    CHECK((ready & POLLOUT) != 0);
    auto wait = [&]() -> Coro<short> { co_return co_await near.wait_readable(); };
    auto waiting = create_task(wait);
    co_await turns(3);
    CHECK_FALSE(waiting.done());
    co_await far.send_all("x");
    ready = co_await waiting;
    CHECK((ready & POLLIN) != 0);
}

WEFT_TEST_CASE("an error of a socket names the call and its object", "[socket]") {
    Socket server = listening();
    const std::string at = server.local_address().to_string();
    Socket other(AF_INET, SOCK_STREAM);
    Failure met = failure_of([&] { other.bind(server.local_address()); });
    CHECK(met.error == EADDRINUSE);
    CHECK(met.names("bind " + at));
    Socket talk(AF_INET, SOCK_DGRAM);
    talk.bind(loopback());
    met = failure_of([&] { talk.listen(); });
    CHECK(met.names("listen " + talk.local_address().to_string()));
    met = failure_of([] { Socket none(AF_INET, 77); });
    CHECK(met.names("socket of family 2, type 77, protocol 0"));
    const Address gone = server.local_address();
    co_await server.close();
    auto connect = [&] { return other.connect(gone); };
    met = co_await failure(connect);
    CHECK(met.error == ECONNREFUSED);
    CHECK(met.names("connect " + at));
    const std::string too_long(100'000, 'x');
    auto send = [&] { return talk.send_to(too_long, gone); };
    met = co_await failure(send);
    CHECK(met.error == EMSGSIZE);
    CHECK(met.names("sendmsg " + at));
    auto receive = [&] { return server.recv(10); };
    met = co_await failure(receive);
    CHECK(met.error == EBADF);
}

WEFT_TEST_CASE("close ends the calls of a socket that wait, and tells the peer", "[socket]") {
    auto [near, far] = Socket::pair();
    auto task = create_task(wait_for_byte(near));
    co_await turns(2);
    co_await near.close();
    const End end = co_await ending(task);
    CHECK(end == End::closed);
    CHECK(near.is_closed());
    co_await near.close();
    const std::string eof = co_await far.recv(10);
    CHECK(eof.empty());
}

WEFT_TEST_CASE("a socket that goes ends the calls that wait on it, whichever they are",
               "[socket]") {
    auto accept = [](Socket& socket) -> Coro<void> { (void)co_await socket.accept(); };
    auto poll = [](Socket& socket) -> Coro<void> { (void)co_await socket.wait_readable(); };
    auto text = [](Socket& socket) -> Coro<void> { (void)co_await socket.recv(10); };
    auto message = [](Socket& socket) -> Coro<void> {
        char buffer[10];
        (void)co_await socket.recv_from(buffer);
    };
    std::optional<Socket> listener = listening();
    auto pair = Socket::pair();
    std::optional<Socket> near = std::move(pair.first);
    std::optional<Socket> talk = Socket(AF_INET, SOCK_DGRAM);
    weft::Task<void> tasks[] = {
        create_task(accept, std::ref(*listener)), create_task(poll, std::ref(*near)),
        create_task(text, std::ref(*near)), create_task(message, std::ref(*talk))};
    co_await turns(2);
    Socket moved = std::move(*listener);
    listener.reset();
    co_await turns(2);
    CHECK_FALSE(tasks[0].done());
    moved = Socket(AF_INET, SOCK_STREAM);
    near.reset();
    talk.reset();
    for (weft::Task<void>& task : tasks) {
        const End end = co_await ending(task);
        CHECK(end == End::closed);
    }
    const std::string eof = co_await pair.second.recv(10);
    CHECK(eof.empty());
}

WEFT_TEST_CASE("the number of a closed socket serves the next one in the same turn", "[socket]") {
    auto [near, far] = Socket::pair();
    auto task = create_task(wait_for_byte(near));
    co_await turns(2);
    const int number = near.fd();
    co_await near.close();
    auto [next, other] = Socket::pair();
    CHECK((next.fd() == number || other.fd() == number));
    auto again = create_task(wait_for_byte(next));
    co_await turns(2);
    CHECK_FALSE(again.done());
    co_await far.shutdown(SHUT_RDWR);
    co_await turns(2);
    CHECK_FALSE(again.done());
    co_await other.send_all("x");
    const End end = co_await ending(again);
    CHECK(end == End::value);
    const End before = co_await ending(task);
    CHECK(before == End::closed);
}

WEFT_TEST_CASE("detach gives the descriptor to a stream, and refuses while a call waits",
               "[socket]") {
    auto [near, far] = Socket::pair();
    auto task = create_task(wait_for_byte(near));
    co_await turns(2);
    const std::string refused = runtime_error_of([&socket = near] { (void)socket.detach(); });
    CHECK(refused == "weft: Socket::detach while a call on it waits");
    co_await far.send_all("xa line\n");
    co_await task;
    weft::Stream stream(near.detach());
    CHECK(near.is_closed());
    CHECK(near.fd() == -1);
    const std::string line = co_await stream.read_line();
    CHECK(line == "a line\n");
}

WEFT_TEST_CASE("a server takes over a socket with options of the program's own", "[socket]") {
    Socket socket(AF_INET, SOCK_STREAM);
    socket.set_option(SOL_SOCKET, SO_RCVBUF, 10'000);
    socket.bind(loopback());
    const Address at = socket.local_address();
    auto echo = [](weft::Stream client) -> Coro<void> {
        const std::string line = co_await client.read_line();
        co_await client.write(line);
    };
    weft::Server server = co_await weft::start_server(echo, socket.detach());
    Socket client(AF_INET, SOCK_STREAM);
    co_await client.connect(at);
    co_await client.send_all("hello\n");
    const std::string back = co_await client.recv(100);
    CHECK(back == "hello\n");
    server.close();
    co_await server.wait_closed();
}

WEFT_TEST_CASE("a socket that was moved from says so", "[socket]") {
    auto [near, far] = Socket::pair();
    const Socket there = std::move(near);
    CHECK(near.is_closed());
    const std::string message =
        runtime_error_of([&socket = near] { (void)socket.local_address(); });
    CHECK(message == "weft: an empty Socket: it was moved from");
    CHECK_FALSE(there.is_closed());
    co_return;
}

WEFT_TEST_CASE("a call of a socket that has not begun holds it: the socket may move, or go",
               "[socket]") {
    // A task begins in its creator's next turn.
    std::optional<Socket> near;
    std::optional<Socket> far;
    const auto make = [&] {
        auto [one, other] = Socket::pair();
        near.emplace(std::move(one));
        far.emplace(std::move(other));
    };
    make();
    auto sending = create_task(near->send_all("moved"));
    auto receiving = create_task(far->recv(10));
    const Socket sender = std::move(*near);
    near.reset();
    const Socket receiver = std::move(*far);
    far.reset();
    co_await sending;
    const std::string got = co_await receiving;
    CHECK(got == "moved");
    make();
    auto receives = create_task(near->recv(10));
    auto closes = create_task(far->close());
    far.reset();
    near.reset();
    co_await closes;
    const Failure gone = co_await failure([&] { return std::move(receives); });
    CHECK((gone.error == EBADF || gone.error == ECANCELED));
    weft::Datagram bound = weft::Datagram::bind(loopback());
    auto datagram_closes = create_task(bound.close());
    { const weft::Datagram gone_too = std::move(bound); }
    co_await datagram_closes;
}

WEFT_TEST_CASE("a deadline on a call of a socket is lossless", "[socket]") {
    auto [near, far] = Socket::pair();
    bool timed_out = false;
    try {
        (void)co_await weft::wait_for(near.recv(10), std::chrono::seconds(1));
    } catch (const weft::TimeoutError&) {
        timed_out = true;
    }
    CHECK(timed_out);
    co_await far.send_all("late");
    const std::string late = co_await near.recv(10);
    CHECK(late == "late");
    char buffer[10];
    timed_out = false;
    try {
        (void)co_await weft::wait_for(near.recv(buffer), std::chrono::seconds(1));
    } catch (const weft::TimeoutError&) {
        timed_out = true;
    }
    CHECK(timed_out);
}

namespace {

Coro<void> answer(Socket& server) {
    AcceptedSocket accepted = co_await server.accept();
    char buffer[10];
    for (;;) {
        (void)co_await accepted.socket.wait_readable();
        const std::size_t got = co_await accepted.socket.recv(buffer);
        if (got == 0) break;
        co_await accepted.socket.send_all(weft::ConstBuffer(buffer, got));
    }
    co_await accepted.socket.close();
}

Coro<void> ask(Address at) {
    Socket client(AF_INET, SOCK_STREAM);
    co_await client.connect(at);
    (void)co_await client.send("ask");
    (void)co_await client.recv(10);
    co_await client.shutdown(SHUT_WR);
    (void)co_await client.recv(10);
    Socket talk(AF_INET, SOCK_DGRAM);
    talk.bind(loopback());
    (void)co_await talk.send_to("to myself", talk.local_address());
    char buffer[10];
    (void)co_await talk.recv_from(buffer);
}

Coro<void> every_call() {
    Socket server = listening();
    auto answering = answer(server);
    auto asking = ask(server.local_address());
    auto both = weft::gather(std::move(answering), std::move(asking));
    co_await both;
}

}  // namespace

TEST_CASE("a socket in use may be cancelled or destroyed at every step", "[socket]") {
    const weft::testing::DescriptorCensus before;
    weft::testing::cancel_at_every_step(every_call, [](weft::Task<void>&) {});
    weft::testing::kill_at_every_step(every_call);
    CHECK(before.leaked() == "");
}

}  // namespace socket_test
