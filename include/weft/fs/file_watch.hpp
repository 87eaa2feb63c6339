// SPDX-License-Identifier: MIT
// FileWatch: what happens to files and directories, as it happens.
#pragma once

#include <sys/inotify.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "../base/c_text.hpp"
#include "../base/config.hpp"
#include "../base/ref.hpp"
#include "../task/coro.hpp"
#include "detail/watch_state.hpp"

namespace weft {

/// What `FileWatch::next` gives: what has happened, and to whom.
class FileEvent {
public:
    FileEvent(std::string path, std::string name, std::uint32_t mask, std::uint32_t pair) noexcept
        : path_(std::move(path)), name_(std::move(name)), mask_(mask), pair_(pair) {}

    /// What was watched, as it was given to `add`.
    const std::string& path() const noexcept { return path_; }
    /// Of what is in a watched directory: its name; empty for what was watched itself.
    const std::string& name() const noexcept { return name_; }

    bool is_modified() const noexcept { return (mask_ & IN_MODIFY) != 0; }
    /// Closed by somebody who might have written.
    bool is_written() const noexcept { return (mask_ & IN_CLOSE_WRITE) != 0; }
    bool is_created() const noexcept { return (mask_ & IN_CREATE) != 0; }
    /// A name went; for what was watched itself: the file did, and the watch with it.
    bool is_removed() const noexcept { return (mask_ & (IN_DELETE | IN_DELETE_SELF)) != 0; }
    bool is_moved_away() const noexcept { return (mask_ & (IN_MOVED_FROM | IN_MOVE_SELF)) != 0; }
    bool is_moved_here() const noexcept { return (mask_ & IN_MOVED_TO) != 0; }
    /// Permissions, owner, times, links.
    bool is_changed() const noexcept { return (mask_ & IN_ATTRIB) != 0; }
    bool is_directory() const noexcept { return (mask_ & IN_ISDIR) != 0; }
    /// Events came faster than they were taken, and some were dropped: look at everything anew.
    bool is_overflow() const noexcept { return (mask_ & IN_Q_OVERFLOW) != 0; }

    /// The two events of a rename have the same; 0: none.
    std::uint32_t pair() const noexcept { return pair_; }
    /// IN_* as inotify(7) has them.
    std::uint32_t mask() const noexcept { return mask_; }

private:
    std::string path_;
    std::string name_;
    std::uint32_t mask_;
    std::uint32_t pair_;
};

/// Watches files, and directories with what is directly in them.
///
///     weft::FileWatch watch = co_await weft::watch("/etc/service");
///     while (auto event = co_await watch.next()) reload(event->name());
///
/// Destroyed or closed while a task waits for the next event: that one gets none, like at the end.
/// Thread:   loop thread only; one task at a time asks.
/// Source:   inotify(7). Not on network file systems: what other machines do is not told.
class [[nodiscard]] FileWatch {
public:
    /// All but reading and opening.
    static constexpr std::uint32_t changes = IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_MOVE |
                                             IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF;

    /// Watches nothing yet.
    /// Throws:   std::system_error (inotify_init1).
    FileWatch() : state_(new detail::WatchState()) {}
    FileWatch(FileWatch&& other) noexcept : state_(std::move(other.state_)) {}
    FileWatch& operator=(FileWatch&& other) noexcept {
        if (this != &other) {
            close();
            state_ = std::move(other.state_);
        }
        return *this;
    }
    ~FileWatch() { close(); }

    /// Watches `path` too, for `events` (IN_*). A path that is watched already gets these instead.
    /// Throws:   std::system_error (inotify_add_watch) naming the path; CancelledError.
    /// Lifetime: `path` is copied.
    Coro<void> add(CText path, std::uint32_t events = changes);
    /// Events that were there before may still come. False: it is not watched.
    bool remove(std::string_view path);

    /// The next event; suspends until there is one. Empty: the watch was closed.
    /// Throws:   std::system_error (read); RuntimeError while another task asks; CancelledError.
    /// Cancel:   lossless: no event is taken.
    Coro<std::optional<FileEvent>> next();

    /// Idempotent.
    void close() noexcept {
        if (state_) state_->close();
    }

private:
    detail::WatchState& state() const {
        if (!state_) [[unlikely]]
            detail::throw_runtime_error("weft: the FileWatch is empty: it was moved from");
        return *state_;
    }

    detail::Ref<detail::WatchState> state_;
};

namespace detail {
Coro<FileWatch> watch_one(std::string path, std::uint32_t events);
Coro<void> add_to_watch(Ref<WatchState> state, std::string path, std::uint32_t events);
Coro<std::optional<FileEvent>> next_event(Ref<WatchState> state);
}  // namespace detail

/// A watch of one path: see `FileWatch::add`.
inline Coro<FileWatch> watch(CText path, std::uint32_t events = FileWatch::changes) {
    return detail::watch_one(path.checked_for("watch"), events);
}

#if WEFT_BODIES
WEFT_INLINE Coro<void> FileWatch::add(CText path, std::uint32_t events) {
    return detail::add_to_watch(detail::Ref<detail::WatchState>::to(state()),
                                path.checked_for("watch"), events);
}
WEFT_INLINE bool FileWatch::remove(std::string_view path) { return state().remove(path); }
WEFT_INLINE Coro<std::optional<FileEvent>> FileWatch::next() {
    return detail::next_event(detail::Ref<detail::WatchState>::to(state()));
}

namespace detail {

WEFT_INLINE Coro<FileWatch> watch_one(std::string path, std::uint32_t events) {
    FileWatch watch;
    co_await watch.add(path, events);
    co_return watch;
}

WEFT_INLINE Coro<void> add_to_watch(Ref<WatchState> state, std::string path, std::uint32_t events) {
    const WatchState::Adding adding(state);
    const int fd = state->fd.get();
    const char* const at = path.c_str();
    const int number = co_await blocking("watch", fd, path, [fd, at, events]() -> int {
        const int added = ::inotify_add_watch(fd, at, events);
        return added < 0 ? -errno : added;
    });
    state->added(number, std::move(path));
}

WEFT_INLINE Coro<std::optional<FileEvent>> next_event(Ref<WatchState> state) {
    for (;;) {
        while (const inotify_event* const event = state->take()) {
            const std::string* const path = state->path_of(*event);
            if (!path && state->may_be_added(*event)) {
                state->put_back(*event);
                co_await state->none_is_added.wait();
                continue;
            }
            if (!path && !(event->mask & IN_Q_OVERFLOW)) continue;
            FileEvent found(path ? *path : std::string(),
                            event->len > 0 ? std::string(event->name) : std::string(), event->mask,
                            event->cookie);
            co_return found;
        }
        const bool more = co_await WatchRead(*state);
        if (!more) co_return std::nullopt;
    }
}

}  // namespace detail
#endif

}  // namespace weft
