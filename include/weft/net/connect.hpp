// SPDX-License-Identifier: MIT
// open_connection: a name and a port become a connected Stream.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "../base/clock.hpp"
#include "../base/config.hpp"
#include "../base/std_parts.hpp"
#include "../task/coro.hpp"
#include "address.hpp"
#include "stream.hpp"

#if WEFT_BODIES
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <exception>
#include <new>
#include <system_error>
#include <vector>

#include "../base/c_text.hpp"
#include "../base/error.hpp"
#include "../base/fd.hpp"
#include "../base/ref.hpp"
#include "../runtime/handle.hpp"
#include "../runtime/loop.hpp"
#include "../task/future.hpp"
#include "../task/task.hpp"
#include "detail/connect_awaiter.hpp"
#include "detail/open_socket.hpp"
#include "io.hpp"
#include "resolve.hpp"
#endif

namespace weft {

struct ConnectOptions {
    ConnectOptions() noexcept {}
    /// Of a host with several addresses the next one is tried when one has failed, or has not
    /// answered for so long.
    Duration attempt_delay = std::chrono::milliseconds(250);
    /// How long one address may take to answer (ETIMEDOUT then); 0: as long as the kernel tries,
    /// which is two minutes or so. For a limit of the whole there are `timeout` and its kin.
    Duration attempt_timeout{0};
    /// Where the connection comes from: an address of this host, with port 0 as a rule.
    std::optional<Address> local_address{};
    bool no_delay = true;     ///< small messages leave at once (TCP_NODELAY)
    bool keep_alive = false;  ///< the kernel asks a silent peer whether it is there (SO_KEEPALIVE)
};

/// Connects to an address.
/// Throws:   std::system_error (socket, bind, connect), which names the address; CancelledError.
/// Cancel:   the socket is closed, connected or not.
Coro<Stream> open_connection(Address to, ConnectOptions options = {});

/// Looks up `host` and connects to one of its addresses: the first one that answers, tried in the
/// order of the resolver, but IPv6 and IPv4 in turn ("happy eyeballs", RFC 8305). An address that
/// does not answer keeps the next one waiting for `attempt_delay` only; both may still win.
/// Throws:   std::system_error: of getaddrinfo; of connect when no address answers, with the code of
///           the last one, and a text that names the host and says of each address what was wrong
///           with it; CancelledError.
/// Cancel:   as above, also while the name is looked up; all attempts have ended when it goes on.
/// Source:   RFC 8305, sections 4 and 5.
Coro<Stream> open_connection(std::string host, std::uint16_t port, ConnectOptions options = {});

/// Connects to a Unix socket; a leading zero byte in `path` means an abstract name.
/// Throws:   std::system_error (as `Address::unix_path`; socket, connect); CancelledError.
/// Cancel:   the socket is closed, connected or not.
Coro<Stream> open_unix_connection(std::string path);

#if WEFT_BODIES
namespace detail {

/// RFC 8305, section 4: the resolver's order, but families take turns, so that a family without a
/// way out of this host costs one delay and not one for each of its addresses.
[[gnu::cold, gnu::noinline]] inline std::vector<Address> with_families_in_turn(
    const std::vector<Address>& addresses) {
    std::vector<Address> result(addresses.size());
    std::size_t next[2] = {0, 0};  // of the first one's family, and of the others
    const auto skip_to = [&](bool other) {
        std::size_t& at = next[other];
        const int first = addresses.front().family();
        while (at < addresses.size() && (addresses[at].family() != first) != other) ++at;
        return at < addresses.size();
    };
    bool other = false;
    for (Address& place : result) {
        if (!skip_to(other)) {
            other = !other;
            skip_to(other);
        }
        place = addresses[next[other]++];
        other = !other;
    }
    return result;
}

/// "connect example.com:80 (tried [2001:db8::1]:80: Network is unreachable, 192.0.2.1:80)": the
/// reason of the last one follows. `errors` are those of `addresses`, in their order.
[[noreturn, gnu::cold, gnu::noinline]] inline void throw_not_connected(
    const std::string& host, std::uint16_t port, const std::vector<Address>& addresses,
    const std::vector<int>& errors) {
    if (addresses.empty()) {
        throw_system_error(EHOSTUNREACH,
                           concat({"getaddrinfo ", in_quotes(host), ": no address was found"}));
    }
    std::string tried;
    for (std::size_t index = 0; index + 1 < addresses.size(); ++index) {
        tried = concat({tried, addresses[index].to_string(), ": ",
                        std::system_category().message(errors[index]), ", "});
    }
    throw_system_error(errors.back(), concat({"connect ", host, ":", decimal(port), " (tried ",
                                              tried, addresses.back().to_string(), ")"}));
}

/// What the attempts to connect share with the one who waits for the first of them to succeed.
struct Attempts : Counted<Attempts> {
    Attempts(const std::vector<Address>& to, const ConnectOptions& how)
        : addresses(to), options(how), errors(to.size()) {}

