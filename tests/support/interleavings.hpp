// SPDX-License-Identifier: MIT
// A model checker for lock-free protocols: runs a program of a few threads on atomics of its own,
// in every interleaving and in every reordering of stores that the memory orders allow.
//
// Threads are stacks that one real thread switches between, before each atomic operation. Stores
// and read-modify-writes wait in a buffer of their thread until the search makes them visible, in
// any order that is allowed: a release waits for what its thread has stored before, stores to one
// place stay in order, a sequentially consistent load waits for the sequentially consistent ones
// before it, a read-modify-write stays one step. So what is found are lost wake-ups for want of a
// check, and for want of an order (x86 does some of these reorderings, ARM all of them; loads that
// are done early it does not try). Data that threads pass to each other is in `Plain`s, and
// unordered access to one is an error.
//
// A state that was seen is not gone on from. What a thread does is determined by what it has read,
// so a state is the memory, the buffers, and for each thread what it has read.
#pragma once

#include <ucontext.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace support::model {

constexpr int most_threads = 4;
/// How much of each thread a thread knows to have happened.
using Clock = std::array<std::uint32_t, most_threads>;

inline void join(Clock& clock, const Clock& other) noexcept {
    for (int i = 0; i < most_threads; ++i) {
        const auto at = static_cast<std::size_t>(i);
        if (other[at] > clock[at]) clock[at] = other[at];
    }
}

inline bool acquires(std::memory_order order) noexcept {
    return order == std::memory_order_acquire || order == std::memory_order_acq_rel ||
           order == std::memory_order_seq_cst;
}
inline bool releases(std::memory_order order) noexcept {
    return order == std::memory_order_release || order == std::memory_order_acq_rel ||
           order == std::memory_order_seq_cst;
}

enum class Access { load, store, modify };

/// A bug that is put in: operations of that kind at that place have a weaker order, or are told
/// that they have read `value`, or write it.
struct Mutation {
    int place = -1;
    Access access = Access::load;
    int thread = -1;  // -1: any
    std::memory_order from = std::memory_order_seq_cst;
    std::memory_order to = std::memory_order_seq_cst;
    bool replaces_value = false;
    std::uint64_t value = 0;
};

struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// One search. `Atomic`s and `Plain`s find it by `World::here`.
class World {
public:
    static inline World* here = nullptr;

    struct Report {
        std::string failure;  // empty: none
        std::size_t runs = 0;
        std::size_t states = 0;
    };
    struct Program {
        std::vector<std::function<void()>> threads;
        std::function<void()> at_the_end = [] {};
    };

    /// `make` builds the program anew for each run: its state, threads and last check.
    static Report explore(const std::function<Program()>& make, Mutation mutation = {}) {
        World world(mutation);
        here = &world;
        Report report;
        try {
            do {
                world.run_once(make);
                ++report.runs;
            } while (world.next_path());
        } catch (const Failure& failure) {
            report.failure = failure.what();
        }
        report.states = world.seen_.size();
        here = nullptr;
        return report;
    }

    // --- for Atomic and Plain ---

    int add_place(std::uint64_t value) {
        memory_.push_back({value, {}});
        return static_cast<int>(memory_.size()) - 1;
    }
    std::uint64_t load(int place, std::memory_order order) {
        step();
        std::uint64_t forced = 0;
        const bool is_forced = mutate(place, Access::load, order, forced);
        return observe(is_forced ? forced : read(place, order));
    }
    void store(int place, std::uint64_t value, std::memory_order order) {
        step();
        mutate(place, Access::store, order, value);
        Thread& self = current();
        buffer(self, place, value, order, false);
    }
    /// `change(old)` gives the new value, or false.
    template <class Change>
    std::uint64_t modify(int place, std::memory_order order, std::memory_order failed,
                         Change change) {
        step();
        std::uint64_t forced = 0;
        const bool is_forced = mutate(place, Access::modify, order, forced);
        commit_modifications(place);
        commit_up_to_last(current(), [&](const Pending& p) { return p.place == place; });
        const std::uint64_t old = memory_[static_cast<std::size_t>(place)].value;
        std::uint64_t value = old;
        if (!change(old, value)) return observe(read(place, failed));
        observe(read(place, order));
        buffer(current(), place, is_forced ? forced : value, order, true);
        return old;
    }
    /// The thread goes on once `ready` says so of the memory that all see.
    void block_until(std::function<bool()> ready) {
        current().ready = std::move(ready);
        switch_to_search();
    }
    /// The thread goes on when something has changed.
    void give_way() {
        block_until([this, version = version_] { return version_ != version; });
    }
    std::uint64_t visible(int place) const {
        return memory_[static_cast<std::size_t>(place)].value;
    }
    void fail(const std::string& what) {
        // (Not thrown here: no exception may leave a thread's stack.)
        if (failure_.empty()) failure_ = what;
        current().over = true;
        switch_to_search();
    }

