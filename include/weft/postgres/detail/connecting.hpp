// SPDX-License-Identifier: MIT
// How a connection is made: names looked up by weft, the rest by PQconnectPoll.
#pragma once

#include <charconv>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../../base/c_text.hpp"
#include "../../base/error.hpp"
#include "../../base/std_parts.hpp"
#include "../../deadline/move_on_after.hpp"
#include "../../net/address.hpp"
#include "../../net/io.hpp"
#include "../../net/resolve.hpp"
#include "../../sql/error.hpp"
#include "../../task/coro.hpp"
#include "libpq.hpp"
#include "result.hpp"
#include "session.hpp"

namespace weft::postgres::detail {

/// libpq's words for a connection. libpq looks names up in the calling thread, so it is given the
/// addresses too; the names stay, for certificates.
class Words {
public:
    /// Throws:   sql::ConnectionError for a text that libpq does not understand.
    [[gnu::cold]] explicit Words(const std::string& text) {
        weft::detail::refuse_zero_byte("postgres: connect", text);
        char* error = nullptr;
        PQconninfoOption* const given = ::PQconninfoParse(text.c_str(), &error);
        if (!given) {
            sql::ErrorParts parts;
            parts.server = "postgres";
            parts.message = without_break(error ? error : "out of memory");
            ::PQfreemem(error);
            throw sql::ConnectionError(std::move(parts));
        }
        add(given);
        ::PQconninfoFree(given);
        // The environment, and a service file that it names.
        if (PQconninfoOption* const usual = ::PQconndefaults()) {
            add(usual);
            ::PQconninfoFree(usual);
        }
    }

    /// "" where there is none.
    std::string_view operator[](std::string_view key) const noexcept {
        for (const Word& word : words_) {
            if (word.key == key) return word.value;
        }
        return {};
    }
    void set(std::string_view key, std::string value) {
        for (Word& word : words_) {
            if (word.key == key) {
                word.value = std::move(value);
                return;
            }
        }
        words_.push_back(Word(key, std::move(value)));
    }

    PGconn* start() const {
        std::vector<const char*> keys, values;
        for (const Word& word : words_) {
            keys.push_back(word.key.c_str());
            values.push_back(word.value.c_str());
        }
        keys.push_back(nullptr);
        values.push_back(nullptr);
        return ::PQconnectStartParams(keys.data(), values.data(), 0);
    }

private:
    struct Word {
        Word(std::string_view name, std::string text) : key(name), value(std::move(text)) {}
        std::string key, value;
    };
    void add(const PQconninfoOption* option) {
        for (; option->keyword; ++option) {
            if (option->val && (*this)[option->keyword].empty() && *option->val)
                words_.push_back(Word(option->keyword, option->val));
        }
    }

