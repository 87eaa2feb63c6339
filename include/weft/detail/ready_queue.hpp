// SPDX-License-Identifier: MIT
// ReadyQueue: what runs next, first in, first out; a link in each node and no memory of its own.
#pragma once

#include <coroutine>
#include <cstdint>

namespace weft::detail {

/// Something to run: a task's innermost suspended coroutine, or a callback. Only tasks have a
/// coroutine here, so the loop tells the two apart without a call and a task costs one jump.
struct ReadyNode {
    enum class Verb : std::uint8_t {
        run,
        drop,   // the loop closes: release what the node holds
        ended,  // the future in whose list it waited is done: queue yourself, or see to it at once
    };

    ReadyNode* next_ready = nullptr;
    std::coroutine_handle<> coroutine;

protected:
    ReadyNode() noexcept = default;
    ReadyNode(const ReadyNode&) = delete;
    ReadyNode& operator=(const ReadyNode&) = delete;
    ~ReadyNode() = default;
};

/// A node without a coroutine.
struct CallbackNode : ReadyNode {
    using Act = void (*)(CallbackNode&, Verb) noexcept;
    explicit CallbackNode(Act run_or_drop) noexcept : act(run_or_drop) {}
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
