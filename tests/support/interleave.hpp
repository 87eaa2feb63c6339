// SPDX-License-Identifier: MIT
// Random interleavings from a seed: dice, pauses, tasks that cancel others; and a model of whatever
// serves in the order of arrival.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <weft/task/coro.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>

#include "rounds.hpp"

namespace support {

/// splitmix64.
class Dice {
public:
    explicit Dice(std::uint64_t seed) noexcept : state_(seed) {}
    std::uint64_t next() noexcept {
        std::uint64_t z = state_ += 0x9E3779B97F4A7C15U;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
        return z ^ (z >> 31);
    }
    unsigned below(unsigned limit) noexcept { return static_cast<unsigned>(next() % limit); }
    bool one_in(unsigned count) noexcept { return below(count) == 0; }

private:
    std::uint64_t state_;
};

inline void expect(bool holds, const char* what) {
    if (!holds) throw std::logic_error(what);
}

/// Runs `round(dice)` once for each seed, rounds(count) of them, and returns the first failure,
/// with its seed; empty when there is none. WEFT_SEED=n in the environment runs that one alone.
template <class Round>
weft::Coro<std::string> for_seeds(unsigned count, Round& round) {
    unsigned seed = 0;
    count = static_cast<unsigned>(rounds(static_cast<int>(count)));
    if (const char* const one = std::getenv("WEFT_SEED")) {
        seed = static_cast<unsigned>(std::atoi(one));
        count = seed + 1;
    }
    for (; seed < count; ++seed) {
        Dice dice(seed);
        try {
            co_await round(dice);
        } catch (const std::exception& error) {
            co_return "WEFT_SEED=" + std::to_string(seed) + ": " + error.what();
        }
    }
    co_return std::string();
}

/// Nothing, a turn or two, or some virtual time.
inline weft::Coro<void> pause(Dice& dice) {
    switch (dice.below(4)) {
        case 0:
            co_return;
        case 1:
            co_return co_await weft::sleep(std::chrono::milliseconds(1 + dice.below(3)));
        default:
            for (unsigned turns = dice.below(3); turns > 0; --turns) co_await weft::yield();
    }
}

/// Is a cancel waiting for the current task's next suspension?
inline bool cancel_is_pending() {
    return static_cast<weft::detail::TaskCore*>(weft::current_task().core())->must_cancel;
}

/// Until all tasks are done: cancels one of them now and then, at once or by a timer, once or
/// twice, after `before(index)`; and calls `look()` every turn. Then rethrows what a task threw.
template <class Before, class Look>
weft::Coro<void> disturb(Dice& dice, std::vector<weft::Task<void>>& tasks, Before& before,
                         Look& look, unsigned one_in = 3) {
    std::vector<weft::TimerHandle> timers;
    const auto strike = [&tasks, &before](std::size_t index) {
        if (tasks[index].done()) return;
        before(static_cast<int>(index));
        tasks[index].cancel();
    };
    for (int turn = 0;; ++turn) {
        bool all_done = true;
        for (auto& task : tasks) all_done = all_done && task.done();
        if (all_done) break;
        if (turn > 10'000) throw std::logic_error("the tasks do not come to an end");
        if (dice.one_in(one_in)) {
            const std::size_t index = dice.below(static_cast<unsigned>(tasks.size()));
            if (dice.one_in(3)) {
                timers.push_back(weft::get_running_loop().call_later(
                    std::chrono::milliseconds(dice.below(3)), [&strike, index] { strike(index); }));
            } else {
                strike(index);
                if (dice.one_in(4)) strike(index);
            }
        }
        look();
        if (dice.one_in(2)) {
            co_await weft::yield();
        } else {
            co_await weft::sleep(std::chrono::milliseconds(1));
        }
    }
    for (auto& timer : timers) timer.cancel();
    for (auto& task : tasks) {
        if (!task.cancelled()) co_await task;  // cancelled: before its first step
    }
}

/// What a primitive must do that gives out so much capacity, strictly in the order of arrival.
/// A lock is one of capacity 1; a reader weighs 1 and a writer everything.
class FifoModel {
public:
    explicit FifoModel(long capacity) : capacity_(capacity) {}

    /// About to acquire.
    void ask(int id, long weight, bool struck_if_it_waits) {
        if (queue_.empty() && used_ + weight <= capacity_) {
            hold(id, weight);
        } else if (!struck_if_it_waits) {
            queue_.push_back({id, weight});
        }
    }
    /// About to be cancelled.
    void cancel(int id) {
        for (auto at = queue_.begin(); at != queue_.end(); ++at) {
            if (at->id == id) {
                queue_.erase(at);
                return serve();
            }
        }
    }
    /// About to release.
    void release(int id) {
        used_ -= held_.at(id);
        held_.erase(id);
        serve();
    }
    void resize(long capacity) {
        capacity_ = capacity;
        serve();
    }
    bool holds(int id) const { return held_.count(id) > 0; }
    bool waits(int id) const {
        for (const Asker& asker : queue_) {
            if (asker.id == id) return true;
        }
        return false;
    }
    std::size_t waiters() const { return queue_.size(); }
    long used() const { return used_; }
    long capacity() const { return capacity_; }

private:
    struct Asker {
        int id;
        long weight;
    };
    void hold(int id, long weight) {
        used_ += weight;
        held_[id] = weight;
    }
    void serve() {
        while (!queue_.empty() && used_ + queue_.front().weight <= capacity_) {
            hold(queue_.front().id, queue_.front().weight);
            queue_.pop_front();
        }
    }

    long capacity_;
    long used_ = 0;
    std::map<int, long> held_;
    std::deque<Asker> queue_;
};

/// A few tasks that acquire and release `Primitive`, with pauses and cancels, against the model.
/// `Primitive` wraps the real one: `acquire(id, weight)`, `release(id, weight)`, `pick(dice)` a
/// weight, `agrees(model)`, `resize(model, dice)`.
template <class Primitive>
class FifoRound {
public:
    FifoRound(Dice& dice, long capacity) : dice_(dice), model_(capacity), primitive_(capacity) {}

    weft::Coro<void> run() {
        const unsigned count = 2 + dice_.below(6);
        std::vector<weft::Task<void>> tasks;
        for (unsigned id = 0; id < count; ++id) {
            tasks.push_back(weft::create_task(&FifoRound::work, this, static_cast<int>(id)));
        }
        auto before = [this](int id) { model_.cancel(id); };
        auto look = [this] {
            primitive_.resize(model_, dice_);
            expect(primitive_.agrees(model_), "the primitive and the model disagree");
        };
        co_await disturb(dice_, tasks, before, look);
        expect(model_.used() == 0 && model_.waiters() == 0, "the model is not idle at the end");
        expect(primitive_.agrees(model_), "the primitive is not idle at the end");
    }

private:
    struct Holding {
        ~Holding() {
            round.model_.release(id);
            round.primitive_.release(id, weight);
        }
        FifoRound& round;
        int id;
        long weight;
    };

    weft::Coro<void> work(int id) {
        for (int step = 0; step < 4; ++step) {
            bool cancelled = false;
            try {
                co_await pause(dice_);
                const long weight = primitive_.pick(dice_);
                model_.ask(id, weight, cancel_is_pending());
                co_await primitive_.acquire(id, weight);
                expect(model_.holds(id), "acquired what the model has given to somebody else");
                const Holding holding{*this, id, weight};
                co_await pause(dice_);
            } catch (const weft::CancelledError&) {
                cancelled = true;
            }
            expect(!model_.holds(id), "a cancelled acquire took something");
            expect(!model_.waits(id), "cancelled, and not by us");
            while (cancelled && weft::current_task().cancelling() > 0) {
                weft::current_task().uncancel();
            }
        }
    }

    Dice& dice_;
    FifoModel model_;
    Primitive primitive_;
};

}  // namespace support
