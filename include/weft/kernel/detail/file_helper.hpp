// SPDX-License-Identifier: MIT
// FileHelper: the order that operations on files keep on the helper threads.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <new>
#include <system_error>

#include "../../base/std_parts.hpp"
#include "../../base/table.hpp"
#include "../operation.hpp"
#include "file_calls.hpp"
#include "helper.hpp"
#include "helper_pool.hpp"

namespace weft::detail {

/// Invariants: an operation that was handed over and has not come back is with the pool or in
/// `held_`, and counted. Of the ordered ones of a descriptor the pool has one at most, and where it
/// has one, `in_order_` of the number is how many there are, those in `held_` included.
class FileHelper final : public Helper {
public:
    FileHelper() { event_fd_ = pool_.event_fd(); }
    /// 0, or an errno.
    [[gnu::cold]] static int make(HelperHolder& into) noexcept {
        try {
            into.reset(new FileHelper());
            return 0;
        } catch (const std::system_error& error) {
            return error.code().value();
        } catch (const std::bad_alloc&) {
            return ENOMEM;
        }
    }

    bool uses_position(int fd) const noexcept {
        const auto index = static_cast<std::size_t>(fd);
        return index < in_order_.size() && in_order_[index] > 0;
    }

    int hand_over(Operation& op, bool waits_for_others) noexcept {
        bool waits = waits_for_others;
        if (is_ordered(op)) {
            if (!make_place(op.fd)) return ENOMEM;
            waits = in_order_[static_cast<std::size_t>(op.fd)]++ > 0;
        }
        if (waits) {
            op.state = Operation::State::queued;
            held_.push_back(op);
        } else if (const int error = pool_.submit(op); error != 0) {
            if (is_ordered(op)) --in_order_[static_cast<std::size_t>(op.fd)];
            return error;
        }
        ++count_;
        return 0;
    }

    bool take_back(Operation& op) noexcept {
        // (Held back or with the pool: it has not begun as long as it is queued. One that is
        // ordered and with the pool lets the next one go.)
        const bool was_held =
            is_ordered(op) && held_.any_of([&](const Operation& other) { return &other == &op; });
        if (was_held) {
            op.unlink();
        } else if (!pool_.take_back(op)) {
            return false;
        }
        came_back(op, !was_held);
        return true;
    }

    bool end_all_on(int fd, OperationList& ended) noexcept {
        if (count_ == 0) return false;
        const auto end = [&](Operation& op) {
            --count_;
            if (is_ordered(op)) --in_order_[static_cast<std::size_t>(fd)];
            ended.push_back(op);
        };
        held_.for_each([&](Operation& op) {
            if (op.fd != fd || op.code == OpCode::close) return;
            op.unlink();
            end(op);
        });
        OperationList taken;
        const bool running = pool_.take_back_all(fd, taken);
        while (!taken.empty()) end(taken.pop_front());
        return running;
    }
    void wait_for(int fd) noexcept { pool_.wait_for(fd); }

    void collect(OperationList& finished) noexcept {
        OperationList done;
        pool_.collect(done);
        while (!done.empty()) {
            Operation& op = done.pop_front();
            came_back(op, true);
            finished.push_back(op);
        }
        while (!refused_.empty()) finished.push_back(refused_.pop_front());
    }

private:
    static bool is_ordered(const Operation& op) noexcept {
        const bool transfers = op.code == OpCode::read || op.code == OpCode::write ||
                               op.code == OpCode::readv || op.code == OpCode::writev;
        return transfers && op.at_own_position();
    }
    bool make_place(int fd) noexcept { return in_order_.reach(static_cast<std::size_t>(fd)); }

    /// `was_first`: others may have waited for it.
    void came_back(const Operation& op, bool was_first) noexcept {
        --count_;
        const bool ordered = is_ordered(op);
        if (ordered) --in_order_[static_cast<std::size_t>(op.fd)];
        if (was_first && !held_.empty()) [[unlikely]]
            let_next_go(op.fd, ordered);
    }
    [[gnu::noinline]] void let_next_go(int fd, bool ordered) noexcept {
        const bool runs = pool_.runs_on(fd);
        Operation* next = nullptr;
        held_.for_each([&](Operation& op) {
            if (next || op.fd != fd) return;
            if (op.code == OpCode::close ? !runs : ordered) next = &op;
        });
        if (!next) return;
        next->unlink();
        const int error = pool_.submit(*next);
        if (error == 0) [[likely]]
            return;
        // (All threads have gone, and none can be made.)
        next->result = -error;
        refused_.push_back(*next);
        came_back(*next, true);
    }

    HelperPool pool_;
    OperationList held_;             // wait for others on their descriptor
    OperationList refused_;          // could not be submitted when their turn had come
    Table<std::uint16_t> in_order_;  // by descriptor
};

}  // namespace weft::detail