    std::vector<Word> words_;
};

/// The `index`-th of words between commas; a single one stands for all.
inline std::string_view of_list(std::string_view list, std::size_t index) noexcept {
    if (list.find(',') == std::string_view::npos) return list;
    for (; index > 0; --index) {
        const std::size_t comma = list.find(',');
        if (comma == std::string_view::npos) return {};
        list.remove_prefix(comma + 1);
    }
    return list.substr(0, list.find(','));
}
inline std::size_t count_of_list(std::string_view list) noexcept {
    std::size_t count = 1;
    for (const char each : list) count += each == ',';
    return count;
}

/// A host with several addresses becomes several hosts of that name.
inline Coro<void> resolve(Words& words) {
    const std::string hosts(words["host"]);
    if (hosts.empty() || !words["hostaddr"].empty()) co_return;
    const std::string ports(words["port"]);
    std::string all_hosts, all_addresses, all_ports;
    const auto add = [&](std::string_view host, std::string_view address, std::string_view port) {
        const char* const comma = all_ports.empty() ? "" : ",";
        all_hosts = weft::detail::concat({all_hosts, comma, host});
        all_addresses = weft::detail::concat({all_addresses, comma, address});
        all_ports = weft::detail::concat({all_ports, comma, port.empty() ? "5432" : port});
    };
    std::exception_ptr unknown;
    for (std::size_t index = 0; index < count_of_list(hosts); ++index) {
        const std::string host(of_list(hosts, index));
        const std::string_view port = of_list(ports, index);
        if (host.empty() || host.front() == '/' || host.front() == '@') {
            add(host, "", port);
            continue;
        }
        std::vector<Address> found;
        try {
            found = co_await getaddrinfo(host, 0);
        } catch (const std::system_error&) {
            unknown = std::current_exception();  // the other hosts may be known
        }
        for (const Address& address : found) {
            const std::string text = address.to_string();  // 127.0.0.1:0, [::1]:0
            const bool in_brackets = text.front() == '[';
            add(host,
                in_brackets ? text.substr(1, text.rfind(']') - 1) : text.substr(0, text.rfind(':')),
                port);
        }
    }
    if (all_ports.empty()) std::rethrow_exception(unknown);
    words.set("host", std::move(all_hosts));
    words.set("hostaddr", std::move(all_addresses));
    words.set("port", std::move(all_ports));
}

inline std::string server_name(PGconn* conn) {
    const std::string_view host = ::PQhost(conn) ? ::PQhost(conn) : "";
    const std::string_view port = ::PQport(conn) ? ::PQport(conn) : "";
    const std::string_view db = ::PQdb(conn) ? ::PQdb(conn) : "";
    return weft::detail::concat({"postgres ", host, ":", port, "/", db});
}

/// What libpq leaves to those who do not block: 0, nothing and nonsense are no limit.
inline Duration connect_limit(const Words& words) noexcept {
    const std::string_view text = words["connect_timeout"];
    int seconds = 0;
    (void)std::from_chars(text.data(), text.data() + text.size(), seconds);
    return std::chrono::seconds(std::max(seconds, 0));
}

inline Coro<SessionRef> open_session(Words words, Options options) {
    sql::detail::strike_before_start();
    co_await resolve(words);
    Connected conn(words.start());
    if (!conn.get()) throw std::bad_alloc();
    // (libpq has sent its first SYN, and wants to be told as if it had asked to write.)
    PostgresPollingStatusType status =
        ::PQstatus(conn.get()) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
    while (status == PGRES_POLLING_READING || status == PGRES_POLLING_WRITING) {
        const int fd = ::PQsocket(conn.get());
        co_await io::poll(fd, status == PGRES_POLLING_READING ? POLLIN : POLLOUT);
        // It may go on with the next address: on another socket, of the same number.
        conn.forget_socket();
        status = ::PQconnectPoll(conn.get());
    }
    if (status != PGRES_POLLING_OK) {
        sql::ErrorParts parts;
        parts.server = server_name(conn.get());
        parts.message = without_break(::PQerrorMessage(conn.get()));
        throw sql::ConnectionError(std::move(parts));
    }
    // What libpq would print to the standard error.
    ::PQsetNoticeProcessor(
        conn.get(), [](void*, const char*) {}, nullptr);
    std::string server = server_name(conn.get());
    co_return SessionRef(new Session(std::move(conn), std::move(server), options));
}

inline Coro<SessionRef> open_in_time(std::string text, Options options) {
    Words words(text);
    const Duration limit = connect_limit(words);
    if (limit <= Duration(0)) co_return co_await open_session(std::move(words), options);
    sql::ErrorParts late;
    late.server = weft::detail::concat(
        {"postgres ", words["host"], ":", words["port"], "/", words["dbname"]});
    late.message = "no connection in the connect_timeout";
    std::optional<SessionRef> made =
        co_await move_on_after(limit, open_session(std::move(words), options));
    if (!made) throw sql::ConnectionError(std::move(late));
    co_return std::move(*made);
}

}  // namespace weft::postgres::detail
