// SPDX-License-Identifier: MIT
// Core: how commands go out, replies come in, and what becomes of them when neither does.
// Long because: each of the three tasks may find that another has given the connection up.
#pragma once

#include <exception>
#include <new>
#include <string>
#include <system_error>
#include <utility>

#include "../../base/clock.hpp"
#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../net/chunk.hpp"
#include "../../patterns/retry.hpp"
#include "../../task/sleep.hpp"
#include "core.hpp"
#include "greeting.hpp"
#include "request.hpp"
#include "request_bodies.hpp"

namespace weft::redis::detail {

// --- Core: who asks ----------------------------------------------------------

WEFT_INLINE Core::Core(Options options) : options_(std::move(options)), name_(options_.name()) {
    using weft::detail::refuse_negative;
    refuse_negative(options_.connect_timeout, "weft: redis::Options: a negative connect_timeout");
    refuse_negative(options_.command_timeout, "weft: redis::Options: a negative command_timeout");
}
WEFT_INLINE Core::~Core() = default;

/// A client that outlives a loop serves the next one, on the same connection. Its tasks have ended
/// with their loop; those of a loop that lives would run no more while the new one waits for them.
/// Throws:   RuntimeError.
[[gnu::cold]] WEFT_INLINE void Core::move_to(EventLoop& loop) {
    if (state_ == State::connecting || reads_ || writes_) {
        weft::detail::throw_runtime_error(
            {"weft: ", name_, ": the client belongs to another event loop, which is not closed"});
    }
    loop_ = &loop;
}

WEFT_INLINE void Core::submit(Pending& request) {
    if (loop_ != request.task->loop) [[unlikely]]
        move_to(*request.task->loop);
    request.state = Pending::State::unsent;
    unsent_.push_back(request);
    if (state_ == State::closed || is_closing_) [[unlikely]] {
        request.unlink();
        return fail(request, Failure::make(Failure::Kind::connection, "the client is closed"));
    }
    // (`broke` tells those that are there already.)
    if (request.only_on != 0 && !is_on(request.only_on)) [[unlikely]] {
        request.unlink();
        return fail(request, Failure::make(Failure::Kind::connection,
                                           "the connection that it was for has gone"));
    }
    if (options_.command_timeout > Duration(0)) {
        request.deadline = weft::detail::deadline_after(
            request.task->loop->now(), weft::detail::to_limit(options_.command_timeout));
        set_alarm(request.deadline);
    }
    pump();
}

[[gnu::cold]] WEFT_INLINE void Core::cancel(Pending& request) noexcept {
    if (request.state == Pending::State::unsent) {
        request.unlink();
    } else {
        sent_[static_cast<std::size_t>(request.place - first_sent_)].request = nullptr;
        give_up_on(request);
    }
    look_whether_quiet();
}

[[gnu::cold]] WEFT_INLINE void Core::give_up_on(const Pending& request) noexcept {
    last_given_up_ = request.place;
    if (given_up_until_ == 0) watch_given_up(request.deadline);  // (an earlier one tells as much)
}

/// The last of them: its answer is behind those of the others. `deadline`: when it is to be there
/// at the latest, 0 where nothing says so.
[[gnu::cold]] WEFT_INLINE void Core::watch_given_up(weft::detail::Nanoseconds deadline) noexcept {
    using weft::detail::deadline_after;
    using weft::detail::to_limit;
    if (!EventLoop::running()) return;
    const weft::detail::Nanoseconds now = get_running_loop().now();
    weft::detail::Nanoseconds until = deadline;
    if (until == 0 && options_.command_timeout > Duration(0))
        until = deadline_after(now, to_limit(options_.command_timeout));
    if (options_.heartbeat > Duration(0)) {
        const weft::detail::Nanoseconds beat = deadline_after(now, to_limit(options_.heartbeat));
        if (until == 0 || beat < until) until = beat;
    }
    if (until == 0) return;
    try {
        set_alarm(until);
        given_up_until_ = until;
        given_up_ = last_given_up_;
    } catch (const std::exception&) {
        // The loop closes, or there is no memory: the next one that is cancelled tells.
    }
}

/// Before the answer to the cancelled one comes that of a command which waits at the server, and
/// for which somebody waits here: that nothing comes says nothing of the connection.
[[gnu::cold]] WEFT_INLINE bool Core::given_up_is_held_up() noexcept {
    for (std::size_t index = 0; index < sent_.size() && first_sent_ + index < given_up_; ++index) {
        const Pending* const request = sent_[index].request;
        if (request && waits_at_server(request->wire)) return true;
    }
    return false;
}

[[gnu::cold]] WEFT_INLINE void Core::tell(std::string_view wire, std::uint32_t replies,
                                          std::uint32_t connection) noexcept {
    if (!is_on(connection)) return;
    try {
        owed_.append(wire);
        owed_replies_ += replies;
        pump();
    } catch (const std::exception& error) {
        broke(error.what());  // the next one could not know in what state it is
    }
}

[[gnu::cold]] WEFT_INLINE void Core::fail(Pending& request, const Ref<Failure>& failure) noexcept {
    request.failure = failure;
    request.end(Pending::State::failed);
}

/// Not `all`: those alone that were for a connection that has gone.
[[gnu::cold]] WEFT_INLINE void Core::fail_unsent(const Ref<Failure>& failure, bool all) noexcept {
    unsent_.for_each([&](Pending& request) {
        if (!all && (request.only_on == 0 || request.only_on == connection_)) return;
        request.unlink();
        fail(request, failure);
    });
}

WEFT_INLINE bool Core::anybody_waits() noexcept {
    if (!unsent_.empty()) return true;
    for (std::size_t index = 0; index < sent_.size(); ++index) {
        if (sent_[index].request) return true;
    }
    return false;
}

[[gnu::cold]] WEFT_INLINE void Core::end(const char* reason) noexcept {
    if (state_ == State::closed) return;
    lose(reason);
    state_ = State::closed;
    if (connector_) connector_.cancel();
    if (!unsent_.empty()) fail_unsent(Failure::make(Failure::Kind::connection, reason), true);
    alarm_.cancel();
    quiet_.set();
}

[[gnu::cold]] WEFT_INLINE Coro<void> Core::close(Ref<Core> core) {
    core->is_closing_ = true;
    const EndAtLast at_last{*core};
    while (!core->is_quiet() && !core->is_closed()) {
        core->quiet_.clear();
        co_await core->quiet_.wait();
    }
}

inline constexpr const char* loop_has_gone = "the event loop has gone";

// --- Core: the connection ----------------------------------------------------

/// Sees to it that whoever has something to do is there.
WEFT_INLINE void Core::pump() {
    if (state_ == State::up) {
        if (writes_) return;
        Unbegun unbegun(*this, &Core::write_not_begun);
        (void)create_task(write(Ref<Core>::to(*this), std::move(unbegun)),
                          TaskOptions("redis writer", false));
        writes_ = true;
    } else if (state_ == State::down) [[unlikely]] {
        Unbegun unbegun(*this, &Core::connect_not_begun);
        connector_ = create_task(connect(Ref<Core>::to(*this), std::move(unbegun)),
                                 TaskOptions("redis connect", false));
        state_ = State::connecting;
    }
}

/// Where nobody can be told that there is no memory for a task but those who wait.
[[gnu::cold]] WEFT_INLINE void Core::pump_or_fail() noexcept {
    try {
        pump();
    } catch (const std::exception& error) {
        fail_unsent(Failure::make(Failure::Kind::connection, error.what()), true);
        look_whether_quiet();
    }
}

[[gnu::cold]] WEFT_INLINE void Core::connect_not_begun(std::uint32_t) noexcept {
    if (state_ != State::connecting) return;
    state_ = State::down;
    if (!unsent_.empty()) pump_or_fail();
}
[[gnu::cold]] WEFT_INLINE void Core::write_not_begun(std::uint32_t connection) noexcept {
    if (!is_on(connection) || !writes_) return;
    writes_ = false;
    if (!unsent_.empty() || owed_replies_ > 0) pump_or_fail();
}
[[gnu::cold]] WEFT_INLINE void Core::read_not_begun(std::uint32_t connection) noexcept {
    if (!is_on(connection) || !reads_) return;
    reads_ = false;
    if (sent_.empty()) return;  // who writes begins to read
    try {
        begin_to_read();
    } catch (const std::exception& error) {
        broke(error.what());
    }
}

[[gnu::cold]] WEFT_INLINE void Core::connect_lost(std::uint32_t connection) noexcept {
    if (state_ != State::connecting || connection_ != connection) return;
    state_ = State::down;
    fail_unsent(Failure::make(Failure::Kind::connection, loop_has_gone), true);
}
[[gnu::cold]] WEFT_INLINE void Core::write_lost(std::uint32_t connection) noexcept {
    if (is_on(connection) && writes_) broke(loop_has_gone);
}
[[gnu::cold]] WEFT_INLINE void Core::read_lost(std::uint32_t connection) noexcept {
    if (is_on(connection) && reads_) broke(loop_has_gone);
}

[[gnu::cold]] WEFT_INLINE Coro<void> Core::connect(Ref<Core> core, Unbegun unbegun) {
    unbegun.has_begun();
    const Serving serving(*core, &Core::connect_lost);
    weft::detail::Backoff pauses(core->options_.reconnect);
    Ref<Failure> failure;
    for (int attempt = 1;; ++attempt) {
        try {
            if (attempt > 1) co_await sleep(pauses.next());
            if (core->state_ != State::connecting) co_return;
            Stream stream = co_await open_and_greet(core->options_);
            if (core->state_ != State::connecting) co_return;
            core->parser_.emplace();
            core->stream_.emplace(std::move(stream));
            core->state_ = State::up;
            core->begin_to_read();
            if (!core->unsent_.empty()) core->pump();
            co_return;
        } catch (const CancelledError&) {
            if (core->state_ == State::connecting) {
                core->state_ = State::down;
                core->fail_unsent(
                    Failure::make(Failure::Kind::connection, "the connecting was cancelled"), true);
                core->look_whether_quiet();
            }
            throw;
        } catch (const ServerError& error) {
            // (One that still reads its data from the disk will serve us.)
            const bool final = error.code() != "LOADING" && error.code() != "BUSY";
            failure = Failure::make(Failure::Kind::refused, error.what(), error.code());
            if (final) break;
        } catch (const std::exception& error) {
            // (It is there, but there is no memory for who serves it.)
            if (core->state_ == State::up) core->broke(error.what());
            failure = Failure::make(Failure::Kind::connection, error.what());
        } catch (...) {  // of a connector of the user's
            failure = Failure::make(Failure::Kind::connection, "no std::exception was thrown");
        }
        if (attempt >= core->options_.reconnect.attempts) break;
    }
    if (core->state_ != State::connecting) co_return;
    core->state_ = State::down;
    core->fail_unsent(failure, true);
    core->look_whether_quiet();
}

/// The commands that go out now, and the places where their replies will be awaited.
WEFT_INLINE void Core::gather(std::string& bytes) {
    bytes.clear();
    if (owed_replies_ > 0) [[unlikely]] {
        sent_.push_back(Entry{nullptr, std::exchange(owed_replies_, 0)});
        bytes.append(owed_);
        owed_.clear();
    }
    constexpr std::size_t enough = 256 * 1024;
    while (!unsent_.empty() && bytes.size() < enough) {
        Pending& request = unsent_.front();
        // (Before anything is changed: both may find no memory.)
        bytes.append(request.wire);
        sent_.push_back(Entry{&request, request.replies});
        request.unlink();
        request.state = Pending::State::sent;
        request.was_sent = true;
        if (request.mark != Mark::none) [[unlikely]] {
            if (request.mark == Mark::alters) {
                is_altered_ = true;
            } else {
                is_opened_ = request.mark == Mark::opens;
            }
        }
        request.place = first_sent_ + sent_.size() - 1;
    }
}

WEFT_INLINE Coro<void> Core::write(Ref<Core> core, Unbegun unbegun) {
    unbegun.has_begun();
    const Serving serving(*core, &Core::write_lost);
    const std::uint32_t mine = core->connection_;
    std::string bytes = std::move(core->spare_);
    try {
        while (core->is_on(mine) && (!core->unsent_.empty() || core->owed_replies_ > 0)) {
            core->gather(bytes);
            if (!core->reads_) core->begin_to_read();
            co_await core->stream_->write(bytes);
        }
        if (core->is_on(mine)) {
            core->writes_ = false;
            core->spare_ = std::move(bytes);
        }
    } catch (const CancelledError&) {
        // How much the server has got nobody knows.
        if (core->is_on(mine)) core->broke("the write was cancelled");
        throw;
    } catch (const std::exception& error) {
        if (core->is_on(mine)) core->broke(error.what());
    }
}

WEFT_INLINE void Core::begin_to_read() {
    Unbegun unbegun(*this, &Core::read_not_begun);
    (void)create_task(read(Ref<Core>::to(*this), std::move(unbegun)),
                      TaskOptions("redis reader", false));
    reads_ = true;
}

WEFT_INLINE Coro<void> Core::read(Ref<Core> core, Unbegun unbegun) {
    unbegun.has_begun();
    const Serving serving(*core, &Core::read_lost);
    const std::uint32_t mine = core->connection_;
    bool was_cancelled = false;
    while (core->is_on(mine)) {
        // The run ends: it reads on for those that wait, in a clean-up perhaps, and for no others.
        if (was_cancelled && !core->anybody_waits()) {
            core->reads_ = false;
            if (!core->sent_.empty()) core->broke("the event loop ends");
            break;
        }
        try {
            const Chunk chunk = co_await core->stream_->read_chunk();
            if (!core->is_on(mine)) break;
            if (chunk.empty()) throw ConnectionError("the server has closed the connection");
            core->deliver(chunk.view());
        } catch (const CancelledError&) {
            was_cancelled = true;
        } catch (const std::exception& error) {
            if (core->is_on(mine)) core->broke(error.what());
        }
    }
    if (was_cancelled) throw CancelledError();  // it was held, not swallowed
}

WEFT_INLINE void Core::deliver(std::string_view bytes) {
    parser_->feed(bytes);
    for (Reply* reply = nullptr; parser_->next(reply);) {
        if (sent_.empty()) throw ConnectionError("a reply that nobody has asked for");
        Entry& entry = sent_[0];
        if (entry.request) entry.request->take(*entry.request, std::move(*reply));
        if (--entry.replies > 0) continue;
        Pending* const request = entry.request;
        sent_.pop_front();
        ++first_sent_;
        if (request) request->end(Pending::State::done);
    }
    if (given_up_until_ != 0 && first_sent_ > given_up_) [[unlikely]] {
        given_up_until_ = 0;
        if (last_given_up_ >= first_sent_) watch_given_up(0);  // (its own time counts anew)
    }
    look_whether_quiet();
}

/// The connection is given up. Who has sent is told; who has not waits for the next one.
[[gnu::cold]] WEFT_INLINE void Core::broke(std::string_view reason) noexcept {
    if (state_ == State::closed) return;
    lose(reason);
    if (state_ == State::down && !unsent_.empty()) pump_or_fail();
}

[[gnu::cold]] WEFT_INLINE void Core::lose(std::string_view reason) noexcept {
    const Ref<Failure> failure = Failure::make(Failure::Kind::connection, reason);
    if (state_ == State::up) {
        state_ = State::down;
        if (++connection_ == 0) connection_ = 1;
        writes_ = reads_ = is_opened_ = is_altered_ = false;
        stream_.reset();
        parser_.reset();
        owed_.clear();
        owed_replies_ = 0;
    }
    while (!sent_.empty()) {
        if (Pending* const request = sent_.pop_front().request) fail(*request, failure);
        ++first_sent_;
    }
    given_up_until_ = 0;
    fail_unsent(failure, false);
    look_whether_quiet();
}

// --- Core: time --------------------------------------------------------------

WEFT_INLINE void Core::set_alarm(weft::detail::Nanoseconds deadline) {
    if (alarm_.is_set() && alarm_at_ <= deadline) return;
    if (!alarm_is_made_) {
        alarm_ = Alarm([this] { look_at_deadlines(); });
        alarm_is_made_ = true;
    }
    alarm_.set_after(Duration(deadline - get_running_loop().now()));
    alarm_at_ = deadline;
}

/// Deadlines come in the order of the commands, those that were sent before those that were not.
[[gnu::cold]] WEFT_INLINE void Core::look_at_deadlines() {
    const Ref<Core> alive = Ref<Core>::to(*this);
    const weft::detail::Nanoseconds now = get_running_loop().read_clock();
    // (0: it has none. The alarm may ring for one that was cancelled.)
    const auto is_due = [now](const Pending& request) {
        return request.deadline != 0 && request.deadline <= now;
    };
    Ref<Failure> failure;
    const auto give_up = [&](Pending& request) {
        if (!failure) failure = Failure::make(Failure::Kind::timeout, "no answer in time");
        fail(request, failure);
    };
    bool silent = given_up_until_ != 0 && given_up_until_ <= now;
    if (silent && given_up_is_held_up()) {
        silent = false;
        watch_given_up(0);
    }
    for (std::size_t index = 0; index < sent_.size(); ++index) {
        Pending*& place = sent_[index].request;
        if (!place || !is_due(*place)) continue;
        give_up(*std::exchange(place, nullptr));
        silent = true;
    }
    unsent_.for_each([&](Pending& request) {
        if (!is_due(request)) return;
        request.unlink();
        give_up(request);
    });
    if (silent) broke("the server has not answered another command in time");
    weft::detail::Nanoseconds next = given_up_until_;
    const auto consider = [&](const Pending& request) {
        if (request.deadline == 0) return;
        if (next == 0 || request.deadline < next) next = request.deadline;
    };
    for (std::size_t index = 0; index < sent_.size(); ++index) {
        if (sent_[index].request) consider(*sent_[index].request);
    }
    unsent_.for_each(consider);
    if (next != 0) set_alarm(next);
    look_whether_quiet();
}

/// Waits for a connection without asking anything.
[[gnu::cold]] WEFT_INLINE Coro<void> Core::connected(Ref<Core> core) {
    if (!core->is_up()) co_await Command<void>(core, Wire::command("PING"));
}

}  // namespace weft::redis::detail
