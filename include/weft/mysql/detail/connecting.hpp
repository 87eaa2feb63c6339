// SPDX-License-Identifier: MIT
// How a connection is made, and a statement without a result carried out on it.
#pragma once

#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../../base/c_text.hpp"
#include "../../base/error.hpp"
#include "../../deadline/move_on_after.hpp"
#include "../../net/address.hpp"
#include "../../net/io.hpp"
#include "../../net/resolve.hpp"
#include "../../runtime/loop.hpp"
#include "../../sql/error.hpp"
#include "../../task/coro.hpp"
#include "../options.hpp"
#include "handle.hpp"

namespace weft::mysql::detail {

inline std::string server_name(const Options& options) {
    if (!options.unix_socket.empty())
        return weft::detail::concat({"mysql ", options.unix_socket, "/", options.database});
    return weft::detail::concat(
        {"mysql ", options.host, ":", weft::detail::decimal(options.port), "/", options.database});
}

/// Waits for a call that may be given up together with its connection.
template <class GoOn>
Coro<void> until_done(const Handle& handle, int status, GoOn go_on) {
    while (status != 0) {
        HeldReady ready = handle.wait(status);
        const Held held = co_await ready;
        if (held != Held::no) get_running_loop().throw_cancelled();
        status = go_on(Handle::told(ready.events()));
    }
}

[[noreturn, gnu::cold]] inline void fail_to_connect(const Handle& handle, const Options& options) {
    sql::ErrorParts parts;
    parts.server = server_name(options);
    parts.number = static_cast<int>(::mysql_errno(handle.get()));
    parts.code = ::mysql_sqlstate(handle.get());
    parts.message = ::mysql_error(handle.get());
    throw sql::ConnectionError(std::move(parts));
}

/// `host`: an address in numbers, or nullptr for the Unix socket.
inline Coro<Handle> connect_to(const char* host, const Options& options) {
    Handle handle;
    MYSQL* const mysql = handle.get();
    ::mysql_options(mysql, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    const unsigned no_files = 0;  // a server that is not trusted could ask for ours
    ::mysql_options(mysql, MYSQL_OPT_LOCAL_INFILE, &no_files);
    const unsigned protocol = host ? MYSQL_PROTOCOL_TCP : MYSQL_PROTOCOL_SOCKET;
    ::mysql_options(mysql, MYSQL_OPT_PROTOCOL, &protocol);
    const my_bool enforce = options.tls != Tls::if_offered;
    const my_bool verify = options.tls == Tls::verified;
    ::mysql_options(mysql, MYSQL_OPT_SSL_ENFORCE, &enforce);
    ::mysql_options(mysql, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &verify);
    if (!options.certificate_authority.empty())
        ::mysql_options(mysql, MYSQL_OPT_SSL_CA, options.certificate_authority.c_str());
    MYSQL* made = nullptr;
    const int status = ::mysql_real_connect_start(
        &made, mysql, host, options.user.c_str(), options.password.c_str(),
        options.database.empty() ? nullptr : options.database.c_str(), options.port,
        options.unix_socket.empty() ? nullptr : options.unix_socket.c_str(), CLIENT_MULTI_RESULTS);
    const auto go_on = [&made, mysql](int ready) {
        return ::mysql_real_connect_cont(&made, mysql, ready);
    };
    co_await until_done(handle, status, go_on);
    if (!made) fail_to_connect(handle, options);
    co_return std::move(handle);
}

inline Coro<Handle> connected(const Options& options) {
    for (const std::string* text :
         {&options.host, &options.user, &options.password, &options.database, &options.unix_socket})
        weft::detail::refuse_zero_byte("mysql: connect", *text);
    if (!options.unix_socket.empty() || options.tls == Tls::verified)
        co_return co_await connect_to(options.unix_socket.empty() ? options.host.c_str() : nullptr,
                                      options);
    // libmariadb looks names up in the calling thread.
    const std::vector<Address> found = co_await getaddrinfo(options.host, options.port);
    std::exception_ptr refused;
    for (const Address& address : found) {
        std::string host = address.to_string();  // 127.0.0.1:3306, [::1]:3306
        host = host.front() == '[' ? host.substr(1, host.rfind(']') - 1)
                                   : host.substr(0, host.rfind(':'));
        try {
            co_return co_await connect_to(host.c_str(), options);
        } catch (const sql::ConnectionError& error) {
            // One that has answered (a wrong password) would answer so again.
            if (error.number() != 2002 && error.number() != 2003) throw;
            refused = std::current_exception();
        }
    }
    std::rethrow_exception(refused);
}

inline Coro<Handle> connected_in_time(const Options& options) {
    const Duration limit = options.connect_timeout;
    if (limit <= Duration(0)) co_return co_await connected(options);
    std::optional<Handle> made = co_await move_on_after(limit, connected(options));
    if (made) co_return std::move(*made);
    sql::ErrorParts late;
    late.server = server_name(options);
    late.message = "no connection in the connect_timeout";
    throw sql::ConnectionError(std::move(late));
}

/// A statement without rows.
inline Coro<void> simple(const Handle& handle, const std::string& text) {
    int code = 0;
    const int status = ::mysql_real_query_start(&code, handle.get(), text.data(),
                                                static_cast<unsigned long>(text.size()));
    const auto go_on = [&code, &handle](int ready) {
        return ::mysql_real_query_cont(&code, handle.get(), ready);
    };
    co_await until_done(handle, status, go_on);
}

}  // namespace weft::mysql::detail
