// SPDX-License-Identifier: MIT
// curl::Request: what is to be transferred, and how.
#pragma once

#include <curl/curl.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/callback.hpp"
#include "../base/clock.hpp"
#include "../base/std_parts.hpp"
#include "../task/async_generator.hpp"
#include "../task/coro.hpp"

namespace weft::curl {

/// How far a transfer is; 0 where a total is not known.
struct Progress {
    std::uint64_t downloaded = 0;
    std::uint64_t download_total = 0;
    std::uint64_t uploaded = 0;
    std::uint64_t upload_total = 0;
};

/// Not an aggregate: see TaskOptions. It can be moved, and serves once.
struct Request {
    Request() noexcept {}
    // NOLINTNEXTLINE(google-explicit-constructor): a URL is a request.
    Request(std::string of) noexcept : url(std::move(of)) {}
    // NOLINTNEXTLINE(google-explicit-constructor)
    Request(const char* of) : url(of) {}
    Request(std::string how, std::string of) noexcept
        : method(std::move(how)), url(std::move(of)) {}

    /// Empty: GET, or POST where there is a body, or PUT where there is an upload.
    std::string method{};
    /// Whatever libcurl knows: http, https, ftp, sftp, file, ...
    std::string url{};
    /// "Accept: text/html"; "Accept:" takes out one that libcurl sends by itself.
    std::vector<std::string> headers{};
    std::optional<std::string> body{};
    std::string username{};
    std::string password{};

    Duration connect_timeout = std::chrono::seconds(30);
    Duration timeout{0};        ///< of the whole; 0: none
    Duration stall_timeout{0};  ///< without a byte in either direction, in whole seconds; 0: none
    int max_redirects = 10;     ///< 0: they are not followed
    /// Of a body that is collected (see `Client::fetch`); of one that is streamed, how much of it
    /// waits for the reader before the server has to.
    std::size_t body_limit = 64 * 1024 * 1024;
    std::size_t read_ahead = 64 * 1024;
    bool fail_on_error = false;  ///< a status of 400 or more is an Error
    std::string unix_path{};     ///< connects to this socket, whatever the URL's host
    std::string ca_file{};       ///< certificates to believe, in place of this host's

    /// The body comes piece by piece from `next()`, a Coro<std::string>, an empty one at its end;
    /// it is asked as the server takes it.
    template <class Next>
        requires(std::is_invocable_r_v<Coro<std::string>, std::decay_t<Next>&>)
    Request& upload(Next&& next, std::optional<std::uint64_t> size = std::nullopt) {
        upload_ = weft::detail::Callback<Coro<std::string>()>(std::forward<Next>(next));
        upload_size_ = size;
        return *this;
    }
    Request& upload(AsyncGenerator<std::string> pieces,
                    std::optional<std::uint64_t> size = std::nullopt) {
        return upload(FromGenerator(std::move(pieces)), size);
    }
    /// Called with news of the transfer, often, and with the same ones again, inside of libcurl: it
    /// must not use the client. What it throws ends the transfer.
    template <class F>
    Request& on_progress(F&& fn) {
        progress_ = weft::detail::Callback<void(const Progress&)>(std::forward<F>(fn));
        return *this;
    }
    /// For whatever else libcurl has: `request.setup([](CURL* easy) { curl_easy_setopt(...); })`.
    /// Called last. Callbacks, private data and the error buffer are not to be touched.
    template <class F>
    Request& setup(F&& fn) {
        setup_ = weft::detail::Callback<void(CURL*)>(std::forward<F>(fn));
        return *this;
    }

    // --- for the transfer ---

    bool has_upload() const noexcept { return static_cast<bool>(upload_); }
    weft::detail::Callback<Coro<std::string>()> upload_;
    std::optional<std::uint64_t> upload_size_;
    weft::detail::Callback<void(const Progress&)> progress_;
    weft::detail::Callback<void(CURL*)> setup_;

private:
    struct FromGenerator {
        explicit FromGenerator(AsyncGenerator<std::string> from) noexcept
            : pieces(std::move(from)) {}
        Coro<std::string> operator()() { return next_of(pieces); }
        static Coro<std::string> next_of(AsyncGenerator<std::string>& pieces) {
            std::optional<std::string> piece = co_await pieces.next();
            // (An empty piece in the middle is no end.)
            while (piece && piece->empty()) piece = co_await pieces.next();
            co_return piece ? std::move(*piece) : std::string();
        }
        AsyncGenerator<std::string> pieces;
    };
};

}  // namespace weft::curl
