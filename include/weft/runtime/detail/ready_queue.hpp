// SPDX-License-Identifier: MIT
// ReadyQueue: what runs next, first in, first out; a link in each node and no memory of its own.
#pragma once

#include <coroutine>
#include <cstdint>

#include "../go_on.hpp"

namespace weft::detail {

/// Something to run: a task's innermost suspended coroutine, or a callback.
struct ReadyNode {
    enum class Verb : std::uint8_t {
        run,
        drop,    // the loop closes: release what the node holds
        ended,   // the future in whose list it waited is done: queue yourself, or see to it at once
        struck,  // to a group, see EventLoop::strike_groups
    };

    // The lowest bits of `coroutine`: whatever is not simply to be resumed costs those that are no
    // more than one test. The first, alone for a callback and on its frame for a task that has not
    // started; the second for a task that a gate has let through, which is to be told. Both for a
    // task that has ended, on its group, which is to be told.
    static std::coroutine_handle<> unstarted(std::coroutine_handle<> frame) noexcept {
        return frame_at(address_of(frame) | unstarted_mark);
    }
    static std::coroutine_handle<> at_gate(std::coroutine_handle<> frame) noexcept {
        return frame_at(address_of(frame) | gate_mark);
    }
    bool is_special() const noexcept { return (address_of(coroutine) & marks) != 0; }
    bool is_callback() const noexcept { return address_of(coroutine) == unstarted_mark; }
    bool is_unstarted() const noexcept {
        return (address_of(coroutine) & marks) == unstarted_mark && !is_callback();
    }
    /// A task that has suspended, and is to go on.
    bool is_suspended() const noexcept { return (address_of(coroutine) & unstarted_mark) == 0; }
    bool is_ended() const noexcept { return (address_of(coroutine) & marks) == marks; }

    std::coroutine_handle<> coroutine;
    ReadyNode* next_ready;  // set by `push`

    static constexpr std::uintptr_t unstarted_mark = 1;
    static constexpr std::uintptr_t gate_mark = 2;
    static constexpr std::uintptr_t marks = unstarted_mark | gate_mark;

protected:
    explicit ReadyNode(std::coroutine_handle<> frame) noexcept : coroutine(unstarted(frame)) {}
    ReadyNode(const ReadyNode&) = delete;
    ReadyNode& operator=(const ReadyNode&) = delete;
    ~ReadyNode() = default;
};

struct CallbackNode : ReadyNode {
    using Act = void (*)(CallbackNode&, Verb) noexcept;
    explicit CallbackNode(Act run_or_drop) noexcept : ReadyNode(nullptr), act(run_or_drop) {}
    Act act;
};

class ReadyQueue {
public:
    bool empty() const noexcept { return head_ == nullptr; }

    void push(ReadyNode& node) noexcept {
        node.next_ready = nullptr;
        if (head_) {
            tail_->next_ready = &node;
        } else {
            head_ = &node;
        }
        tail_ = &node;
    }

    /// `first` leads to `last` by their links.
    void push_chain(ReadyNode& first, ReadyNode& last) noexcept {
        last.next_ready = nullptr;
        if (head_) {
            tail_->next_ready = &first;
        } else {
            head_ = &first;
        }
        tail_ = &last;
    }

    /// The same, before everything that is queued.
    void push_chain_front(ReadyNode& first, ReadyNode& last) noexcept {
        last.next_ready = head_;
        if (!head_) tail_ = &last;
        head_ = &first;
    }

    ReadyNode* first() const noexcept { return head_; }
    /// The last one, null when there is none.
    ReadyNode* last() const noexcept { return head_ ? tail_ : nullptr; }
    /// Null: as the first.
    void insert_after(ReadyNode* before, ReadyNode& node) noexcept {
        if (before == last()) return push(node);
        ReadyNode*& link = before ? before->next_ready : head_;
        node.next_ready = link;
        link = &node;
    }

    /// The whole queue as a chain; what is pushed from now on waits for the next turn.
    ReadyNode* take_all() noexcept {
        ReadyNode* const first = head_;
        head_ = nullptr;
        return first;
    }

private:
    ReadyNode* head_ = nullptr;
    ReadyNode* tail_ = nullptr;  // valid while head_ is
};

}  // namespace weft::detail
