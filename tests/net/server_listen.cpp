// SPDX-License-Identifier: MIT
// Where a server listens, when it begins, and how many it serves at a time (SEMANTICS 89, 107,
// 115).
#include <weft/net/connect.hpp>
#include <weft/net/listen_fds.hpp>
#include <weft/net/server.hpp>
#include <weft/task/run.hpp>
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "../support/awaiting.hpp"
#include "../support/descriptors.hpp"

namespace server_listen_test {

namespace {

using namespace std::chrono_literals;
using support::connected_to;
using support::Fd;
using support::turns;
using weft::Address;
using weft::Coro;
using weft::Server;
using weft::ServerOptions;
using weft::Stream;

Coro<void> echo_lines(Stream client) {
    for (;;) {
        const std::string line = co_await client.read_line();
        if (line.empty()) co_return;
        co_await client.write(line);
    }
}

Coro<bool> answers(const Address& address) {
    Stream stream = co_await weft::open_connection(address);
    co_await stream.write("hello\n");
    const std::string line = co_await stream.read_line();
    co_return line == "hello\n";
}

template <class T>
Coro<int> error_of(Coro<T> coro) {
    try {
        co_await std::move(coro);
    } catch (const std::system_error& error) {
        co_return error.code().value();
    }
    co_return 0;
}

bool has_ipv6() {
    const Fd probe(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const Address any = Address::ip("::1", 0);
    return probe && ::bind(probe.get(), any.data(), any.size()) == 0;
}

int option(int fd, int level, int name) {
    int value = 0;
    socklen_t size = sizeof value;
    support::checked(::getsockopt(fd, level, name, &value, &size), "getsockopt");
    return value;
}

/// Is there an answer, without waiting for one?
bool is_answered(const Fd& client) { return !support::drain(client.get()).empty(); }

}  // namespace

// --- where ---

WEFT_TEST_CASE("a server listens on several hosts with one port, on each address once") {
    std::vector<std::string> hosts{support::own_host(), support::own_host(1), support::own_host()};
    Server server = co_await weft::start_server(&echo_lines, hosts, 0);
    const std::vector<Address> addresses = server.addresses();
    REQUIRE(addresses.size() == 2);
    CHECK(server.sockets().size() == 2);
    for (const Address& address : addresses) {
        CHECK(address.port() == server.port());
        const bool served = co_await answers(address);
        CHECK(served);
    }
    server.close();
    CHECK(server.sockets().empty());
    for (const Address& address : addresses) {
        const int refused = co_await error_of(weft::open_connection(address));
        CHECK(refused == ECONNREFUSED);
    }
}

WEFT_TEST_CASE("a server without a host or a socket is refused by name") {
    const int no_host =
        co_await error_of(weft::start_server(&echo_lines, std::vector<std::string>(), 0));
    CHECK(no_host == EINVAL);
    const int no_socket =
        co_await error_of(weft::start_server(&echo_lines, std::vector<weft::Fd>()));
    CHECK(no_socket == EINVAL);
}

WEFT_TEST_CASE("an empty host is every local address of both families, with one port") {
    Server server = co_await weft::start_server(&echo_lines, "", 0);
    const bool v4 = co_await answers(Address::ip("127.0.0.1", server.port()));
    CHECK(v4);
    if (!has_ipv6()) co_return;
    const bool v6 = co_await answers(Address::ip("::1", server.port()));
    CHECK(v6);
    std::set<int> families;
    for (const int socket : server.sockets()) {
        const int family = option(socket, SOL_SOCKET, SO_DOMAIN);
        families.insert(family);
        if (family == AF_INET6) CHECK(option(socket, IPPROTO_IPV6, IPV6_V6ONLY) != 0);
    }
    CHECK(families == std::set<int>{AF_INET, AF_INET6});
}

WEFT_TEST_CASE("reuse_address and reuse_port are what the sockets have") {
    for (const bool on : {false, true}) {
        ServerOptions options;
        options.reuse_address = options.reuse_port = on;
        Server server = co_await weft::start_server(&echo_lines, "127.0.0.1", 0, options);
        const int socket = server.sockets().front();
        CHECK((option(socket, SOL_SOCKET, SO_REUSEADDR) != 0) == on);
        CHECK((option(socket, SOL_SOCKET, SO_REUSEPORT) != 0) == on);
    }
}

// --- sockets of others ---

WEFT_TEST_CASE("a server on a socket that was given leaves it listening for its other holders") {
    support::Listener listener = support::tcp_listener();
    const Address address = listener.address;
    const Fd held(::fcntl(listener.fd.get(), F_DUPFD_CLOEXEC, 0));
    Server server = co_await weft::start_server(&echo_lines, std::move(listener.fd));
    CHECK(server.address() == address);
    const bool served = co_await answers(address);
    CHECK(served);
    server.close();
    co_await server.wait_closed();
    // Nobody is refused: who connects now waits for the next one that serves.
    const Fd waits = connected_to(address);
    support::put(waits.get(), "hello\n");
    Server next = co_await weft::start_server(&echo_lines, Fd(::dup(held.get())));
    const std::string answer = co_await support::read_some(waits.get(), 6);
    CHECK(answer == "hello\n");
}

WEFT_TEST_CASE("a server whose socket others shut down says so once, and is closed") {
    for (const bool limited : {false, true}) {
        CAPTURE(limited);
        int reports = 0;
        int error = 0;
        weft::EventLoop& loop = weft::get_running_loop();
        loop.set_exception_handler([&](const weft::ExceptionContext& what) {
            ++reports;
            try {
                std::rethrow_exception(what.exception);
            } catch (const std::system_error& failure) {
                error = failure.code().value();
            }
        });
        support::Listener listener = support::tcp_listener();
        const Fd held(::fcntl(listener.fd.get(), F_DUPFD_CLOEXEC, 0));
        ServerOptions options;
        if (limited) options.connection_limit = 3;
        Server server = co_await weft::start_server(&echo_lines, std::move(listener.fd), options);
        weft::Task<void> serves = weft::create_task(server.serve_forever());
        co_await turns(3);
        ::shutdown(held.get(), SHUT_RDWR);
        co_await serves;
        CHECK(!server.is_serving());
        CHECK(reports == 1);
        CHECK(error == EINVAL);
        loop.set_exception_handler({});
    }
}

WEFT_TEST_CASE("a socket that was given may be bound alone; what is no stream socket is refused") {
    Fd bound = support::new_socket(AF_INET);
    const Address any = Address::ip("127.0.0.1", 0);
    support::checked(::bind(bound.get(), any.data(), any.size()), "bind");
    Server server = co_await weft::start_server(&echo_lines, std::move(bound));
    const bool served = co_await answers(server.address());
    CHECK(served);
    CHECK((::fcntl(server.sockets().front(), F_GETFD) & FD_CLOEXEC) != 0);
    const int datagram = co_await error_of(
        weft::start_server(&echo_lines, Fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0))));
    CHECK(datagram == EINVAL);
    const int file = co_await error_of(
        weft::start_server(&echo_lines, Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC))));
    CHECK(file == ENOTSOCK);
    const int nothing = co_await error_of(weft::start_server(&echo_lines, Fd()));
    CHECK(nothing == EBADF);
}

