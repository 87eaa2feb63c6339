// SPDX-License-Identifier: MIT
// serve: a server and its handlers last as long as a block, however that ends (SEMANTICS 89, 95,
// 99, 115).
#include <weft/deadline/timeout.hpp>
#include <weft/net/connect.hpp>
#include <weft/net/serve.hpp>
#include <weft/signal/stop.hpp>
#include <weft/testing/catch.hpp>
#include <weft/testing/step_kill.hpp>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../support/awaiting.hpp"
#include "../support/descriptors.hpp"

namespace serve_test {

namespace {

using namespace std::chrono_literals;
using support::turns;
using weft::Address;
using weft::Coro;
using weft::Server;
using weft::ServerOptions;
using weft::Stream;

/// What became of the handlers.
struct Ledger {
    int begun = 0;
    int at_the_end = 0;
    int cancelled = 0;
    int running() const { return begun - at_the_end - cancelled; }
};

/// Echoes lines; at the end of the stream it needs a second more; a cancel needs half of one.
auto counting_echo(Ledger& ledger) {
    return [&ledger](Stream client) -> Coro<void> {
        ++ledger.begun;
        bool struck = false;
        try {
            for (;;) {
                const std::string line = co_await client.read_line();
                if (line.empty()) break;
                if (line == "fail\n") {
                    ++ledger.at_the_end;
                    throw std::runtime_error("the handler failed");
                }
                co_await client.write(line);
            }
            co_await weft::sleep(1s);
        } catch (const weft::CancelledError&) {
            struck = true;
        }
        if (!struck) {
            ++ledger.at_the_end;
            co_return;
        }
        co_await weft::sleep(500ms);
        ++ledger.cancelled;
    };
}

Coro<Stream> greeted(const Address& address) {
    Stream stream = co_await weft::open_connection(address);
    co_await stream.write("hello\n");
    co_await stream.read_line();
    co_return std::move(stream);
}

Coro<std::string> text_of_failure(Coro<void> coro) {
    try {
        co_await std::move(coro);
    } catch (const std::exception& error) {
        co_return error.what();
    }
    co_return "";
}

std::vector<std::string>& silence() {
    static std::vector<std::string> texts;
    texts.clear();
    weft::get_running_loop().set_exception_handler([](const weft::ExceptionContext& context) {
        texts.push_back(weft::detail::text_of(context.exception));
    });
    return texts;
}

}  // namespace

WEFT_TEST_CASE("serve gives the body its server, stops it in order, and returns the body's value") {
    Ledger ledger;
    std::vector<Stream> clients;
    Address address;
    auto body = [&](Server& server, std::string word) -> Coro<std::string> {
        address = server.address();
        for (int count = 0; count < 3; ++count) clients.push_back(co_await greeted(address));
        co_return word + "!";
    };
    const std::string value = co_await weft::serve(counting_echo(ledger), support::own_host(), 0,
                                                   ServerOptions(), body, "done");
    CHECK(value == "done!");
    CHECK(ledger.at_the_end == 3);
    CHECK(ledger.cancelled == 0);
    bool refused = false;
    try {
        co_await weft::open_connection(address);
    } catch (const std::system_error&) {
        refused = true;
    }
    CHECK(refused);
}

WEFT_TEST_CASE("an exception of the body cancels the handlers, and waits for them") {
    Ledger ledger;
    std::vector<Stream> clients;
    auto body = [&](Server& server) -> Coro<void> {
        for (int count = 0; count < 3; ++count) {
            clients.push_back(co_await greeted(server.address()));
        }
        throw std::runtime_error("the body failed");
    };
    const std::string text =
        co_await text_of_failure(weft::serve(counting_echo(ledger), "127.0.0.1", 0, body));
    CHECK(text == "the body failed");
    CHECK(ledger.cancelled == 3);
    CHECK(ledger.running() == 0);
}

WEFT_TEST_CASE("an exception of a handler is reported, and ends neither the server nor the body") {
    std::vector<std::string>& reports = silence();
    Ledger ledger;
    auto body = [&](Server& server) -> Coro<int> {
        Stream unlucky = co_await greeted(server.address());
        co_await unlucky.write("fail\n");
        const std::string end = co_await unlucky.read_line();
        CHECK(end == "");
        Stream lucky = co_await greeted(server.address());
        co_return 7;
    };
    const int value = co_await weft::serve(counting_echo(ledger), "127.0.0.1", 0, body);
    CHECK(value == 7);
    CHECK(reports == std::vector<std::string>{"the handler failed"});
    weft::get_running_loop().set_exception_handler({});
}

WEFT_TEST_CASE("a cancelled serve cancels its body and its handlers, and waits for all of them") {
    Ledger ledger;
    bool body_cleaned = false;
    std::vector<Stream> clients;
    auto body = [&](Server& server) -> Coro<void> {
        for (int count = 0; count < 3; ++count) {
            clients.push_back(co_await greeted(server.address()));
        }
        try {
            co_await server.serve_forever();
        } catch (const weft::CancelledError&) {
            body_cleaned = true;
            throw;
        }
    };
    weft::Task<void> serving =
        weft::create_task(weft::serve(counting_echo(ledger), "127.0.0.1", 0, body));
    while (clients.size() < 3) co_await weft::yield();
    // serve_forever waits for the handlers, until the second cancel; serve waits in any case.
    serving.cancel();
    co_await turns(3);
    serving.cancel();
    co_await turns(3);
    serving.cancel();
    co_await serving.wait();
    CHECK(serving.cancelled());
    CHECK(body_cleaned);
    CHECK(ledger.running() == 0);
}

WEFT_TEST_CASE("a cancel while serve waits for its handlers cancels those and comes out after") {
    Ledger ledger;
    std::vector<Stream> clients;
    auto body = [&](Server& server) -> Coro<int> {
        clients.push_back(co_await greeted(server.address()));
        co_return 1;
    };
    weft::Task<int> serving =
        weft::create_task(weft::serve(counting_echo(ledger), "127.0.0.1", 0, body));
    while (clients.empty()) co_await weft::yield();
    co_await weft::sleep(500ms);
    CHECK_FALSE(serving.done());
    serving.cancel();
    co_await serving.wait();
    CHECK(serving.cancelled());
    CHECK(ledger.cancelled == 1);
}

WEFT_TEST_CASE("a body's error comes out of a cancel too, and the cancel strikes after it") {
    Ledger ledger;
    std::vector<Stream> clients;
    bool struck_later = false;
    auto body = [&](Server& server) -> Coro<void> {
        clients.push_back(co_await greeted(server.address()));
        throw std::runtime_error("the body failed");
    };
    auto around = [&]() -> Coro<void> {
        std::string text =
            co_await text_of_failure(weft::serve(counting_echo(ledger), "127.0.0.1", 0, body));
        CHECK(text == "the body failed");
        try {
            co_await weft::sleep(1h);
        } catch (const weft::CancelledError&) {
            struck_later = true;
            throw;
        }
    };
    weft::Task<void> serving = weft::create_task(around());
    while (clients.empty()) co_await weft::yield();
    co_await turns(3);
    serving.cancel();
    co_await serving.wait();
    CHECK(serving.cancelled());
    CHECK(struck_later);
    CHECK(ledger.running() == 0);
}

WEFT_TEST_CASE("a deadline around serve ends it like a cancel") {
    Ledger ledger;
    std::vector<Stream> clients;
    auto body = [&](Server& server) -> Coro<void> {
        clients.push_back(co_await greeted(server.address()));
        co_await weft::sleep(1h);
    };
    bool timed_out = false;
    try {
        co_await weft::timeout(10s, [&](weft::Timeout&) -> Coro<void> {
            co_await weft::serve(counting_echo(ledger), "127.0.0.1", 0, body);
        });
    } catch (const weft::TimeoutError&) {
        timed_out = true;
    }
    CHECK(timed_out);
    CHECK(ledger.cancelled == 1);
}

WEFT_TEST_CASE("a serve inside another's body ends first, and both end with the outer cancel") {
    Ledger outer;
    Ledger inner;
    std::vector<Stream> clients;
    auto inside = [&](Server& server, Address of_outer) -> Coro<void> {
        clients.push_back(co_await greeted(server.address()));
        clients.push_back(co_await greeted(of_outer));
        co_await weft::sleep(1h);
    };
    auto outside = [&](Server& server) -> Coro<void> {
        co_await weft::serve(counting_echo(inner), "127.0.0.1", 0, inside, server.address());
    };
    weft::Task<void> serving =
        weft::create_task(weft::serve(counting_echo(outer), "127.0.0.1", 0, outside));
    while (clients.size() < 2) co_await weft::yield();
    co_await turns(3);
    serving.cancel();
    co_await weft::sleep(700ms);
    CHECK(inner.running() == 0);
    CHECK(outer.running() == 1);
    co_await serving.wait();
    CHECK(serving.cancelled());
    CHECK(outer.cancelled == 1);
}

WEFT_TEST_CASE("a grace of nothing cancels the handlers when the body ends") {
    Ledger ledger;
    std::vector<Stream> clients;
    auto body = [&](Server& server) -> Coro<void> {
        clients.push_back(co_await greeted(server.address()));
    };
    ServerOptions options;
    options.grace = 0s;
    co_await weft::serve(counting_echo(ledger), "127.0.0.1", 0, options, body);
    CHECK(ledger.cancelled == 1);
}

WEFT_TEST_CASE("serve takes any server, starts it, and does without one that its body moves away") {
    Ledger ledger;
    support::Folder folder;
    ServerOptions options;
    options.start_serving = false;
    Server server =
        co_await weft::start_unix_server(counting_echo(ledger), folder.file("s"), options);
    const Address address = server.address();
    std::vector<Stream> clients;
    auto body = [&](Server& given) -> Coro<void> {
        clients.push_back(co_await greeted(address));
        Server taken = std::move(given);
        CHECK(taken.is_serving());
    };
    co_await weft::serve(std::move(server), body);
    CHECK(ledger.begun == 1);
    CHECK(ledger.running() == 0);
    Server closed = co_await weft::start_server(counting_echo(ledger), "127.0.0.1", 0);
    closed.close();
    const std::string refused = co_await text_of_failure(weft::serve(std::move(closed), body));
    CHECK(refused.find("is closed") != std::string::npos);
}

WEFT_TEST_CASE("a graceful stop of the loop stops the server, and a body that waits for it ends") {
    Ledger ledger;
    std::vector<Stream> clients;
    auto body = [&](Server& server) -> Coro<void> {
        clients.push_back(co_await greeted(server.address()));
        weft::get_running_loop().call_later(1s, [] { weft::request_stop(); });
        co_await weft::wait_for_stop();
        CHECK_FALSE(server.is_serving());
    };
    co_await weft::serve(counting_echo(ledger), "127.0.0.1", 0, body);
    CHECK(ledger.at_the_end == 1);
    weft::get_running_loop().graceful_stop().withdraw();
}

TEST_CASE("a serve with clients may be destroyed or cancelled after any turn") {
    const weft::testing::DescriptorCensus before;
    int running = 0;
    int left_behind = 0;
    const auto scenario = [&]() -> Coro<void> {
        auto handler = [&running](Stream client) -> Coro<void> {
            struct Runs {
                explicit Runs(int& of) : count(of) { ++count; }
                ~Runs() { --count; }
                int& count;
            } const runs(running);
            const std::string line = co_await client.read_line();
            co_await client.write(line);
            co_await client.read_line();
        };
        auto body = [](Server& server) -> Coro<void> {
            Stream first = co_await greeted(server.address());
            const weft::Fd waits = support::connected_to(server.address());
        };
        std::exception_ptr ended;
        try {
            co_await weft::serve(handler, "127.0.0.1", 0, body);
        } catch (...) {
            ended = std::current_exception();
        }
        left_behind += running;
        if (ended) std::rethrow_exception(ended);
    };
    weft::testing::kill_at_every_step(scenario);
    weft::testing::cancel_at_every_step(scenario, [](weft::Task<void>&) {});
    CHECK(left_behind == 0);
    CHECK(running == 0);
    const std::string leaked = before.leaked();
    CHECK(leaked == "");
}

}  // namespace serve_test
