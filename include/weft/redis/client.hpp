// SPDX-License-Identifier: MIT
// redis::Client: commands to a Redis server, from as many tasks as there are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/clock.hpp"
#include "../base/config.hpp"
#include "../base/ref.hpp"
#include "../task/async_generator.hpp"
#include "../task/coro.hpp"
#include "batch.hpp"
#include "detail/core.hpp"
#include "detail/request.hpp"
#include "error.hpp"
#include "options.hpp"
#include "reply.hpp"
#include "subscription.hpp"
#if WEFT_BODIES || defined(WEFT_REDIS_SOURCE)
#include "detail/core_bodies.hpp"
#endif

namespace weft::redis {

using detail::Command;

/// Names of keys. `keys("a", "b")` makes it in the middle of an expression that awaits, in which
/// g++ 12 takes no braced list.
class Keys {
public:
    Keys() noexcept {}
    explicit Keys(std::vector<std::string> names) noexcept : names_(std::move(names)) {}
    auto begin() const noexcept { return names_.begin(); }
    auto end() const noexcept { return names_.end(); }
    std::size_t size() const noexcept { return names_.size(); }

private:
    std::vector<std::string> names_;
};
template <class... Names>
    requires(std::is_convertible_v<const Names&, std::string_view>&&...)
Keys keys(const Names&... names) {
    std::vector<std::string> all;
    all.reserve(sizeof...(names));
    (all.emplace_back(std::string_view(names)), ...);
    return Keys(std::move(all));
}

/// How `Client::set` sets. Not an aggregate: see TaskOptions.
struct SetOptions {
    SetOptions() noexcept {}
    explicit SetOptions(Duration lives) noexcept : expire(lives) {}
    Duration expire{0};           ///< in whole milliseconds; 0: it stays; not negative
    bool only_if_absent = false;  ///< NX
    bool only_if_there = false;   ///< XX
    bool keep_ttl = false;
};

/// A connection to a Redis server, which is made with the first command, and made anew when it has
/// broken. Any number of tasks may use it at once: what they ask in one turn of the loop goes out
/// in one write, and each gets its own answer.
///
///     weft::redis::Client redis(weft::redis::Options("localhost"));
///     co_await redis.set("greeting", "hello");
///     std::optional<std::string> greeting = co_await redis.get("greeting");
///     auto length = co_await redis.command<long long>("STRLEN", "greeting");
///
/// A command that makes its connection wait at the server (BLPOP), or changes what the connection
/// is (WATCH, MULTI, SUBSCRIBE, SELECT), is for one that nobody shares: see Pool, `transact` and
/// `subscribe`. A script or BLPOP that takes its time makes those wait that come after it.
///
/// Every command, in one place:
/// Throws:   ServerError (the server's answer); ConnectionError; TimeoutError (see Options); Error
///           when the answer does not fit the type; CancelledError. All name server and command.
/// Cancel:   a command that was not written yet is not sent. One that was happens, or not, as with
///           every connection that is cut; its answer is read and dropped, and nobody else gets it.
/// Lifetime: the arguments are copied. The client may be destroyed while others wait, who get a
///           ConnectionError.
/// Thread:   loop thread only.
class Client {
public:
    Client() : Client(Options()) {}
    explicit Client(Options options) : core_(new detail::Core(std::move(options))) {}
    Client(Client&&) noexcept = default;
    Client& operator=(Client&& other) noexcept {
        if (this != &other) {
            let_go();
            core_ = std::move(other.core_);
        }
        return *this;
    }
    ~Client() { let_go(); }

    /// Waits until there is a connection, where a program wants to know at its start.
    Coro<void> connect() { return detail::Core::connected(core()); }
    /// Takes no more commands, waits until those that wait are answered, and closes.
    /// Cancel:   closes at once.
    Coro<void> close() { return detail::Core::close(core()); }
    bool is_closed() const noexcept { return !core_ || core_->is_closed(); }
    bool is_connected() const noexcept { return core_ && core_->is_up(); }
    /// Nothing is under way; also not what a cancelled command has left behind.
    bool is_idle() const noexcept { return core_ && core_->is_quiet(); }
    /// No command has changed what the connection is: it is in no MULTI, watches no key, has the
    /// database, and the right to speak, with which it was made. (Scripts and modules are not
    /// seen.)
    bool is_as_made() const noexcept { return core_ && core_->is_as_made(); }

