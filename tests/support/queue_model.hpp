// SPDX-License-Identifier: MIT
// Random histories of one queue, each step compared with a model that is simple enough to believe.
#pragma once

#include <weft/queue/queue.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>

#include <algorithm>
#include <coroutine>
#include <cstddef>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace support {

enum class Answer { pending, value, put, cancelled, shut_down, forgotten };

/// An item that cannot be copied and counts how many of it live.
template <bool NothrowMove>
class Item {
public:
    explicit Item(int number) : value(number) { ++alive; }
    Item(Item&& other) noexcept(NothrowMove) : value(other.value) { ++alive; }
    Item& operator=(Item&&) = delete;
    ~Item() { --alive; }
    // By tens, so that priority queues have equals.
    friend bool operator<(const Item& a, const Item& b) noexcept {
        return a.value / 10 < b.value / 10;
    }
    int value;
    static inline int alive = 0;
};

/// Which item is next, and where one that comes back goes.
enum class Order { fifo, lifo, priority };

class Model {
public:
    Model(Order order, std::size_t maxsize) : order_(order), maxsize_(maxsize) {}

    struct Op {
        Answer answer = Answer::pending;
        int value = -1;    // of a get: what it got; of a put: what it has
        bool ran = false;  // has seen its answer
        bool waits = false;
    };

    std::size_t size() const { return items_.size(); }
    std::size_t unfinished() const { return unfinished_; }
    bool can_put() const { return !shut_ && (!getters_.empty() || has_room()); }
    bool waits(std::size_t op) const { return ops[op].waits; }

    void get(std::size_t id) {
        if (!items_.empty()) {
            ops[id].value = pop();
            ops[id].answer = Answer::value;
        } else if (shut_) {
            ops[id].answer = Answer::shut_down;
        } else {
            wait(getters_, id);
        }
    }
    void put(std::size_t id) {
        if (shut_) {
            ops[id].answer = Answer::shut_down;
        } else if (can_put()) {
            put_now(ops[id].value);
            ops[id].answer = Answer::put;
        } else {
            wait(putters_, id);
        }
    }
    void put_now(int value) {
        ++unfinished_;
        hand(value, next_++);
    }
    int pop() {
        auto at = items_.begin();
        if (order_ == Order::lifo) at = items_.end() - 1;
        if (order_ == Order::fifo) at = std::min_element(items_.begin(), items_.end(), older);
        if (order_ == Order::priority) {
            at = std::min_element(items_.begin(), items_.end(), [](auto& a, auto& b) {
                return a.value / 10 != b.value / 10 ? a.value < b.value : older(a, b);
            });
        }
        const int value = at->value;
        items_.erase(at);
        if (!putters_.empty() && has_room()) {
            Op& putter = end_wait(putters_, putters_.front(), Answer::put);
            put_now(putter.value);
        }
        return value;
    }
    void cancel(std::size_t id) {
        if (ops[id].waits) leave(id, Answer::cancelled);
    }
    /// The waiter's frame is destroyed: it never sees an answer, and an item it got goes back.
    void destroy(std::size_t id) {
        Op& op = ops[id];
        if (op.waits) return void(leave(id, Answer::forgotten));
        if (op.ran || op.answer != Answer::value) return;
        op.answer = Answer::forgotten;
        hand(op.value, --returned_);
        op.value = -1;
    }
    void shutdown(bool immediate) {
        shut_ = true;
        while (!getters_.empty()) end_wait(getters_, getters_.front(), Answer::shut_down);
        while (!putters_.empty()) end_wait(putters_, putters_.front(), Answer::shut_down);
        if (!immediate) return;
        unfinished_ -= std::min(unfinished_, items_.size());
        items_.clear();
    }
    void task_done() { --unfinished_; }
    void turn() {
        for (Op& op : ops) op.ran = op.ran || op.answer != Answer::pending;
    }