namespace {

/// In a process of its own, whose descriptors 3 to 5 are free to be used. Returns its exit code.
template <class Fn>
int in_a_child(Fn fn) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(fn());
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

void pass(const char* variable, const std::string& value) { ::setenv(variable, value.c_str(), 1); }

int what_was_passed() {
    const support::Listener one = support::tcp_listener();
    const Fd first(::fcntl(one.fd.get(), F_DUPFD, 100));
    const Fd second(::open("/dev/null", O_RDONLY));
    const Fd out_of_the_way(::fcntl(second.get(), F_DUPFD, 100));
    ::dup2(first.get(), 3);
    ::dup2(out_of_the_way.get(), 4);
    pass("LISTEN_FDS", "2");
    pass("LISTEN_FDNAMES", "web");
    pass("LISTEN_PID", std::to_string(::getppid()));
    if (!weft::listen_fds().empty()) return 1;  // somebody else's
    pass("LISTEN_PID", std::to_string(::getpid()));
    std::vector<weft::ListenFd> passed = weft::listen_fds();
    if (passed.size() != 2 || passed[0].fd.get() != 3 || passed[1].fd.get() != 4) return 2;
    if (passed[0].name != "web" || passed[1].name != "unknown") return 3;
    if (!(::fcntl(3, F_GETFD) & FD_CLOEXEC) || ::getenv("LISTEN_FDS")) return 4;
    if (!weft::listen_fds().empty()) return 5;
    const bool served = weft::run([&]() -> Coro<bool> {
        Server server = co_await weft::start_server(&echo_lines, std::move(passed[0].fd));
        co_return co_await answers(server.address());
    });
    return served ? 0 : 6;
}

int nonsense() {
    pass("LISTEN_PID", std::to_string(::getpid()));
    for (const char* const count : {"x", "", "-1", "99999999999", "900"}) {
        pass("LISTEN_FDS", count);
        try {
            (void)weft::listen_fds();
            return 1;
        } catch (const weft::RuntimeError&) {
            pass("LISTEN_PID", std::to_string(::getpid()));
        }
    }
    ::unsetenv("LISTEN_FDS");
    return weft::listen_fds().empty() ? 0 : 2;
}

}  // namespace