    int thread() const noexcept { return running_; }
    Clock& clock() { return current().clock; }
    void tick() { ++current().clock[static_cast<std::size_t>(running_)]; }

private:
    struct Place {
        std::uint64_t value;
        Clock released;  // what whoever acquires from here knows then
    };
    struct Pending {
        int place;
        std::uint64_t value;
        std::memory_order order;
        bool modifies;
        Clock released;
    };
    struct Thread {
        std::function<void()> body;
        ucontext_t context;
        std::function<bool()> ready;
        bool over = false;
        std::uint64_t history = 0;
        Clock clock{};
        std::vector<Pending> pending;
    };
    struct Option {
        std::size_t thread;
        std::size_t entry;  // `goes_on`: the thread does; else that store becomes visible
    };
    static constexpr auto goes_on = static_cast<std::size_t>(-1);
    struct Choice {
        std::size_t taken;
        std::vector<Option> options;
    };

    explicit World(Mutation mutation) : mutation_(mutation) {
        for (auto& stack : stacks_) stack.reset(new char[stack_size]);
    }

    Thread& current() { return threads_[static_cast<std::size_t>(running_)]; }

    bool mutate(int place, Access access, std::memory_order& order, std::uint64_t& value) const {
        const Mutation& m = mutation_;
        if (m.place != place || m.access != access || m.from != order) return false;
        if (m.thread >= 0 && m.thread != running_) return false;
        order = m.to;
        if (m.replaces_value) value = m.value;
        return m.replaces_value;
    }

    static std::uint64_t mix(std::uint64_t hash, std::uint64_t more) noexcept {
        hash ^= more + 0x9E3779B97F4A7C15U + (hash << 6) + (hash >> 2);
        hash = (hash ^ (hash >> 30)) * 0xBF58476D1CE4E5B9U;
        return hash ^ (hash >> 27);
    }
    std::uint64_t observe(std::uint64_t value) {
        current().history = mix(current().history, value + 1);
        return value;
    }

    std::uint64_t read(int place, std::memory_order order) {
        Thread& self = current();
        if (order == std::memory_order_seq_cst) {
            commit_up_to_last(
                self, [](const Pending& p) { return p.order == std::memory_order_seq_cst; });
        }
        for (std::size_t i = self.pending.size(); i-- > 0;) {
            if (self.pending[i].place == place) return self.pending[i].value;
        }
        const Place& from = memory_[static_cast<std::size_t>(place)];
        if (acquires(order)) join(self.clock, from.released);
        return from.value;
    }
    void buffer(Thread& self, int place, std::uint64_t value, std::memory_order order,
                bool modifies) {
        Pending entry{place, value, order, modifies, {}};
        if (releases(order)) {
            entry.released = self.clock;
            ++self.clock[static_cast<std::size_t>(running_)];
        }
        self.pending.push_back(entry);
        self.history = mix(self.history, value + 7);
    }

