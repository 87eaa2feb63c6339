// SPDX-License-Identifier: MIT
// TransportCarrier: how a stream uses a transport: who reads, and writers in order.
#pragma once

#include "../../base/config.hpp"
#include "../../base/owned.hpp"
#include "../../base/ref.hpp"
#include "../transport.hpp"
#include "stream_state.hpp"

#if WEFT_BODIES
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include "../../base/buffer.hpp"
#include "../../kernel/buffer_pool.hpp"
#include "../../runtime/ready_await.hpp"
#include "../../sync/lock.hpp"
#include "../../task/coro.hpp"
#include "../../task/sleep.hpp"
#endif

namespace weft::detail {

/// Takes the transport over.
/// Throws:   std::bad_alloc.
Ref<StreamState> carry(Owned<Transport> transport);

#if WEFT_BODIES
/// A transport may have everything that it is asked for at hand: whoever has had his share goes
/// round then, or a loop around it would keep the thread.
class TransportCarrier final : public Carrier {
public:
    explicit TransportCarrier(Owned<Transport> below) noexcept : Carrier(table, std::move(below)) {}
    /// (The calls hold what we have, and what the transport gave them.)
    ~TransportCarrier() {
        read_call.reset();
        while (!write_calls.empty()) delete &write_calls.pop_front();
    }

private:
    static CarriedCall& begin_read(Carrier& carrier, Coro<std::size_t> reading) {
        if (carrier.is_read()) {
            refuse_second_read(concat({"read ", carrier.transport->name()}),
                               carrier.transport->fd());
        }
        carrier.read_call.reset(new CarriedCall(std::move(reading)));
        return *carrier.read_call;
    }
    static CarriedCall& begin_write(Carrier& carrier, Coro<std::size_t> written) {
        auto& calls = carrier.write_calls;
        while (!calls.empty() && calls.front().is_over()) delete &calls.pop_front();
        // (Behind one that waits for a peer which does not read, others may have been given up.)
        while (!calls.empty() && calls.back().is_over()) {
            CarriedCall& last = calls.back();
            calls.erase(last);
            delete &last;
        }
        auto* const call = new CarriedCall(std::move(written));
        calls.push_back(*call);
        return *call;
    }

    static Coro<std::size_t> read(Carrier& carrier, MutableBuffer into) {
        carrier.require_open("read");
        if (!may_go_on()) {
            co_await yield();
            carrier.require_open("read", true);
        }
        co_return co_await carrier.transport->read_some(into);
    }
    static Coro<std::size_t> read_block(Carrier& carrier) {
        carrier.require_open("read");
        if (!may_go_on()) {
            co_await yield();
            carrier.require_open("read", true);
        }
        if (Coro<void> waiting = carrier.transport->wait_readable()) {
            co_await std::move(waiting);
            carrier.require_open("read", true);
        }
        if (!carrier.block) carrier.block = Block::make(nullptr);
        if (!carrier.block) throw std::bad_alloc();
        const std::size_t count = co_await carrier.transport->read_some(
            MutableBuffer(carrier.block->memory(), Block::capacity));
        carrier.block->fill(static_cast<std::uint32_t>(count));
        co_return count;
    }

    static Coro<std::size_t> write(Carrier& carrier, const ConstBuffer* first,
                                   const ConstBuffer* end, std::uint64_t& written) {
        carrier.require_open("write");
        if (!may_go_on()) co_await yield();
        const Lock::Guard turn = co_await writing_of(carrier).scoped();
        std::size_t done = 0;
        for (; first != end; ++first) {
            for (std::size_t at = 0; at < first->size();) {
                carrier.require_open("write", true);
                const std::size_t count = co_await carrier.transport->write_some(
                    ConstBuffer(static_cast<const char*>(first->data()) + at, first->size() - at));
                written += count;
                at += count;
                done += count;
            }
        }
        co_return done;
    }
    static Coro<std::size_t> write_one(Carrier& carrier, ConstBuffer from, std::uint64_t& written) {
        co_return co_await write(carrier, &from, &from + 1, written);
    }
    static Coro<std::size_t> write_some(Carrier& carrier, ConstBuffer from,
                                        std::uint64_t& written) {
        carrier.require_open("write");
        const Lock::Guard turn = co_await writing_of(carrier).scoped();
        carrier.require_open("write", true);
        const std::size_t count = co_await carrier.transport->write_some(from);
        written += count;
        co_return count;
    }
    static Coro<void> end_writing(Carrier& carrier) {
        carrier.require_open("write_eof");
        const Lock::Guard turn = co_await writing_of(carrier).scoped();
        carrier.require_open("write_eof", true);
        co_await carrier.transport->write_eof();
    }
    static void destroy(Carrier* carrier) noexcept {
        delete static_cast<TransportCarrier*>(carrier);
    }
    static Lock& writing_of(Carrier& carrier) noexcept {
        return static_cast<TransportCarrier&>(carrier).writing_;
    }

    static constexpr CarrierCalls table{
        [](Carrier& carrier, MutableBuffer into) -> CarriedCall& {
            return begin_read(carrier, read(carrier, into));
        },
        [](Carrier& carrier) -> CarriedCall& { return begin_read(carrier, read_block(carrier)); },
        [](Carrier& carrier, const ConstBuffer* first, const ConstBuffer* end,
           std::uint64_t& written) -> CarriedCall& {
            return begin_write(carrier, write(carrier, first, end, written));
        },
        [](Carrier& carrier, ConstBuffer from, std::uint64_t& written) -> CarriedCall& {
            return begin_write(carrier, write_one(carrier, from, written));
        },
        [](CarriedCall& call, std::coroutine_handle<> handle) {
            return call.await_suspend(handle);
        },
        [](const CarriedCall& call) noexcept { return call.await_cancelled(); },
        [](CarriedCall& call) { return call.await_resume(); },
        &write_some,
        &end_writing,
        &destroy};

    Lock writing_;  // one write goes out whole before the next
};

WEFT_INLINE Ref<StreamState> carry(Owned<Transport> transport) {
    OwnedCarrier carrier(new TransportCarrier(std::move(transport)));
    return Ref<StreamState>(new StreamState(std::move(carrier)));
}
#endif

}  // namespace weft::detail
