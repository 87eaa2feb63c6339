// SPDX-License-Identifier: MIT
// SignalHub: how signals of the process get to a loop: as posts, from the handler itself.
#pragma once

#include <signal.h>

#include <atomic>
#include <cerrno>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "../base/config.hpp"
#include "../base/error.hpp"
#include "../base/intrusive_list.hpp"
#include "../base/owned.hpp"
#include "../base/ref.hpp"
#include "../base/std_parts.hpp"
#include "../base/thread.hpp"
#include "detail/inbox.hpp"

namespace weft {

/// Some signals: `{SIGTERM, SIGHUP}`.
class SignalSet {
public:
    constexpr SignalSet() noexcept = default;
    /// (No initializer_list: g++ 12 does not compile one in an awaiting expression.)
    /// Throws:   std::system_error (EINVAL) for what is no signal.
    template <std::same_as<int>... Signals>
    SignalSet(int first, Signals... others) {
        add(first);
        (add(others), ...);
    }
    void add(int signal) {
        if (signal < 1 || signal > largest) [[unlikely]]
            detail::throw_system_error(EINVAL,
                                       detail::concat({"signal ", detail::decimal(signal)}));
        bits_ |= bit(signal);
    }
    constexpr bool has(int signal) const noexcept { return (bits_ & bit(signal)) != 0; }
    constexpr bool empty() const noexcept { return bits_ == 0; }
    /// The lowest one is signal 1.
    constexpr std::uint64_t bits() const noexcept { return bits_; }

    static constexpr int largest = 64;

private:
    static constexpr std::uint64_t bit(int signal) noexcept {
        return std::uint64_t{1} << (signal - 1);
    }
    std::uint64_t bits_ = 0;
};

}  // namespace weft

namespace weft::detail {

class SignalHub;

/// Somebody who is told of signals, on the loop's thread, once for each time that one was raised
/// (the kernel merges what comes while one is pending already). Within `arrived` any watch may
/// leave.
struct SignalWatch : ListNode<> {
    using Arrived = void (*)(SignalWatch&, int signal) noexcept;
    explicit SignalWatch(Arrived tell) noexcept : arrived(tell) {}
    /// Idempotent. A signal that nobody was told of before its last watch goes is raised again, for
    /// whatever handler was there before.
    void leave() noexcept;
    Arrived arrived;
    SignalSet signals;
    // The run's own: what it does with a signal is what signals do by default.
    bool is_the_runs = false;
    SignalSet gives_way;       // of these it is told only where no other watch of the hub is
    SignalHub* hub = nullptr;  // null: in none
};

/// A loop's share of the process's signals. While a hub has a watch for a signal, the process's
/// handler for it is ours, and counts it for each hub that wants it, from whichever thread it is
/// raised on; afterwards the one from before is back (unless somebody has set another meanwhile).
///
/// The handler takes no lock and no memory: it counts, puts the hub's own post into the loop's
/// inbox (once, until the loop has taken it), and wakes the loop like any other thread.
///
/// Invariants: `wanted_` has a signal while a watch of the hub has it, and `dispositions[signal]`
/// counts the watches of all hubs; the process's handler is ours while that count is not 0.
class SignalHub {
public:
    explicit SignalHub(Ref<Inbox> inbox);
    SignalHub(const SignalHub&) = delete;
    SignalHub& operator=(const SignalHub&) = delete;
    ~SignalHub();

    /// Throws:   std::system_error (EINVAL for no signal at all; sigaction: EINVAL for SIGKILL,
    ///           SIGSTOP), and `watch` is in no list then.
    void add(SignalWatch& watch, SignalSet signals);
    void remove(SignalWatch& watch) noexcept;

    /// `times` more of `signal` are told. Those after them do what the system does by default,
    /// which is to end the process, even if the loop is stuck in a step. (Not while a watch has the
    /// signal that is not the run's.) For two signals.
    void immediate_after(int times, int signal) noexcept;
    void never_immediate() noexcept;

private:
    struct Patience {
        std::atomic<int> signal{0};  // 0: of none
        std::atomic<int> left{0};
    };
    struct Disposition {
        unsigned users = 0;
        struct sigaction before {};
    };
    /// What all hubs share. Guarded by `mutex` but for `hubs`, which the handler reads.
    struct Process {
        static constexpr std::size_t most_hubs = 256;
        Mutex mutex;
        Disposition dispositions[SignalSet::largest + 1];
        std::atomic<SignalHub*> hubs[most_hubs]{};
        std::atomic<unsigned> in_handler{0};
        std::atomic<unsigned> generation{0};  // one more in each forked child
        sigset_t mask_at_fork;
    };
    static Process& process();
    static inline constinit std::atomic<Process*> process_{nullptr};

    static constexpr std::uint32_t endless = 1U << 31;

    static void handle(int signal) noexcept;
    static void watch_forks();
    void note(int signal) noexcept;
    void tell() noexcept;
    void tell_all(int signal) noexcept;
    void install(int signal);
    void uninstall(int signal) noexcept;
    bool is_wanted(int signal) noexcept;
    bool has_taker(int signal) noexcept;
    bool is_immediate(int signal) noexcept;
    void note_takers() noexcept;
    static void act(Post& post, Post::Verb verb);

    Ref<Inbox> inbox_;
    unsigned generation_;
    std::atomic<std::uint64_t> wanted_{0};
    std::atomic<bool> posted_{false};
    std::atomic<std::uint64_t> taken_{0};  // signals that a watch has which is not the run's
    Patience patience_[2];
    std::atomic<std::uint32_t> counts_[SignalSet::largest + 1]{};
    IntrusiveList<SignalWatch> watches_;
    // The post of its own, in a slab that never counts as used up.
    Owned<PostSlab> slab_;
};

inline void SignalWatch::leave() noexcept {
    if (hub) hub->remove(*this);
}

}  // namespace weft::detail
