// SPDX-License-Identifier: MIT
// Servers, open_connection and name lookup: what their comments promise (SEMANTICS 86 to 91).
// program: own
// rungs: all
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>
#include <weft/weft.hpp>
#include "../support/descriptors.hpp"
#include "../support/stream_pairs.hpp"
#include "../support/thread_wait.hpp"

namespace server_test {

// --- a resolver that does what the tests need: this definition comes before that of libc ---------

namespace {

/// Lookups of "slow.test" wait until the gate opens.
class Gate {
public:
    void open() {
        const std::lock_guard lock(mutex_);
        open_ = true;
        changed_.notify_all();
    }
    void wait() {
        std::unique_lock lock(mutex_);
        ++waiting_;
        changed_.notify_all();
        support::wait_until(changed_, lock, [this] { return open_; });
        --waiting_;
        changed_.notify_all();
    }
    void wait_for_somebody() {
        std::unique_lock lock(mutex_);
        support::wait_until(changed_, lock, [this] { return waiting_ > 0; });
    }
    /// Lets everybody through, and closes again.
    void let_through() {
        std::unique_lock lock(mutex_);
        open_ = true;
        changed_.notify_all();
        support::wait_until(changed_, lock, [this] { return waiting_ == 0; });
        open_ = false;
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool open_ = false;
    int waiting_ = 0;
};

Gate& gate = *new Gate;  // outlives the threads, which outlive everything

int ports_taken = 0;  // so many binds to a port that was asked for find it taken

}  // namespace

extern "C" int bind(int fd, const sockaddr* address, socklen_t size) noexcept {
    using Bind = int (*)(int, const sockaddr*, socklen_t);
    static const auto libc = reinterpret_cast<Bind>(::dlsym(RTLD_NEXT, "bind"));
    if (ports_taken > 0 && weft::Address::from(address, size).port() != 0) {
        --ports_taken;
        errno = EADDRINUSE;
        return -1;
    }
    return libc(fd, address, size);
}

extern "C" int getaddrinfo(const char* node, const char* service, const addrinfo* hints,
                           addrinfo** found) {
    using Lookup = int (*)(const char*, const char*, const addrinfo*, addrinfo**);
    static const auto libc = reinterpret_cast<Lookup>(::dlsym(RTLD_NEXT, "getaddrinfo"));
    const std::string_view name = node ? node : "";
    if (name == "nowhere.test") return EAI_NONAME;
    if (name == "nothing.test") {
        *found = nullptr;
        return 0;
    }
    if (name == "slow.test") {
        gate.wait();
        return libc("127.0.0.1", service, hints, found);
    }
    if (name == "not-here.test") {
        // Kept for documentation, so no host has it; then one that every host has.
        if (const int error = libc("192.0.2.1", service, hints, found)) return error;
        return libc("127.0.0.1", service, hints, &(*found)->ai_next);
    }
    if (name == "two.test") {
        // Nobody listens on the first.
        if (const int error = libc("127.0.0.2", service, hints, found)) return error;
        return libc("127.0.0.1", service, hints, &(*found)->ai_next);
    }
    return libc(node, service, hints, found);
}

namespace {

using namespace std::chrono_literals;
using support::must;
using weft::Address;
using weft::Coro;
using weft::Server;
using weft::Stream;

Coro<void> echo(Stream client) {
    char buffer[1024];
    for (;;) {
        const std::size_t count = co_await client.read(buffer);
        if (count == 0) co_return;
        co_await client.write(weft::ConstBuffer(buffer, count));
    }
}

/// Sends a word and gets it back.
Coro<bool> echoes(Stream& server, std::string word) {
    co_await server.write(word);
    const std::string back = co_await server.read_exactly(word.size());
    co_return back == word;
}

Coro<bool> answers(const Address& address) {
    Stream stream = co_await weft::open_connection(address);
    co_return co_await echoes(stream, "are you there?");
}

template <class T>
Coro<std::optional<std::system_error>> error_of(Coro<T> coro) {
    try {
        co_await std::move(coro);
    } catch (const std::system_error& error) {
        co_return error;
    }
    co_return std::nullopt;
}

/// What the loop's exception handler was told.
struct Reports {
    Reports() {
        weft::get_running_loop().set_exception_handler(
            [this](const weft::ExceptionContext& context) {
                texts.push_back(weft::detail::text_of(context.exception));
                messages.emplace_back(context.message);
            });
    }
    ~Reports() { weft::get_running_loop().set_exception_handler({}); }
    std::vector<std::string> texts;
    std::vector<std::string> messages;
};

/// The tasks that are there now and were not before `known`.
std::vector<weft::AnyTask> tasks_beside(const std::vector<weft::AnyTask>& known) {
    std::vector<weft::AnyTask> all = weft::all_tasks();
    std::erase_if(all, [&](const weft::AnyTask& task) {
        return std::find(known.begin(), known.end(), task) != known.end();
    });
    return all;
}

// --- serving ---

WEFT_TEST_CASE("a server serves many connections at the same time") {
    Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
    CHECK(server.is_serving());
    CHECK(server.port() != 0);
    CHECK(server.address().to_string() == "127.0.0.1:" + std::to_string(server.port()));
    std::vector<Stream> streams;
    for (int number = 0; number < 100; ++number) {
        streams.push_back(co_await weft::open_connection("127.0.0.1", server.port()));
    }
    for (int round = 0; round < 3; ++round) {
        for (Stream& stream : streams) {
            const bool same = co_await echoes(stream, "round " + std::to_string(round));
            REQUIRE(same);
        }
    }
    CHECK(server.connections() == 100);
    streams.clear();
    server.close();
    co_await server.wait_closed();
    CHECK(server.connections() == 0);
}

WEFT_TEST_CASE("a handler may be a lambda with captures; it lives as long as its connections") {
    auto greeting = std::make_shared<std::string>("hello\n");
    const std::weak_ptr<std::string> watched = greeting;
    auto greet = [greeting](Stream client) -> Coro<void> {
        co_await client.read_line();
        co_await client.write(*greeting);
    };
    std::optional<Server> server(co_await weft::start_server(std::move(greet), "127.0.0.1", 0));
    greeting.reset();
    Stream client = co_await weft::open_connection(server->address());
    co_await client.write("please\n");
    co_await weft::sleep(1ms);
    Stream later = co_await weft::open_connection(server->address());
    co_await weft::sleep(1ms);
    server.reset();
    co_await later.write("please\n");
    const std::string answer = co_await later.read_line();
    CHECK(answer == "hello\n");
    const std::string first = co_await client.read_line();
    CHECK(first == "hello\n");
    co_await weft::sleep(1ms);
    CHECK(watched.expired());
}

WEFT_TEST_CASE("a handler's error is reported, and the server goes on") {
    const Reports reports;
    auto fail = [](Stream client) -> Coro<void> {
        const std::string line = co_await client.read_line();
        if (line == "fail\n") throw std::runtime_error("the handler failed");
        co_await client.write("well\n");
    };
    Server server = co_await weft::start_server(fail, "127.0.0.1", 0);
    Stream unlucky = co_await weft::open_connection(server.address());
    Stream lucky = co_await weft::open_connection(server.address());
    co_await unlucky.write("fail\n");
    const std::string end = co_await unlucky.read_line();
    CHECK(end == "");
    co_await lucky.write("go on\n");
    const std::string answer = co_await lucky.read_line();
    CHECK(answer == "well\n");
    CHECK(reports.texts == std::vector<std::string>{"the handler failed"});
    const std::string at = server.address().to_string();
    CHECK(reports.messages == std::vector<std::string>{"a handler failed, of the server at " + at});
}

WEFT_TEST_CASE("a handler that fails before its first await is reported, and the server goes on") {
    const Reports reports;
    int calls = 0;
    auto fail_first = [&calls](Stream client) -> Coro<void> {
        if (++calls == 1) throw std::runtime_error("too early");
        return echo(std::move(client));  // not a coroutine itself
    };
    Server server = co_await weft::start_server(fail_first, "127.0.0.1", 0);
    Stream unlucky = co_await weft::open_connection(server.address());
    const std::string end = co_await unlucky.read_line();
    CHECK(end == "");
    const bool served = co_await answers(server.address());
    CHECK(served);
    CHECK(reports.texts == std::vector<std::string>{"too early"});
    server.close();
    co_await server.wait_closed();
}

WEFT_TEST_CASE("a handler that is cancelled ends its connection silently, and the server goes on") {
    const Reports reports;
    Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
    const std::vector<weft::AnyTask> before = weft::all_tasks();
    Stream stream = co_await weft::open_connection(server.address());
    const bool served = co_await echoes(stream, "hello");
    CHECK(served);
    const std::vector<weft::AnyTask> handlers = tasks_beside(before);
    REQUIRE(handlers.size() == 1);
    handlers[0].cancel();
    const std::string end = co_await stream.read_line();
    CHECK(end == "");
    CHECK(server.connections() == 0);
    const bool goes_on = co_await answers(server.address());
    CHECK(goes_on);
    CHECK(reports.texts.empty());
}

WEFT_TEST_CASE("a port that is taken is an error that names it") {
    const Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
    const auto error = co_await error_of(weft::start_server(&echo, "127.0.0.1", server.port()));
    REQUIRE(error.has_value());
    CHECK(error->code() == std::errc::address_in_use);
    CHECK(std::string(error->what()).find(server.address().to_string()) != std::string::npos);
}

WEFT_TEST_CASE("an address that the host lacks is passed over when it has another") {
    Server server = co_await weft::start_server(&echo, "not-here.test", 0);
    CHECK(server.address().to_string() == "127.0.0.1:" + std::to_string(server.port()));
    const bool served = co_await answers(server.address());
    CHECK(served);
    server.close();
    co_await server.wait_closed();
}

WEFT_TEST_CASE("a server whose addresses are all of other hosts is an error that names the first") {
    const auto error = co_await error_of(weft::start_server(&echo, "192.0.2.1", 0));
    REQUIRE(error.has_value());
    CHECK(error->code() == std::errc::address_not_available);
    CHECK(std::string(error->what()).find("192.0.2.1") != std::string::npos);
}

WEFT_TEST_CASE("the port of a server that has closed can be taken again at once") {
    std::uint16_t port = 0;
    for (int round = 0; round < 3; ++round) {
        Server server = co_await weft::start_server(&echo, support::own_host(), port);
        port = server.port();
        const bool served = co_await answers(server.address());
        CHECK(served);
        server.close();
        co_await server.wait_closed();
    }
}

WEFT_TEST_CASE("an empty host means every local address") {
    Server server = co_await weft::start_server(&echo, "", 0);
    const bool served = co_await answers(Address::ip("127.0.0.1", server.port()));
    CHECK(served);
}

WEFT_TEST_CASE("port 0 is one port for every address of the host, also when some are taken") {
    for (const int taken : {0, 3}) {
        CAPTURE(taken);
        ports_taken = taken;
        Server server = co_await weft::start_server(&echo, "two.test", 0);
        CHECK(ports_taken == 0);
        for (const char* const host : {"127.0.0.2", "127.0.0.1"}) {
            const bool served = co_await answers(Address::ip(host, server.port()));
            CHECK(served);
        }
    }
    ports_taken = 1'000;
    const auto error = co_await error_of(weft::start_server(&echo, "two.test", 0));
    ports_taken = 0;
    REQUIRE(error.has_value());
    CHECK(error->code() == std::errc::address_in_use);
}

WEFT_TEST_CASE("with reuse_port two servers share a port") {
    weft::ServerOptions options;
    options.reuse_port = true;
    const Server first = co_await weft::start_server(&echo, "127.0.0.1", 0, options);
    const Server second = co_await weft::start_server(&echo, "127.0.0.1", first.port(), options);
    CHECK(second.port() == first.port());
    const bool served = co_await answers(first.address());
    CHECK(served);
}

// --- closing ---

WEFT_TEST_CASE("wait_closed waits for the last connection") {
    Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
    Stream first = co_await weft::open_connection(server.address());
    Stream second = co_await weft::open_connection(server.address());
    const bool served = co_await echoes(first, "hello");
    CHECK(served);
    weft::Task<void> closed = weft::create_task(server.wait_closed());
    co_await weft::sleep(1s);
    CHECK(!closed.done());
    server.close();
    CHECK(!server.is_serving());
    co_await weft::sleep(1s);
    CHECK(!closed.done());
    CHECK(server.connections() == 2);
    const bool still_served = co_await echoes(second, "still there?");
    CHECK(still_served);
    co_await first.close();
    co_await weft::sleep(1s);
    CHECK(!closed.done());
    co_await second.close();
    co_await closed;
    CHECK(server.connections() == 0);
    server.close();
    co_await server.wait_closed();
}

WEFT_TEST_CASE("a cancelled wait_closed leaves the server alone") {
    Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
    weft::Task<void> closed = weft::create_task(server.wait_closed());
    co_await weft::sleep(1ms);
    closed.cancel();
    co_await closed.wait();
    CHECK(closed.cancelled());
    const bool served = co_await answers(server.address());
    CHECK(served);
}

WEFT_TEST_CASE("right after close the port refuses") {
    Server server = co_await weft::start_server(&echo, support::own_host(), 0);
    const bool served = co_await answers(server.address());
    CHECK(served);
    server.close();
    const auto error = co_await error_of(weft::open_connection(server.address()));
    REQUIRE(error.has_value());
    CHECK(error->code() == std::errc::connection_refused);
}

WEFT_TEST_CASE("after wait_closed the port refuses") {
    Server server = co_await weft::start_server(&echo, support::own_host(), 0);
    server.close();
    co_await server.wait_closed();
    const auto error = co_await error_of(weft::open_connection(server.address()));
    REQUIRE(error.has_value());
    CHECK(error->code() == std::errc::connection_refused);
}

WEFT_TEST_CASE("a server that goes away closes; its connections go on") {
    std::optional<Server> server(co_await weft::start_server(&echo, support::own_host(), 0));
    const Address address = server->address();
    Stream stream = co_await weft::open_connection(address);
    const bool served = co_await echoes(stream, "hello");
    CHECK(served);
    server.reset();
    co_await weft::sleep(1ms);
    const auto error = co_await error_of(weft::open_connection(address));
    CHECK(error.has_value());
    const bool still_served = co_await echoes(stream, "hello");
    CHECK(still_served);
}

WEFT_TEST_CASE("a server may move while it serves, and be replaced by another") {
    Server first = co_await weft::start_server(&echo, "127.0.0.1", 0);
    const Address address = first.address();
    Server moved = std::move(first);
    const bool served = co_await answers(address);
    CHECK(served);
    Server other = co_await weft::start_server(&echo, "127.0.0.1", 0);
    moved = std::move(other);
    const bool other_served = co_await answers(moved.address());
    CHECK(other_served);
}

WEFT_TEST_CASE("a cancelled serve_forever closes the server") {
    Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
    weft::Task<void> serving = weft::create_task(server.serve_forever());
    const bool served = co_await answers(server.address());
    CHECK(served);
    CHECK(!serving.done());
    serving.cancel();
    co_await serving.wait();
    CHECK(serving.cancelled());
    CHECK(!server.is_serving());
    co_await server.wait_closed();
}

WEFT_TEST_CASE("a cancelled serve_forever waits for the handlers before the cancel goes on") {
    int ended = 0;
    auto work = [&ended](Stream client) -> Coro<void> {
        co_await client.read_line();
        co_await weft::sleep(1s);
        ++ended;
    };
    Server server = co_await weft::start_server(work, support::own_host(), 0);
    weft::Task<void> serving = weft::create_task(server.serve_forever());
    Stream first = co_await weft::open_connection(server.address());
    Stream second = co_await weft::open_connection(server.address());
    co_await weft::sleep(1ms);
    serving.cancel("stop");
    co_await weft::sleep(10s);
    CHECK_FALSE(serving.done());
    const auto refused = co_await error_of(weft::open_connection(server.address()));
    CHECK(refused.has_value());
    co_await first.write("end\n");
    co_await weft::sleep(10s);
    CHECK(ended == 1);
    CHECK_FALSE(serving.done());
    co_await second.write("end\n");
    std::string message;
    try {
        co_await serving;
    } catch (const weft::CancelledError& cancelled) {
        message = cancelled.message();
    }
    CHECK(ended == 2);
    CHECK(message == "stop");
}

WEFT_TEST_CASE("a second cancel ends serve_forever's wait for the handlers") {
    Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
    weft::Task<void> serving = weft::create_task(server.serve_forever());
    Stream client = co_await weft::open_connection(server.address());
    const bool served = co_await echoes(client, "hello");
    CHECK(served);
    serving.cancel();
    co_await weft::sleep(1s);
    CHECK_FALSE(serving.done());
    serving.cancel();
    co_await serving.wait();
    CHECK(serving.cancelled());
    const bool goes_on = co_await echoes(client, "still there?");
    CHECK(goes_on);
}

WEFT_TEST_CASE("serve_forever on a closed server is a RuntimeError") {
    Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
    const std::string address = server.address().to_string();
    server.close();
    for (int round = 0; round < 2; ++round) {
        std::string text;
        try {
            co_await server.serve_forever();
        } catch (const weft::RuntimeError& error) {
            text = error.what();
        }
        CHECK(text == "weft: serve_forever: the server " + address + " is closed");
        co_await server.wait_closed();
    }
}

WEFT_TEST_CASE("serve_forever ends when somebody closes the server, or lets go of it") {
    for (const bool lets_go : {false, true}) {
        std::optional<Server> server(co_await weft::start_server(&echo, "127.0.0.1", 0));
        weft::Task<void> serving = weft::create_task(server->serve_forever());
        co_await weft::sleep(1ms);
        CHECK_FALSE(serving.done());
        if (lets_go) {
            server.reset();
        } else {
            server->close();
        }
        co_await serving;
    }
}

WEFT_TEST_CASE("a Server that was moved from says so") {
    Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
    weft::Task<void> serving = weft::create_task(server.serve_forever());
    Server other = std::move(server);
    using Call = void (*)(Server&);
    for (const Call call : {Call([](Server& empty) { (void)empty.address(); }),
                            Call([](Server& empty) { (void)empty.port(); }),
                            Call([](Server& empty) { (void)empty.connections(); }),
                            Call([](Server& empty) { (void)empty.is_serving(); }),
                            Call([](Server& empty) { empty.close(); }),
                            Call([](Server& empty) { (void)empty.wait_closed(); }),
                            Call([](Server& empty) { (void)empty.serve_forever(); })}) {
        CHECK_THROWS_AS(call(server), weft::RuntimeError);
    }
    const bool served = co_await answers(other.address());
    CHECK(served);
    CHECK_FALSE(serving.done());
    other.close();
    co_await serving;
}

// --- shortage ---

// UndefinedBehaviorSanitizer looks at memory through a pipe that it opens: not without descriptors.
#if !WEFT_ASAN

/// Lowers the limit on descriptors, and restores it.
class DescriptorLimit {
public:
    explicit DescriptorLimit(rlim_t most) {
        must(::getrlimit(RLIMIT_NOFILE, &before_), "getrlimit");
        rlimit lower = before_;
        lower.rlim_cur = most;
        must(::setrlimit(RLIMIT_NOFILE, &lower), "setrlimit");
    }
    ~DescriptorLimit() { ::setrlimit(RLIMIT_NOFILE, &before_); }

private:
    rlimit before_{};
};

rlim_t lowest_free_descriptor() {
    const weft::Fd probe(must(::open("/dev/null", O_RDONLY | O_CLOEXEC), "open"));
    return static_cast<rlim_t>(probe.get());
}

WEFT_TEST_CASE("out of descriptors, accept backs off, and then serves who waits") {
    const Reports reports;
    weft::EventLoop& loop = weft::get_running_loop();
    {
        // A first connection, so that whatever the loop opens is open.
        Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
        const bool served = co_await answers(server.address());
        CHECK(served);
        server.close();
        co_await server.wait_closed();
    }
    // Room for the listening socket and the client's, not for the server's end of the connection.
    std::optional<DescriptorLimit> limit(lowest_free_descriptor() + 2);
    Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
    Stream client = co_await weft::open_connection(server.address());
    weft::Task<bool> served = weft::create_task(echoes(client, "patience"));

    const std::uint64_t entries = loop.kernel_entries();
    co_await weft::sleep(10s);
    CHECK(!served.done());
    // 20 attempts a second, with a handful of system calls each.
    CHECK(loop.kernel_entries() - entries < 4000);
    CHECK(reports.texts.size() == 1);

    limit.reset();
    const bool same = co_await served;
    CHECK(same);
    CHECK(reports.texts.size() == 1);
}

WEFT_TEST_CASE("a server closes also while it is out of descriptors") {
    const Reports reports;
    std::optional<DescriptorLimit> limit(lowest_free_descriptor() + 2);
    Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
    Stream client = co_await weft::open_connection(server.address());
    co_await weft::sleep(1s);
    server.close();
    co_await server.wait_closed();
}

#endif

// --- accept against cancel ---

WEFT_TEST_CASE("a server closed while connections arrive leaks none, 500 rounds") {
    for (int round = 0; round < 500; ++round) {
        Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
        std::vector<Stream> clients;
        weft::Task<std::optional<std::system_error>> connecting =
            weft::create_task(error_of(weft::open_connection(server.address())));
        for (int turn = 0; turn < round % 7; ++turn) co_await weft::yield();
        server.close();
        co_await connecting;
        co_await server.wait_closed();
        REQUIRE(server.connections() == 0);
    }
}

WEFT_TEST_CASE("a connection that is cancelled leaks nothing, 500 rounds") {
    Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
    for (int round = 0; round < 500; ++round) {
        weft::Task<Stream> connecting =
            weft::create_task(weft::open_connection("127.0.0.1", server.port()));
        for (int turn = 0; turn < round % 5; ++turn) co_await weft::yield();
        connecting.cancel();
        co_await connecting.wait();
    }
    server.close();
    co_await server.wait_closed();
}

TEST_CASE("a server with clients may be destroyed or cancelled after any turn") {
    const weft::testing::DescriptorCensus before;
    const auto scenario = []() -> Coro<void> {
        Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
        Stream first = co_await weft::open_connection(server.address());
        Stream second = co_await weft::open_connection("127.0.0.1", server.port());
        co_await echoes(first, "one");
        co_await echoes(second, "two");
        server.close();
        co_await first.close();
        co_await second.close();
        co_await server.wait_closed();
    };
    weft::testing::kill_at_every_step(scenario);
    weft::testing::cancel_at_every_step(scenario, [](weft::Task<void>&) {});
    const std::string leaked = before.leaked();
    CHECK(leaked == "");
}

// --- open_connection ---

WEFT_TEST_CASE("a port that nobody listens on refuses") {
    std::uint16_t port = 0;
    {
        Server server = co_await weft::start_server(&echo, support::own_host(), 0);
        port = server.port();
        server.close();
        co_await server.wait_closed();
    }
    const auto by_address =
        co_await error_of(weft::open_connection(Address::ip(support::own_host(), port)));
    REQUIRE(by_address.has_value());
    CHECK(by_address->code() == std::errc::connection_refused);
    const auto by_name = co_await error_of(weft::open_connection("localhost", 1));
    REQUIRE(by_name.has_value());
    CHECK(by_name->code() == std::errc::connection_refused);
}

WEFT_TEST_CASE("a host that cannot be found is an error that names it and the reason") {
    const auto error = co_await error_of(weft::open_connection("nowhere.test", 80));
    REQUIRE(error.has_value());
    const std::string text = error->what();
    CHECK(text.find("getaddrinfo") != std::string::npos);
    CHECK(text.find("nowhere.test") != std::string::npos);
    CHECK(text.find(::gai_strerror(EAI_NONAME)) != std::string::npos);
}

WEFT_TEST_CASE("a host without an address is an error") {
    const auto error = co_await error_of(weft::open_connection("nothing.test", 80));
    CHECK(error.has_value());
}

WEFT_TEST_CASE("open_connection takes the first address that answers") {
    Server server = co_await weft::start_server(&echo, "127.0.0.1", 0);
    Stream stream = co_await weft::open_connection("two.test", server.port());
    const bool served = co_await echoes(stream, "hello");
    CHECK(served);
}

Coro<void> never_runs(weft::Stream) { co_return; }

WEFT_TEST_CASE("a connection cancelled before its first step does not hold up wait_closed",
               "[server]") {
    weft::Server server = co_await weft::start_server(never_runs, "127.0.0.1", 0);
    weft::Stream client = co_await weft::open_connection("127.0.0.1", server.port());
    // The accept task makes the connection's task in some turn; it is cancelled in that same turn.
    const weft::AnyTask self = weft::current_task();
    for (int turn = 0; turn < 1000 && server.connections() == 0; ++turn) co_await weft::yield();
    for (const weft::AnyTask& task : weft::all_tasks()) {
        if (!(task == self) && task.name() != "accept") task.cancel();
    }
    server.close();
    co_await server.wait_closed();
    REQUIRE(server.connections() == 0);
}

// --- getaddrinfo ---

WEFT_TEST_CASE("a numeric address needs no lookup") {
    const std::vector<Address> v4 = co_await weft::getaddrinfo("127.0.0.1", 80);
    REQUIRE(v4.size() == 1);
    CHECK(v4[0].to_string() == "127.0.0.1:80");
    const std::vector<Address> v6 = co_await weft::getaddrinfo("::1", 443);
    REQUIRE(v6.size() == 1);
    CHECK(v6[0].to_string() == "[::1]:443");
}

WEFT_TEST_CASE("a name is looked up in the order of the resolver") {
    const std::vector<Address> two = co_await weft::getaddrinfo("two.test", 80);
    REQUIRE(two.size() == 2);
    CHECK(two[0].to_string() == "127.0.0.2:80");
    CHECK(two[1].to_string() == "127.0.0.1:80");
}

WEFT_TEST_CASE("a lookup does not hold up the loop") {
    weft::Task<std::vector<Address>> looking = weft::create_task(weft::getaddrinfo("slow.test", 1));
    co_await weft::yield();
    gate.wait_for_somebody();
    for (int turn = 0; turn < 10; ++turn) co_await weft::yield();
    CHECK(!looking.done());
    gate.let_through();
    const std::vector<Address> found = co_await looking;
    CHECK(found.size() == 1);
}

WEFT_TEST_CASE("a cancelled lookup ends at once") {
    weft::Task<std::vector<Address>> looking = weft::create_task(weft::getaddrinfo("slow.test", 1));
    co_await weft::yield();
    gate.wait_for_somebody();
    looking.cancel();
    co_await looking.wait();
    CHECK(looking.cancelled());
    gate.let_through();
    co_await weft::sleep(1ms);
}

TEST_CASE("a lookup that outlives its loop is dropped") {
    for (int round = 0; round < 20; ++round) {
        weft::testing::run([]() -> Coro<void> {
            // Ends without having waited for it.
            (void)weft::create_task(weft::getaddrinfo("slow.test", 1));
            co_await weft::yield();
            gate.wait_for_somebody();
        });
        gate.let_through();
    }
}

TEST_CASE("answers that arrive while the loop closes are dropped, 200 rounds") {
    for (int round = 0; round < 200; ++round) {
        weft::testing::run([round]() -> Coro<void> {
            (void)weft::create_task(weft::getaddrinfo("localhost", 1));
            for (int turn = 0; turn < round % 10; ++turn) co_await weft::yield();
        });
    }
}

}  // namespace

}  // namespace server_test
