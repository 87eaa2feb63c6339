// SPDX-License-Identifier: MIT
// CarriedCall: a read or a write of a stream that is no socket, in the place of an operation.
#pragma once

#include <coroutine>
#include <cstddef>

#include "../../base/frame_allocator.hpp"
#include "../../base/intrusive_list.hpp"
#include "../../runtime/loop.hpp"
#include "../../task/coro.hpp"

namespace weft::detail {

/// A coroutine of the transport's, which an awaiter runs in the place of an operation. It belongs
/// to the stream and not to the awaiter: one that waits for a socket neither has the room nor
/// looks, as it goes, whether there is anything to destroy. (A frame goes in the middle of a wait
/// with its loop alone.)
class CarriedCall : public Recycled, public ListNode<> {
public:
    explicit CarriedCall(Coro<std::size_t> coro)
        : loop_(EventLoop::running()), awaiter_(coro.release()) {}

    bool await_suspend(std::coroutine_handle<> handle) { return awaiter_.await_suspend(handle); }
    bool await_cancelled() const noexcept { return awaiter_.await_cancelled(); }
    std::size_t await_resume() { return awaiter_.await_resume(); }
    /// Nobody waits in it: it has ended, or its loop has.
    bool is_over() const noexcept { return awaiter_.has_ended() || loop_ != EventLoop::running(); }

private:
    const EventLoop* loop_;
    CoroAwaiter<std::size_t> awaiter_;
};

}  // namespace weft::detail
