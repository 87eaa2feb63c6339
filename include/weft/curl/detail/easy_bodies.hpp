// SPDX-License-Identifier: MIT
// Easy: how a request is told to libcurl, and what libcurl calls.
#pragma once

#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "../../base/c_text.hpp"
#include "../../base/config.hpp"
#include "../../base/error.hpp"
#include "../../base/std_parts.hpp"
#include "../../together/race.hpp"
#include "../error.hpp"
#include "easy.hpp"

namespace weft::curl::detail {

using weft::detail::concat;

template <class T>
void Easy::set(CURLoption option, T value) {
    const CURLcode code = ::curl_easy_setopt(easy_, option, value);
    if (code == CURLE_OUT_OF_MEMORY) throw std::bad_alloc();
    if (code != CURLE_OK) throw Error(concat({name(), ": ", ::curl_easy_strerror(code)}), code);
}

WEFT_INLINE void Easy::set_text(CURLoption option, const std::string& text) {
    weft::detail::refuse_zero_byte("curl", text);
    set(option, text.c_str());
}
/// What goes into the request as it is must not end its line: what follows would be another one.
WEFT_INLINE void Easy::check_line(const std::string& line) const {
    weft::detail::refuse_zero_byte("curl", line);
    if (line.find_first_of("\r\n") == line.npos) return;
    throw std::invalid_argument(
        concat({"weft: curl: a line break in ", weft::detail::in_quotes(line)}));
}

WEFT_INLINE Easy::Easy(Ref<Multi> multi, Request request, Body body)
    : multi_(std::move(multi)), request_(std::move(request)) {
    easy_ = ::curl_easy_init();
    if (!easy_) throw std::bad_alloc();
    try {
        set_up(body);
        multi_->add(easy_, *this);
        is_added_ = true;
    } catch (...) {
        ::curl_easy_cleanup(easy_);
        ::curl_slist_free_all(headers_);
        throw;
    }
}

WEFT_INLINE Easy::~Easy() {
    if (is_added_) multi_->remove(easy_);
    ::curl_easy_cleanup(easy_);
    ::curl_slist_free_all(headers_);
}

WEFT_INLINE void Easy::set_up(Body body) {
    const auto milliseconds = [](Duration time) {
        constexpr long longest = 1'000'000'000;  // what libcurl can add to a time of its own
        const auto whole = time.count() / 1'000'000 + (time.count() % 1'000'000 > 0);
        return static_cast<long>(std::min<long long>(whole, longest));
    };
    is_streamed_ = body == Body::streamed;
    set(CURLOPT_ERRORBUFFER, &error_[0]);
    set_text(CURLOPT_URL, request_.url);
    set(CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
    // A transfer that ends while its name is being looked up leaves that thread alone, instead of
    // waiting for it in the loop. (An older library at run time does not know the word.)
    static_cast<void>(::curl_easy_setopt(easy_, CURLOPT_QUICK_EXIT, 1L));
#endif
    set(CURLOPT_ACCEPT_ENCODING, "");
    set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    set(CURLOPT_WRITEFUNCTION, &write);
    set(CURLOPT_WRITEDATA, this);
    set(CURLOPT_HEADERFUNCTION, &header);
    set(CURLOPT_HEADERDATA, this);
    if (request_.progress_) {
        set(CURLOPT_NOPROGRESS, 0L);
        set(CURLOPT_XFERINFOFUNCTION, &progress);
        set(CURLOPT_XFERINFODATA, this);
    }
    set(CURLOPT_CONNECTTIMEOUT_MS, milliseconds(request_.connect_timeout));
    set(CURLOPT_TIMEOUT_MS, milliseconds(request_.timeout));
    if (request_.stall_timeout > Duration(0)) {
        set(CURLOPT_LOW_SPEED_LIMIT, 1L);
        set(CURLOPT_LOW_SPEED_TIME, (milliseconds(request_.stall_timeout) + 999) / 1000);
    }
    set(CURLOPT_FOLLOWLOCATION, request_.max_redirects > 0 ? 1L : 0L);
    set(CURLOPT_MAXREDIRS, static_cast<long>(request_.max_redirects));
    if (request_.fail_on_error) set(CURLOPT_FAILONERROR, 1L);
    if (!request_.username.empty()) set_text(CURLOPT_USERNAME, request_.username);
    if (!request_.password.empty()) set_text(CURLOPT_PASSWORD, request_.password);
    if (!request_.unix_path.empty()) set_text(CURLOPT_UNIX_SOCKET_PATH, request_.unix_path);
    if (!request_.ca_file.empty()) set_text(CURLOPT_CAINFO, request_.ca_file);
    for (const std::string& line : request_.headers) {
        check_line(line);
        curl_slist* const longer = ::curl_slist_append(headers_, line.c_str());
        if (!longer) throw std::bad_alloc();
        headers_ = longer;
    }
    if (headers_) set(CURLOPT_HTTPHEADER, headers_);
    set_method();
    if (request_.setup_) request_.setup_(easy_);
}

/// libcurl has a word of its own for each way to transfer; one that does not fit, DELETE with a
/// body for instance, is written over what is nearest.
WEFT_INLINE void Easy::set_method() {
    check_line(request_.method);
    std::string usual = "GET";
    if (request_.body && !request_.upload_ && request_.method == "PUT") {
        piece_ = std::move(*request_.body);
        upload_is_over_ = true;
        request_.upload_size_ = piece_.size();
        set(CURLOPT_SEEKFUNCTION, &seek);
        set(CURLOPT_SEEKDATA, this);
    }
    if (request_.upload_ || upload_is_over_) {
        usual = "PUT";
        set(CURLOPT_UPLOAD, 1L);
        set(CURLOPT_READFUNCTION, &read);
        set(CURLOPT_READDATA, this);
        if (request_.upload_size_)
            set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(*request_.upload_size_));
    } else if (request_.body) {
        usual = "POST";
        set(CURLOPT_POST, 1L);
        set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body->size()));
        set(CURLOPT_POSTFIELDS, request_.body->data());
    } else if (request_.method == "HEAD") {
        usual = "HEAD";
        set(CURLOPT_NOBODY, 1L);
    }
    if (request_.method.empty()) request_.method = usual;
    if (request_.method != usual) set(CURLOPT_CUSTOMREQUEST, request_.method.c_str());
}

