// SPDX-License-Identifier: MIT
// The step between accept and handler, which a handshake takes: it blocks nobody, and stops with
// the server (SEMANTICS 113, 115).
#include <weft/net/connect.hpp>
#include <weft/net/server.hpp>
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include <cerrno>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "../support/awaiting.hpp"
#include "../support/descriptors.hpp"

namespace server_upgrade_test {

namespace {

using namespace std::chrono_literals;
using support::connected_to;
using support::Fd;
using weft::Coro;
using weft::Server;
using weft::Stream;

/// A stream whose reads find the end when its owner says so, and that a shut direction would break.
class Session final : public weft::Transport {
public:
    explicit Session(Stream plain) : plain_(std::move(plain)) {}
    Coro<std::size_t> read_some(weft::MutableBuffer into) override {
        const std::size_t count = co_await plain_.read(into);
        if (count == 0 && !ended_) throw std::runtime_error("cut off");
        co_return count;
    }
    Coro<std::size_t> write_some(weft::ConstBuffer from) override {
        co_await plain_.write(from);
        co_return from.size();
    }
    Coro<void> write_eof() override { co_await plain_.write("<eof>"); }
    Coro<void> close() override { co_await plain_.close(); }
    void abort() noexcept override { plain_.abort(); }
    void end_reads() noexcept override {
        ended_ = true;
        ::shutdown(plain_.fd(), SHUT_RD);
    }
    int fd() const noexcept override { return plain_.fd(); }
    std::string name() const override { return "session"; }

private:
    Stream plain_;
    bool ended_ = false;
};

/// The client says "hi\n" first.
Coro<Stream> shake_hands(Stream plain) {
    const std::string greeting = co_await plain.read_line();
    if (greeting != "hi\n") throw std::runtime_error("no greeting");
    co_return weft::make_stream<Session>(std::move(plain));
}

Coro<void> echo_lines(Stream client) {
    for (;;) {
        const std::string line = co_await client.read_line();
        if (line.empty()) break;
        co_await client.write(line);
    }
    co_await client.write("goodbye\n");
}

Coro<Server> start() {
    return weft::detail::start_server(&echo_lines, std::string("127.0.0.1"), 0, {},
                                      weft::detail::ConnectionUpgrade(&shake_hands));
}

Coro<std::string> told(const Fd& client, std::size_t size) {
    co_return co_await support::read_exactly(client.get(), size);
}

std::vector<std::string>& reports() {
    static std::vector<std::string> texts;
    texts.clear();
    weft::get_running_loop().set_exception_handler([](const weft::ExceptionContext& context) {
        texts.push_back(weft::detail::text_of(context.exception));
    });
    return texts;
}

}  // namespace

WEFT_TEST_CASE("a handler gets what the upgrade made, and a slow one keeps nobody waiting") {
    Server server = co_await start();
    const Fd slow = connected_to(server.address());
    co_await weft::sleep(1s);
    const Fd quick = connected_to(server.address());
    support::put(quick.get(), "hi\nhello\n");
    const std::string answer = co_await told(quick, 6);
    CHECK(answer == "hello\n");
    CHECK(server.connections() == 2);
    support::put(slow.get(), "hi\nlate\n");
    const std::string late = co_await told(slow, 5);
    CHECK(late == "late\n");
    co_await server.shutdown(1s);
}

WEFT_TEST_CASE("an upgrade that fails is reported as its handler, and the server goes on") {
    std::vector<std::string>& texts = reports();
    Server server = co_await start();
    const Fd rude = connected_to(server.address());
    support::put(rude.get(), "go away\n");
    const std::string end = co_await support::read_some(rude.get(), 1);
    CHECK(end.empty());
    CHECK(texts == std::vector<std::string>{"no greeting"});
    const Fd polite = connected_to(server.address());
    support::put(polite.get(), "hi\nhello\n");
    const std::string answer = co_await told(polite, 6);
    CHECK(answer == "hello\n");
    co_await server.shutdown(1s);
    weft::get_running_loop().set_exception_handler({});
}

WEFT_TEST_CASE("a server that stops tells sessions in their way, and lets handshakes end") {
    std::vector<std::string>& texts = reports();
    Server server = co_await start();
    const Fd idle = connected_to(server.address());
    support::put(idle.get(), "hi\n");
    const Fd half_way = connected_to(server.address());
    support::put(half_way.get(), "h");
    const Fd silent = connected_to(server.address());
    co_await weft::sleep(1s);
    const Fd waits = connected_to(server.address());
    support::put(waits.get(), "hi\nin the queue\n");
    const weft::TimePoint began = weft::get_running_loop().time();
    weft::Task<void> stopping = weft::create_task(server.shutdown(30s));
    const std::string goodbye = co_await told(idle, 8);
    CHECK(goodbye == "goodbye\n");
    support::put(half_way.get(), "i\njust in time\n");
    const std::string served = co_await told(half_way, 13);
    CHECK(served == "just in time\n");
    const std::string last = co_await told(waits, 13);
    CHECK(last == "in the queue\n");
    co_await stopping;
    // Sessions that began in the stop, and who never greeted, are told after half of the grace.
    const auto took = weft::get_running_loop().time() - began;
    CHECK((took >= 15s && took < 16s));
    const std::string also = co_await told(waits, 8);
    CHECK(also == "goodbye\n");
    CHECK(texts.empty());
    weft::get_running_loop().set_exception_handler({});
}

WEFT_TEST_CASE("close_clients and abort_clients end sessions, and handshakes too") {
    reports();
    for (const bool aborts : {false, true}) {
        Server server = co_await start();
        const Fd session = connected_to(server.address());
        support::put(session.get(), "hi\nhello\n");
        const std::string answer = co_await told(session, 6);
        CHECK(answer == "hello\n");
        const Fd shaking = connected_to(server.address());
        co_await weft::sleep(1s);
        CHECK(server.connections() == 2);
        if (aborts) {
            server.abort_clients();
        } else {
            server.close_clients();
        }
        co_await weft::sleep(1s);
        CHECK(server.connections() == 0);
        server.close();
    }
    weft::get_running_loop().set_exception_handler({});
}

TEST_CASE("a server with an upgrade may be destroyed or cancelled after any turn") {
    const weft::testing::DescriptorCensus before;
    const auto scenario = []() -> Coro<void> {
        Server server = co_await start();
        const Fd client = connected_to(server.address());
        support::put(client.get(), "hi\nhello\n");
        const Fd shaking = connected_to(server.address());
        const std::string answer = co_await told(client, 6);
        co_await server.shutdown(1s);
    };
    weft::testing::kill_at_every_step(scenario);
    weft::testing::cancel_at_every_step(scenario, [](weft::Task<void>&) {});
    const std::string leaked = before.leaked();
    CHECK(leaked == "");
}

}  // namespace server_upgrade_test
