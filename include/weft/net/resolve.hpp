// SPDX-License-Identifier: MIT
// getaddrinfo: names to addresses, on a thread, because no resolver of libc waits any other way.
#pragma once

#include <netdb.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <new>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "../base/c_text.hpp"
#include "../base/config.hpp"
#include "../base/error.hpp"
#include "../base/ref.hpp"
#include "../base/thread.hpp"
#include "../runtime/loop.hpp"
#include "../task/coro.hpp"
#include "address.hpp"

namespace weft {

/// The addresses of a host, in the order in which to try them. Numeric addresses cost nothing; an
/// empty host means every local address.
/// Throws:   std::system_error of `resolver_category`; CancelledError.
/// Cancel:   at once; a lookup that runs is abandoned and its answer dropped. It does not hold up
///           the end of the loop.
Coro<std::vector<Address>> getaddrinfo(std::string host, std::uint16_t port);

/// Why a name was not found: the values are EAI_*, the texts those of gai_strerror(3).
const std::error_category& resolver_category() noexcept;

#if WEFT_BODIES
namespace detail {

class ResolverCategory final : public std::error_category {
public:
    const char* name() const noexcept override { return "getaddrinfo"; }
    [[gnu::cold]] std::string message(int error) const override { return ::gai_strerror(error); }
};

class LookupWait;

/// Shared by the awaiting coroutine and the thread, so that either may end first.
struct Lookup {
    Lookup(std::string name, std::uint16_t number, Remote to)
        : host(std::move(name)), port(number), remote(std::move(to)) {}
    Lookup(const Lookup&) = delete;
    Lookup& operator=(const Lookup&) = delete;

    void add_ref() noexcept { refs.fetch_add(1, std::memory_order_relaxed); }
    [[gnu::cold, gnu::noinline]] void release() noexcept {
        if (refs.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }

    [[gnu::cold, gnu::noinline]] void run() noexcept {
        addrinfo hints{};
        hints.ai_socktype = SOCK_STREAM;
        hints.ai_flags = AI_NUMERICSERV | (host.empty() ? AI_PASSIVE : 0);
        char service[8];
        std::snprintf(service, sizeof service, "%u", unsigned{port});
        error = ::getaddrinfo(host.empty() ? nullptr : host.c_str(), service, &hints, &found);
        system_error = errno;
    }
    [[gnu::cold, gnu::noinline]] void fail() const {
        const std::string what = concat({"getaddrinfo ", in_quotes(host)});
        if (error == EAI_SYSTEM) throw_system_error(system_error, what);
        throw std::system_error(error, resolver_category(), what);
    }

    // The thread's, until it has posted its answer.
    std::string host;
    std::uint16_t port;
    int error = 0;         // EAI_*
    int system_error = 0;  // errno, with EAI_SYSTEM
    addrinfo* found = nullptr;
    Remote remote;

    // The loop's: who waits, null once nobody does.
    LookupWait* waiting = nullptr;

    std::atomic<std::uint32_t> refs{1};

private:
    [[gnu::cold]] ~Lookup() {
        if (found) ::freeaddrinfo(found);
    }
};

/// Waits for the thread's answer.
class [[nodiscard]] LookupWait final : public Suspension {
public:
    [[gnu::cold]] LookupWait(std::string host, std::uint16_t port)
        : lookup_(new Lookup(std::move(host), port, get_running_loop().remote())) {}
    ~LookupWait() { lookup_->waiting = nullptr; }

    bool await_ready() const noexcept { return false; }
    [[gnu::cold, gnu::noinline]] void await_suspend(std::coroutine_handle<> handle) {
        EventLoop& loop = get_running_loop();
        task_ = &loop.require_task();
        if (!task_->must_cancel) begin();
        loop.suspend(handle, *this);
        if (!lookup_->waiting) loop.wake(*task_);
    }
    bool await_cancelled() const noexcept { return !answered_; }
    [[gnu::cold, gnu::noinline]] std::vector<Address> await_resume() const {
        if (!answered_) task_->loop->throw_cancelled();
        if (lookup_->error != 0) lookup_->fail();
        std::size_t count = 0;
        for (const addrinfo* one = lookup_->found; one; one = one->ai_next) ++count;
        std::vector<Address> addresses(count);
        std::size_t index = 0;
        for (const addrinfo* one = lookup_->found; one; one = one->ai_next) {
            addresses[index++] = Address::from(one->ai_addr, one->ai_addrlen);
        }
        return addresses;
    }

    TaskCore* cancel() noexcept override {
        if (lookup_->waiting) end(false);
        return nullptr;
    }
    WaitInfo describe() const noexcept override { return {"getaddrinfo"}; }

private:
    /// A thread of its own with a reference of its own, which it gives on to its post.
    [[gnu::cold]] void begin() {
        Ref<Lookup> for_thread = lookup_;
        ::pthread_detach(start_thread(&look_up_and_post, &*for_thread));
        for_thread.leak();
        lookup_->waiting = this;
    }
    [[gnu::cold]] static void* look_up_and_post(void* argument) noexcept {
        const Ref<Lookup> lookup(static_cast<Lookup*>(argument));
        lookup->run();
        constexpr useconds_t pause_us = 10'000;
        while (!answer(lookup)) ::usleep(pause_us);  // somebody waits, and nobody else can tell him
        return nullptr;
    }
    /// False: no memory to tell it with. It may be asked again.
    [[gnu::cold]] static bool answer(const Ref<Lookup>& lookup) noexcept {
        try {
            lookup->remote.call_soon_threadsafe([lookup] {
                if (lookup->waiting) lookup->waiting->end(true);
            });
        } catch (const RuntimeError&) {
            // The loop has closed: nobody waits for this answer any more.
        } catch (const std::bad_alloc&) {
            return false;
        }
        return true;
    }
    void end(bool answered) noexcept {
        answered_ = answered;
        lookup_->waiting = nullptr;
        task_->loop->wake(*task_);
    }

    Ref<Lookup> lookup_;
    TaskCore* task_ = nullptr;
    bool answered_ = false;
};

inline LookupWait look_up(std::string host, std::uint16_t port) {
    return LookupWait(std::move(host), port);
}

}  // namespace detail

[[gnu::cold]] WEFT_INLINE const std::error_category& resolver_category() noexcept {
    static const detail::ResolverCategory category;
    return category;
}

[[gnu::cold]] WEFT_INLINE Coro<std::vector<Address>> getaddrinfo(std::string host,
                                                                 std::uint16_t port) {
    detail::refuse_zero_byte("getaddrinfo", host);
    if (Address::is_numeric(host)) co_return std::vector<Address>(1, Address::ip(host, port));
    co_return co_await detail::look_up(std::move(host), port);
}
#endif

}  // namespace weft
