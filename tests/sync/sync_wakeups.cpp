// SPDX-License-Identifier: MIT
// Event, Notify, Latch, Condition, Barrier, OnceCell over thousands of random interleavings: no
// wake-up is lost, none comes twice, and each comes to whom it was meant for.
#include <weft/sync/barrier.hpp>
#include <weft/sync/condition.hpp>
#include <weft/sync/event.hpp>
#include <weft/sync/latch.hpp>
#include <weft/sync/notify.hpp>
#include <weft/sync/once_cell.hpp>
#include <weft/testing/catch.hpp>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "interleave.hpp"

namespace sync_wakeups_test {

using support::Dice;
using support::expect;
using weft::CancelledError;
using weft::Coro;

namespace {

void uncancel_all() {
    while (weft::current_task().cancelling() > 0) weft::current_task().uncancel();
}

/// Who waits in what order, who was woken and has not run.
struct WakeModel {
    void cancel(int id) { erase(waiting, id); }
    static bool erase(std::vector<int>& from, int id) {
        const auto at = std::find(from.begin(), from.end(), id);
        if (at == from.end()) return false;
        from.erase(at);
        return true;
    }
    void wake_first() {
        woken.push_back(waiting.front());
        waiting.erase(waiting.begin());
    }
    std::vector<int> waiting;
    std::vector<int> woken;
};

/// Tasks wait on `Primitive` again and again until the round is over, while the look of each turn
/// does `act`; who returns must have been woken, and who is cancelled must not.
template <class Primitive>
class WakeRound {
public:
    explicit WakeRound(Dice& dice) : dice_(dice) {}

    Coro<void> run() {
        std::vector<weft::Task<void>> tasks;
        const unsigned count = 1 + dice_.below(6);
        for (unsigned id = 0; id < count; ++id) {
            tasks.push_back(weft::create_task(&WakeRound::work, this, static_cast<int>(id)));
        }
        auto before = [this](int id) { model_.cancel(id); };
        auto look = [this] {
            if (++turns_ < 40) {
                primitive_.act(model_, dice_);
            } else {
                over_ = true;
                primitive_.finish(model_);
            }
            expect(primitive_.agrees(model_), "the primitive and the model disagree");
        };
        co_await support::disturb(dice_, tasks, before, look);
        expect(model_.waiting.empty() && model_.woken.empty(), "not idle at the end");
    }

private:
    Coro<void> work(int id) {
        while (!over_) {
            bool cancelled = false;
            try {
                co_await support::pause(dice_);
                if (!primitive_.passes(model_)) {
                    if (!support::cancel_is_pending()) model_.waiting.push_back(id);
                    co_await primitive_.wait();
                    expect(WakeModel::erase(model_.woken, id), "woken, and not by us");
                } else {
                    co_await primitive_.wait();
                }
            } catch (const CancelledError&) {
                cancelled = true;
            }
            expect(std::count(model_.woken.begin(), model_.woken.end(), id) == 0,
                   "a wake-up was lost to a cancel");
            if (cancelled) uncancel_all();
        }
    }

