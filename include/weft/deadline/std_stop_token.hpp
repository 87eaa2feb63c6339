// SPDX-License-Identifier: MIT
// std::stop_token and CancelToken, one leading to the other. Not part of <weft/weft.hpp>: what
// <stop_token> includes costs every user's compile.
#pragma once

#include <optional>
#include <stop_token>
#include <utility>

#include "../base/ref.hpp"
#include "../runtime/loop.hpp"
#include "../runtime/remote.hpp"
#include "cancel_token.hpp"

namespace weft {

/// For as long as it lives: when a stop is requested, by whichever thread, `token` is cancelled on
/// its loop's thread. One that was requested before cancels in the loop's next turn.
/// Throws:   RuntimeError when no loop runs on this thread.
/// Thread:   made and destroyed on the loop's thread.
class CancelOnStop {
public:
    CancelOnStop(std::stop_token stop, CancelToken token)
        : link_(new Link(std::move(token))),
          callback_(std::in_place, std::move(stop), Post(get_running_loop().remote(), link_)) {}
    CancelOnStop(const CancelOnStop&) = delete;
    CancelOnStop& operator=(const CancelOnStop&) = delete;
    ~CancelOnStop() {
        callback_.reset();     // waits for one that is just being told, on another thread
        link_->token.reset();  // (the token's count is not atomic: it goes here)
    }

private:
    struct Link : detail::CountedByThreads<Link> {
        explicit Link(CancelToken of) : token(std::move(of)) {}
        std::optional<CancelToken> token;  // for the loop's thread
    };
    struct Post {
        Post(Remote to, detail::Ref<Link> what) : remote(std::move(to)), link(std::move(what)) {
            by.reserve();
        }
        void operator()() noexcept {
            // (False: the loop has closed, and whoever waited with it.)
            static_cast<void>(remote.answer(std::move(by), [held = std::move(link)] {
                if (held->token) held->token->cancel();
            }));
        }
        Remote remote;
        detail::Ref<Link> link;
        detail::ReservedPost by;
    };

    detail::Ref<Link> link_;
    std::optional<std::stop_callback<Post>> callback_;
};

/// A std::stop_token for threads and libraries that know these: it is stopped when `token` is
/// cancelled, for as long as this lives.
/// Thread:   made and destroyed on the loop's thread; what `get_token` returns is for any.
class StopOnCancel {
public:
    explicit StopOnCancel(const CancelToken& token)
        : link_(token, [this] { source_.request_stop(); }) {}

    std::stop_token get_token() const noexcept { return source_.get_token(); }

private:
    std::stop_source source_;  // before the link, which may use it at once
    CancelLink link_;
};

}  // namespace weft
