// SPDX-License-Identifier: MIT
// TlsTransport: TLS over any Stream.
#pragma once

#include "../../base/config.hpp"

#if WEFT_TLS_BODIES
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "../../base/buffer.hpp"
#include "../../base/clock.hpp"
#include "../../base/error.hpp"
#include "../../base/ref.hpp"
#include "../../runtime/handle.hpp"
#include "../../runtime/loop.hpp"
#include "../../sync/lock.hpp"
#include "../../task/coro.hpp"
#include "../../task/task.hpp"
#include "../chunk.hpp"
#include "../stream.hpp"
#include "../tls_error.hpp"
#include "../transport.hpp"
#include "tls_engine.hpp"
#include "tls_unsent.hpp"

namespace weft::detail {

/// A TLS connection: shared by its Transport and by what goes on behind it, so that a write which
/// was cancelled, or the last word of a stream that is gone, still leaves whole.
struct TlsState : Counted<TlsState> {
    TlsState(Stream plain, const Ref<TlsContextState>& context, const std::string& host,
             const std::string& session_name)
        : engine(context, host, session_name), below(std::move(plain)) {}

    /// Plain bytes that are here. False: records have to come first.
    /// Throws:   TlsError.
    bool read_now(MutableBuffer into, std::size_t& count);
    /// What came from below; empty: it has ended.
    void received(Chunk records) noexcept {
        if (records.empty()) {
            input_ended = true;
        } else {
            engine.feed(std::move(records));
        }
    }
    /// Sends what there is to be sent, and what comes to it meanwhile. The caller holds `sending`.
    Coro<void> flush();
    /// The same behind the back of a reader, or of a writer that was cancelled.
    void flush_behind() noexcept;
    [[noreturn]] void throw_cut_off();

    /// "fd 7 (example.org)", or with the peer's address for a server.
    std::string object() const {
        if (engine.host().empty()) return connection_text({}, below.fd()).substr(1);
        return concat({"fd ", decimal(below.fd()), " (", engine.host(), ")"});
    }

