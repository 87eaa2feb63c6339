// SPDX-License-Identifier: MIT
// getaddrinfo, getnameinfo: names to addresses and back, on threads, because no resolver of libc
// waits any other way.
#pragma once

#include <cstdint>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "../base/config.hpp"
#include "../task/coro.hpp"
#include "address.hpp"

#if WEFT_BODIES
#include <netdb.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>

#include "../base/c_text.hpp"
#include "../base/error.hpp"
#include "../base/fd.hpp"
#include "../base/ref.hpp"
#include "../runtime/loop.hpp"
#include "detail/resolver.hpp"
#endif

namespace weft {

/// The addresses of a host, in the order in which to try them. Addresses in numbers cost nothing;
/// an empty host means every local address.
///
/// Lookups are made by a few threads of the process: four, and while those are stuck with name
/// servers that do not answer, more, up to 32. A lookup that waits for a thread is behind earlier
/// ones of its own loop only, and passes slow ones as long as fewer than 32 names are slow at the
/// same time. Who asks for a name that is being looked up for the same loop shares its answer.
/// Throws:   std::system_error that names the host: of `resolver_category`, or EINVAL for a host
///           with a zero byte inside; CancelledError.
/// Cancel:   at once. A lookup that has not begun is never made; one that runs is abandoned and its
///           answer dropped. It holds up neither the end of the loop nor that of the process.
Coro<std::vector<Address>> getaddrinfo(std::string host, std::uint16_t port);

/// What `getnameinfo` finds.
struct NameInfo {
    // User-provided: g++ 12 destroys aggregate temporaries of awaiting expressions twice.
    NameInfo(std::string host_name, std::string service_name) noexcept
        : host(std::move(host_name)), service(std::move(service_name)) {}

    std::string host;     ///< in numbers where it has no name
    std::string service;  ///< "http", or the port in numbers where that has no name
};

/// The names of a host and a port. `flags` are NI_*; with NI_NUMERICHOST and NI_NUMERICSERV nothing
/// is looked up.
/// Throws:   std::system_error of `resolver_category`, which names the address; CancelledError.
/// Cancel:   as above; the same threads do it.
/// Source:   getnameinfo(3).
Coro<NameInfo> getnameinfo(Address address, int flags = 0);

/// Why a name was not found: the values are EAI_*, the texts those of gai_strerror(3).
const std::error_category& resolver_category() noexcept;

#if WEFT_BODIES
namespace detail {

class ResolverCategory final : public std::error_category {
public:
    const char* name() const noexcept override { return "getaddrinfo"; }
    [[gnu::cold]] std::string message(int error) const override { return ::gai_strerror(error); }
};

/// `error` is EAI_*, and with EAI_SYSTEM errno says more.
[[gnu::cold, gnu::noinline]] inline void check_resolved(int error, int system_error,
                                                        const Lookup& lookup) {
    if (error == 0) return;
    if (error == EAI_SYSTEM) throw_system_error(system_error, lookup.text());
    throw_system_error(error, lookup.text(), &resolver_category());
}

class AddressLookup final : public Lookup {
public:
    [[gnu::cold]] AddressLookup(std::string host, std::uint16_t port)
        : Lookup(concat({"a", decimal(port), " ", host}), get_running_loop().remote()),
          host_(std::move(host)),
          port_(port) {}
    [[gnu::cold]] ~AddressLookup() override {
        if (found_) ::freeaddrinfo(found_);
    }

    [[gnu::cold]] void run() noexcept override {
        addrinfo hints{};
        hints.ai_socktype = SOCK_STREAM;
        hints.ai_flags = AI_NUMERICSERV | (host_.empty() ? AI_PASSIVE : 0);
        char service[8];
        std::snprintf(service, sizeof service, "%u", unsigned{port_});
        error_ = ::getaddrinfo(host_.empty() ? nullptr : host_.c_str(), service, &hints, &found_);
        system_error_ = errno;
        if (error_ == 0 || error_ == EAI_SYSTEM) return;
        // Where it can open neither its files nor a socket, glibc says that there is no such name.
        const Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (probe || (errno != EMFILE && errno != ENFILE)) return;
        system_error_ = errno;
        error_ = EAI_SYSTEM;
    }
    [[gnu::cold]] std::string text() const override {
        return concat({"getaddrinfo ", in_quotes(host_)});
    }
    [[gnu::cold, gnu::noinline]] std::vector<Address> addresses() const {
        check_resolved(error_, system_error_, *this);
        std::size_t count = 0;
        for (const addrinfo* one = found_; one; one = one->ai_next) ++count;
        std::vector<Address> addresses(count);
        std::size_t index = 0;
        for (const addrinfo* one = found_; one; one = one->ai_next) {
            addresses[index++] = Address::from(one->ai_addr, one->ai_addrlen);
        }
        return addresses;
    }

private:
    const std::string host_;
    const std::uint16_t port_;
    // The thread's, until it has posted its answer.
    int error_ = 0;
    int system_error_ = 0;
    addrinfo* found_ = nullptr;
};

class NameLookup final : public Lookup {
public:
    [[gnu::cold]] NameLookup(const Address& address, int flags)
        : Lookup(concat({"n",
                         decimal(flags),
                         " ",
                         {reinterpret_cast<const char*>(address.data()), address.size()}}),
                 get_running_loop().remote()),
          address_(address),
          flags_(flags) {}

    [[gnu::cold]] void run() noexcept override {
        error_ = ::getnameinfo(address_.data(), address_.size(), host_, sizeof host_, service_,
                               sizeof service_, flags_);
        system_error_ = errno;
    }
    [[gnu::cold]] std::string text() const override {
        return concat({"getnameinfo ", address_.to_string()});
    }
    [[gnu::cold, gnu::noinline]] NameInfo names() const {
        check_resolved(error_, system_error_, *this);
        return NameInfo(host_, service_);
    }

private:
    const Address address_;
    const int flags_;
    // As above.
    int error_ = 0;
    int system_error_ = 0;
    char host_[NI_MAXHOST] = {};
    char service_[NI_MAXSERV] = {};
};

[[gnu::cold]] inline LookupWait look_up(const Ref<Lookup>& lookup) { return LookupWait(lookup); }

}  // namespace detail

[[gnu::cold]] WEFT_INLINE const std::error_category& resolver_category() noexcept {
    static const detail::ResolverCategory category;
    return category;
}

[[gnu::cold]] WEFT_INLINE Coro<std::vector<Address>> getaddrinfo(std::string host,
                                                                 std::uint16_t port) {
    detail::refuse_zero_byte("getaddrinfo", host);
    if (Address::is_numeric(host)) co_return std::vector<Address>(1, Address::ip(host, port));
    detail::Ref<detail::Lookup> lookup(new detail::AddressLookup(std::move(host), port));
    lookup = co_await detail::look_up(lookup);
    co_return static_cast<const detail::AddressLookup&>(*lookup).addresses();
}

[[gnu::cold]] WEFT_INLINE Coro<NameInfo> getnameinfo(Address address, int flags) {
    detail::Ref<detail::Lookup> lookup(new detail::NameLookup(address, flags));
    constexpr int in_numbers = NI_NUMERICHOST | NI_NUMERICSERV;
    if ((flags & in_numbers) == in_numbers) {
        lookup->run();
    } else {
        lookup = co_await detail::look_up(lookup);
    }
    co_return static_cast<const detail::NameLookup&>(*lookup).names();
}
#endif

}  // namespace weft