    static bool may_commit(const Thread& thread, std::size_t index) {
        for (std::size_t i = 0; i < index; ++i) {
            if (thread.pending[i].place == thread.pending[index].place) return false;
            if (releases(thread.pending[index].order)) return false;
        }
        return true;
    }
    void commit(Thread& thread, std::size_t index) {
        const Pending entry = thread.pending[index];
        thread.pending.erase(thread.pending.begin() + static_cast<std::ptrdiff_t>(index));
        // Nothing comes between the two halves of another thread's read-modify-write.
        commit_modifications(entry.place);
        Place& place = memory_[static_cast<std::size_t>(entry.place)];
        place.value = entry.value;
        // A read-modify-write continues the release sequence that it has read from.
        if (!entry.modifies) place.released = {};
        join(place.released, entry.released);
        ++version_;
    }
    template <class Which>
    void commit_up_to_last(Thread& thread, Which which) {
        std::size_t count = 0;
        for (std::size_t i = 0; i < thread.pending.size(); ++i) {
            if (which(thread.pending[i])) count = i + 1;
        }
        for (; count > 0; --count) commit(thread, 0);
    }
    void commit_modifications(int place) {
        for (Thread& thread : threads_) {
            commit_up_to_last(thread,
                              [&](const Pending& p) { return p.place == place && p.modifies; });
        }
    }

    // --- the search ---

    void step() { switch_to_search(); }
    void switch_to_search() { ::swapcontext(&current().context, &search_); }

    static void enter(unsigned index) {
        Thread& thread = here->threads_[index];
        thread.body();
        thread.over = true;
        for (;;) here->switch_to_search();
    }

    void run_once(const std::function<Program()>& make) {
        memory_.clear();
        threads_.clear();
        version_ = 0;
        depth_ = 0;
        running_ = 0;
        Program program = make();
        threads_.resize(program.threads.size());
        for (std::size_t i = 0; i < threads_.size(); ++i) {
            Thread& thread = threads_[i];
            thread.body = std::move(program.threads[i]);
            thread.clock[i] = 1;
            ::getcontext(&thread.context);
            thread.context.uc_stack.ss_sp = stacks_[i].get();
            thread.context.uc_stack.ss_size = stack_size;
            thread.context.uc_link = nullptr;
            ::makecontext(&thread.context, reinterpret_cast<void (*)()>(&enter), 1,
                          static_cast<unsigned>(i));
        }
        // The first stretch of each thread touches nothing that others see.
        for (std::size_t i = 0; i < threads_.size(); ++i) go_on(i);
        while (decide()) {
        }
        for (const Thread& thread : threads_) {
            if (!thread.over || !thread.pending.empty()) return;  // on to a state that was seen
        }
        running_ = 0;
        program.at_the_end();
        check();
    }

    void go_on(std::size_t index) {
        running_ = static_cast<int>(index);
        threads_[index].ready = nullptr;
        ::swapcontext(&search_, &threads_[index].context);
        check();
    }
    void check() const {
        if (!failure_.empty()) throw Failure(failure_);
    }

    /// One step of the search: a thread goes on, or a store becomes visible. False: the run is
    /// over.
    bool decide() {
        if (depth_ == path_.size() && !new_choice()) return false;
        const Choice& choice = path_[depth_++];
        const Option option = choice.options[choice.taken];
        if (option.entry == goes_on) {
            go_on(option.thread);
        } else {
            commit(threads_[option.thread], option.entry);
        }
        return true;
    }
    bool new_choice() {
        std::vector<Option> options;
        bool all_over = true;
        for (std::size_t i = 0; i < threads_.size(); ++i) {
            const Thread& thread = threads_[i];
            all_over = all_over && thread.over;
            if (!thread.over && (!thread.ready || thread.ready())) options.push_back({i, goes_on});
            for (std::size_t e = 0; e < thread.pending.size(); ++e) {
                if (may_commit(thread, e)) options.push_back({i, e});
            }
        }
        if (options.empty() && !all_over) throw Failure("a thread waits for ever");
        if (options.empty() || !seen_.insert(key()).second) return false;
        path_.push_back({0, std::move(options)});
        return true;
    }
    bool next_path() {
        while (!path_.empty() && path_.back().taken + 1 == path_.back().options.size())
            path_.pop_back();
        if (path_.empty()) return false;
        ++path_.back().taken;
        return true;
    }

