// SPDX-License-Identifier: MIT
// getaddrinfo: names to addresses, on a thread, because no resolver of libc waits any other way.
#pragma once

#include <netdb.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "address.hpp"
#include "coro.hpp"
#include "error.hpp"
#include "future.hpp"
#include "loop.hpp"

namespace weft {
namespace detail {

/// Shared by the awaiting coroutine and the thread, so that either may end first.
struct Lookup {
    // The thread's, until it has posted its answer.
    std::string host;
    std::uint16_t port = 0;
    std::vector<Address> addresses;
    int error = 0;         // EAI_*
    int system_error = 0;  // errno, with EAI_SYSTEM

    // The loop's: who waits, null once nobody does.
    Future<void>* waiting = nullptr;

    void run() noexcept {
        addrinfo hints{};
        hints.ai_socktype = SOCK_STREAM;
        hints.ai_flags = AI_NUMERICSERV | (host.empty() ? AI_PASSIVE : 0);
        addrinfo* found = nullptr;
        try {
            error = ::getaddrinfo(host.empty() ? nullptr : host.c_str(),
                                  std::to_string(port).c_str(), &hints, &found);
            system_error = errno;
            for (const addrinfo* one = found; one; one = one->ai_next) {
                addresses.push_back(Address::from(one->ai_addr, one->ai_addrlen));
            }
        } catch (const std::bad_alloc&) {
            error = EAI_MEMORY;
        }
        if (found) ::freeaddrinfo(found);
    }
    void throw_if_failed() const {
        if (error == 0) return;
        if (error == EAI_SYSTEM) throw_system_error(system_error, "getaddrinfo");
        throw std::system_error(EHOSTUNREACH, std::system_category(),
                                "getaddrinfo '" + host + "' (" + ::gai_strerror(error) + ")");
    }
};

inline void look_up_and_post(const std::shared_ptr<Lookup>& lookup, const Remote& remote) noexcept {
    lookup->run();
    try {
        remote.call_soon_threadsafe([lookup] {
            if (lookup->waiting && !lookup->waiting->done()) lookup->waiting->set_result();
        });
    } catch (const RuntimeError&) {
        // The loop has closed: nobody waits for this answer any more.
    } catch (const std::bad_alloc&) {
        // Nothing can be told without memory; the awaiting task can still be cancelled.
    }
}

}  // namespace detail

/// The addresses of a host, in the order in which to try them. Numeric addresses cost nothing; an
/// empty host means every local address.
/// Throws:   std::system_error (getaddrinfo, with the resolver's reason); CancelledError.
/// Cancel:   at once; a lookup that runs is abandoned and its answer dropped. It does not hold up
///           the end of the loop.
inline Coro<std::vector<Address>> getaddrinfo(std::string host, std::uint16_t port) {
    in6_addr scratch;
    if (::inet_pton(AF_INET, host.c_str(), &scratch) == 1 ||
        ::inet_pton(AF_INET6, host.c_str(), &scratch) == 1) {
        co_return std::vector<Address>{Address::ip(host, port)};
    }
    EventLoop& loop = get_running_loop();
    Future<void> answered = loop.create_future<void>();
    const auto lookup = std::make_shared<detail::Lookup>();
    lookup->host = std::move(host);
    lookup->port = port;
    lookup->waiting = &answered;
    struct Forget {
        explicit Forget(detail::Lookup& of) noexcept : lookup(of) {}
        ~Forget() { lookup.waiting = nullptr; }
        detail::Lookup& lookup;
    } forget(*lookup);
    std::thread([lookup, remote = loop.remote()] {
        detail::look_up_and_post(lookup, remote);
    }).detach();
    co_await answered;
    lookup->throw_if_failed();
    co_return lookup->addresses;
}

}  // namespace weft
