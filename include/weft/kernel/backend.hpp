// SPDX-License-Identifier: MIT
// Backend: the narrow door to the kernel. Start operations, cancel one, enter the kernel once.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "../base/clock.hpp"
#include "buffer_pool.hpp"
#include "operation.hpp"

namespace weft {

/// Which backend runs, why that one, and what of the kernel it uses.
struct BackendInfo {
    std::string name;      ///< "uring" or "epoll"
    std::string reason;    ///< why: "io_uring_setup: Operation not permitted", "WEFT_BACKEND", ...
    std::string features;  ///< comma separated: "defer_taskrun,single_issuer,..."
};

namespace detail {

class Backend {
public:
    Backend() = default;
    Backend(const Backend&) = delete;
    Backend& operator=(const Backend&) = delete;
    [[gnu::cold, gnu::noinline]] virtual ~Backend() = default;

    /// Takes the operation. True: it is complete already, `result` is set and `on_complete` is not
    /// called. False: `on_complete` will be called from a later `turn` (or `cancel`).
    virtual bool start(Operation& op) noexcept = 0;

    /// Takes an operation back that `start` has completed, and tells of it in the next turn:
    /// whoever goes on without a pause for too long waits for its turn like everybody else.
    virtual void postpone(Operation& op) noexcept = 0;

    /// Asks for an end of an operation that was started. It still completes exactly once: with
    /// -ECANCELED, or with what it did anyway. Idempotent.
    virtual void cancel(Operation& op) noexcept = 0;

    /// Forgets what is known about a number that is about to be closed. (An operation of kind
    /// `close` does so itself, after asking every other operation on the number to end.)
    virtual void forget(int fd) noexcept = 0;

    /// Is a send on `fd` under way, or does one wait? Who sends by other means would come between.
    virtual bool is_sending(int fd) noexcept = 0;

    /// Cancels every operation that stands on its own (recv_pooled), whoever it belongs to.
    virtual void end_standing() noexcept = 0;

    /// Hands everything started to the kernel and collects completions, entering it at most once.
    /// Sleeps until a completion, at most `timeout` (0: not at all, `no_deadline`: for ever). May
    /// come back early (a signal): the caller looks at the clock and decides anew.
    /// Throws:   std::system_error where the kernel refuses to go on (never for one operation).
    virtual void turn(Nanoseconds timeout) = 0;

    /// A descriptor that can be read from as soon as a turn has something to do, for whoever sleeps
    /// in our place; the same each time. -1: this backend was not made for that.
    /// Throws:   std::system_error.
    virtual int pollable() = 0;
    /// Before others wait on it: hands over what was started and collects what is there.
    /// Returns:  how long they may wait, `timeout` at most.
    virtual Nanoseconds begin_wait(Nanoseconds timeout) = 0;
    virtual void end_wait() noexcept = 0;

    /// Memory that the kernel is to keep at hand for transfers of files. Returns its number, for
    /// `Operation::pinned`; 0: it is not kept, which changes nothing but the speed.
    virtual std::uint8_t pin(void*, std::size_t) noexcept { return 0; }
    virtual void unpin(std::uint8_t) noexcept {}
    /// Of this backend alone, in this process.
    std::uint64_t serial() const noexcept { return serial_; }

    /// A turn that may not sleep for longer does not sleep: to fall asleep and to be woken takes
    /// several times as long, and no less of the processor's time.
    static constexpr Nanoseconds shortest_sleep = 2'000;

    /// Anything for a turn that does not sleep to do?
    virtual bool has_work() const noexcept = 0;

    /// Operations started and not completed; `background` ones are counted apart.
    std::uint32_t outstanding() const noexcept { return counts_[0]; }
    std::uint32_t background() const noexcept { return counts_[1]; }
    /// Of these, how many the kernel finishes on its own soon (files): time must not jump over
    /// them.
    std::uint32_t busy() const noexcept { return busy_; }
    /// Operations that will end without anything else happening: asked to end, or short.
    std::uint32_t ending() const noexcept { return cancelling_ + busy_; }
    /// Somebody waits for a standing operation, which is a background one: that counts.
    void count_waiter() noexcept { ++counts_[0]; }
    void discount_waiter() noexcept { --counts_[0]; }
    std::uint64_t kernel_entries() const noexcept { return kernel_entries_; }
    /// A pooled receive that waits has no buffer.
    bool lends_buffers() const noexcept { return lends_buffers_; }
    const BackendInfo& info() const noexcept { return info_; }
    void explain(std::string name, std::string reason) noexcept {
        info_.name = std::move(name);
        info_.reason = std::move(reason);
    }

private:
    static std::uint64_t next_serial() noexcept {
        static std::atomic<std::uint64_t> last{0};
        return last.fetch_add(1, std::memory_order_relaxed) + 1;
    }
    const std::uint64_t serial_ = next_serial();

protected:
    std::uint32_t& count_of(const Operation& op) noexcept { return counts_[op.background]; }

    std::uint32_t counts_[2] = {0, 0};
    std::uint32_t busy_ = 0;
    std::uint32_t cancelling_ = 0;
    std::uint64_t kernel_entries_ = 0;  // system calls made
    bool lends_buffers_ = false;
    BackendInfo info_;
    OwnedBufferPool buffers_;
};

}  // namespace detail
}  // namespace weft
