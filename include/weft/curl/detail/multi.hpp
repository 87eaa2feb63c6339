// SPDX-License-Identifier: MIT
// Multi: libcurl's multi handle on the loop: its sockets, and its timer.
#pragma once

#include <curl/curl.h>

#include <new>
#include <utility>

#include "../../adapters/alarm.hpp"
#include "../../adapters/fd_watch.hpp"
#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/ref.hpp"
#include "../../base/std_parts.hpp"

namespace weft::curl::detail {

/// A transfer, as far as the multi handle knows it.
struct Party {
    virtual void ended(CURLcode code) noexcept = 0;

protected:
    Party() noexcept = default;
    ~Party() = default;
};

/// libcurl says which descriptors it waits on (`wants`) and for how long (`timer`); told that one
/// is ready, or that the time is over, it goes on, and calls us back from there. None of its
/// functions may be called from inside of those calls.
class Multi final : public weft::detail::Counted<Multi> {
public:
    Multi();
    ~Multi();

    /// Throws:   RuntimeError; std::bad_alloc.
    void add(CURL* easy, Party& party);
    /// Its connection is closed, unless it is between two requests.
    void remove(CURL* easy) noexcept;
    CURLM* handle() const noexcept { return multi_; }
    bool is_inside() const noexcept { return is_inside_; }

private:
    static int wants(CURL*, curl_socket_t fd, int what, void* self, void* socket) noexcept;
    static int timer(CURLM*, long ms, void* self) noexcept;
    void go_on(curl_socket_t fd, int events) noexcept;
    static void check(CURLMcode code);

    CURLM* multi_;
    bool is_inside_ = false;
    Alarm alarm_;
};

#if WEFT_BODIES || defined(WEFT_CURL_SOURCE)
WEFT_INLINE void Multi::check(CURLMcode code) {
    if (code == CURLM_OUT_OF_MEMORY) throw std::bad_alloc();
    if (code != CURLM_OK)
        weft::detail::throw_runtime_error({"libcurl: ", ::curl_multi_strerror(code)});
}

WEFT_INLINE Multi::Multi() {
    static const CURLcode global = ::curl_global_init(CURL_GLOBAL_DEFAULT);
    if (global != CURLE_OK)
        weft::detail::throw_runtime_error({"libcurl: ", ::curl_easy_strerror(global)});
    alarm_ = Alarm([this] { go_on(CURL_SOCKET_TIMEOUT, 0); });
    multi_ = ::curl_multi_init();
    if (!multi_) throw std::bad_alloc();
    ::curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &wants);
    ::curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
    ::curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &timer);
    ::curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
}

/// (Watches go with their sockets: libcurl says of each that it is let go of.)
WEFT_INLINE Multi::~Multi() {
    ::curl_multi_cleanup(multi_);
    alarm_.cancel();
}

WEFT_INLINE void Multi::add(CURL* easy, Party& party) {
    ::curl_easy_setopt(easy, CURLOPT_PRIVATE, &party);
    check(::curl_multi_add_handle(multi_, easy));
}

WEFT_INLINE void Multi::remove(CURL* easy) noexcept { ::curl_multi_remove_handle(multi_, easy); }

/// What a socket is watched with hangs on it at libcurl (`curl_multi_assign`).
WEFT_INLINE int Multi::wants(CURL*, curl_socket_t fd, int what, void* self, void* socket) noexcept {
    auto& multi = *static_cast<Multi*>(self);
    auto* watch = static_cast<FdWatch*>(socket);
    // libcurl closes the descriptor after this.
    if (what == CURL_POLL_REMOVE) {
        delete watch;
        ::curl_multi_assign(multi.multi_, fd, nullptr);
        return 0;
    }
    try {
        if (!watch) {
            watch = new FdWatch(fd, [&multi, fd](FdEvents events) {
                const auto has = [events](FdEvents one) {
                    return (events & one) != FdEvents::none;
                };
                multi.go_on(fd, (has(FdEvents::read) ? CURL_CSELECT_IN : 0) |
                                    (has(FdEvents::write) ? CURL_CSELECT_OUT : 0) |
                                    (has(FdEvents::broken) ? CURL_CSELECT_ERR : 0));
            });
            ::curl_multi_assign(multi.multi_, fd, watch);
        }
        watch->want((what & CURL_POLL_IN ? FdEvents::read : FdEvents::none) |
                    (what & CURL_POLL_OUT ? FdEvents::write : FdEvents::none));
    } catch (...) {
        return -1;  // the transfer fails
    }
    return 0;
}

WEFT_INLINE int Multi::timer(CURLM*, long ms, void* self) noexcept {
    auto& multi = *static_cast<Multi*>(self);
    try {
        if (ms < 0) {
            multi.alarm_.cancel();
        } else {
            multi.alarm_.set_after(std::chrono::milliseconds(ms));
        }
    } catch (...) {
        return -1;
    }
    return 0;
}

WEFT_INLINE void Multi::go_on(curl_socket_t fd, int events) noexcept {
    // A transfer's end may let go of the last client.
    const weft::detail::Ref<Multi> alive = weft::detail::Ref<Multi>::to(*this);
    int running = 0;
    is_inside_ = true;
    ::curl_multi_socket_action(multi_, fd, events, &running);
    is_inside_ = false;
    int left = 0;
    while (const CURLMsg* const message = ::curl_multi_info_read(multi_, &left)) {
        if (message->msg != CURLMSG_DONE) continue;
        char* party = nullptr;
        ::curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &party);
        const CURLcode code = message->data.result;
        reinterpret_cast<Party*>(party)->ended(code);
    }
}
#endif

}  // namespace weft::curl::detail