    TlsEngine engine;
    Stream below;
    Lock sending;  // one sends at a time, so that records stay in their order
    Nanoseconds shutdown_timeout = 0;
    bool input_ended = false;
    bool reading_ended = false;  // by our server
    bool in_flight = false;      // output is being sent; a loop that ends leaves it torn
    bool timed_out = false;      // the handshake
    bool closing = false;
};

/// Ends what is below when it takes too long; goes with the frame that waits.
class TlsLimit {
public:
    TlsLimit(const Ref<TlsState>& tls, Nanoseconds limit)
        : timer_(get_running_loop().call_later(std::chrono::nanoseconds(limit), [tls] {
              tls->timed_out = true;
              tls->below.abort();
          })) {}
    TlsLimit(const TlsLimit&) = delete;
    TlsLimit& operator=(const TlsLimit&) = delete;
    ~TlsLimit() { timer_.cancel(); }

private:
    TimerHandle timer_;
};

/// A cancel that has struck something which is done for all that: it strikes again, at the next
/// suspension.
inline void strike_later() noexcept { get_running_loop().current_task()->must_cancel = true; }

inline bool TlsState::read_now(MutableBuffer into, std::size_t& count) {
    const TlsStep step = engine.read(into, count);
    // An answer to what was read: to a change of keys, or an alert.
    if (engine.has_output()) [[unlikely]]
        flush_behind();
    if (step == TlsStep::done) [[likely]]
        return true;
    count = 0;
    if (step == TlsStep::closed) return true;
    if (step == TlsStep::failed) engine.throw_error("TLS read", object());
    if (!input_ended) return false;
    // (Where this side has ended its reading, on a server that stops, nothing was cut.)
    if (reading_ended) return true;
    throw_cut_off();
}

[[gnu::cold, gnu::noinline]] inline void TlsState::throw_cut_off() {
    throw TlsError(
        TlsFailure::cut_off, ECONNRESET,
        concat({"TLS read ", object(), ": the connection was cut off, without close_notify"}),
        engine.host(), std::string(), std::string());
}

inline Coro<void> TlsState::flush() {
    while (engine.has_output()) {
        const std::string_view records = engine.output();
        const std::uint64_t before = below.written();
        in_flight = true;
        try {
            co_await below.write(records);
        } catch (...) {
            in_flight = false;
            engine.sent(static_cast<std::size_t>(below.written() - before));
            throw;
        }
        in_flight = false;
        engine.sent(records.size());
    }
}

[[gnu::cold]] inline Coro<void> flush_whole(Ref<TlsState> tls) {
    try {
        const Lock::Guard turn = co_await tls->sending.scoped();
        co_await tls->flush();
    } catch (const std::exception&) {
        // The next write finds the same.
    }
}

[[gnu::cold, gnu::noinline]] inline void TlsState::flush_behind() noexcept {
    // (Who holds the lock sends what is new, too.)
    if (sending.locked() || closing) return;
    try {
        (void)create_task(flush_whole(Ref<TlsState>::to(*this)), TaskOptions("tls flush", true));
    } catch (const std::exception&) {
        // No memory: it goes with the next write.
    }
}

/// Tells the peer that this is the end, for as long as the limit lasts, and closes what is below.
[[gnu::cold]] inline Coro<void> close_in_order(Ref<TlsState> tls) {
    try {
        const TlsLimit limit(tls, tls->shutdown_timeout);
        const Lock::Guard turn = co_await tls->sending.scoped();
        tls->engine.end_output();
        co_await tls->flush();
        if (!SSL_is_server(tls->engine.ssl())) co_await until_sent(tls->below);
    } catch (const std::exception&) {
        // The peer is gone, or does not read.
    } catch (const CancelledError&) {
        if (tls->engine.has_output()) tls->below.abort();
        throw;
    }
    drop_unread(tls->below);
    try {
        co_await tls->below.close();
    } catch (const std::exception&) {
        // It is closed all the same.
    }
}

/// For a server that ends its connections. Who has the stream goes on holding it: its reads find
/// the end, its next write fails.
[[gnu::cold]] inline Coro<void> end_in_order(Ref<TlsState> tls) {
    try {
        const TlsLimit limit(tls, tls->shutdown_timeout);
        const Lock::Guard turn = co_await tls->sending.scoped();
        tls->engine.end_output();
        co_await tls->flush();
    } catch (const std::exception&) {
        // The peer is gone, or does not read; or the stream was closed, which says it too.
    }
    StreamState& below = StreamAccess::state(tls->below);
    if (below.is_closed()) co_return;
    if (below.carrier) {
        below.carrier->transport->end_both();
    } else {
        ::shutdown(below.fd.get(), SHUT_RDWR);
    }
}

class TlsTransport final : public Transport {
public:
    explicit TlsTransport(Ref<TlsState> tls) noexcept : tls_(std::move(tls)) {}
    /// A stream that goes has ended, as a socket's has: the peer is told, if that takes no waiting
    /// here.
    ~TlsTransport() override {
        if (!tls_->closing && tls_->engine.is_up() && !tls_->below.is_closed() && !said_at_once())
            say_goodbye();
    }

    Coro<std::size_t> read_some(MutableBuffer into) override {
        TlsState& tls = *tls_;
        std::size_t count = 0;
        while (!tls.read_now(into, count)) {
            if (tls.closing) throw_system_error(ECANCELED, concat({"TLS read ", tls.object()}));
            Chunk records = co_await tls.below.read_chunk();
            tls.received(std::move(records));
        }
        co_return count;
    }

    Coro<void> wait_readable() override {
        if (SSL_pending(tls_->engine.ssl()) > 0) return Coro<void>(nullptr);
        return until_readable(*tls_);
    }

    Coro<std::size_t> write_some(ConstBuffer from) override {
        TlsState& tls = *tls_;
        const Lock::Guard turn = co_await tls.sending.scoped();
        if (tls.engine.has_output()) [[unlikely]]
            co_await tls.flush();
        if (tls.closing) throw_system_error(ECANCELED, concat({"TLS write ", tls.object()}));
        if (tls.engine.has_said_end()) {
            throw_system_error(EPIPE, concat({"TLS write ", tls.object(), ", whose end was told"}));
        }
        std::size_t count = 0;
        if (tls.engine.write(from, count) != TlsStep::done)
            tls.engine.throw_error("TLS write", tls.object());
        if (!tls.engine.has_output()) [[likely]]
            co_return count;
        bool cancelled = false;
        try {
            co_await tls.flush();
        } catch (const CancelledError&) {
            cancelled = true;
        }
        if (cancelled) [[unlikely]] {
            // What was taken counts, and goes on its way.
            strike_later();
            flush_later();
        }
        co_return count;
    }

