// SPDX-License-Identifier: MIT
// Lock, Semaphore, RwLock, CapacityLimiter against a model, over thousands of random interleavings.
#include <weft/sync/capacity_limiter.hpp>
#include <weft/sync/condition.hpp>
#include <weft/sync/lock.hpp>
#include <weft/sync/rw_lock.hpp>
#include <weft/sync/semaphore.hpp>
#include <weft/testing/catch.hpp>

#include <map>
#include <string>
#include <utility>

#include "interleave.hpp"

namespace sync_fifo_test {

using support::Dice;
using support::FifoModel;
using weft::Coro;

namespace {

constexpr long everything = 1000;  // the weight of a writer

struct NotResized {
    static void resize(FifoModel&, Dice&) {}
};

class LockUnderTest : public NotResized {
public:
    explicit LockUnderTest(long) {}
    static long pick(Dice&) { return 1; }
    Coro<void> acquire(int id, long) {
        // Guards and bare acquires in turn.
        if (id % 2 == 0) co_return co_await lock_.acquire();
        guards_[id] = co_await lock_.scoped();
    }
    void release(int id, long) {
        if (id % 2 == 0) return lock_.release();
        guards_.erase(id);
    }
    bool agrees(const FifoModel& model) const {
        return lock_.locked() == (model.used() > 0) &&
               lock_.statistics().waiters == model.waiters();
    }

private:
    weft::Lock lock_;
    std::map<int, weft::Lock::Guard> guards_;
};

/// Unlike the others also with attempts that do not wait.
class SemaphoreUnderTest : public NotResized {
public:
    explicit SemaphoreUnderTest(long permits) : semaphore_(permits) {}
    static long pick(Dice&) { return 1; }
    Coro<void> acquire(int id, long) {
        if (id % 3 == 1) guards_[id] = co_await semaphore_.scoped();
        if (id % 3 == 1) co_return;
        if (id % 3 == 2 && semaphore_.try_acquire()) co_return;
        co_await semaphore_.acquire();
    }
    void release(int id, long) {
        if (id % 3 != 1) return semaphore_.release();
        guards_.erase(id);
    }
    bool agrees(const FifoModel& model) const {
        const auto statistics = semaphore_.statistics();
        return static_cast<long>(statistics.available) == model.capacity() - model.used() &&
               statistics.waiters == model.waiters() &&
               semaphore_.locked() == (model.capacity() == model.used());
    }

private:
    weft::BoundedSemaphore semaphore_;
    std::map<int, weft::Semaphore::Guard> guards_;
};

class RwLockUnderTest : public NotResized {
public:
    explicit RwLockUnderTest(long) {}
    static long pick(Dice& dice) { return dice.one_in(3) ? everything : 1; }
    Coro<void> acquire(int id, long weight) {
        if (id % 2 == 0) {
            if (weight == 1) {
                co_await lock_.acquire_read();
            } else {
                co_await lock_.acquire_write();
            }
        } else if (weight == 1) {
            readers_[id] = co_await lock_.read();
        } else {
            writers_[id] = co_await lock_.write();
        }
    }
    void release(int id, long weight) {
        if (id % 2 == 0) return weight == 1 ? lock_.release_read() : lock_.release_write();
        if (weight == 1) {
            readers_.erase(id);
        } else {
            writers_.erase(id);
        }
    }
    bool agrees(const FifoModel& model) const {
        const long used = lock_.written() ? everything : static_cast<long>(lock_.readers());
        return used == model.used() && lock_.statistics().waiters == model.waiters();
    }

private:
    weft::RwLock lock_;
    std::map<int, weft::RwLock::ReadGuard> readers_;
    std::map<int, weft::RwLock::WriteGuard> writers_;
};

class LimiterUnderTest {
public:
    explicit LimiterUnderTest(long tokens) : limiter_(static_cast<std::size_t>(tokens)) {}
    static long pick(Dice&) { return 1; }
    Coro<void> acquire(int id, long) {
        if (id % 3 == 0) co_return co_await limiter_.acquire();
        if (id % 3 == 1) {
            guards_[id] = co_await limiter_.scoped();
        } else {
            co_await limiter_.acquire_on_behalf_of(&borrowers_[id]);
        }
    }
    void release(int id, long) {
        if (id % 3 == 0) return limiter_.release();
        if (id % 3 == 2) return limiter_.release_on_behalf_of(&borrowers_[id]);
        guards_.erase(id);
    }
    void resize(FifoModel& model, Dice& dice) {
        if (!dice.one_in(4)) return;
        const unsigned tokens = 1 + dice.below(4);
        model.resize(tokens);
        limiter_.set_total_tokens(tokens);
    }
    bool agrees(const FifoModel& model) const {
        const auto statistics = limiter_.statistics();
        return static_cast<long>(statistics.borrowed) == model.used() &&
               static_cast<long>(statistics.total) == model.capacity() &&
               statistics.waiters == model.waiters();
    }

private:
    weft::CapacityLimiter limiter_;
    std::map<int, int> borrowers_;
    std::map<int, weft::CapacityLimiter::Guard> guards_;
};

}  // namespace

WEFT_TEST_CASE("a lock agrees with the model in random interleavings", "[property]") {
    auto round = [](Dice& dice) -> Coro<void> {
        support::FifoRound<LockUnderTest> scene(dice, 1);
        co_await scene.run();
    };
    const std::string failure = co_await support::for_seeds(3'000, round);
    REQUIRE(failure == "");
}

WEFT_TEST_CASE("a semaphore agrees with the model in random interleavings", "[property]") {
    auto round = [](Dice& dice) -> Coro<void> {
        support::FifoRound<SemaphoreUnderTest> scene(dice, 1 + dice.below(3));
        co_await scene.run();
    };
    const std::string failure = co_await support::for_seeds(3'000, round);
    REQUIRE(failure == "");
}

WEFT_TEST_CASE("a lock for readers and writers agrees with the model in random interleavings",
               "[property]") {
    auto round = [](Dice& dice) -> Coro<void> {
        support::FifoRound<RwLockUnderTest> scene(dice, everything);
        co_await scene.run();
    };
    const std::string failure = co_await support::for_seeds(3'000, round);
    REQUIRE(failure == "");
}

WEFT_TEST_CASE("a capacity limiter agrees with the model in random interleavings", "[property]") {
    auto round = [](Dice& dice) -> Coro<void> {
        support::FifoRound<LimiterUnderTest> scene(dice, 1 + dice.below(3));
        co_await scene.run();
    };
    const std::string failure = co_await support::for_seeds(3'000, round);
    REQUIRE(failure == "");
}

}  // namespace sync_fifo_test
