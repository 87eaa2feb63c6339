// SPDX-License-Identifier: MIT
// open_connection: a name and a port become a connected Stream.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "../base/config.hpp"
#include "../task/coro.hpp"
#include "address.hpp"
#include "stream.hpp"

#if WEFT_BODIES
#include <cerrno>
#include <cstddef>
#include <system_error>
#include <vector>

#include "../base/c_text.hpp"
#include "../base/error.hpp"
#include "../base/fd.hpp"
#include "detail/open_socket.hpp"
#include "io.hpp"
#include "resolve.hpp"
#endif

namespace weft {

/// Connects to an address.
/// Throws:   std::system_error (socket, connect); CancelledError.
/// Cancel:   the socket is closed, connected or not.
Coro<Stream> open_connection(Address to);

/// Looks up `host` and connects to the first of its addresses that answers.
/// Throws:   std::system_error: of getaddrinfo; of connect when no address answers, with the code of
///           the last one, and a text that names the host and says of each address what was wrong
///           with it; CancelledError.
/// Cancel:   as above, also while the name is looked up.
Coro<Stream> open_connection(std::string host, std::uint16_t port);

/// Connects to a Unix socket; a leading zero byte in `path` means an abstract name.
/// Throws:   std::system_error (as `Address::unix_path`; socket, connect); CancelledError.
/// Cancel:   the socket is closed, connected or not.
Coro<Stream> open_unix_connection(std::string path);

#if WEFT_BODIES
WEFT_INLINE Coro<Stream> open_connection(Address to) {
    Fd socket = detail::open_socket(to);
    co_await io::connect(socket.get(), to);
    detail::set_no_delay(socket.get(), to.family());
    co_return Stream(std::move(socket));
}

namespace detail {

/// "connect example.com:80 (tried [2001:db8::1]:80: Network is unreachable, 192.0.2.1:80)": the
/// reason of the last one follows. Of a host in numbers its address is all there is to say.
/// `errors` are those of `addresses`, in their order.
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
    const std::string last = addresses.back().to_string();
    throw_system_error(errors.back(), Address::is_numeric(host)
                                          ? concat({"connect ", last})
                                          : concat({"connect ", host, ":", decimal(port),
                                                    " (tried ", tried, last, ")"}));
}

}  // namespace detail

WEFT_INLINE Coro<Stream> open_connection(std::string host, std::uint16_t port) {
    const std::vector<Address> addresses = co_await getaddrinfo(host, port);
    std::vector<int> errors(addresses.size());
    for (std::size_t index = 0; index < addresses.size(); ++index) {
        try {
            Stream stream = co_await open_connection(addresses[index]);
            co_return stream;
        } catch (const std::system_error& error) {
            errors[index] = error.code().value();
        }
    }
    detail::throw_not_connected(host, port, addresses, errors);
}

WEFT_INLINE Coro<Stream> open_unix_connection(std::string path) {
    return open_connection(Address::unix_path(path));
}
#endif

}  // namespace weft