    /// Any command. Its arguments are texts, numbers, and containers of these; the answer becomes
    /// what `Reply::as` can make of it, or nothing but an acknowledgement (`command<void>`).
    template <class T = Reply, detail::AnyArgument... Args>
    Command<T> command(std::string_view name, const Args&... args) {
        return Command<T>(core(), detail::Wire::command(name, args...), detail::mark_of(name));
    }
    /// All of them in one write, and nobody else's in between; each answer in its place, errors
    /// too.
    detail::Commands send(const Batch& batch) {
        return detail::Commands(core(), batch.wire(), static_cast<std::uint32_t>(batch.size()), 0,
                                batch.mark());
    }
    /// The same as one transaction (MULTI, EXEC): all of them happen, and nobody sees half of it.
    /// Throws:   ServerError when the server refuses one of them (then none has happened); what fails
    ///           while it runs is an error in its place.
    Coro<std::vector<Reply>> transact(const Batch& batch) { return exec(core(), batch); }
    /// A transaction that depends on what it reads: `body(client)` reads, and returns the Batch
    /// that is to happen if by then nobody has changed `keys`; else it is called again, `attempts`
    /// times in all. An empty batch ends it.
    /// Throws:   also Error when the keys were changed each time; what `body` throws.
    /// Cancel:   the keys are watched no more.
    /// Lifetime: `client` is a handle of the transaction's own to the same connection, and the
    ///           body's until it ends; this client may be moved meanwhile, and when it is destroyed
    ///           the body's commands throw a ConnectionError.
    template <class Body>
    Coro<std::vector<Reply>> transact(Keys keys, Body body, int attempts = 16) {
        return watch_and_exec(core(), std::move(keys), std::move(body), attempts);
    }

    // --- the commands that most programs need ---

    Command<std::optional<std::string>> get(std::string_view key) { return of("GET", key); }
    /// Returns:  false when a condition has kept it from being set.
    template <detail::Argument Value>
    Command<bool> set(std::string_view key, const Value& value, SetOptions options = {});
    template <detail::Argument Value>
    Command<bool> set(std::string_view key, const Value& value, Duration expire) {
        return set(key, value, SetOptions(expire));
    }
    template <detail::AnyArgument... Names>
    Command<std::vector<std::optional<std::string>>> mget(const Names&... names) {
        return of("MGET", names...);
    }
    template <detail::AnyArgument... Keys>
    Command<long long> del(const Keys&... keys) {
        return of("DEL", keys...);
    }
    Command<bool> exists(std::string_view key) { return of("EXISTS", key); }
    Command<bool> expire(std::string_view key, Duration after) {
        return of("PEXPIRE", key, whole_milliseconds(after));
    }
    Command<long long> incr(std::string_view key, long long by = 1) {
        return of("INCRBY", key, by);
    }

    template <detail::Argument Value>
    Command<long long> hset(std::string_view key, std::string_view field, const Value& value) {
        return of("HSET", key, field, value);
    }
    Command<std::optional<std::string>> hget(std::string_view key, std::string_view field) {
        return of("HGET", key, field);
    }
    /// `co_await redis.hgetall<std::map<std::string, std::string>>("user:1")`
    template <class Map>
    Command<Map> hgetall(std::string_view key) {
        return of("HGETALL", key);
    }

    template <detail::AnyArgument... Values>
    Command<long long> lpush(std::string_view key, const Values&... values) {
        return of("LPUSH", key, values...);
    }
    template <detail::AnyArgument... Values>
    Command<long long> rpush(std::string_view key, const Values&... values) {
        return of("RPUSH", key, values...);
    }
    Command<std::optional<std::string>> lpop(std::string_view key) { return of("LPOP", key); }
    Command<std::optional<std::string>> rpop(std::string_view key) { return of("RPOP", key); }
    Command<std::vector<std::string>> lrange(std::string_view key, long long from, long long to) {
        return of("LRANGE", key, from, to);
    }