/// "GET http://localhost/x", without what stands before an @.
[[gnu::cold]] WEFT_INLINE std::string Easy::name() const {
    std::string url = request_.url;
    const std::size_t scheme = url.find("://");
    const std::size_t from = scheme == url.npos ? 0 : scheme + 3;
    const std::size_t at = url.substr(0, url.find_first_of("/?#", from)).rfind('@');
    if (at != url.npos && at >= from) url.erase(from, at + 1 - from);
    return concat({request_.method, " ", url});
}

[[gnu::cold]] WEFT_INLINE void Easy::check() const {
    check_thrown();
    if (is_over_limit_) throw LimitOverrunError(request_.body_limit, name(), "no end of the body");
    if (code_ == CURLE_OK) return;
    if (code_ == CURLE_OUT_OF_MEMORY) throw std::bad_alloc();
    const std::string what =
        concat({name(), ": ", error_, error_[0] ? ": " : "", ::curl_easy_strerror(code_)});
    if (code_ == CURLE_OPERATION_TIMEDOUT) throw TimeoutError(what);
    throw Error(what, code_);
}

WEFT_INLINE std::string Easy::take() {
    std::string bytes = std::move(body_);
    body_.clear();
    if (std::exchange(holds_back_, false)) go_on();
    return bytes;
}

WEFT_INLINE Response Easy::response() {
    Response response(std::move(head_));
    response.body = std::move(body_);
    curl_off_t number = 0;
    ::curl_easy_getinfo(easy_, CURLINFO_TOTAL_TIME_T, &number);
    response.elapsed = std::chrono::microseconds(number);
    ::curl_easy_getinfo(easy_, CURLINFO_SIZE_DOWNLOAD_T, &number);
    response.downloaded = static_cast<std::uint64_t>(number);
    ::curl_easy_getinfo(easy_, CURLINFO_SIZE_UPLOAD_T, &number);
    response.uploaded = static_cast<std::uint64_t>(number);
    long redirects = 0;
    ::curl_easy_getinfo(easy_, CURLINFO_REDIRECT_COUNT, &redirects);
    response.redirects = static_cast<int>(redirects);
    return response;
}

WEFT_INLINE Coro<void> Easy::news(Ref<Easy> self) {
    if (self->lacks_piece_ && !self->done_) {
        // (Some servers answer, and close, before they have everything.)
        Winner<std::string> piece = co_await race(next_piece(self), over(self));
        self->check_thrown();
        self->give(std::move(*piece));
        co_return;
    }
    self->news_.clear();
    co_await self->news_.wait();
}

/// In a race a failure is not the end of it.
WEFT_INLINE Coro<std::string> Easy::next_piece(Ref<Easy> self) {
    try {
        std::string piece = co_await self->request_.upload_();
        co_return piece;
    } catch (const CancelledError&) {
        throw;
    } catch (...) {
        self->thrown_ = std::current_exception();
    }
    co_return std::string();
}

WEFT_INLINE Coro<std::string> Easy::over(Ref<Easy> self) {
    co_await self->over_.wait();
    co_return std::string();
}

WEFT_INLINE void Easy::give(std::string piece) {
    upload_is_over_ = piece.empty();
    piece_ = std::move(piece);
    piece_at_ = 0;
    lacks_piece_ = false;
    go_on();
}

/// In the directions in which nobody waits for us.
WEFT_INLINE void Easy::go_on() noexcept {
    if (done_) return;
    const int still = (holds_back_ ? CURLPAUSE_RECV : 0) | (lacks_piece_ ? CURLPAUSE_SEND : 0);
    ::curl_easy_pause(easy_, still);
}