TEST_CASE("listen_fds takes the sockets that were passed to this process, once, with their names") {
    CHECK(in_a_child(&what_was_passed) == 0);
}

TEST_CASE("listen_fds refuses what makes no sense") { CHECK(in_a_child(&nonsense) == 0); }

// --- when ---

WEFT_TEST_CASE("a server that was not started refuses, has its port, and serves once it is") {
    ServerOptions options;
    options.start_serving = false;
    Server server = co_await weft::start_server(&echo_lines, "127.0.0.1", 0, options);
    CHECK(server.port() != 0);
    CHECK_FALSE(server.is_serving());
    const int refused = co_await error_of(weft::open_connection(server.address()));
    CHECK(refused == ECONNREFUSED);
    server.start_serving();
    server.start_serving();
    CHECK(server.is_serving());
    const bool served = co_await answers(server.address());
    CHECK(served);
    server.close();
    CHECK_THROWS_AS(server.start_serving(), weft::RuntimeError);
}

WEFT_TEST_CASE("serve_forever starts a server that was not started") {
    ServerOptions options;
    options.start_serving = false;
    Server server = co_await weft::start_server(&echo_lines, "127.0.0.1", 0, options);
    weft::Task<void> serving = weft::create_task(server.serve_forever());
    co_await turns(1);
    const bool served = co_await answers(server.address());
    CHECK(served);
    co_await server.shutdown();
    co_await serving;
}

WEFT_TEST_CASE("a server that was never started ends, also in order, and frees its port") {
    ServerOptions options;
    options.start_serving = false;
    std::uint16_t port = 0;
    for (const bool in_order : {false, true}) {
        options.reuse_address = false;
        Server server =
            co_await weft::start_server(&echo_lines, support::own_host(), port, options);
        port = server.port();
        if (in_order) {
            co_await server.shutdown(1s);
        } else {
            server.close();
            co_await server.wait_closed();
        }
    }
}

// --- how many ---

