// SPDX-License-Identifier: MIT
// WatchState: an inotify instance, what it watches, and who waits for its events.
#pragma once

#include <sys/inotify.h>

#include <cerrno>
#include <coroutine>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/fd.hpp"
#include "../../base/ref.hpp"
#include "../../kernel/operation.hpp"
#include "../../net/operation_wait.hpp"
#include "../../runtime/loop.hpp"
#include "../../sync/event.hpp"
#include "blocking_wait.hpp"

namespace weft::detail {

class WatchRead;

struct WatchState final : Counted<WatchState> {
    WatchState();

    void added(int number, std::string path);
    bool remove(std::string_view path) noexcept;
    /// Of those that were read: the next, or null.
    const inotify_event* take() noexcept;
    /// Null: a watch that is no more. (One that ends with this event is forgotten by the next.)
    const std::string* path_of(const inotify_event& event) noexcept;
    /// Events of a watch that is being added may come before its number is known.
    bool may_be_added(const inotify_event& event) const noexcept {
        return adding > 0 && !closed && !(event.mask & (IN_IGNORED | IN_Q_OVERFLOW));
    }
    /// It is the next one again.
    void put_back(const inotify_event& event) noexcept { at -= sizeof event + event.len; }
    void close() noexcept;

    struct Watched {
        int number;
        std::string path;
    };
    static constexpr std::size_t buffer_size = 16 * 1024;

    Fd fd;
    std::vector<Watched> watched;
    std::vector<char> buffer;
    std::size_t at = 0;
    std::size_t end = 0;
    WatchRead* reader = nullptr;
    bool closed = false;  // the number goes behind who waits
    std::size_t adding = 0;
    Event none_is_added;  // tells who has an event that may be of one of those

    /// For as long as a path is being added.
    class Adding {
    public:
        explicit Adding(const Ref<WatchState>& to) noexcept : state_(to) {
            ++state_->adding;
            state_->none_is_added.clear();
        }
        Adding(const Adding&) = delete;
        Adding& operator=(const Adding&) = delete;
        ~Adding() {
            if (--state_->adding == 0) state_->none_is_added.set();
        }

    private:
        Ref<WatchState> state_;
    };
};

/// Reads events into the buffer. False: the watch was closed.
class [[nodiscard]] [[gnu::warn_unused]] WatchRead final : public OperationWait {
public:
    explicit WatchRead(WatchState& of);
    ~WatchRead() {
        if (state_->reader == this) state_->reader = nullptr;
    }
    bool await_ready() const noexcept { return state_->closed; }
    bool await_resume() {
        check_leftover();
        if (state_->reader == this) state_->reader = nullptr;
        if (state_->closed && result <= 0 && !await_cancelled()) return false;
        const std::size_t got = transferred();
        state_->at = 0;
        state_->end = got;
        return true;
    }
    /// The watch goes.
    void end() noexcept {
        if (task_) task_->loop->cancel(static_cast<Operation&>(*this));
    }

private:
    Ref<WatchState> state_;
};

#if WEFT_BODIES
[[gnu::cold]] WEFT_INLINE WatchState::WatchState()
    : fd(not_standard(Fd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)))), buffer(buffer_size) {
    if (!fd) throw_system_error(errno, "inotify_init1");
}

WEFT_INLINE void WatchState::added(int number, std::string path) {
    for (Watched& each : watched) {
        if (each.number != number) continue;
        each.path = std::move(path);
        return;
    }
    watched.push_back(Watched{number, std::move(path)});
}

WEFT_INLINE bool WatchState::remove(std::string_view path) noexcept {
    for (std::size_t index = 0; index < watched.size(); ++index) {
        if (watched[index].path != path) continue;
        ::inotify_rm_watch(fd.get(), watched[index].number);
        watched.erase(watched.begin() + static_cast<std::ptrdiff_t>(index));
        return true;
    }
    return false;
}

WEFT_INLINE const inotify_event* WatchState::take() noexcept {
    if (at >= end) return nullptr;
    // (The kernel aligns each.)
    const void* const here = buffer.data() + at;
    const auto* const event = static_cast<const inotify_event*>(here);
    at += sizeof(inotify_event) + event->len;
    return event;
}

WEFT_INLINE const std::string* WatchState::path_of(const inotify_event& event) noexcept {
    for (std::size_t index = 0; index < watched.size(); ++index) {
        if (watched[index].number != event.wd) continue;
        if (!(event.mask & IN_IGNORED)) return &watched[index].path;
        watched.erase(watched.begin() + static_cast<std::ptrdiff_t>(index));
        break;
    }
    return nullptr;
}

WEFT_INLINE void WatchState::close() noexcept {
    if (std::exchange(closed, true)) return;
    none_is_added.set();
    if (reader) {
        reader->end();
    } else {
        fd.reset();
    }
}

WEFT_INLINE WatchRead::WatchRead(WatchState& of)
    : OperationWait(OpCode::read), state_(Ref<WatchState>::to(of)) {
    if (of.reader) throw_runtime_error("weft: another task waits for events of the FileWatch");
    of.reader = this;
    fd = of.fd.get();
    address = of.buffer.data();
    length = static_cast<std::uint32_t>(of.buffer.size());
    result = 0;
}
#endif

}  // namespace weft::detail