    std::vector<Op> ops;

private:
    struct Held {
        int value;
        long age;
    };
    static bool older(const Held& a, const Held& b) { return a.age < b.age; }
    bool has_room() const { return !shut_ && (maxsize_ == 0 || items_.size() < maxsize_); }
    void wait(std::vector<std::size_t>& queue, std::size_t id) {
        ops[id].waits = true;
        queue.push_back(id);
    }
    Op& end_wait(std::vector<std::size_t>& queue, std::size_t id, Answer answer) {
        queue.erase(std::find(queue.begin(), queue.end(), id));
        ops[id].waits = false;
        ops[id].answer = answer;
        return ops[id];
    }
    void leave(std::size_t id, Answer answer) {
        const bool gets = std::find(getters_.begin(), getters_.end(), id) != getters_.end();
        end_wait(gets ? getters_ : putters_, id, answer);
    }
    void hand(int value, long age) {
        if (!getters_.empty()) {
            end_wait(getters_, getters_.front(), Answer::value).value = value;
        } else {
            items_.push_back(Held{value, age});
        }
    }

    Order order_;
    std::size_t maxsize_;
    std::vector<Held> items_;
    std::vector<std::size_t> getters_;
    std::vector<std::size_t> putters_;
    std::size_t unfinished_ = 0;
    bool shut_ = false;
    long next_ = 0;
    long returned_ = 0;
};

/// Awaits an awaiter that lives elsewhere and may be destroyed before the task runs again.
template <class Awaiter>
class Elsewhere {
public:
    explicit Elsewhere(Awaiter& awaiter) noexcept : awaiter_(&awaiter) {}
    bool await_ready() { return false; }
    void await_suspend(std::coroutine_handle<> handle) { awaiter_->await_suspend(handle); }
    void await_resume() {}

private:
    Awaiter* awaiter_;
};

/// One history: `steps` random actions on a queue, from `seed`. Returns what differed ("" if
/// nothing).
template <class Queue>
class History {
    using T = typename Queue::value_type;
    using Getter = decltype(std::declval<Queue&>().get());

    struct Op {
        Answer answer = Answer::pending;
        int value = -1;
        std::unique_ptr<Getter> elsewhere;  // of a get that may be destroyed
        weft::Task<void> task;
    };

public:
    History(Order order, std::size_t maxsize, unsigned seed)
        : random_(seed), model_(order, maxsize), queue_(std::make_unique<Queue>(maxsize)) {}

    weft::Coro<std::string> run(int steps) {
        for (int step = 0; step < steps; ++step) {
            act();
            if (queue_->size() != model_.size())
                co_return "size after step " + std::to_string(step);
            if (random_() % 3 != 0) continue;
            co_await weft::yield();
            model_.turn();
            const std::string difference = compare();
            if (!difference.empty()) co_return difference + " after step " + std::to_string(step);
        }
        for (std::size_t id = 0; id < ops_.size(); ++id) {
            model_.cancel(id);
            ops_[id]->task.cancel();
        }
        co_await weft::yield();
        model_.turn();
        std::string difference = compare();
        queue_.reset();
        co_return difference;
    }

private:
    void act() {
        switch (random_() % 16) {
            case 0:
            case 1:
            case 2:
                model_.get(start(-1));
                return begin(get(*ops_.back()));
            case 3:
                model_.get(start(-1));
                return begin(get_elsewhere(*ops_.back()));
            case 4:
            case 5:
            case 6:
            case 7: {
                const int value = fresh_value();
                model_.put(start(value));
                return begin(put(*ops_.back(), value));
            }
            case 8:
            case 9:
            case 10:
                return cancel_one();
            case 11:
                return destroy_one();
            case 12:
                return put_now();
            case 13:
                if (std::optional<T> item = queue_->try_get()) {
                    const int expected = model_.size() > 0 ? model_.pop() : -1;
                    note(item->value == expected, "try_get");
                } else {
                    note(model_.size() == 0, "try_get of nothing");
                }
                return;
            case 14:
                if (model_.unfinished() == 0) return;
                model_.task_done();
                return queue_->task_done();
            default:
                if (random_() % 30 != 0) return;
                const bool immediate = random_() % 2 == 0;
                model_.shutdown(immediate);
                return queue_->shutdown(immediate);
        }
    }