namespace {

/// A server on two addresses that serves two connections at a time, and how many it has served.
struct Limited {
    static ServerOptions options() {
        ServerOptions limited;
        limited.connection_limit = 2;
        return limited;
    }
    Coro<Server> start() {
        auto count = [this](Stream client) -> Coro<void> {
            ++running;
            most = std::max(most, running);
            struct Ended {
                ~Ended() { --limited.running; }
                Limited& limited;
            } const ended{*this};
            co_await echo_lines(std::move(client));
        };
        std::vector<std::string> hosts{"127.0.0.1", "127.0.0.2"};
        co_return co_await weft::start_server(count, std::move(hosts), 0, options());
    }
    int running = 0;
    int most = 0;
};

/// Blocking calls: they are all in the kernel's queues.
std::vector<Fd> askers(const Server& server, std::size_t count) {
    std::vector<Fd> clients;
    while (clients.size() < count) {
        clients.push_back(connected_to(server.addresses()[clients.size() % 2]));
        support::put(clients.back().get(), "hello\n");
    }
    return clients;
}

}  // namespace

WEFT_TEST_CASE("a connection over the limit waits, is not refused, and is served when one ends") {
    Limited limited;
    Server server = co_await limited.start();
    co_await turns(3);
    std::vector<Fd> clients = askers(server, 20);
    std::size_t served = 0;
    for (int round = 0; round < 40 && served < 20; ++round) {
        co_await weft::sleep(10ms);
        CHECK(server.connections() <= 2);
        // Who was answered goes, and makes room.
        served += std::erase_if(clients, &is_answered);
    }
    CHECK(served == 20);
    CHECK(limited.most == 2);
    co_await weft::sleep(10ms);
    const bool next = co_await answers(server.address());
    CHECK(next);
    server.close();
    co_await server.wait_closed();
}

WEFT_TEST_CASE("a server that is full costs nothing while it waits, and may be closed") {
    Limited limited;
    Server server = co_await limited.start();
    const std::vector<Fd> clients = askers(server, 5);
    co_await weft::sleep(1s);
    const std::uint64_t entries = weft::get_running_loop().kernel_entries();
    co_await weft::sleep(100s);
    CHECK(weft::get_running_loop().kernel_entries() - entries < 10);
    CHECK(server.connections() == 2);
    server.close();
    server.close_clients();
    co_await server.wait_closed();
}

WEFT_TEST_CASE("a full server that stops serves its backlog, no more than the limit at a time") {
    Limited limited;
    Server server = co_await limited.start();
    co_await turns(3);
    std::vector<Fd> clients = askers(server, 20);
    const weft::TimePoint began = weft::get_running_loop().time();
    co_await server.shutdown(30s);
    CHECK(weft::get_running_loop().time() - began < 1s);
    CHECK(limited.most == 2);
    CHECK(std::all_of(clients.begin(), clients.end(), &is_answered));
}

WEFT_TEST_CASE("when the grace is over those who still wait for room are let go") {
    Limited limited;
    auto stays = [&limited](Stream client) -> Coro<void> {
        ++limited.running;
        co_await weft::sleep(1h);
        co_await client.write("never\n");
    };
    Server server = co_await weft::start_server(stays, "127.0.0.1", 0, Limited::options());
    co_await turns(3);
    std::vector<Fd> clients;
    while (clients.size() < 5) clients.push_back(connected_to(server.address()));
    co_await server.shutdown(5s);
    CHECK(limited.running == 2);
    CHECK(server.connections() == 0);
}

TEST_CASE("a full server that stops may be destroyed or cancelled after any turn") {
    const weft::testing::DescriptorCensus before;
    Limited limited;
    const auto scenario = [&limited]() -> Coro<void> {
        Server server = co_await limited.start();
        const std::vector<Fd> clients = askers(server, 6);
        co_await turns(4);
        co_await server.shutdown(1s);
    };
    weft::testing::kill_at_every_step(scenario);
    weft::testing::cancel_at_every_step(scenario, [](weft::Task<void>&) {});
    const std::string leaked = before.leaked();
    CHECK(leaked == "");
}

}  // namespace server_listen_test