    /// Returns:  who has got it.
    Command<long long> publish(std::string_view channel, std::string_view message) {
        return of("PUBLISH", channel, message);
    }
    /// On a connection of its own. It has begun when this returns: what is published from now on is
    /// received.
    /// Throws:   std::system_error; ServerError; ConnectionError; CancelledError.
    template <class... Channels>
    Coro<Subscription> subscribe(const Channels&... channels) {
        return Subscription::begin(core()->options(), list_of(channels...), {});
    }
    /// The same for all channels whose names match one of the patterns ("news.*").
    template <class... Patterns>
    Coro<Subscription> psubscribe(const Patterns&... patterns) {
        return Subscription::begin(core()->options(), {}, list_of(patterns...));
    }

    /// A script in Lua, which sees these as KEYS and ARGV.
    ///
    ///     auto left = co_await redis.eval<int>(script, weft::redis::keys("stock:7"), amount);
    template <class T = Reply, detail::AnyArgument... Args>
    Command<T> eval(std::string_view script, const Keys& keys = {}, const Args&... args) {
        return Command<T>(core(),
                          detail::Wire::command("EVAL", script, keys.size(), keys, args...));
    }

    /// All keys that match, in no order, and some twice if the server is rearranging its tables.
    ///
    ///     auto keys = redis.scan("user:*");
    ///     while (auto key = co_await keys.next()) ...
    AsyncGenerator<std::string> scan(std::string pattern = "*", std::size_t count = 100) {
        return scan_all(core(), "SCAN", {}, std::move(pattern), count);
    }
    /// The same for what is in one key: "SSCAN", and "HSCAN", "ZSCAN" with keys and values in turn.
    AsyncGenerator<std::string> scan_in(std::string command, std::string key,
                                        std::string pattern = "*", std::size_t count = 100) {
        return scan_all(core(), std::move(command), std::move(key), std::move(pattern), count);
    }

private:
    /// Whatever type the caller has said.
    struct Typeless {
        detail::Ref<detail::Core> core;
        std::string wire;
        template <class T>
        // NOLINTNEXTLINE(google-explicit-constructor)
        operator Command<T>() && {
            return Command<T>(std::move(core), std::move(wire));
        }
    };
    template <detail::AnyArgument... Args>
    Typeless of(const Args&... args) const {
        return Typeless{core(), detail::Wire::command(args...)};
    }
    template <class... Names>
    static std::vector<std::string> list_of(const Names&... names) {
        std::vector<std::string> all;
        (all.emplace_back(std::string_view(names)), ...);
        return all;
    }
    static long long whole_milliseconds(Duration duration) noexcept {
        return std::chrono::ceil<std::chrono::milliseconds>(duration).count();
    }

    const detail::Ref<detail::Core>& core() const {
        if (!core_)
            weft::detail::throw_runtime_error("weft: an empty redis::Client: it was moved from");
        return core_;
    }
    void let_go() noexcept {
        if (core_) core_->end("the client was destroyed");
    }

    class Borrowed;
    explicit Client(detail::Ref<detail::Core> core) noexcept : core_(std::move(core)) {}

    template <class Body>
    static Coro<std::vector<Reply>> watch_and_exec(detail::Ref<detail::Core> core, Keys keys,
                                                   Body body, int attempts);
    static Coro<std::vector<Reply>> exec(detail::Ref<detail::Core> core, Batch batch);
    static Coro<std::optional<std::vector<Reply>>> exec_on(detail::Ref<detail::Core> core,
                                                           Batch batch, std::uint32_t connection);
    static AsyncGenerator<std::string> scan_all(detail::Ref<detail::Core> core, std::string command,
                                                std::string key, std::string pattern,
                                                std::size_t count);
    /// However a transaction ends that watches keys.
    struct Unwatch {
        ~Unwatch() {
            if (connection != 0) core.tell("*1\r\n$7\r\nUNWATCH\r\n", 1, connection);
        }
        detail::Core& core;
        std::uint32_t connection = 0;
    };

