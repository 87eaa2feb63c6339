// SPDX-License-Identifier: MIT
// End, EndWait: an end of a channel, and the awaits that were made from it.
#pragma once

#include <utility>

#include "../../base/config.hpp"
#include "../../base/error.hpp"

namespace weft::detail {

template <class Core, class Role>
class EndWait;

/// For a call on an end that was moved from or closed.
[[noreturn, gnu::cold, gnu::noinline]] inline void throw_empty_end(const char* what) {
    throw_runtime_error({what, ": this end is empty: it was closed or moved from"});
}

/// A share of `Core`, which both sides of a channel refer to. An end may be moved, assigned to,
/// closed or destroyed while a task waits in an await of it: a list of these awaits goes along with
/// it (there is one, nearly always), and when the end goes, each of them is told.
///
/// `Role` says what sharing means, in three static functions: `join(core)`, `leave(core)`, and
/// `end_gone(wait)`, which makes whoever waits go on. Its data members, if it has any, belong to
/// the end: where a receiver is in a stream of values.
template <class Core, class Role>
class End : public Role {
public:
    using Wait = EndWait<Core, Role>;

    /// Takes over a share.
    explicit End(Core* core, Role role = Role()) noexcept : Role(role), core_(core) {}
    End(const End& other) noexcept : Role(other), core_(other.core_) {
        if (core_) Role::join(*core_);
    }
    End(End&& other) noexcept : Role(other) { take(other); }
    End& operator=(const End& other) noexcept {
        if (this != &other) *this = End(other);
        return *this;
    }
    End& operator=(End&& other) noexcept {
        if (this != &other) {
            close();
            static_cast<Role&>(*this) = other;
            take(other);
        }
        return *this;
    }
    ~End() { close(); }

    /// Lets go. An await that waits ends without a result, one that has a result keeps it.
    void close() noexcept {
        if (!core_) return;
        while (first_) {
            Wait& wait = *std::exchange(first_, first_->next_);
            wait.keep(*this);
            Role::end_gone(wait);
        }
        // (Here destructors of items may run, which may look at this end.)
        Role::leave(*std::exchange(core_, nullptr));
    }

    explicit operator bool() const noexcept { return core_ != nullptr; }
    Core* operator->() const noexcept { return core_; }
    /// Throws:   RuntimeError when it is empty; it names `what`.
    Core& require(const char* what) const {
        if (!core_) [[unlikely]]
            throw_empty_end(what);
        return *core_;
    }

private:
    friend Wait;

    void take(End& other) noexcept {
        core_ = std::exchange(other.core_, nullptr);
        first_ = std::exchange(other.first_, nullptr);
        for (Wait* wait = first_; wait; wait = wait->next_) wait->end_ = this;
    }
    [[gnu::cold, gnu::noinline]] void forget(Wait& gone) noexcept {
        Wait** link = &first_;
        while (*link != &gone) link = &(*link)->next_;
        *link = gone.next_;
    }

    Core* core_;
    Wait* first_ = nullptr;
};

/// Base of an await of an end, from when the awaiter is made until it goes. It is the first base,
/// so that it is the last one to go: the lists that its siblings are linked in are in the core,
/// which may live on for this await alone.
///
/// A list and no look at the end when the await begins: an await may be made, and its end go,
/// before it is awaited.
template <class Core, class Role>
class EndWait {
public:
    EndWait(const EndWait&) = delete;
    EndWait& operator=(const EndWait&) = delete;

protected:
    EndWait(End<Core, Role>& end, const char* what) : end_(&end), core_(&end.require(what)) {
        next_ = std::exchange(end.first_, this);
    }
    ~EndWait() {
        if (!end_) [[unlikely]] {
            core_->release();
        } else if (end_->first_ == this) [[likely]] {
            end_->first_ = next_;
        } else {
            end_->forget(*this);
        }
    }

    bool has_end() const noexcept { return end_ != nullptr; }
    Core& core() const noexcept { return *core_; }
    /// Of the end, or as it was when the end went.
    Role& role() noexcept { return end_ ? *end_ : kept_; }
    const Role& role() const noexcept { return end_ ? *end_ : kept_; }

private:
    friend End<Core, Role>;

    /// The end is closed; the core stays as long as this await.
    [[gnu::cold]] void keep(const Role& role) noexcept {
        end_ = nullptr;
        kept_ = role;
        core_->add_ref();
    }

    End<Core, Role>* end_;  // null: it is gone, and we have a reference to the core
    Core* core_;
    EndWait* next_;
    [[no_unique_address]] Role kept_;  // set when the end goes
};

}  // namespace weft::detail