    /// Something has changed: see `anything`.
    void wake() noexcept {
        if (changed && !changed.done()) changed.set_result();
    }
    Future<void> anything() {
        changed = get_running_loop().create_future<void>();
        return changed;
    }

    const std::vector<Address> addresses;
    const ConnectOptions options;
    std::vector<int> errors;
    std::optional<Stream> winner;
    std::size_t running = 0;
    bool next_is_due = true;  // the delay is over, or an attempt has failed
    Future<void> changed;
};

[[gnu::cold]] inline Coro<void> attempt(Ref<Attempts> all, std::size_t index) {
    int error = 0;
    try {
        Stream stream = co_await open_connection(all->addresses[index], all->options);
        // (One that comes too late is closed.)
        if (!all->winner) all->winner.emplace(std::move(stream));
    } catch (const std::system_error& failed) {
        error = failed.code().value();
    } catch (const std::bad_alloc&) {
        error = ENOMEM;
    }
    if (error != 0) all->next_is_due = true;
    all->errors[index] = error;
    --all->running;
    all->wake();
}

/// Returns:  the first connection; none, when no address answers.
[[gnu::cold]] inline Coro<void> connect_to_any(Ref<Attempts> all) {
    std::vector<Task<void>> tasks;
    TimerHandle delay;
    std::exception_ptr ended;
    try {
        while (!all->winner) {
            if (all->next_is_due && tasks.size() < all->addresses.size()) {
                all->next_is_due = false;
                tasks.push_back(
                    create_task(attempt(all, tasks.size()), TaskOptions("connect", false)));
                ++all->running;
                delay.cancel();
                delay = get_running_loop().call_at(
                    end_of_limit(get_running_loop().time(), all->options.attempt_delay), [all] {
                        all->next_is_due = true;
                        all->wake();
                    });
            } else if (all->running == 0) {
                break;
            }
            co_await all->anything();
        }
    } catch (...) {
        ended = std::current_exception();  // cancelled, as a rule
    }
    delay.cancel();
    for (const Task<void>& task : tasks) task.cancel();
    for (const Task<void>& task : tasks) co_await task.wait();
    if (ended) std::rethrow_exception(ended);
}

}  // namespace detail

WEFT_INLINE Coro<Stream> open_connection(Address to, ConnectOptions options) {
    detail::refuse_negative(options.attempt_timeout,
                            "weft: ConnectOptions: a negative attempt_timeout");
    Fd socket = detail::open_socket(to);
    if (options.local_address) detail::bind_to(socket.get(), *options.local_address);
    co_await detail::TimedConnect(socket.get(), to, detail::to_limit(options.attempt_timeout));
    if (options.no_delay) detail::set_no_delay(socket.get(), to.family());
    if (options.keep_alive) detail::set_keep_alive(socket.get());
    co_return detail::socket_stream(std::move(socket));
}

WEFT_INLINE Coro<Stream> open_connection(std::string host, std::uint16_t port,
                                         ConnectOptions options) {
    const std::vector<Address> addresses = co_await getaddrinfo(host, port);
    // (Nothing to race: no task, and the error is that of the one attempt.)
    if (addresses.size() == 1 && Address::is_numeric(host)) {
        Stream stream = co_await open_connection(addresses.front(), options);
        co_return stream;
    }
    const detail::Ref<detail::Attempts> all(
        new detail::Attempts(detail::with_families_in_turn(addresses), options));
    co_await detail::connect_to_any(all);
    if (!all->winner) detail::throw_not_connected(host, port, all->addresses, all->errors);
    Stream stream = std::move(*all->winner);
    co_return stream;
}

WEFT_INLINE Coro<Stream> open_unix_connection(std::string path) {
    return open_connection(Address::unix_path(path));
}
#endif

}  // namespace weft