    detail::Ref<detail::Core> core_;
};

/// Another handle, which ends nothing when it goes.
class Client::Borrowed {
public:
    explicit Borrowed(const detail::Ref<detail::Core>& core) noexcept : client(core) {}
    Borrowed(const Borrowed&) = delete;
    Borrowed& operator=(const Borrowed&) = delete;
    ~Borrowed() { client.core_ = detail::Ref<detail::Core>(); }
    Client client;
};

template <detail::Argument Value>
Command<bool> Client::set(std::string_view key, const Value& value, SetOptions options) {
    std::vector<std::string> more;
    if (options.only_if_absent) more.emplace_back("NX");
    if (options.only_if_there) more.emplace_back("XX");
    if (options.keep_ttl) more.emplace_back("KEEPTTL");
    if (options.expire < Duration(0))
        throw std::invalid_argument("weft: redis: SET with a time to live that is over already");
    if (options.expire > Duration(0)) {
        more.emplace_back("PX");
        more.push_back(weft::detail::decimal(whole_milliseconds(options.expire)));
    }
    return of("SET", key, value, more);
}

template <class Body>
Coro<std::vector<Reply>> Client::watch_and_exec(detail::Ref<detail::Core> core, Keys keys,
                                                Body body, int attempts) {
    Borrowed inner(core);
    for (int attempt = 0; attempt < attempts; ++attempt) {
        const RwLock::WriteGuard alone = co_await core->transactions.write();
        Unwatch at_the_end{*core};
        // (Before the WATCH is answered nobody knows whether it has begun.)
        if (!core->is_up()) co_await detail::Core::connected(core);
        at_the_end.connection = core->connection();
        const std::string watch = detail::Wire::command("WATCH", keys);
        const std::vector<Reply> watched =
            co_await detail::Commands(core, watch, 1, at_the_end.connection);
        if (watched[0].is_error())
            Reply::throw_server_error(watched[0], core->name() + ": WATCH: ");
        const Batch batch = co_await body(inner.client);
        if (batch.empty()) co_return std::vector<Reply>();
        std::optional<std::vector<Reply>> done =
            co_await exec_on(core, batch, at_the_end.connection);
        if (done) co_return std::move(*done);
    }
    throw Error(core->name() + ": the watched keys were changed each time");
}

#if WEFT_BODIES || defined(WEFT_REDIS_SOURCE)
WEFT_INLINE Coro<std::vector<Reply>> Client::exec(detail::Ref<detail::Core> core, Batch batch) {
    // Another one may watch keys, and any EXEC on the connection would end that.
    const RwLock::ReadGuard turn = co_await core->transactions.read();
    std::optional<std::vector<Reply>> done = co_await exec_on(core, std::move(batch), 0);
    co_return done ? std::move(*done) : std::vector<Reply>();
}

WEFT_INLINE Coro<std::optional<std::vector<Reply>>> Client::exec_on(detail::Ref<detail::Core> core,
                                                                    Batch batch,
                                                                    std::uint32_t connection) {
    const std::string wire =
        weft::detail::concat({"*1\r\n$5\r\nMULTI\r\n", batch.wire(), "*1\r\n$4\r\nEXEC\r\n"});
    std::vector<Reply> replies = co_await detail::Commands(
        core, wire, static_cast<std::uint32_t>(batch.size()) + 2, connection);
    Reply& result = replies.back();
    if (result.is_error()) {
        // Why, the refused one's own answer says better.
        for (const Reply& reply : replies) {
            if (reply.is_error()) Reply::throw_server_error(reply, core->name() + ": MULTI: ");
        }
    }
    if (result.is_nil()) co_return std::nullopt;
    co_return std::move(result).items();
}

WEFT_INLINE AsyncGenerator<std::string> Client::scan_all(detail::Ref<detail::Core> core,
                                                         std::string command, std::string key,
                                                         std::string pattern, std::size_t count) {
    std::string cursor = "0";
    do {
        std::vector<std::string> words{command};
        if (!key.empty()) words.push_back(key);
        words.push_back(cursor);
        const std::string wire = detail::Wire::command(words, "MATCH", pattern, "COUNT", count);
        std::pair<std::string, std::vector<std::string>> found =
            co_await Command<std::pair<std::string, std::vector<std::string>>>(core, wire);
        cursor = found.first;
        for (std::string& one : found.second) co_yield std::move(one);
    } while (cursor != "0");
}
#endif

}  // namespace weft::redis
