// SPDX-License-Identifier: MIT
// What goes over the wire to a Redis server and back, with a server that the test plays itself.
#include <weft/redis.hpp>
#include <weft/weft.hpp>

#include <hiredis/hiredis.h>

#include <functional>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <weft/streams/memory_stream.hpp>
#include <weft/testing/catch.hpp>

#include "awaiting.hpp"
#include "cut_everywhere.hpp"
#include "probe.hpp"

namespace wire_test {

using namespace std::chrono_literals;
using weft::Coro;
using weft::Stream;
using weft::redis::Client;
using weft::redis::Options;
using weft::redis::Reply;
using weft::redis::detail::Parser;
using weft::redis::detail::Wire;

namespace {

/// The other end of a client's connections, one after the other.
struct Played {
    Played() {
        options.connect_timeout = weft::Duration(0);
        options.reconnect.attempts = 1;
        options.connect_with([this] { return accept(); });
    }
    Coro<Stream> accept() {
        weft::StreamPair ends = weft::memory_stream();
        server.emplace(std::move(ends.far));
        (void)weft::create_task(greeted(*this));
        co_return std::move(ends.near);
    }
    static Coro<void> greeted(Played& self) {
        const std::string ping = co_await self.server->read_exactly(14);
        co_await self.server->write(std::string_view("+PONG\r\n"));
        ++self.connections;
    }
    /// What is there in one piece.
    Coro<std::string> taken() {
        const weft::Chunk chunk = co_await server->read_chunk();
        co_return std::string(chunk.view());
    }
    Options options;
    std::optional<Stream> server;
    int connections = 0;
};

/// What a command that fails says. `start` is a lambda with reference captures alone (g++ 12).
template <class Start>
Coro<std::string> failure(Start start) {
    try {
        (void)co_await start();
    } catch (const weft::redis::Error& error) {
        co_return error.what();
    }
    co_return "";
}

}  // namespace

TEST_CASE("commands are written as hiredis writes them", "[redis]") {
    const std::string with_zero("a\0b\r\n", 5);
    const std::vector<std::string> keys{"k1", "", "k3"};
    const std::map<std::string, int> fields{{"f", -7}, {"g", 8}};
    const std::string ours =
        Wire::command("SET", with_zero, 0, -1, 18446744073709551615U,
                      std::int64_t{-9223372036854775807} - 1, 0.5, keys, fields);
    const std::vector<std::string> words{"SET",
                                         with_zero,
                                         "0",
                                         "-1",
                                         "18446744073709551615",
                                         "-9223372036854775808",
                                         "0.5",
                                         "k1",
                                         "",
                                         "k3",
                                         "f",
                                         "-7",
                                         "g",
                                         "8"};
    std::vector<const char*> texts;
    std::vector<std::size_t> sizes;
    for (const std::string& word : words) {
        texts.push_back(word.data());
        sizes.push_back(word.size());
    }
    char* theirs = nullptr;
    // (An int in hiredis 0.14, a long long since 1.0.)
    const auto size = ::redisFormatCommandArgv(&theirs, static_cast<int>(words.size()),
                                               texts.data(), sizes.data());
    CHECK(ours == std::string(theirs, static_cast<std::size_t>(size)));
    ::redisFreeCommand(theirs);
    using weft::redis::detail::name_of_command;
    CHECK(name_of_command(Wire::command("SET", "a\nb", "value")) == "SET a?b");
    CHECK(name_of_command(Wire::command("AUTH", "secret")) == "AUTH");
    CHECK(name_of_command(Wire::command("GET", std::string(100, 'x'))) ==
          "GET " + std::string(60, 'x') + "...");
}

TEST_CASE("a reply becomes the type that is asked for, or says what it is", "[redis]") {
    const auto text = [](const char* what) { return Reply(Reply::Kind::text, what); };
    CHECK(text("12").as<int>() == 12);
    CHECK(Reply(7).as<std::string>() == "7");
    CHECK(Reply(1).as<bool>());
    CHECK(Reply(Reply::Kind::status, "OK").as<bool>());
    CHECK_FALSE(Reply().as<bool>());
    CHECK(text("2.5").as<double>() == 2.5);
    CHECK(text("18446744073709551615").as<std::uint64_t>() == 18446744073709551615U);
    CHECK(Reply().as<std::optional<std::string>>() == std::nullopt);
    CHECK(text("x").as<std::optional<std::string>>() == "x");
    std::vector<Reply> items{text("a"), Reply(1), text("b"), Reply(2)};
    const Reply list(items);
    CHECK(list.as<std::map<std::string, int>>() == std::map<std::string, int>{{"a", 1}, {"b", 2}});
    CHECK(list.as<std::vector<std::string>>() == std::vector<std::string>{"a", "1", "b", "2"});
    CHECK(list[1].number() == 1);
    CHECK_THROWS_AS(list[4], weft::redis::Error);
    using Catch::Matchers::Contains;
    CHECK_THROWS_WITH(text("12x").as<int>(), Contains("the reply is text"));
    CHECK_THROWS_WITH(text("300").as<signed char>(), Contains("the reply is text"));
    CHECK_THROWS_WITH(text("-1").as<unsigned>(), Contains("the reply is text"));
    CHECK_THROWS_WITH(text("").as<int>(), Contains("the reply is text"));
    CHECK_THROWS_WITH(list.as<std::string>(), Contains("the reply is a list"));
    CHECK_THROWS_WITH(Reply().as<std::string>(), Contains("the reply is nil"));
    CHECK_THROWS_AS(Reply(Reply::Kind::error, "ERR no").as<bool>(), weft::redis::ServerError);
}

TEST_CASE("replies are the same however the bytes are cut, and garbage is refused", "[redis]") {
    const std::string bytes =
        "*3\r\n$3\r\nabc\r\n*2\r\n:5\r\n*-1\r\n*0\r\n+OK\r\n-ERR no\r\n$-1\r\n$0\r\n\r\n:-12\r\n";
    const auto describe = [](const Reply& reply, auto& self) -> std::string {
        std::string all = std::to_string(static_cast<int>(reply.kind())) + reply.text() +
                          std::to_string(reply.number()) + "(";
        for (const Reply& item : reply.items()) all += self(item, self);
        return all + ")";
    };
    std::string whole;
    for (std::size_t piece = bytes.size(); piece > 0; --piece) {
        Parser parser;
        std::string all;
        for (std::size_t at = 0; at < bytes.size(); at += piece) {
            parser.feed(std::string_view(bytes).substr(at, piece));
            for (Reply* reply = nullptr; parser.next(reply);) all += describe(*reply, describe);
        }
        if (whole.empty()) whole = all;
        CHECK(all == whole);
    }
    CHECK(whole == "40(1abc0()40(35()00())40())2OK0()5ERR no0()00()10()3-12()" + std::string());
    // A bounded look at what a stranger may send: an error, or replies, and nothing else.
    std::mt19937 random(7);
    constexpr std::string_view likely = "*$+-:0123456789\r\n\r\nab";
    for (int round = 0; round < 3000; ++round) {
        Parser parser;
        std::string some;
        for (unsigned length = static_cast<unsigned>(random() % 60); length > 0; --length)
            some += likely[random() % likely.size()];
        try {
            parser.feed(some);
            for (Reply* reply = nullptr; parser.next(reply);) {
            }
        } catch (const weft::redis::ConnectionError&) {
        } catch (const std::bad_alloc&) {
        }
    }
}

WEFT_TEST_CASE("what the tasks of a turn ask goes out in one write, each gets its own answer",
               "[redis]") {
    Played played;
    Client client(played.options);
    auto asks = [&](int number) -> Coro<int> {
        auto got = co_await client.command<int>("ECHO", number);
        co_return got;
    };
    std::vector<weft::Task<int>> tasks;
    for (int number = 0; number < 50; ++number) tasks.push_back(weft::create_task(asks, number));
    while (played.connections == 0) co_await weft::yield();
    std::string expected;
    std::string answers;
    for (int number = 0; number < 50; ++number) {
        expected += Wire::command("ECHO", number);
        answers += ":" + std::to_string(number) + "\r\n";
    }
    const std::string written = co_await played.taken();
    CHECK(written == expected);
    CHECK_FALSE(client.is_idle());
    for (std::size_t at = 0; at < answers.size(); at += 7)
        co_await played.server->write(std::string_view(answers).substr(at, 7));
    for (int number = 0; number < 50; ++number) {
        const int got = co_await tasks[static_cast<std::size_t>(number)];
        CHECK(got == number);
    }
    CHECK(client.is_idle());
}

WEFT_TEST_CASE(
    "a command that is cancelled before it is written is not sent, one that is sent leaves "
    "its answer to nobody",
    "[redis]") {
    Played played;
    Client client(played.options);
    auto asks = [&](const char* what) -> Coro<std::string> {
        auto got = co_await client.command<std::string>("ECHO", what);
        co_return got;
    };
    auto never = weft::create_task(asks, "never");
    co_await weft::yield();
    never.cancel();
    auto first = weft::create_task(asks, "first");
    auto second = weft::create_task(asks, "second");
    auto third = weft::create_task(asks, "third");
    while (played.connections == 0) co_await weft::yield();
    const std::string written = co_await played.taken();
    CHECK(written == Wire::command("ECHO", "first") + Wire::command("ECHO", "second") +
                         Wire::command("ECHO", "third"));
    second.cancel();
    co_await second.wait();
    CHECK(second.cancelled());
    CHECK_FALSE(client.is_idle());
    co_await played.server->write(std::string_view("+1st\r\n+2nd\r\n+3rd\r\n"));
    const std::string one = co_await first;
    const std::string three = co_await third;
    CHECK(one == "1st");
    CHECK(three == "3rd");
    CHECK(client.is_idle());
    CHECK(never.cancelled());
    // (An answer that has come wins against the cancel.)
    auto fourth = weft::create_task(asks, "fourth");
    (void)co_await played.taken();
    co_await played.server->write(std::string_view("+4th\r\n"));
    for (int turn = 0; turn < 10 && !client.is_idle(); ++turn) co_await weft::yield();
    fourth.cancel();
    const std::string four = co_await fourth;
    CHECK(four == "4th");
}

WEFT_TEST_CASE("an error names server and command, and says whether the command was sent",
               "[redis]") {
    Played played;
    Client client(played.options);
    auto asks = [&]() -> Coro<std::string> {
        auto got = co_await failure([&] { return client.incr("n"); });
        co_return got;
    };
    auto told = weft::create_task(asks);
    while (played.connections == 0) co_await weft::yield();
    (void)co_await played.taken();
    co_await played.server->write(std::string_view("-WRONGTYPE not that\r\n"));
    const std::string refused = co_await told;
    CHECK(refused == "redis 127.0.0.1:6379: INCRBY n: WRONGTYPE not that");
    int wanted = 1;  // connections
    struct Break {
        const char* bytes;
        const char* reason;
    };
    for (const Break& broken :
         {Break{"", "the server has closed the connection (the command was sent"},
          Break{"!garbage\r\n", "not the protocol of Redis: Protocol error"},
          Break{"+odd\r\n+more\r\n", "the reply is a status, which is not"}}) {
        CAPTURE(broken.reason);
        auto cut = weft::create_task(asks);
        while (played.connections < wanted) co_await weft::yield();
        ++wanted;
        (void)co_await played.taken();
        co_await played.server->write(std::string_view(broken.bytes));
        if (!*broken.bytes) co_await played.server->close();
        const std::string why = co_await cut;
        CAPTURE(why);
        CHECK(why.find("redis 127.0.0.1:6379: INCRBY n: ") == 0);
        CHECK(why.find(broken.reason) != why.npos);
        while (client.is_connected()) co_await weft::yield();
    }
}

WEFT_TEST_CASE("a transaction on watched keys is refused when its connection has gone meanwhile",
               "[redis]") {
    Played played;
    Client client(played.options);
    // In both states that a new connection may be in: not begun, and up.
    for (const bool is_up_again : {false, true}) {
        CAPTURE(is_up_again);
        const int before = played.connections;
        weft::Event may_return;
        auto transacts = [&]() -> Coro<std::string> {
            auto body = [&](Client&) -> Coro<weft::redis::Batch> {
                co_await may_return.wait();
                weft::redis::Batch batch;
                batch.add("SET", "key", "from a value that is old");
                co_return batch;
            };
            auto why =
                co_await failure([&] { return client.transact(weft::redis::keys("key"), body); });
            co_return why;
        };
        auto transaction = weft::create_task(transacts);
        while (played.connections == before) co_await weft::yield();
        const std::string first = co_await played.taken();
        CHECK(first == Wire::command("PING"));
        co_await played.server->write(std::string_view("+PONG\r\n"));
        const std::string watch = co_await played.taken();
        CHECK(watch == Wire::command("WATCH", "key"));
        co_await played.server->write(std::string_view("+OK\r\n"));
        while (!client.is_idle()) co_await weft::yield();
        const int watched_on = played.connections;
        co_await played.server->close();
        while (client.is_connected()) co_await weft::yield();
        auto connects = [&]() -> Coro<void> { co_await client.connect(); };
        std::optional<weft::Task<void>> again;
        if (is_up_again) {
            again = weft::create_task(connects);
            while (played.connections == watched_on) co_await weft::yield();
            const std::string ping = co_await played.taken();
            CHECK(ping == Wire::command("PING"));
            co_await played.server->write(std::string_view("+PONG\r\n"));
            co_await *again;
        }
        may_return.set();
        const std::string why = co_await transaction;
        CHECK(why.find("the connection that it was for has gone") != why.npos);
    }
}

WEFT_TEST_CASE("a batch of nothing waits for nobody, and a command without words is refused",
               "[redis]") {
    Played played;
    Client client(played.options);
    auto asks = [&]() -> Coro<int> {
        auto got = co_await client.command<int>("ECHO", 7);
        co_return got;
    };
    const std::vector<Reply> none = co_await client.send(weft::redis::Batch());
    CHECK(none.empty());
    auto asked = weft::create_task(asks);
    while (played.connections == 0) co_await weft::yield();
    (void)co_await played.taken();
    co_await played.server->write(std::string_view(":7\r\n"));
    const int got = co_await asked;
    CHECK(got == 7);
    weft::redis::Batch batch;
    CHECK_THROWS_AS(batch.add(std::vector<std::string>()), std::invalid_argument);
    CHECK(batch.empty());
}

TEST_CASE("times that are negative where zero is no limit are refused by their names", "[redis]") {
    const auto refused = [](auto set) {
        return probe::message_of<std::invalid_argument>([&] {
            Options options;
            set(options);
            Client client(options);
        });
    };
    CHECK(refused([](Options& options) { options.connect_timeout = -1s; }) ==
          "weft: redis::Options: a negative connect_timeout");
    CHECK(refused([](Options& options) { options.command_timeout = weft::Duration::min(); }) ==
          "weft: redis::Options: a negative command_timeout");
    weft::run([]() -> Coro<void> {
        Client client((Options()));
        CHECK(probe::message_of<std::invalid_argument>([&] {
                  (void)client.set("key", "value", -1ms);
              }) == "weft: redis: SET with a time to live that is over already");
        co_return;
    });
}

TEST_CASE("a clean-up is answered although run has ended before the client's tasks began",
          "[redis]") {
    // What was asked in the last turn has begun a connector, a writer or a reader that is
    // cancelled before its first step, or in the pause between two attempts.
    enum Last { connects, writes, pauses };
    for (const Last last : {connects, writes, pauses}) {
        CAPTURE(int(last));
        std::string end;
        std::optional<Played> played;
        std::optional<Client> client;
        int attempts = 0;
        // (Here, because main has gone when they go on.)
        auto cleans = [&]() -> Coro<void> {
            const auto tells = [&]() -> Coro<void> {
                end = co_await failure([&] { return client->incr("n"); });
                if (end.empty()) end = "answered";
            };
            const bool in_time =
                co_await weft::clean_up(std::chrono::seconds(1), [&] { return tells(); });
            if (!in_time) end = "forgotten";
        };
        auto asks = [&]() -> Coro<void> {
            try {
                co_await client->command<void>("ECHO", "the last");
            } catch (const weft::CancelledError&) {
            }
            co_await cleans();
        };
        auto answers = [&]() -> Coro<void> {
            const auto serves = [&]() -> Coro<void> {
                while (played->connections == 0) co_await weft::yield();
                const std::string all = co_await played->server->read_until("$1\r\nn\r\n");
                co_await played->server->write(
                    std::string_view(all.find("the last") == all.npos ? ":1\r\n" : "+x\r\n:1\r\n"));
            };
            (void)co_await weft::clean_up(std::chrono::seconds(1), [&] { return serves(); });
        };
        weft::testing::run([&]() -> Coro<void> {
            played.emplace();
            if (last == pauses) {
                played->options.reconnect = weft::RetryOptions(5, std::chrono::hours(1));
                played->options.connect_with([&]() -> Coro<Stream> {
                    if (++attempts > 0) throw std::runtime_error("refused");
                    co_return std::move(*played->server);
                });
            }
            client.emplace(played->options);
            if (last == writes) {
                auto first = [&]() -> Coro<void> { co_await client->connect(); };
                auto connected = weft::create_task(first);
                while (played->connections == 0) co_await weft::yield();
                (void)co_await played->taken();
                co_await played->server->write(std::string_view("+PONG\r\n"));
                co_await connected;
            }
            if (last != pauses) (void)weft::create_task(answers);
            (void)weft::create_task(asks);
            co_await weft::yield();  // it has asked, and that is all
            if (last == pauses) {
                while (attempts == 0) co_await weft::yield();
                for (int turn = 0; turn < 5; ++turn) co_await weft::yield();
            }
        });
        CHECK(end != "");
        CHECK(end != "forgotten");
        if (last != pauses) CHECK(end == "answered");
        client.reset();
        played.reset();
    }
}

WEFT_TEST_CASE("a channel that is added while the connection is made again is subscribed on it",
               "[redis]") {
    Played played;
    played.options.reconnect.attempts = 2;
    Client client(played.options);
    const auto confirm = [&](const char* channel) -> Coro<void> {
        const std::string answer =
            std::string("*3\r\n$9\r\nsubscribe\r\n$1\r\n") + channel + "\r\n:1\r\n";
        co_await played.server->write(answer);
    };
    auto begins = [&]() -> Coro<weft::redis::Subscription> { return client.subscribe("a"); };
    auto begun = weft::create_task(begins);
    while (played.connections == 0) co_await weft::yield();
    (void)co_await played.taken();
    co_await confirm("a");
    weft::redis::Subscription news = co_await std::move(begun);
    auto reads = [&]() -> Coro<std::string> {
        const weft::redis::Message message = co_await news.next();
        co_return message.payload;
    };
    auto reader = weft::create_task(reads);
    co_await weft::yield();
    co_await played.server->close();
    while (played.connections == 1) co_await weft::yield();
    const std::string first = co_await played.taken();
    CHECK(first == Wire::command("SUBSCRIBE", "a"));
    co_await news.subscribe("b");
    co_await confirm("a");
    const std::string second = co_await played.taken();
    CHECK(second == Wire::command("SUBSCRIBE", "b"));
    co_await played.server->write(
        std::string_view("*3\r\n$7\r\nmessage\r\n$1\r\nb\r\n$2\r\nhi\r\n"));
    const std::string payload = co_await reader;
    CHECK(payload == "hi");
}

WEFT_TEST_CASE(
    "a change of a subscription that is cut off costs the connection if it was half sent",
    "[redis]") {
    const std::string large(100'000, 'l');
    const std::string medium(70'000, 'm');  // neither fits into the stream, which takes 64 KiB
    const std::size_t size_of_large = Wire::command("SUBSCRIBE", large).size();
    for (const bool half_sent : {false, true}) {
        CAPTURE(half_sent);
        Played played;
        Client client(played.options);
        auto begins = [&]() -> Coro<weft::redis::Subscription> { return client.subscribe("a"); };
        auto begun = weft::create_task(begins);
        while (played.connections == 0) co_await weft::yield();
        (void)co_await played.taken();
        co_await played.server->write(
            std::string_view("*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"));
        weft::redis::Subscription news = co_await std::move(begun);
        auto first = weft::create_task([&]() -> Coro<void> { return news.subscribe(large); });
        auto second = weft::create_task([&]() -> Coro<void> { return news.subscribe(medium); });
        co_await support::turns(3);
        // The first one goes on meanwhile in both cases.
        const std::size_t now = half_sent ? size_of_large : 20'000;
        (void)co_await played.server->read_exactly(now);
        co_await support::turns(3);
        CHECK(first.done() == half_sent);
        second.cancel();
        co_await second.wait();
        CHECK(second.cancelled());
        if (half_sent) {
            auto next = [&]() -> Coro<weft::redis::Message> { return news.next(); };
            auto reading = weft::create_task(next);
            co_await support::turns(20);
            CHECK(played.connections == 2);
            reading.cancel();
            co_await reading.wait();
        } else {
            (void)co_await played.server->read_exactly(size_of_large - now);
            co_await first;
            co_await news.subscribe("b");
            const std::string after = co_await played.taken();
            CHECK(after == Wire::command("SUBSCRIBE", "b"));
        }
    }
}

TEST_CASE("a client that is cut off at any step leaves nothing behind", "[redis]") {
    const auto scenario = [](int& alive) -> Coro<void> {
        const probe::Alive counted(alive);
        Played played;
        Client client(played.options);
        auto asks = [](Client& of, int number) -> Coro<int> {
            int got = 0;
            try {
                got = co_await of.command<int>("ECHO", number);
            } catch (const weft::redis::ConnectionError&) {  // of the one that is cut
            }
            co_return got;
        };
        auto one = weft::create_task(asks, std::ref(client), 1);
        auto two = weft::create_task(asks, std::ref(client), 2);
        while (played.connections == 0) co_await weft::yield();
        (void)co_await played.taken();
        co_await played.server->write(std::string_view(":1\r\n:2\r\n"));
        (void)co_await one;
        (void)co_await two;
        auto cut = weft::create_task(asks, std::ref(client), 3);
        (void)co_await played.taken();
        played.server->abort();
        co_await cut.wait();
        co_await client.close();
    };
    const std::size_t turns = support::cut_everywhere(scenario);
    CHECK(turns > 5);
}

WEFT_TEST_CASE("a subscription finds out that its network was cut, and only then", "[redis]") {
    Played played;
    played.options.reconnect.attempts = 2;
    Client client(played.options);
    const std::string confirmed = "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n";
    const std::string ping = Wire::command("PING");
    auto begins = [&]() -> Coro<weft::redis::Subscription> { return client.subscribe("a"); };
    auto begun = weft::create_task(begins);
    while (played.connections == 0) co_await weft::yield();
    (void)co_await played.taken();
    co_await played.server->write(confirmed);
    weft::redis::Subscription news = co_await std::move(begun);
    // Waits that are shorter than a beat.
    auto reads = [&]() -> Coro<std::string> {
        for (;;) {
            std::optional<weft::redis::Message> message =
                co_await weft::move_on_after(4s, news.next());
            if (message) co_return std::move(message->payload);
        }
    };
    auto reader = weft::create_task(reads);
    for (int beat = 0; beat < 3; ++beat) {
        const std::string asked = co_await played.taken();
        CHECK(asked == ping);
        co_await played.server->write(std::string_view("*2\r\n$4\r\npong\r\n$0\r\n\r\n"));
    }
    CHECK(news.connections() == 1);
    const auto start = weft::get_running_loop().time();
    const std::string unanswered = co_await played.taken();
    CHECK(unanswered == ping);
    while (played.connections == 1) co_await weft::sleep(1s);
    CHECK(weft::get_running_loop().time() - start < 40s);
    const std::string again = co_await played.taken();
    CHECK(again == Wire::command("SUBSCRIBE", "a"));
    co_await played.server->write(confirmed);
    co_await played.server->write(
        std::string_view("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n"));
    const std::string payload = co_await reader;
    CHECK(payload == "hi");
    CHECK(news.connections() == 2);
}

WEFT_TEST_CASE("a connection on which nothing but cancelled commands are unanswered is given up",
               "[redis]") {
    Played played;
    played.options.reconnect.attempts = 2;
    Client client(played.options);
    auto asks = [&]() -> Coro<bool> {
        auto get = [&] { return client.get("a"); };
        const auto answer = co_await weft::move_on_after(1s, get);
        co_return answer.has_value();
    };
    // Its answer is late, but comes.
    auto first = weft::create_task(asks);
    while (played.connections == 0) co_await weft::yield();
    (void)co_await played.taken();
    const bool in_time = co_await std::move(first);
    CHECK_FALSE(in_time);
    co_await weft::sleep(10s);
    co_await played.server->write(std::string_view("$1\r\na\r\n"));
    co_await weft::sleep(60s);
    CHECK(played.connections == 1);
    CHECK(client.is_connected());
    // And then none comes.
    for (int call = 0; call < 14; ++call) {
        const bool answered = co_await asks();
        CHECK_FALSE(answered);
        CHECK(client.is_connected());
    }
    co_await weft::sleep(3s);
    CHECK_FALSE(client.is_connected());
    auto again = weft::create_task(asks);
    while (played.connections == 1) co_await weft::yield();
    (void)co_await played.taken();
    co_await played.server->write(std::string_view("$1\r\na\r\n"));
    const bool answered = co_await std::move(again);
    CHECK(answered);
}

/// A task asks for a key and waits for so long; what it got.
struct Asking {
    explicit Asking(Client& of) noexcept : client(of) {}
    Coro<std::string> ask(std::string key, weft::Duration limit) {
        auto get = [&] { return client.get(key); };
        try {
            const auto answer = co_await weft::move_on_after(limit, get);
            co_return answer ? answer->value_or("nil") : "given up";
        } catch (const std::exception& error) {
            co_return error.what();
        }
    }
    Client& client;
};

WEFT_TEST_CASE("a command without a deadline is not struck by the alarm for a cancelled one",
               "[redis]") {
    Played played;
    Client client(played.options);
    Asking asking(client);
    auto first = weft::create_task(&Asking::ask, std::ref(asking), "a", 1s);
    while (played.connections == 0) co_await weft::yield();
    const std::string given_up = co_await std::move(first);
    CHECK(given_up == "given up");
    co_await played.server->write(std::string_view("$1\r\na\r\n"));
    co_await weft::sleep(10s);
    auto second = weft::create_task(&Asking::ask, std::ref(asking), "b", 1h);
    co_await weft::sleep(600s);
    CHECK(client.is_connected());
    co_await played.server->write(std::string_view("$1\r\nb\r\n"));
    const std::string answered = co_await std::move(second);
    CHECK(answered == "b");
    CHECK(played.connections == 1);
}

WEFT_TEST_CASE("the last of several cancelled commands tells of a cut network as well", "[redis]") {
    Played played;
    Client client(played.options);
    Asking asking(client);
    auto first = weft::create_task(&Asking::ask, std::ref(asking), "a", 1s);
    auto second = weft::create_task(&Asking::ask, std::ref(asking), "b", 2s);
    while (played.connections == 0) co_await weft::yield();
    co_await weft::sleep(3s);
    CHECK((first.done() && second.done()));
    co_await played.server->write(std::string_view("$1\r\na\r\n"));
    co_await weft::sleep(10s);
    CHECK(client.is_connected());
    co_await weft::sleep(10s);
    CHECK_FALSE(client.is_connected());
}

WEFT_TEST_CASE(
    "a command that is cancelled behind one that waits at the server costs that one nothing",
    "[redis]") {
    using weft::redis::detail::waits_at_server;
    CHECK(waits_at_server(Wire::command("xread", "COUNT", 1, "block", 0, "STREAMS", "a", "$")));
    CHECK_FALSE(waits_at_server(Wire::command("XREAD", "STREAMS", "BLOCK", "$")));
    CHECK_FALSE(waits_at_server(Wire::command("LPOP", "BLPOP")));
    Played played;
    Client client(played.options);
    Asking asking(client);
    auto blocks = [&]() -> Coro<std::string> {
        co_return co_await client.command<std::string>("blpop", "list", 0);
    };
    auto blocking = weft::create_task(blocks);
    auto behind = weft::create_task(&Asking::ask, std::ref(asking), "a", 1s);
    while (played.connections == 0) co_await weft::yield();
    co_await weft::sleep(600s);
    CHECK(behind.done());
    CHECK(client.is_connected());
    co_await played.server->write(std::string_view("+item\r\n$1\r\na\r\n"));
    const std::string item = co_await std::move(blocking);
    CHECK(item == "item");
    // Nobody waits for it any more: what is silent now may be the network.
    blocking = weft::create_task(blocks);
    co_await weft::sleep(600s);
    behind = weft::create_task(&Asking::ask, std::ref(asking), "a", 1s);
    co_await weft::sleep(600s);
    CHECK(client.is_connected());
    blocking.cancel();
    co_await weft::sleep(20s);
    CHECK_FALSE(client.is_connected());
    CHECK(played.connections == 1);
}

WEFT_TEST_CASE("a heartbeat of max() is none", "[redis]") {
    Played played;
    played.options.heartbeat = weft::Duration::max();
    Client client(played.options);
    Asking asking(client);
    auto first = weft::create_task(&Asking::ask, std::ref(asking), "a", 1s);
    while (played.connections == 0) co_await weft::yield();
    (void)co_await played.taken();
    const std::string given_up = co_await std::move(first);
    CHECK(given_up == "given up");
    co_await weft::sleep(24h);
    CHECK(client.is_connected());

    auto begins = [&]() -> Coro<weft::redis::Subscription> { return client.subscribe("a"); };
    auto begun = weft::create_task(begins);
    while (played.connections == 1) co_await weft::yield();
    (void)co_await played.taken();
    co_await played.server->write(std::string_view("*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"));
    weft::redis::Subscription news = co_await std::move(begun);
    const auto message = co_await weft::move_on_after(24h, news.next());
    CHECK_FALSE(message.has_value());
    CHECK(news.connections() == 1);
    const auto asked = co_await weft::move_on_after(1s, played.taken());
    CHECK_FALSE(asked.has_value());
}

}  // namespace wire_test