    std::size_t start(int value) {
        ops_.push_back(std::make_unique<Op>());
        model_.ops.push_back(Model::Op{});
        model_.ops.back().value = value;
        return ops_.size() - 1;
    }
    // Eagerly: the queue sees it now and not in the next turn.
    void begin(weft::Coro<void> coro) {
        ops_.back()->task = weft::create_task(std::move(coro), weft::TaskOptions("", true));
    }
    int fresh_value() {
        return static_cast<int>(random_() % 5) * 10 + static_cast<int>(random_() % 10);
    }

    void put_now() {
        T item(fresh_value());
        const int value = item.value;
        const bool possible = model_.can_put();
        if (possible) model_.put_now(value);
        note(queue_->try_put(std::move(item)) == possible, "try_put");
    }
    // Again and again the newest, which is likely to wait still.
    std::size_t some_op() {
        const std::size_t back = random_() % std::min<std::size_t>(ops_.size(), 8);
        return ops_.size() - 1 - back;
    }
    void cancel_one() {
        if (ops_.empty()) return;
        const std::size_t id = some_op();
        model_.cancel(id);
        ops_[id]->task.cancel();
        if (random_() % 4 == 0) ops_[id]->task.cancel();
    }
    void destroy_one() {
        if (ops_.empty()) return;
        const std::size_t id = some_op();
        Op& op = *ops_[id];
        if (!op.elsewhere || op.answer != Answer::pending) return;
        const bool waits = model_.waits(id);
        if (!waits && model_.ops[id].answer != Answer::value) return;
        model_.destroy(id);
        op.answer = Answer::forgotten;
        op.elsewhere.reset();
        if (waits)
            weft::get_running_loop().wake(static_cast<weft::detail::TaskCore&>(*op.task.core()));
    }

    weft::Coro<void> get(Op& op) {
        try {
            T item = co_await queue_->get();
            op.value = item.value;
            op.answer = Answer::value;
        } catch (const weft::CancelledError&) {
            op.answer = Answer::cancelled;
        } catch (const weft::QueueShutDown&) {
            op.answer = Answer::shut_down;
        }
    }
    weft::Coro<void> get_elsewhere(Op& op) {
        op.elsewhere.reset(new Getter(queue_->get()));  // made in place: it cannot be moved
        if (!op.elsewhere->await_ready()) {
            Elsewhere<Getter> wait(*op.elsewhere);
            co_await wait;
            if (!op.elsewhere) co_return;
        }
        try {
            T item = op.elsewhere->await_resume();
            op.value = item.value;
            op.answer = Answer::value;
        } catch (const weft::CancelledError&) {
            op.answer = Answer::cancelled;
        } catch (const weft::QueueShutDown&) {
            op.answer = Answer::shut_down;
        }
        op.elsewhere.reset();
    }
    weft::Coro<void> put(Op& op, int value) {
        auto putting = queue_->put(T(value));
        try {
            co_await putting;
            op.answer = Answer::put;
        } catch (const weft::CancelledError&) {
            op.answer = Answer::cancelled;
        } catch (const weft::QueueShutDown&) {
            op.answer = Answer::shut_down;
        }
        op.value = value;
        if (op.answer != Answer::put)
            note(putting.item().value == value, "the item of a failed put");
    }

    void note(bool good, const char* what) {
        if (!good && problem_.empty()) problem_ = what;
    }
    std::string compare() {
        for (std::size_t id = 0; id < ops_.size(); ++id) {
            const Model::Op& expected = model_.ops[id];
            const Op& op = *ops_[id];
            if (op.answer == Answer::pending && expected.answer == Answer::pending) continue;
            if (op.answer != expected.answer) note(false, "an answer");
            if (op.answer == Answer::value && op.value != expected.value) note(false, "a value");
        }
        note(queue_->join().await_ready() == (model_.unfinished() == 0), "join");
        return problem_;
    }

    std::mt19937 random_;
    Model model_;
    std::unique_ptr<Queue> queue_;
    std::vector<std::unique_ptr<Op>> ops_;
    std::string problem_;
};

}  // namespace support