    Coro<void> write_eof() override {
        TlsState& tls = *tls_;
        const Lock::Guard turn = co_await tls.sending.scoped();
        if (tls.engine.has_failed()) tls.engine.throw_error("TLS write_eof", tls.object());
        tls.engine.end_output();
        bool cancelled = false;
        try {
            co_await tls.flush();
        } catch (const CancelledError&) {
            cancelled = true;
        }
        if (!cancelled) co_return;
        strike_later();
        flush_later();
    }

    Coro<void> close() override {
        tls_->closing = true;
        const Task<void> closing =
            create_task(close_in_order(tls_), TaskOptions("tls close", true));
        co_await closing.wait();
    }
    void abort() noexcept override {
        tls_->closing = true;
        tls_->below.abort();
    }

    void let_go() noexcept override {
        if (tls_->engine.is_up()) say_goodbye();
        if (!tls_->closing) abort();
    }
    void end_reads() noexcept override {
        tls_->reading_ended = true;
        StreamState& below = StreamAccess::state(tls_->below);
        if (below.carrier) {
            below.carrier->transport->end_reads();
        } else if (below.fd) {
            ::shutdown(below.fd.get(), SHUT_RD);
        }
    }
    /// (Not before a handshake is done: there is nobody to say it to.)
    void end_both() noexcept override {
        end_reads();
        if (tls_->closing) return;
        try {
            (void)create_task(end_in_order(tls_), TaskOptions("tls end", true));
        } catch (const std::exception&) {
            tls_->below.abort();
        }
    }

    std::optional<std::size_t> try_read(MutableBuffer into) override {
        TlsState& tls = *tls_;
        for (;;) {
            std::size_t count = 0;
            if (tls.read_now(into, count)) return count;
            Block* const block = Block::make(nullptr);
            if (!block) throw std::bad_alloc();
            Chunk records(block);
            const std::optional<std::size_t> got =
                tls.below.try_read(MutableBuffer(block->memory(), Block::capacity));
            if (!got) return std::nullopt;
            if (*got == 0) records.reset();
            if (*got > 0) block->fill(static_cast<std::uint32_t>(*got));
            tls.received(std::move(records));
        }
    }
    bool has_buffered() const noexcept override { return tls_->engine.has_input(); }

    int fd() const noexcept override { return tls_->below.is_closed() ? -1 : tls_->below.fd(); }
    std::string name() const override { return concat({"TLS ", tls_->object()}); }

    SSL* ssl() const noexcept { return tls_->engine.ssl(); }

private:
    /// (What is wrong says the read that follows.)
    static Coro<void> until_readable(TlsState& tls) {
        while (tls.engine.look() == TlsStep::wants_input && !tls.input_ended && !tls.closing) {
            if (tls.engine.has_output()) [[unlikely]]
                tls.flush_behind();
            Chunk records = co_await tls.below.read_chunk();
            tls.received(std::move(records));
        }
    }

    /// When the lock that is held here is free.
    [[gnu::cold]] void flush_later() noexcept {
        try {
            (void)create_task(flush_whole(tls_), TaskOptions("tls flush", false));
        } catch (const std::exception&) {
        }
    }

    /// Behind what is being sent there is no waiting: nothing happens then.
    [[gnu::cold]] void say_goodbye() noexcept {
        if (tls_->in_flight || tls_->below.is_closed()) return;
        try {
            const Task<void> task =
                create_task(close_in_order(tls_), TaskOptions("tls close", true));
            tls_->closing = true;
            if (SSL_is_server(tls_->engine.ssl())) return;
            // What a client has written is not lost with the end of its program.
            auto& core = static_cast<TaskCore&>(*task.core());
            core.in_clean_up = core.hands_on = true;
            core.make_extras().ends_by_itself = true;
        } catch (const std::exception&) {
            // No loop, or no memory: the peer finds the connection cut.
        }
    }

    /// On a socket that has room for it, which is where the end of a program, too, still says it.
    bool said_at_once() noexcept {
        TlsState& tls = *tls_;
        const bool is_socket = static_cast<bool>(StreamAccess::state(tls.below).fd);
        if (!is_socket || tls.sending.locked() || tls.engine.has_output()) return false;
        tls.engine.end_output();
        if (tls.engine.has_output()) return false;
        if (!SSL_is_server(tls.engine.ssl()) && has_unsent(tls.below)) return false;
        drop_unread(tls.below);
        return true;
    }

    Ref<TlsState> tls_;
};

}  // namespace weft::detail
#endif
