// SPDX-License-Identifier: MIT
// Easy: one transfer of libcurl's, what it has brought so far, and who waits for more.
#pragma once

#include <curl/curl.h>

#include <cstddef>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include "../../base/config.hpp"
#include "../../base/ref.hpp"
#include "../../sync/event.hpp"
#include "../../task/coro.hpp"
#include "../request.hpp"
#include "../response.hpp"
#include "multi.hpp"

namespace weft::curl::detail {

using weft::detail::Ref;

/// Held by the coroutines of the one who has asked. When they go, cancelled or not, the transfer
/// leaves libcurl.
class Easy final : public Party, public weft::detail::Counted<Easy> {
public:
    enum class Body : bool { collected, streamed };

    /// Begins.
    Easy(Ref<Multi> multi, Request request, Body body);
    ~Easy();

    bool is_done() const noexcept { return done_; }
    bool has_head() const noexcept { return head_is_whole_ || !body_.empty() || done_; }
    const Head& head() const noexcept { return head_; }
    /// Throws:   Error, TimeoutError, LimitOverrunError, or what a callback has thrown.
    void check() const;
    /// What has arrived; what was held back may come now.
    std::string take();
    Response response();
    /// Waits for news of it, and gets the next piece of an upload where that is what it lacks.
    static Coro<void> news(Ref<Easy> self);

private:
    template <class T>
    void set(CURLoption option, T value);
    void set_text(CURLoption option, const std::string& text);
    void check_line(const std::string& line) const;
    void set_up(Body body);
    void set_method();
    void give(std::string piece);
    void go_on() noexcept;
    inline void ended(CURLcode code) noexcept override;
    static Coro<std::string> next_piece(Ref<Easy> self);
    static Coro<std::string> over(Ref<Easy> self);
    void check_thrown() const {
        if (thrown_) std::rethrow_exception(thrown_);
    }
    bool can_wait() const noexcept;
    std::size_t got(std::string_view bytes);
    std::size_t lend(char* into, std::size_t size) noexcept;
    void got_header(std::string_view line);
    std::string name() const;
    /// For libcurl's callbacks: an exception ends the transfer.
    template <class Fn>
    static std::size_t guarded(void* self, std::size_t failure, Fn&& fn) noexcept;
    static std::size_t write(char* bytes, std::size_t one, std::size_t size, void* self) noexcept;
    static std::size_t read(char* into, std::size_t one, std::size_t size, void* self) noexcept;
    static int seek(void* self, curl_off_t to, int from) noexcept;
    static std::size_t header(char* bytes, std::size_t one, std::size_t size, void* self) noexcept;
    static int progress(void* self, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
                        curl_off_t up) noexcept;

    const Ref<Multi> multi_;
    Request request_;
    CURL* easy_ = nullptr;
    curl_slist* headers_ = nullptr;
    char error_[CURL_ERROR_SIZE] = "";
    Head head_;
    bool head_is_whole_ = false;
    bool done_ = false;
    bool is_added_ = false;
    bool is_streamed_ = false;
    bool is_over_limit_ = false;
    bool holds_back_ = false;   // the server waits for the reader
    bool lacks_piece_ = false;  // it waits for the next piece of the upload
    bool upload_is_over_ = false;
    CURLcode code_ = CURLE_OK;
    std::exception_ptr thrown_;
    std::string body_;
    std::string piece_;
    std::size_t piece_at_ = 0;
    Event news_;
    Event over_;
};

inline void Easy::ended(CURLcode code) noexcept {
    code_ = code;
    done_ = true;
    multi_->remove(easy_);
    is_added_ = false;
    long status = 0;
    ::curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
    head_.status = static_cast<int>(status);
    const char* url = nullptr;
    ::curl_easy_getinfo(easy_, CURLINFO_EFFECTIVE_URL, &url);
    try {
        if (url) head_.url = url;
    } catch (...) {
        thrown_ = std::current_exception();
    }
    news_.set();
    over_.set();
}

}  // namespace weft::curl::detail
