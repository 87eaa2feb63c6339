// SPDX-License-Identifier: MIT
// redis::Client, Pool and Subscription with a real server.
#include <weft/redis.hpp>
#include <weft/weft.hpp>

#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <weft/testing/catch.hpp>
#include <weft/testing/census.hpp>
#include <weft/testing/step_kill.hpp>

#include "refusals.hpp"
#include "service.hpp"
#if __has_include(<openssl/ssl.h>)
#include <weft/net/tls.hpp>
#endif

namespace client_test {

using namespace std::chrono_literals;
using weft::Coro;
using weft::redis::Batch;
using weft::redis::Client;
using weft::redis::ConnectionError;
using weft::redis::Options;
using weft::redis::Reply;
using weft::redis::ServerError;
using weft::redis::Subscription;

namespace {

Options at(const support::Service& server) { return Options("127.0.0.1", server.port()); }

/// Runs `body(client)` on real time with a client of an empty database.
template <class Body>
void with_client(Body body, Options (*adapt)(Options) = nullptr) {
    const support::Service& server = support::shared_service("redis");
    if (!server.is_there()) return;
    const weft::testing::DescriptorCensus before;
    weft::run([&]() -> Coro<void> {
        Client client(adapt ? adapt(at(server)) : at(server));
        co_await client.command<void>("FLUSHALL");
        co_await body(client);
    });
    CHECK(before.leaked() == "");
}

/// What it throws. `start` is a lambda with reference captures alone (g++ 12).
template <class Error, class Start>
Coro<std::string> failure(Start start) {
    try {
        (void)co_await start();
    } catch (const Error& error) {
        co_return error.what();
    }
    co_return "";
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != text.npos;
}

}  // namespace

TEST_CASE("the commands of every day, with their types", "[redis]") {
    with_client([](Client& redis) -> Coro<void> {
        const auto none = co_await redis.get("name");
        CHECK(none == std::nullopt);
        const bool was_set = co_await redis.set("name", "weft", 10s);
        CHECK(was_set);
        const auto name = co_await redis.get("name");
        CHECK(name == "weft");
        const auto ttl = co_await redis.command<int>("TTL", "name");
        CHECK(ttl > 0);
        weft::redis::SetOptions absent;
        absent.only_if_absent = true;
        const bool again = co_await redis.set("name", 5, absent);
        CHECK_FALSE(again);
        const auto count = co_await redis.incr("count", 41);
        const auto more = co_await redis.incr("count");
        CHECK(count + 1 == more);
        co_await redis.hset("user", "name", "Ada");
        co_await redis.hset("user", "age", 36);
        const auto user = co_await redis.hgetall<std::map<std::string, std::string>>("user");
        CHECK(user == std::map<std::string, std::string>{{"age", "36"}, {"name", "Ada"}});
        const std::vector<int> more_items{3, 4};
        co_await redis.rpush("list", 1, "two", more_items);
        const auto list = co_await redis.lrange("list", 0, -1);
        CHECK(list == std::vector<std::string>{"1", "two", "3", "4"});
        const auto popped = co_await redis.lpop("list");
        CHECK(popped == "1");
        const auto both = co_await redis.mget("name", "nothing");
        CHECK(both == std::vector<std::optional<std::string>>{"weft", std::nullopt});
        const auto removed = co_await redis.del("name", weft::redis::keys("count", "none"));
        CHECK(removed == 2);
        const bool there = co_await redis.exists("list");
        CHECK(there);
        const std::string binary("a\0\r\n\xff", 5);
        co_await redis.set(binary, binary);
        const auto same = co_await redis.get(binary);
        CHECK(same == binary);
        const auto sum = co_await redis.eval<int>("return tonumber(KEYS[1]) + ARGV[1]",
                                                  weft::redis::keys("4"), 5);
        CHECK(sum == 9);
        const auto nested = co_await redis.eval("return {1, {'a', {2}}, false}");
        CHECK(nested[1][1][0].number() == 2);
        CHECK(nested[2].is_nil());
        const std::string wrong = co_await failure<ServerError>([&] { return redis.incr("list"); });
        CHECK(contains(wrong, "INCRBY list: WRONGTYPE"));
        CHECK(contains(wrong, "redis 127.0.0.1:"));
        const std::string big(3'000'000, 'x');
        co_await redis.set("big", big);
        const auto back = co_await redis.get("big");
        CHECK(back == big);
    });
}

TEST_CASE("a scan finds every key", "[redis]") {
    with_client([](Client& redis) -> Coro<void> {
        Batch batch;
        for (int number = 0; number < 500; ++number)
            batch.add("SET", "k" + std::to_string(number), 1);
        for (int number = 0; number < 300; ++number) batch.add("HSET", "hash", number, number * 2);
        (void)co_await redis.send(batch);
        std::set<std::string> keys;
        auto all = redis.scan("k*", 50);
        while (auto key = co_await all.next()) keys.insert(*key);
        CHECK(keys.size() == 500);
        std::size_t parts = 0;
        auto fields = redis.scan_in("HSCAN", "hash");
        while (auto part = co_await fields.next()) ++parts;
        CHECK(parts == 600);
    });
}

TEST_CASE("a transaction happens as a whole, one on watched keys again when they were changed",
          "[redis]") {
    with_client([](Client& redis) -> Coro<void> {
        Batch three;
        three.add("SET", "a", 1).add("INCR", "a").add("LPUSH", "a", 1);
        const std::vector<Reply> done = co_await redis.transact(three);
        CHECK(done.size() == 3);
        CHECK(done[1].number() == 2);
        CHECK(done[2].is_error());  // while it ran
        Batch refused;
        refused.add("SET", "a", 9).add("NOSUCHCOMMAND");
        const std::string why =
            co_await failure<ServerError>([&] { return redis.transact(refused); });
        CHECK(contains(why, "unknown command"));
        const auto unchanged = co_await redis.get("a");
        CHECK(unchanged == "2");

        // Twenty tasks, one client, a counter that is read and written.
        auto adds = [&]() -> Coro<void> {
            auto body = [](Client& client) -> Coro<Batch> {
                const auto value = co_await client.get("counter");
                Batch batch;
                batch.add("SET", "counter", std::stoi(value.value_or("0")) + 1);
                co_return batch;
            };
            co_await redis.transact(weft::redis::keys("counter"), body);
        };
        std::vector<weft::Task<void>> tasks;
        for (int index = 0; index < 20; ++index) tasks.push_back(weft::create_task(adds));
        for (auto& task : tasks) co_await task;
        const auto counter = co_await redis.command<int>("GET", "counter");
        CHECK(counter == 20);

        int calls = 0;
        auto disturbed = [&](Client& client) -> Coro<Batch> {
            // (By whomever: also by this connection.)
            if (++calls < 3) co_await client.incr("watched");
            Batch batch;
            batch.add("SET", "seen", calls);
            co_return batch;
        };
        co_await redis.transact(weft::redis::keys("watched"), disturbed);
        CHECK(calls == 3);
        auto changes = [](Client& client) -> Coro<Batch> {
            co_await client.incr("watched");
            Batch batch;
            batch.add("PING");
            co_return batch;
        };
        const std::string gave_up = co_await failure<weft::redis::Error>(
            [&] { return redis.transact(weft::redis::keys("watched"), changes, 2); });
        CHECK(contains(gave_up, "changed each time"));
    });
}

TEST_CASE(
    "a transaction that is cut off anywhere watches no key any more, and changes nothing by half",
    "[redis]") {
    const support::Service& server = support::shared_service("redis");
    if (!server.is_there()) return;
    Options options = at(server);
    // Virtual time would jump over these while the server works.
    options.connect_timeout = weft::Duration(0);
    options.heartbeat = weft::Duration(0);
    weft::run([&options]() -> Coro<void> {
        Client redis(options);
        co_await redis.command<void>("FLUSHALL");
    });
    std::unique_ptr<Client> redis;
    const auto scenario = [&]() -> Coro<void> {
        auto body = [](Client& client) -> Coro<Batch> {
            const auto first = co_await client.get("first");
            Batch batch;
            batch.add("INCR", "first").add("INCR", "second");
            co_return batch;
        };
        co_await redis->transact(weft::redis::keys("first"), body);
    };
    int cancelled = 0;
    const std::size_t steps = weft::testing::at_every_step(
        [&]() -> Coro<void> {
            redis = std::make_unique<Client>(options);
            return scenario();
        },
        [&](weft::EventLoop& loop, weft::Task<void>& task) {
            task.cancel();
            while (!task.done()) loop.run_once(*task.core());
            cancelled += task.cancelled() ? 1 : 0;
            // The connection is fit for the next one: nothing is watched, nothing is open.
            auto next = [&]() -> Coro<void> {
                co_await redis->incr("first");  // would break a watch of this connection
                const std::vector<Reply> done = co_await redis->transact(Batch().add("PING"));
                if (done.size() != 1) throw std::runtime_error("a watch was left behind");
                const auto state = co_await redis->command<std::string>("CLIENT", "LIST");
                if (contains(state, "multi=0")) throw std::runtime_error("a MULTI was left open");
                const auto both = co_await redis->mget("first", "second");
                const int first = std::stoi(both[0].value_or("0"));
                const int second = std::stoi(both[1].value_or("0"));
                if (first != second + 1) throw std::runtime_error("half a transaction");
                co_await redis->del("first", "second");
                redis.reset();
            };
            auto after = loop.create_task(next());
            while (!after.done()) loop.run_once(*after.core());
            std::move(after).result();
        });
    redis.reset();
    CHECK(steps > 5);
    CHECK(cancelled > 5);
}

TEST_CASE("whatever is cancelled, nobody gets somebody else's answer", "[redis]") {
    with_client([](Client& redis) -> Coro<void> {
        std::mt19937 random(11);
        int answered = 0;
        int cancelled = 0;
        int wrong = 0;
        auto asks = [&](int number) -> Coro<void> {
            for (int round = 0; round < 10; ++round) {
                const int what = number * 100 + round;
                const auto got = co_await redis.command<int>("ECHO", what);
                wrong += got != what;
                ++answered;
            }
        };
        for (int wave = 0; wave < 10; ++wave) {
            std::vector<weft::Task<void>> tasks;
            for (int number = 0; number < 100; ++number)
                tasks.push_back(weft::create_task(asks, number));
            for (int cuts = 0; cuts < 100; ++cuts) {
                tasks[random() % tasks.size()].cancel();
                if (cuts % 10 == 0) co_await weft::yield();
            }
            for (auto& task : tasks) {
                co_await task.wait();
                cancelled += task.cancelled() ? 1 : 0;
            }
        }
        CHECK(wrong == 0);
        CHECK(answered > 1000);
        CHECK(cancelled > 100);
    });
}

TEST_CASE("ten thousand requests leave nothing behind", "[redis]") {
    with_client([](Client& redis) -> Coro<void> {
        auto asks = [&](int number) -> Coro<int> {
            int right = 0;
            for (int round = 0; round < 50; ++round) {
                const std::string key = "k" + std::to_string(number);
                co_await redis.set(key, round);
                const auto got = co_await redis.command<int>("GET", key);
                right += got == round;
            }
            co_return right;
        };
        std::vector<weft::Task<int>> tasks;
        for (int number = 0; number < 100; ++number)
            tasks.push_back(weft::create_task(asks, number));
        int right = 0;
        for (auto& task : tasks) right += co_await task;
        CHECK(right == 5000);
        CHECK(redis.is_idle());
    });
}

TEST_CASE("a server that is killed amid commands says so to those, and the next ones find it again",
          "[redis]") {
    support::Service server("redis");
    if (!server.is_there()) return;
    weft::run([&]() -> Coro<void> {
        Options options = at(server);
        options.reconnect = weft::RetryOptions(20, 10ms);
        options.reconnect.longest = 50ms;
        Client redis(options);
        auto subscription = co_await redis.subscribe("news");
        auto waits = [&]() -> Coro<std::string> {
            auto why = co_await failure<ConnectionError>(
                [&] { return redis.command<Reply>("BLPOP", "nothing", 0); });
            co_return why;
        };
        auto waiting = weft::create_task(waits);
        {
            Client looks(options);
            std::string clients;
            while (!contains(clients, "blocked_clients:1\r\n") && !waiting.done())
                clients = co_await looks.command<std::string>("INFO", "clients");
        }
        server.stop();
        const std::string why = co_await waiting;
        CAPTURE(why);
        CHECK(contains(why, options.name() + ": BLPOP nothing: "));
        CHECK(contains(why, "the command was sent, and may have happened"));
        // Asked while it is away.
        auto asks = [&]() -> Coro<std::string> {
            auto pong = co_await redis.command<std::string>("PING");
            co_return pong;
        };
        auto asked = weft::create_task(asks);
        co_await weft::sleep(30ms);
        server.start();
        const std::string pong = co_await asked;
        CHECK(pong == "PONG");
        auto listens = [&]() -> Coro<std::string> {
            auto message = co_await subscription.next();
            co_return message.payload;
        };
        auto heard = weft::create_task(listens);
        while (subscription.connections() < 2 && !heard.done()) co_await weft::sleep(1ms);
        co_await redis.publish("news", "back");
        const std::string news = co_await heard;
        CHECK(news == "back");
        // And when it does not come back.
        server.stop();
        Options impatient = at(server);
        impatient.reconnect = weft::RetryOptions(2, 1ms);
        Client other(impatient);
        const std::string refused =
            co_await failure<ConnectionError>([&] { return other.get("name"); });
        CAPTURE(refused);
        CHECK(contains(refused, options.name() + ": GET name: connect 127.0.0.1:"));
        CHECK_FALSE(contains(refused, "the command was sent"));
        server.start();
        const auto found = co_await other.get("name");
        CHECK(found == std::nullopt);
    });
}

TEST_CASE(
    "a command whose time is over is a TimeoutError that names it, and the next one is served",
    "[redis]") {
    with_client(
        [](Client& redis) -> Coro<void> {
            auto waits = [&]() -> Coro<std::string> {
                auto why = co_await failure<weft::TimeoutError>(
                    [&] { return redis.command<Reply>("BLPOP", "nothing", 0); });
                co_return why;
            };
            auto waiting = weft::create_task(waits);
            const std::string why = co_await waiting;
            CHECK(contains(why, "BLPOP nothing: no answer in time"));
            const auto pong = co_await redis.command<std::string>("PING");
            CHECK(pong == "PONG");
        },
        [](Options options) {
            options.command_timeout = 2s;  // in which the other commands are answered
            return options;
        });
}

TEST_CASE("a deadline of the caller's own leaves the connection to the others", "[redis]") {
    with_client([](Client& redis) -> Coro<void> {
        Client other(at(support::shared_service("redis")));
        const int before = co_await redis.command<int>("CLIENT", "ID");
        const auto none =
            co_await weft::move_on_after(20ms, redis.command<Reply>("BLPOP", "nothing", 0));
        CHECK_FALSE(none.has_value());
        CHECK_FALSE(redis.is_idle());
        co_await other.rpush("nothing", 1);  // or the server would not come to the next one
        const auto after = co_await redis.command<int>("ECHO", 7);
        CHECK(after == 7);
        const int same = co_await redis.command<int>("CLIENT", "ID");
        CHECK(same == before);
    });
}

TEST_CASE("who one is, and where the data is, is said with every connection", "[redis]") {
    support::Service server("redis", {"--requirepass", "secret"});
    if (!server.is_there()) return;
    weft::run([&]() -> Coro<void> {
        Options options = at(server);
        options.password = "secret";
        options.database = 3;
        options.client_name = "weaver";
        Client redis(options);
        co_await redis.connect();
        CHECK(redis.is_connected());
        const auto info = co_await redis.command<std::string>("CLIENT", "INFO");
        CHECK(contains(info, "name=weaver"));
        CHECK(contains(info, "db=3"));
        options.username = "default";
        options.unix_path = server.fact("socket");
        Client by_path(options);
        const auto pong = co_await by_path.command<std::string>("PING");
        CHECK(pong == "PONG");
        options.password = "wrong";
        Client stranger(options);
        const std::string refused =
            co_await failure<ServerError>([&] { return stranger.get("name"); });
        CAPTURE(refused);
        CHECK(contains(refused, "redis " + server.fact("socket") + ": GET name: AUTH: WRONGPASS"));
        CHECK_FALSE(contains(refused, "wrong\n"));
        Client nameless(at(server));
        const std::string nobody =
            co_await failure<ServerError>([&] { return nameless.get("name"); });
        CHECK(contains(nobody, "NOAUTH"));
    });
}

#if __has_include(<openssl/ssl.h>)
TEST_CASE("a connection may be any stream, one with TLS for instance", "[redis]") {
    const support::Service& server = support::shared_service("redis");
    if (!server.is_there() || server.fact("tls_port").empty()) return;
    weft::run([&]() -> Coro<void> {
        weft::TlsContext context = weft::TlsContext::client(weft::TlsRoots::none);
        context.load_verify_locations(server.fact("certificate"));
        Options options = at(server);
        const std::uint16_t port = server.port("tls_port");
        options.connect_with(
            [context, port] { return weft::open_connection("localhost", port, context); });
        Client redis(options);
        const std::string big(1'000'000, 'y');
        const auto back = co_await redis.command<std::string>("ECHO", big);
        CHECK(back == big);
        co_await redis.close();
    });
}
#endif

TEST_CASE("a subscription gets what is published from its beginning on, and loses none to a cancel",
          "[redis]") {
    with_client([](Client& redis) -> Coro<void> {
        Subscription news = co_await redis.subscribe("news", "sport");
        Subscription all = co_await redis.psubscribe("n*");
        const auto heard = co_await redis.publish("news", "one");
        CHECK(heard == 2);
        const auto first = co_await news.next();
        CHECK(first.channel == "news");
        CHECK(first.payload == "one");
        CHECK(first.pattern == "");
        const auto matched = co_await all.next();
        CHECK(matched.pattern == "n*");
        const auto nothing = co_await weft::move_on_after(5ms, news.next());
        CHECK_FALSE(nothing.has_value());
        co_await redis.publish("sport", "two");
        const auto second = co_await news.next();
        CHECK(second.payload == "two");
        co_await news.unsubscribe("sport");
        co_await news.psubscribe("w?");
        // Both are on their way on a connection of their own, one behind the other.
        int patterns = 0;
        for (int looks = 0; patterns < 2 && looks < 100'000; ++looks)
            patterns = co_await redis.command<int>("PUBSUB", "NUMPAT");
        co_await redis.publish("sport", "unheard");
        co_await redis.publish("we", "three");
        auto messages = news.messages();
        const auto third = co_await messages.next();
        CHECK(third->payload == "three");
    });
}

TEST_CASE("a pool lends no connection whose last command was cut off", "[redis]") {
    const support::Service& server = support::shared_service("redis");
    if (!server.is_there()) return;
    weft::run([&]() -> Coro<void> {
        weft::redis::Pool pool(at(server), 1);
        const auto id_of = [](Client& client) { return client.command<int>("CLIENT", "ID"); };
        int first = 0;
        {
            auto lease = co_await pool.acquire();
            first = co_await id_of(*lease);
        }
        {
            auto lease = co_await pool.acquire();
            const int same = co_await id_of(*lease);
            CHECK(same == first);
            const auto none =
                co_await weft::move_on_after(10ms, lease->command<Reply>("BLPOP", "nothing", 0));
            CHECK_FALSE(none.has_value());
        }
        {
            auto lease = co_await pool.acquire();
            const int other = co_await id_of(*lease);
            CHECK(other != first);
        }
        CHECK(pool.idle() == 1);
        co_await pool.close();
        const std::string closed =
            co_await failure<weft::PoolClosed>([&] { return pool.acquire(); });
        CHECK(contains(closed, "the pool is closed"));
    });
}

TEST_CASE("clean-ups may ask while run ends, a client that goes tells those who wait", "[redis]") {
    const support::Service& server = support::shared_service("redis");
    if (!server.is_there()) return;
    const weft::testing::DescriptorCensus before;
    auto shared = std::make_unique<Client>(at(server));
    std::string cleaned;
    weft::run([&]() -> Coro<void> {
        co_await shared->connect();
        auto cleans = [&]() -> Coro<void> {
            try {
                co_await weft::sleep(1h);
            } catch (const weft::CancelledError&) {
            }
            cleaned = co_await shared->command<std::string>("ECHO", "cleaned");
        };
        auto waits = [&]() -> Coro<void> {
            co_await shared->command<Reply>("BLPOP", "nothing", 0);
        };
        (void)weft::create_task(cleans);
        (void)weft::create_task(waits);
        co_await weft::sleep(5ms);
    });
    CHECK(cleaned == "cleaned");
    shared.reset();
    CHECK(before.leaked() == "");
    weft::run([&]() -> Coro<void> {
        shared = std::make_unique<Client>(at(server));
        co_await shared->connect();
        auto waits = [&]() -> Coro<std::string> {
            auto why = co_await failure<ConnectionError>(
                [&] { return shared->command<Reply>("BLPOP", "nothing", 0); });
            co_return why;
        };
        auto waiting = weft::create_task(waits);
        co_await weft::sleep(5ms);
        shared.reset();
        const std::string why = co_await waiting;
        CHECK(contains(why, "BLPOP nothing: the client was destroyed"));
        shared = std::make_unique<Client>(at(server));
        auto asks = [&]() -> Coro<int> {
            const auto got = co_await shared->command<int>("ECHO", 8);
            co_return got;
        };
        auto asked = weft::create_task(asks);
        co_await weft::yield();
        co_await shared->close();
        const int got = co_await asked;  // it was served before
        CHECK(got == 8);
        const std::string closed =
            co_await failure<ConnectionError>([&] { return shared->get("name"); });
        CHECK(contains(closed, "GET name: the client is closed"));
        shared.reset();
    });
}

TEST_CASE("a pool lends no connection that is in a MULTI, watches keys, or was altered",
          "[redis]") {
    const support::Service& server = support::shared_service("redis");
    if (!server.is_there()) return;
    weft::run([&]() -> Coro<void> {
        weft::redis::Pool pool(at(server), 1);
        const auto id_of = [](Client& client) { return client.command<int>("CLIENT", "ID"); };
        struct Left {
            std::vector<const char*> commands;
            bool is_lent_again;
        };
        const std::vector<Left> all{{{"MULTI"}, false},     {{"multi", "DISCARD"}, true},
                                    {{"WATCH key"}, false}, {{"WATCH key", "UNWATCH"}, true},
                                    {{"SELECT 3"}, false},  {{"MULTI", "EXEC"}, true}};
        for (const bool as_batch : {false, true}) {
            for (const Left& left : all) {
                CAPTURE(left.commands, as_batch);
                int before = 0;
                {
                    auto lease = co_await pool.acquire();
                    before = co_await id_of(*lease);
                    Batch batch;
                    for (const std::string command : left.commands) {
                        const std::string name = command.substr(0, command.find(' '));
                        std::vector<std::string> more;
                        if (name != command) more.push_back(command.substr(name.size() + 1));
                        batch.add(name, more);
                        if (!as_batch) co_await lease->command<void>(name, more);
                    }
                    if (as_batch) (void)co_await lease->send(batch);
                }
                auto lease = co_await pool.acquire();
                const int after = co_await id_of(*lease);
                CHECK((before == after) == left.is_lent_again);
            }
        }
        co_await pool.close();
    });
}

TEST_CASE("a subscription that goes ends the wait of its reader", "[redis]") {
    const support::Service& server = support::shared_service("redis");
    if (!server.is_there()) return;
    const weft::testing::DescriptorCensus before;
    weft::run([&]() -> Coro<void> {
        Client client(at(server));
        auto news = std::make_unique<Subscription>(co_await client.subscribe("news"));
        auto reads = [&]() -> Coro<std::string> {
            auto why = co_await failure<ConnectionError>([&] { return news->next(); });
            co_return why;
        };
        auto reader = weft::create_task(reads);
        co_await weft::sleep(5ms);
        news.reset();
        const std::string why = co_await reader;
        CHECK(contains(why, "the subscription was destroyed"));
    });
    CHECK(before.leaked() == "");
}

TEST_CASE("a client serves one loop after the other, with its time limits", "[redis]") {
    const support::Service& server = support::shared_service("redis");
    if (!server.is_there()) return;
    const weft::testing::DescriptorCensus before;
    {
        Options options = at(server);
        options.command_timeout = 2s;  // in which the other commands are answered
        Client client(options);
        auto first = std::make_unique<weft::EventLoop>();
        weft::EventLoop second;
        auto works = [&]() -> Coro<void> {
            const bool was_set = co_await client.set("loops", "1");
            CHECK(was_set);
        };
        auto waits = [&]() -> Coro<void> {
            bool in_time = true;
            try {
                (void)co_await client.command<Reply>("BLPOP", "nothing", 0);
            } catch (const weft::TimeoutError&) {
                in_time = false;
            }
            CHECK_FALSE(in_time);
        };
        first->run_until_complete(works());
        // Its tasks wait on the first, which does not run now.
        auto refused = [&]() -> Coro<void> {
            std::string why;
            try {
                (void)co_await client.get("loops");
            } catch (const weft::RuntimeError& error) {
                why = error.what();
            }
            CHECK(contains(why, "belongs to another event loop"));
        };
        second.run_until_complete(refused());
        first->run_until_complete(works());
        // A command is still waited for when the first one goes, and its alarm is set.
        auto left = [](Client& asks) -> Coro<void> {
            (void)co_await asks.command<Reply>("BLPOP", "nothing", 0);
        };
        auto task = first->create_task(left(client));
        auto begins = []() -> Coro<void> { co_await weft::sleep(5ms); };
        first->run_until_complete(begins());
        first.reset();
        CHECK(task.done());
        second.run_until_complete(waits());
        second.run_until_complete(works());
        auto ends = [&]() -> Coro<void> { co_await client.close(); };
        second.run_until_complete(ends());
    }
    CHECK(before.leaked() == "");
}

TEST_CASE("a subscription and a pool serve one loop after the other", "[redis]") {
    const support::Service& server = support::shared_service("redis");
    if (!server.is_there()) return;
    const weft::testing::DescriptorCensus before;
    {
        std::optional<Subscription> news;
        weft::redis::Pool pool(at(server), 2);
        auto hears = [&]() -> Coro<void> {
            Client client(at(server));
            if (!news) news.emplace(co_await client.subscribe("loops"));
            const auto heard = co_await client.publish("loops", "x");
            CHECK(heard == 1);
            auto next = [&] { return news->next(); };
            const auto message = co_await weft::move_on_after(10s, next);
            CHECK((message && message->payload == "x"));
            auto lease = co_await pool.acquire();
            co_await lease->command<void>("PING");
        };
        for (int run = 0; run < 3; ++run) {
            weft::EventLoop loop;
            auto other = std::make_unique<weft::EventLoop>();  // (at another address each time)
            (run % 2 == 0 ? loop : *other).run_until_complete(hears());
        }
    }
    CHECK(before.leaked() == "");
}

TEST_CASE("a client that is moved, or goes, amid its transaction", "[redis]") {
    with_client([](Client&) -> Coro<void> {
        auto first = std::make_unique<Client>(at(support::shared_service("redis")));
        std::optional<Client> second;
        auto moves = [&](Client& inner) -> Coro<Batch> {
            second.emplace(std::move(*first));
            first.reset();
            const auto old = co_await inner.get("moved");
            CHECK_FALSE(old);
            Batch batch;
            batch.add("SET", "moved", "1");
            co_return batch;
        };
        const auto done = co_await first->transact(weft::redis::keys("moved"), moves);
        CHECK(done.size() == 1);
        auto goes = [&](Client& inner) -> Coro<Batch> {
            second.reset();
            (void)co_await inner.get("moved");
            co_return Batch();
        };
        auto transacts = [&] { return second->transact(weft::redis::keys("moved"), goes); };
        const std::string why = co_await failure<ConnectionError>(transacts);
        CHECK(contains(why, "the client is closed"));
    });
}

TEST_CASE("every handle to Redis that was moved from or closed says so", "[redis]") {
    with_client([](Client&) -> Coro<void> {
        Client client(at(support::shared_service("redis")));
        Client moved = std::move(client);
        auto news = co_await moved.subscribe("a");
        auto heard = std::move(news);
        auto check = [](Client& of, support::Refusals& refused) -> Coro<void> {
            auto connect = [&]() -> Coro<void> { co_await of.connect(); };
            co_await refused.add("connect", connect);
            auto command = [&]() -> Coro<void> { co_await of.command<void>("PING"); };
            co_await refused.add("command", command);
            auto get = [&]() -> Coro<void> { (void)co_await of.get("a"); };
            co_await refused.add("get", get);
            auto eval = [&]() -> Coro<void> { (void)co_await of.eval("return 1"); };
            co_await refused.add("eval", eval);
            auto send = [&]() -> Coro<void> {
                Batch batch;
                batch.add("PING");
                (void)co_await of.send(batch);
            };
            co_await refused.add("send", send);
            auto transact = [&]() -> Coro<void> {
                Batch batch;
                batch.add("PING");
                (void)co_await of.transact(batch);
            };
            co_await refused.add("transact", transact);
            auto watch = [&]() -> Coro<void> {
                auto body = [](Client&) -> Coro<Batch> { co_return Batch(); };
                (void)co_await of.transact(weft::redis::keys("a"), body);
            };
            co_await refused.add("transact on keys", watch);
            auto scan = [&]() -> Coro<void> {
                auto all = of.scan();
                (void)co_await all.next();
            };
            co_await refused.add("scan", scan);
            CHECK(of.is_closed());
            CHECK_FALSE(of.is_connected());
        };
        support::Refusals empty("an empty redis::Client");
        co_await check(client, empty);
        auto close = [&]() -> Coro<void> { co_await client.close(); };
        co_await empty.add("close", close);
        auto subscribe = [&]() -> Coro<void> { (void)co_await client.subscribe("a"); };
        co_await empty.add("subscribe", subscribe);
        co_await moved.close();
        support::Refusals closed("the client is closed");
        co_await check(moved, closed);
        co_await moved.close();

        support::Refusals unheard("an empty redis::Subscription");
        auto next = [&]() -> Coro<void> { (void)co_await news.next(); };
        co_await unheard.add("Subscription::next", next);
        auto messages = [&]() -> Coro<void> {
            (void)news.messages();
            co_return;
        };
        co_await unheard.add("Subscription::messages", messages);
        auto more = [&]() -> Coro<void> { co_await news.subscribe("b"); };
        co_await unheard.add("Subscription::subscribe", more);
        auto pattern = [&]() -> Coro<void> { co_await news.psubscribe("b*"); };
        co_await unheard.add("Subscription::psubscribe", pattern);
        auto less = [&]() -> Coro<void> { co_await news.unsubscribe("b"); };
        co_await unheard.add("Subscription::unsubscribe", less);
        auto none = [&]() -> Coro<void> { co_await news.punsubscribe("b*"); };
        co_await unheard.add("Subscription::punsubscribe", none);
        CHECK(news.connections() == 0);
        CHECK(heard.connections() == 1);
    });
}

}  // namespace client_test
