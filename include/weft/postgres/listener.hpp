// SPDX-License-Identifier: MIT
// postgres::Listener: what is told by NOTIFY.
#pragma once

#include <poll.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../adapters/heartbeat.hpp"
#include "../base/c_text.hpp"
#include "../base/error.hpp"
#include "../base/ref.hpp"
#include "../deadline/move_on_after.hpp"
#include "../net/io.hpp"
#include "../sql/session.hpp"
#include "../sync/event.hpp"
#include "../sync/lock.hpp"
#include "../task/coro.hpp"
#include "../together/race.hpp"
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
///
/// While `next` waits in vain it asks the server from time to time whether it is there: see
/// `Options::heartbeat`. A listener that goes ends the wait of its reader with a ConnectionError.
class [[nodiscard]] Listener {
public:
    Listener(Listener&&) noexcept = default;
    Listener& operator=(Listener&&) = delete;
    ~Listener() {
        if (state_) state_->gone.set();
    }

    /// Waits for the next one. In order, and none is left out while the connection lives.
    /// Throws:   sql::ConnectionError when it does not: then some may have been missed;
    ///           RuntimeError when it was moved from.
    /// Cancel:   lossless.
    Coro<Notification> next() { return next_of(state()); }
    /// One that is there already; none: empty.
    /// Throws:   RuntimeError when it was moved from.
    std::optional<Notification> try_next() { return taken(*state()->session); }

private:
    friend class Connection;

    /// Shared with the reader that waits, who keeps the turn until it has left.
    struct State : weft::detail::Counted<State> {
        State(detail::SessionRef of, sql::detail::LevelRef in, Lock::Guard own) noexcept
            : session(std::move(of)), level(std::move(in)), turn(std::move(own)) {}
        detail::SessionRef session;
        sql::detail::LevelRef level;
        Lock::Guard turn;  // of the level
        Heartbeat beat{session->heartbeat};
        Event gone;
    };
    using StateRef = weft::detail::Ref<State>;

    explicit Listener(StateRef state) noexcept : state_(std::move(state)) {}
    const StateRef& state() const {
        if (!state_) [[unlikely]]
            weft::detail::throw_runtime_error(
                "weft: an empty postgres::Listener: it was moved from");
        return state_;
    }

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
        StateRef state(new State(std::move(session), std::move(level), std::move(turn)));
        state->beat.heard();
        co_return Listener(std::move(state));
    }

    static std::optional<Notification> taken(const detail::Session& session) {
        if (!session.is_open()) return std::nullopt;
        PGnotify* const told = ::PQnotifies(session.conn());
        if (!told) return std::nullopt;
        std::optional<Notification> made(std::in_place, told->relname, told->extra, told->be_pid);
        ::PQfreemem(told);
        return made;
    }
    static Coro<Notification> next_of(StateRef self) {
        detail::Session& session = *self->session;
        for (;;) {
            if (std::optional<Notification> told = taken(session)) co_return std::move(*told);
            if (!session.is_open()) session.refuse("the connection is closed", "LISTEN");
            if (self->gone.is_set()) session.refuse("the listener was destroyed", "LISTEN");
            const detail::Session::User user(session);
            co_await hear(*self);
        }
    }
    /// Reads what has come. Nothing for a while: asks whether somebody is there.
    static Coro<void> hear(State& self) {
        detail::Session& session = *self.session;
        const auto readable = [&session]() -> Coro<void> {
            (void)co_await io::poll(::PQsocket(session.conn()), POLLIN);
        };
        const auto gone = [&self]() -> Coro<void> { co_await self.gone.wait(); };
        if (!self.beat.is_on()) {
            (void)co_await race(readable(), gone());
        } else {
            const auto sign =
                co_await move_on_after(self.beat.patience(), race(readable(), gone()));
            if (!sign) {
                if (self.beat.should_ask()) co_return session.ask_for_a_sign();
                session.drop();
                session.refuse("the server gives no sign of life", "LISTEN");
            }
            if (!self.gone.is_set()) self.beat.heard();
        }
        session.consume("LISTEN");
        session.take_signs();
    }

    StateRef state_;
};

}  // namespace weft::postgres
