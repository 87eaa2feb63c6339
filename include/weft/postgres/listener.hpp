// SPDX-License-Identifier: MIT
// postgres::Listener: what is told by NOTIFY.
#pragma once

#include <poll.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../base/c_text.hpp"
#include "../net/io.hpp"
#include "../sql/session.hpp"
#include "../sync/lock.hpp"
#include "../task/coro.hpp"
#include "detail/copying.hpp"
#include "detail/libpq.hpp"
#include "detail/session.hpp"

namespace weft::postgres {

class Connection;

struct Notification {
    // User-provided: g++ 12 destroys aggregate temporaries of awaiting expressions twice.
    Notification(std::string on, std::string what, int from) noexcept
        : channel(std::move(on)), payload(std::move(what)), backend_pid(from) {}

    std::string channel;
    std::string payload;
    int backend_pid;  ///< who has told
};

/// Made by `Connection::listen`. (No AsyncGenerator, because a cancel ends those: here a deadline
/// may pass, and the next `next` goes on.)
///
///     auto jobs = co_await db.listen("jobs");
///     for (;;) work_on((co_await jobs.next()).payload);
class [[nodiscard]] Listener {
public:
    Listener(Listener&&) noexcept = default;
    Listener& operator=(Listener&&) = delete;

    /// Waits for the next one. In order, and none is left out while the connection lives.
    /// Throws:   sql::ConnectionError when it does not: then some may have been missed.
    /// Cancel:   lossless.
    Coro<Notification> next() { return next_of(session_); }
    /// One that is there already; none: empty.
    std::optional<Notification> try_next() { return taken(*session_); }

private:
    friend class Connection;

    Listener(detail::SessionRef session, sql::detail::LevelRef level, Lock::Guard turn) noexcept
        : session_(std::move(session)), level_(std::move(level)), turn_(std::move(turn)) {}

    static Coro<Listener> start(detail::SessionRef session, sql::detail::LevelRef level,
                                std::vector<std::string> channels) {
        level->check();
        Lock::Guard turn = co_await level->turn.scoped();
        std::string text;
        co_await detail::begin_exchange(*session, *level, text);
        for (const std::string& channel : channels) {
            weft::detail::refuse_zero_byte("postgres: LISTEN", channel);
            char* const name =
                ::PQescapeIdentifier(session->conn(), channel.data(), channel.size());
            text = weft::detail::concat({text, "LISTEN ", name ? name : "", ";"});
            ::PQfreemem(name);
        }
        session->sent(::PQsendQuery(session->conn(), text.c_str()), text);
        session->listens = true;
        const detail::Answer done = co_await session->finish(text);
        co_return Listener(std::move(session), std::move(level), std::move(turn));
    }

    static std::optional<Notification> taken(const detail::Session& session) {
        if (!session.is_open()) return std::nullopt;
        PGnotify* const told = ::PQnotifies(session.conn());
        if (!told) return std::nullopt;
        std::optional<Notification> made(std::in_place, told->relname, told->extra, told->be_pid);
        ::PQfreemem(told);
        return made;
    }
    static Coro<Notification> next_of(detail::SessionRef session) {
        for (;;) {
            if (std::optional<Notification> told = taken(*session)) co_return std::move(*told);
            if (!session->is_open()) session->refuse("the connection is closed", "LISTEN");
            const detail::Session::User user(*session);
            co_await io::poll(::PQsocket(session->conn()), POLLIN);
            session->consume("LISTEN");
        }
    }

    detail::SessionRef session_;
    sql::detail::LevelRef level_;
    Lock::Guard turn_;  // of the level
};

}  // namespace weft::postgres