// --- what libcurl calls ------------------------------------------------------

template <class Fn>
std::size_t Easy::guarded(void* self, std::size_t failure, Fn&& fn) noexcept {
    auto& easy = *static_cast<Easy*>(self);
    try {
        return fn(easy);
    } catch (...) {
        easy.thrown_ = std::current_exception();
        return failure;
    }
}

WEFT_INLINE std::size_t Easy::write(char* bytes, std::size_t one, std::size_t size,
                                    void* self) noexcept {
    // (0 of some bytes is a failure.)
    return guarded(self, 0, [&](Easy& easy) { return easy.got({bytes, one * size}); });
}
WEFT_INLINE std::size_t Easy::read(char* into, std::size_t one, std::size_t size,
                                   void* self) noexcept {
    return static_cast<Easy*>(self)->lend(into, one * size);
}
/// The body goes up again, behind a redirect or a question for the password.
WEFT_INLINE int Easy::seek(void* self, curl_off_t to, int from) noexcept {
    auto& easy = *static_cast<Easy*>(self);
    if (from != SEEK_SET || to < 0 || static_cast<std::size_t>(to) > easy.piece_.size())
        return CURL_SEEKFUNC_CANTSEEK;
    easy.piece_at_ = static_cast<std::size_t>(to);
    return CURL_SEEKFUNC_OK;
}
WEFT_INLINE std::size_t Easy::header(char* bytes, std::size_t one, std::size_t size,
                                     void* self) noexcept {
    return guarded(self, 0, [&](Easy& easy) {
        easy.got_header({bytes, one * size});
        return one * size;
    });
}
WEFT_INLINE int Easy::progress(void* self, curl_off_t down_total, curl_off_t down,
                               curl_off_t up_total, curl_off_t up) noexcept {
    return static_cast<int>(guarded(self, 1, [&](Easy& easy) {
        Progress now;
        now.downloaded = static_cast<std::uint64_t>(down);
        now.download_total = static_cast<std::uint64_t>(down_total);
        now.uploaded = static_cast<std::uint64_t>(up);
        now.upload_total = static_cast<std::uint64_t>(up_total);
        easy.request_.progress_(now);
        return std::size_t{0};
    }));
}

/// libcurl reads a file to its end in one go.
WEFT_INLINE bool Easy::can_wait() const noexcept {
    const char* scheme = nullptr;
    ::curl_easy_getinfo(easy_, CURLINFO_SCHEME, &scheme);
    return !scheme || (std::strcmp(scheme, "FILE") != 0 && std::strcmp(scheme, "file") != 0);
}

WEFT_INLINE std::size_t Easy::got(std::string_view bytes) {
    const bool is_held_back = is_streamed_ && can_wait();
    // (One piece at least: with none at all nobody would ever be told.)
    if (is_held_back && !body_.empty() && body_.size() >= request_.read_ahead) {
        holds_back_ = true;
        return CURL_WRITEFUNC_PAUSE;  // it comes again
    }
    if (!is_held_back && bytes.size() > request_.body_limit - body_.size()) {
        is_over_limit_ = true;
        return 0;
    }
    body_.append(bytes);
    if (is_streamed_) news_.set();
    return bytes.size();
}

WEFT_INLINE std::size_t Easy::lend(char* into, std::size_t size) noexcept {
    const std::size_t count = std::min(size, piece_.size() - piece_at_);
    if (count > 0) {
        std::memcpy(into, piece_.data() + piece_at_, count);
        piece_at_ += count;
        return count;
    }
    if (upload_is_over_) return 0;
    lacks_piece_ = true;
    news_.set();
    return CURL_READFUNC_PAUSE;
}

/// Line by line. Each answer of several (100 Continue, a redirect) begins with a line of status.
WEFT_INLINE void Easy::got_header(std::string_view line) {
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.remove_suffix(1);
    if (line.substr(0, 5) == "HTTP/") {
        head_.headers.clear();
        return;
    }
    if (!line.empty()) {
        const std::size_t colon = line.find(':');
        if (colon == line.npos || line[0] == ' ') return;
        std::string_view value = line.substr(colon + 1);
        while (!value.empty() && value[0] == ' ') value.remove_prefix(1);
        head_.headers.emplace_back(line.substr(0, colon), value);
        return;
    }
    long status = 0;
    ::curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
    const bool is_followed =
        status >= 300 && status < 400 && request_.max_redirects > 0 && head_.header("location");
    // (After 401 and 407 libcurl may ask again by itself; what comes then tells.)
    if (status < 200 || is_followed || status == 401 || status == 407) return;
    const char* url = nullptr;
    ::curl_easy_getinfo(easy_, CURLINFO_EFFECTIVE_URL, &url);
    if (url) head_.url = url;
    head_.status = static_cast<int>(status);
    head_is_whole_ = true;
    news_.set();
}

}  // namespace weft::curl::detail