    Dice& dice_;
    WakeModel model_;
    Primitive primitive_;
    int turns_ = 0;
    bool over_ = false;
};

/// An event that sometimes goes while those whom it has woken have not run, and is followed by
/// another one.
class EventUnderTest {
public:
    bool passes(WakeModel&) const { return set_; }
    auto wait() { return event_->wait(); }
    void act(WakeModel& model, Dice& dice) {
        if (!dice.one_in(3)) return;
        event_->set();
        while (!model.waiting.empty()) model.wake_first();
        set_ = dice.one_in(2);
        if (!set_) event_->clear();
        if (dice.one_in(4)) {
            event_ = std::make_unique<weft::Event>();
            set_ = false;
        }
    }
    void finish(WakeModel& model) {
        event_->set();
        set_ = true;
        while (!model.waiting.empty()) model.wake_first();
    }
    bool agrees(const WakeModel& model) const {
        return event_->is_set() == set_ && event_->statistics().waiters == model.waiting.size();
    }

private:
    std::unique_ptr<weft::Event> event_ = std::make_unique<weft::Event>();
    bool set_ = false;
};

class NotifyUnderTest {
public:
    bool passes(WakeModel&) { return std::exchange(permit_, false); }
    auto wait() { return notify_.notified(); }
    void act(WakeModel& model, Dice& dice) {
        const unsigned what = dice.below(4);
        if (what == 0) one(model);
        if (what == 1) {
            notify_.notify_waiters();
            while (!model.waiting.empty()) model.wake_first();
        }
    }
    void finish(WakeModel& model) {
        one(model);
        one(model);
    }
    bool agrees(const WakeModel& model) const {
        const auto statistics = notify_.statistics();
        return statistics.permit == permit_ && statistics.waiters == model.waiting.size();
    }

private:
    void one(WakeModel& model) {
        notify_.notify_one();
        if (model.waiting.empty()) {
            permit_ = true;
        } else {
            model.wake_first();
        }
    }
    weft::Notify notify_;
    bool permit_ = false;
};

/// Opens once; until then everybody waits.
class LatchUnderTest {
public:
    bool passes(WakeModel&) const { return count_ == 0; }
    auto wait() { return latch_.wait(); }
    void act(WakeModel& model, Dice& dice) {
        if (count_ > 0 && dice.one_in(4)) down(model);
    }
    void finish(WakeModel& model) {
        while (count_ > 0) down(model);
    }
    bool agrees(const WakeModel& model) const {
        const auto statistics = latch_.statistics();
        return statistics.count == count_ && statistics.waiters == model.waiting.size();
    }

private:
    void down(WakeModel& model) {
        latch_.count_down();
        if (--count_ == 0) {
            while (!model.waiting.empty()) model.wake_first();
        }
    }
    weft::Latch latch_{5};
    std::size_t count_ = 5;
};

}  // namespace

WEFT_TEST_CASE("an event wakes whom it must in random interleavings", "[property]") {
    auto round = [](Dice& dice) -> Coro<void> {
        WakeRound<EventUnderTest> scene(dice);
        co_await scene.run();
    };
    const std::string failure = co_await support::for_seeds(2'000, round);
    REQUIRE(failure == "");
}

WEFT_TEST_CASE("a notify wakes whom it must in random interleavings", "[property]") {
    auto round = [](Dice& dice) -> Coro<void> {
        WakeRound<NotifyUnderTest> scene(dice);
        co_await scene.run();
    };
    const std::string failure = co_await support::for_seeds(2'000, round);
    REQUIRE(failure == "");
}

WEFT_TEST_CASE("a latch wakes whom it must in random interleavings", "[property]") {
    auto round = [](Dice& dice) -> Coro<void> {
        WakeRound<LatchUnderTest> scene(dice);
        co_await scene.run();
    };
    const std::string failure = co_await support::for_seeds(2'000, round);
    REQUIRE(failure == "");
}

// --- Condition: a bounded buffer with cancelled consumers and producers ---

namespace {

struct Buffer {
    weft::Lock lock;
    weft::Condition not_empty{lock};
    weft::Condition not_full{lock};
    int items = 0;
    int inside = 0;
};

class Inside {
public:
    explicit Inside(Buffer& buffer) : buffer_(buffer) {
        expect(buffer.lock.locked(), "inside without the lock");
        expect(++buffer.inside == 1, "two are inside");
    }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;
    ~Inside() { --buffer_.inside; }

private:
    Buffer& buffer_;
};

/// Moves one item in or out: waits on its own condition and notifies one of the others.
Coro<void> move_one(Buffer& buffer, Dice& dice, bool put) {
    auto guard = co_await buffer.lock.scoped();
    auto possible = [&buffer, put] {
        const Inside inside(buffer);
        return put ? buffer.items < 2 : buffer.items > 0;
    };
    weft::Condition& own = put ? buffer.not_full : buffer.not_empty;
    if (dice.one_in(2)) {
        const bool answer = co_await own.wait_for(possible);
        expect(answer, "wait_for returned before the predicate was true");
    } else {
        while (!possible()) {
            bool thrown = false;
            try {
                co_await own.wait();
            } catch (const CancelledError&) {
                thrown = true;
            }
            const Inside inside(buffer);  // with the lock, also when it throws
            if (thrown) throw CancelledError();
        }
    }
    buffer.items += put ? 1 : -1;
    (put ? buffer.not_empty : buffer.not_full).notify();
    if (dice.one_in(3)) guard.release();
}

/// A lost notification leaves somebody waiting for ever.
Coro<void> moves(Buffer& buffer, Dice& dice, bool put, unsigned left) {
    while (left > 0) {
        bool cancelled = false;
        try {
            co_await support::pause(dice);
            co_await move_one(buffer, dice, put);
            --left;
        } catch (const CancelledError&) {
            cancelled = true;
        }
        if (cancelled) uncancel_all();
    }
}

}  // namespace

WEFT_TEST_CASE("conditions lose no notification in random interleavings", "[property]") {
    auto round = [](Dice& dice) -> Coro<void> {
        Buffer buffer;
        std::vector<weft::Task<void>> tasks;
        const unsigned pairs = 1 + dice.below(3);
        // Not before their first step: a task that never runs leaves its items unmoved.
        for (unsigned pair = 0; pair < pairs; ++pair) {
            for (const bool put : {true, false}) {
                tasks.push_back(weft::get_running_loop().create_task(moves(buffer, dice, put, 3),
                                                                     weft::TaskOptions("", true)));
            }
        }
        auto before = [](int) {};
        // Nobody is on the way to the lock: then whoever still waits must have reason to. (That the
        // tasks come to their end does not show it: one that was cancelled tries again itself.)
        auto look = [&buffer] {
            if (buffer.lock.locked()) return;
            expect(buffer.items == 0 || buffer.not_empty.statistics().waiters == 0,
                   "a task waits for items that are there");
            expect(buffer.items == 2 || buffer.not_full.statistics().waiters == 0,
                   "a task waits for room that is there");
        };
        co_await support::disturb(dice, tasks, before, look);
        expect(buffer.items == 0, "items are left");
        expect(!buffer.lock.locked(), "the lock is still held");
    };
    const std::string failure = co_await support::for_seeds(3'000, round);
    REQUIRE(failure == "");
}

// --- Barrier ---

namespace {

struct BarrierScene {
    BarrierScene(Dice& of, std::ptrdiff_t parties) : dice(of), barrier(parties) {}
    Dice& dice;
    weft::Barrier barrier;
    std::set<std::size_t> round;  // the places that were given out in the round that drains
    int rounds = 0;
    bool over = false;
};

Coro<void> meets(BarrierScene& scene) {
    while (!scene.over) {
        bool cancelled = false;
        try {
            co_await support::pause(scene.dice);
            if (scene.over) break;
            const std::size_t place = co_await scene.barrier.wait();
            expect(scene.round.insert(place).second, "a place was given out twice");
            if (scene.round.size() == scene.barrier.parties()) {
                expect(*scene.round.rbegin() + 1 == scene.round.size(), "a place is missing");
                scene.round.clear();
                ++scene.rounds;
            }
        } catch (const CancelledError&) {
            cancelled = true;
        } catch (const weft::BrokenBarrierError&) {
        }
        if (cancelled) uncancel_all();
    }
}

}  // namespace

WEFT_TEST_CASE("a barrier gives each place once a round in random interleavings", "[property]") {
    int rounds = 0;
    auto round = [&rounds](Dice& dice) -> Coro<void> {
        BarrierScene scene(dice, 1 + static_cast<std::ptrdiff_t>(dice.below(4)));
        const std::size_t parties = scene.barrier.parties();
        std::vector<weft::Task<void>> tasks;
        const std::size_t count = parties + dice.below(4);
        for (std::size_t id = 0; id < count; ++id) {
            tasks.push_back(weft::create_task(meets, std::ref(scene)));
        }
        int turns = 0;
        auto before = [](int) {};
        auto look = [&] {
            const auto statistics = scene.barrier.statistics();
            expect(scene.barrier.n_waiting() < parties, "a full round waits");
            expect(statistics.waiters == 0 || statistics.blocked == 0, "both kinds of waiting");
            if (++turns > 40) {
                scene.over = true;
                scene.barrier.abort();
                expect(scene.barrier.broken(), "aborted and not broken");
            } else if (dice.one_in(8)) {
                scene.barrier.reset();
            } else if (dice.one_in(16)) {
                scene.barrier.abort();
                if (dice.one_in(2)) scene.barrier.reset();
            } else if (scene.barrier.broken()) {
                scene.barrier.reset();
            }
        };
        co_await support::disturb(dice, tasks, before, look, 6);
        expect(scene.round.empty(), "a round was not given out whole");
        expect(scene.barrier.n_waiting() == 0, "somebody waits at the end");
        rounds += scene.rounds;
    };
    const std::string failure = co_await support::for_seeds(3'000, round);
    REQUIRE(failure == "");
    REQUIRE(rounds > support::rounds(3'000));
}

// --- OnceCell ---

namespace {

struct CellScene {
    explicit CellScene(Dice& of) : dice(of) {}
    Dice& dice;
    weft::OnceCell<std::unique_ptr<int>> cell;
    int making = 0;
    int made = 0;
};

Coro<std::unique_ptr<int>> make_value(CellScene& scene) {
    struct Making {
        explicit Making(int& of) : count(of) { ++count; }
        ~Making() { --count; }
        int& count;
    };
    const Making making(scene.making);
    expect(scene.making == 1, "two tasks make the value");
    expect(scene.made == 0, "the value is made twice");
    co_await support::pause(scene.dice);
    if (scene.dice.one_in(2)) throw std::runtime_error("not this time");
    ++scene.made;
    co_return std::make_unique<int>(scene.made);
}

Coro<void> uses_value(CellScene& scene) {
    for (bool done = false; !done;) {
        bool cancelled = false;
        try {
            co_await support::pause(scene.dice);
            auto& value = co_await scene.cell.get_or_init(make_value, std::ref(scene));
            expect(&value == scene.cell.get(), "somebody else's value");
            expect(*value == 1, "not the first value");
            done = true;
        } catch (const CancelledError&) {
            cancelled = true;
        } catch (const std::runtime_error&) {
        }
        if (cancelled) uncancel_all();
    }
}

}  // namespace

WEFT_TEST_CASE("a cell's value is made once and reaches all in random interleavings",
               "[property]") {
    auto round = [](Dice& dice) -> Coro<void> {
        CellScene scene(dice);
        std::vector<weft::Task<void>> tasks;
        const unsigned count = 1 + dice.below(6);
        for (unsigned id = 0; id < count; ++id) {
            tasks.push_back(weft::create_task(uses_value, std::ref(scene)));
        }
        auto before = [](int) {};
        auto look = [] {};
        co_await support::disturb(dice, tasks, before, look);
        const auto statistics = scene.cell.statistics();
        expect(!statistics.initialising && statistics.waiters == 0, "not idle at the end");
        expect(scene.made <= 1, "made twice");
    };
    const std::string failure = co_await support::for_seeds(3'000, round);
    REQUIRE(failure == "");
}

}  // namespace sync_wakeups_test