    std::uint64_t key() const {
        std::uint64_t hash = 0;
        const auto add_clock = [&](const Clock& clock) {
            for (const std::uint32_t at : clock) hash = mix(hash, at);
        };
        for (const Place& place : memory_) {
            hash = mix(hash, place.value);
            add_clock(place.released);
        }
        for (const Thread& thread : threads_) {
            hash = mix(hash, thread.history);
            hash = mix(hash, thread.over ? 1 : thread.ready ? 2 : 3);
            add_clock(thread.clock);
            for (const Pending& p : thread.pending) {
                hash = mix(hash, static_cast<std::uint64_t>(p.place));
                hash = mix(hash, p.value);
                add_clock(p.released);
            }
            hash = mix(hash, thread.pending.size());
        }
        return hash;
    }

    static constexpr std::size_t stack_size = 64 * 1024;

    Mutation mutation_;
    std::vector<Place> memory_;
    std::vector<Thread> threads_;
    std::array<std::unique_ptr<char[]>, most_threads> stacks_;
    ucontext_t search_;
    int running_ = 0;
    std::uint64_t version_ = 0;
    std::string failure_;
    std::vector<Choice> path_;
    std::size_t depth_ = 0;
    std::unordered_set<std::uint64_t> seen_;
};

inline void expect(bool holds, const char* what) {
    if (!holds) World::here->fail(what);
}

/// In the place of std::atomic. Values must look the same in each run: pointers into `make`'s state
/// do if that state stands in static memory.
template <class T>
class Atomic {
public:
    Atomic(T value) : place_(World::here->add_place(bits(value))) {}
    T load(std::memory_order order) const { return value(World::here->load(place_, order)); }
    void store(T value, std::memory_order order) { World::here->store(place_, bits(value), order); }
    T exchange(T desired, std::memory_order order) {
        return value(
            World::here->modify(place_, order, order, [&](std::uint64_t, std::uint64_t& next) {
                next = bits(desired);
                return true;
            }));
    }
    bool compare_exchange_strong(T& expected, T desired, std::memory_order order,
                                 std::memory_order failed) {
        bool done = false;
        const std::uint64_t old =
            World::here->modify(place_, order, failed, [&](std::uint64_t now, std::uint64_t& next) {
                done = now == bits(expected);
                next = bits(desired);
                return done;
            });
        if (!done) expected = value(old);
        return done;
    }
    bool compare_exchange_strong(T& expected, T desired, std::memory_order order) {
        return compare_exchange_strong(
            expected, desired, order,
            order == std::memory_order_acquire ? order : std::memory_order_relaxed);
    }
    bool compare_exchange_weak(T& expected, T desired, std::memory_order order,
                               std::memory_order failed) {
        return compare_exchange_strong(expected, desired, order, failed);
    }

    T visible() const { return value(World::here->visible(place_)); }

private:
    static std::uint64_t bits(T value) {
        if constexpr (std::is_pointer_v<T>) {
            return reinterpret_cast<std::uint64_t>(value);
        } else {
            return static_cast<std::uint64_t>(value);
        }
    }
    static T value(std::uint64_t bits) {
        if constexpr (std::is_pointer_v<T>) {
            return reinterpret_cast<T>(bits);
        } else {
            return static_cast<T>(bits);
        }
    }
    int place_;
};

/// Data that is not atomic: two threads must not touch it without one being told by the other.
template <class T>
class Plain {
public:
    Plain() = default;
    explicit Plain(T value) : value_(value) {}
    void set(T value) {
        World& world = *World::here;
        for (std::size_t i = 0; i < most_threads; ++i) {
            if (read_[i] > world.clock()[i])
                world.fail("data is written while another thread reads it");
        }
        look(world);
        writer_ = world.thread();
        written_ = world.clock()[static_cast<std::size_t>(writer_)];
        value_ = value;
    }
    T get() {
        World& world = *World::here;
        look(world);
        const auto self = static_cast<std::size_t>(world.thread());
        read_[self] = world.clock()[self];
        return value_;
    }

private:
    void look(World& world) const {
        if (writer_ >= 0 && writer_ != world.thread() &&
            written_ > world.clock()[static_cast<std::size_t>(writer_)])
            world.fail("data is used that another thread may not have written yet");
    }
    T value_{};
    int writer_ = -1;
    std::uint32_t written_ = 0;
    Clock read_{};
};

}  // namespace support::model
