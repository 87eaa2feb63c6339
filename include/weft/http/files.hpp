// SPDX-License-Identifier: MIT
// send_file, static_files: files as answers, with ranges and conditional requests.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "../base/config.hpp"
#include "../task/coro.hpp"
#include "request.hpp"
#include "response.hpp"

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <system_error>

#include "../base/error.hpp"
#include "../base/fd.hpp"
#include "../net/io.hpp"
#include "detail/date.hpp"
#include "detail/text.hpp"
#endif

namespace weft::http {

struct FileOptions {
    FileOptions() noexcept {}
    std::string content_type;   ///< empty: by the ending of its name
    std::string cache_control;  ///< empty: no such field
};

/// The file at `path`, or what the request wants of it: one range of bytes (206; a list of ranges
/// gets the whole file, as RFC 9110 allows), nothing when the client has it already (304, by
/// If-None-Match or If-Modified-Since), 412, 416, and 404 where there is no such file. The path is
/// the program's: nothing in it is checked. The file goes out by sendfile(2) where there is no TLS.
/// Throws:   HttpError with 404, and with 403 where it cannot be read; std::system_error (open).
/// Cancel:   lossless: a file that was opened is closed.
Coro<Response> send_file(Request& request, std::string path, FileOptions options = {});

struct StaticOptions : FileOptions {
    StaticOptions() noexcept {}
    std::string index = "index.html";  ///< of a folder, for a path that ends with a slash
    bool hidden = false;               ///< also files and folders whose name begins with a dot
    bool links = false;                ///< also what symbolic links lead to outside of the folder
};

/// The handler of a folder: `router.get("/files/{path...}", http::static_files("public"))` gives
/// what is in it and nothing else. Names are taken as they are: "..", an empty name and a zero byte
/// are 404.
class StaticFiles {
public:
    StaticFiles(std::string root, StaticOptions options)
        : root_(std::move(root)), options_(std::move(options)) {}
    Coro<Response> operator()(Request& request) const;

private:
    bool is_inside(int file) const;

    std::string root_;  // as realpath(3) gives it
    StaticOptions options_;
};

/// Throws:   std::system_error (realpath) where there is no such folder.
StaticFiles static_files(const std::string& folder, StaticOptions options = {});

namespace detail {

/// What a Range field asks of `size` bytes.
struct ByteRange {
    std::uint64_t first = 0;
    std::uint64_t count = 0;  // 0: nothing that there is (416)
};
/// Returns:  nothing: it is no range, or several: as if there were none.
std::optional<ByteRange> range_of(std::string_view field, std::uint64_t size) noexcept;
std::string_view content_type_of(std::string_view path) noexcept;

}  // namespace detail

#if WEFT_BODIES || defined(WEFT_HTTP_SOURCE)
namespace detail {

WEFT_INLINE std::optional<ByteRange> range_of(std::string_view field, std::uint64_t size) noexcept {
    constexpr std::string_view unit = "bytes=";
    if (!same_name(field.substr(0, unit.size()), unit)) return std::nullopt;
    const std::string_view range = trimmed(field.substr(unit.size()));
    const std::size_t dash = range.find('-');
    if (dash == std::string_view::npos || range.find(',') != std::string_view::npos)
        return std::nullopt;
    const std::optional<std::uint64_t> first = number_of(range.substr(0, dash));
    const std::optional<std::uint64_t> last = number_of(range.substr(dash + 1));
    if (dash == 0) {
        if (!last) return std::nullopt;
        const std::uint64_t count = *last < size ? *last : size;  // the last so many
        return ByteRange{size - count, count};
    }
    if (!first || (!last && dash + 1 < range.size())) return std::nullopt;
    if (last && *last < *first) return std::nullopt;
    if (*first >= size) return ByteRange{};
    const std::uint64_t end = last && *last < size - 1 ? *last + 1 : size;
    return ByteRange{*first, end - *first};
}

WEFT_INLINE std::string_view content_type_of(std::string_view path) noexcept {
    struct Ending {
        std::string_view ending;
        std::string_view type;
    };
    static constexpr Ending known[] = {
        {"html", "text/html; charset=utf-8"},
        {"htm", "text/html; charset=utf-8"},
        {"css", "text/css; charset=utf-8"},
        {"js", "text/javascript; charset=utf-8"},
        {"mjs", "text/javascript; charset=utf-8"},
        {"txt", "text/plain; charset=utf-8"},
        {"md", "text/markdown; charset=utf-8"},
        {"csv", "text/csv; charset=utf-8"},
        {"json", "application/json"},
        {"xml", "application/xml"},
        {"wasm", "application/wasm"},
        {"pdf", "application/pdf"},
        {"zip", "application/zip"},
        {"gz", "application/gzip"},
        {"png", "image/png"},
        {"jpg", "image/jpeg"},
        {"jpeg", "image/jpeg"},
        {"gif", "image/gif"},
        {"webp", "image/webp"},
        {"svg", "image/svg+xml"},
        {"ico", "image/x-icon"},
        {"woff2", "font/woff2"},
        {"mp3", "audio/mpeg"},
        {"mp4", "video/mp4"},
        {"webm", "video/webm"},
    };
    const std::size_t dot = path.find_last_of("./");
    if (dot != std::string_view::npos && path[dot] == '.') {
        for (const Ending& each : known) {
            if (same_name(path.substr(dot + 1), each.ending)) return each.type;
        }
    }
    return "application/octet-stream";
}

/// A tag of a list as If-None-Match has it. (Weak or not: the comparison for that is the weak one.)
inline bool has_tag(std::string_view list, std::string_view tag) noexcept {
    while (!list.empty()) {
        std::string_view each = next_element(list);
        if (each == "*") return true;
        if (each.starts_with("W/")) each.remove_prefix(2);
        if (each == tag) return true;
    }
    return false;
}

/// What the request's conditions lead to: 0, nothing; 304; 412. (RFC 9110, 13.2.2)
inline int status_of_conditions(const Headers& headers, std::string_view tag,
                                std::int64_t modified) noexcept {
    if (const auto wanted = headers.get("if-match")) {
        if (!has_tag(*wanted, tag)) return 412;
    } else if (const auto since = date_of(headers.value("if-unmodified-since"))) {
        if (modified > *since) return 412;
    }
    if (const auto known = headers.get("if-none-match")) return has_tag(*known, tag) ? 304 : 0;
    const auto since = date_of(headers.value("if-modified-since"));
    return since && modified <= *since ? 304 : 0;
}

/// Throws:   HttpError; std::system_error.
inline Coro<Fd> open_to_send(std::string path) {
    int error = 0;
    Fd file;
    try {
        // (Without O_NONBLOCK a FIFO would be waited for.)
        file = co_await io::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    } catch (const std::system_error& failure) {
        error = failure.code().value();
        if (error == EMFILE || error == ENFILE || error == ENOMEM || error == EIO) throw;
    }
    if (error == EACCES || error == EPERM) throw HttpError(403);
    if (error != 0) throw HttpError(404);
    co_return std::move(file);
}

inline Response file_response(const Request& request, Fd file, std::string_view path,
                              const FileOptions& options) {
    struct stat status {};
    if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) throw HttpError(404);
    // (io_uring reads nothing from the device for who says that he cannot wait.)
    ::fcntl(file.get(), F_SETFL, O_RDONLY);
    const auto size = static_cast<std::uint64_t>(status.st_size);
    const std::int64_t modified = status.st_mtim.tv_sec;
    std::string tag = "\"";
    append_hex(tag, size);
    tag.push_back('-');
    append_hex(tag, static_cast<std::uint64_t>(modified));
    tag.push_back('.');
    append_hex(tag, static_cast<std::uint64_t>(status.st_mtim.tv_nsec));
    tag.push_back('"');

    const Headers& asked = request.headers();
    Response response(status_of_conditions(asked, tag, modified));
    response.headers.add("ETag", tag);
    response.headers.add("Last-Modified", date_text(modified));
    if (!options.cache_control.empty())
        response.headers.add("Cache-Control", options.cache_control);
    if (response.status != 0) return response;

    response.status = 200;
    ByteRange range{0, size};
    std::optional<ByteRange> wanted;
    if (const auto field = asked.get("range"); field && request.method() == "GET") {
        const auto condition = asked.get("if-range");
        if (!condition || *condition == tag || date_of(*condition) == modified)
            wanted = range_of(*field, size);
    }
    response.headers.add("Accept-Ranges", "bytes");
    if (wanted) {
        std::string content = "bytes ";
        if (wanted->count > 0) {
            range = *wanted;
            append_number(content, range.first);
            content.push_back('-');
            append_number(content, range.first + range.count - 1);
        } else {
            content.push_back('*');
        }
        content.push_back('/');
        append_number(content, size);
        response.headers.add("Content-Range", content);
        response.status = wanted->count > 0 ? 206 : 416;
        if (wanted->count == 0) return response;
    }
    response.headers.add("Content-Type", options.content_type.empty()
                                             ? content_type_of(path)
                                             : std::string_view(options.content_type));
    response.body = Body::file(std::move(file), range.first, range.count);
    return response;
}

/// Segment by segment; what a client could get out with is no name.
inline bool is_plain_path(std::string_view path, bool hidden) noexcept {
    if (path.find('\0') != std::string_view::npos) return false;
    while (!path.empty()) {
        const std::size_t slash = path.find('/');
        const std::string_view name = path.substr(0, slash);
        path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
        if (name.empty() || name == "." || name == "..") return false;
        if (name.front() == '.' && !hidden && name != ".well-known") return false;
    }
    return true;
}

}  // namespace detail

WEFT_INLINE Coro<Response> send_file(Request& request, std::string path, FileOptions options) {
    Fd file = co_await detail::open_to_send(path);
    co_return detail::file_response(request, std::move(file), path, options);
}

WEFT_INLINE StaticFiles static_files(const std::string& folder, StaticOptions options) {
    char* const real = ::realpath(folder.c_str(), nullptr);
    if (!real) weft::detail::throw_system_error(errno, weft::detail::concat({"realpath ", folder}));
    std::string root(real);
    std::free(real);
    return StaticFiles(std::move(root), std::move(options));
}

/// Where the file really is, whatever links led to it.
WEFT_INLINE bool StaticFiles::is_inside(int file) const {
    std::string link = "/proc/self/fd/";
    detail::append_number(link, static_cast<std::uint64_t>(file));
    char path[4096];
    const ssize_t size = ::readlink(link.c_str(), path, sizeof path);
    if (size <= 0 || size == sizeof path) return false;
    const std::string_view real(path, static_cast<std::size_t>(size));
    if (!real.starts_with(root_)) return false;
    return real.size() == root_.size() || real[root_.size()] == '/' || root_ == "/";
}

WEFT_INLINE Coro<Response> StaticFiles::operator()(Request& request) const {
    std::string path(request.param("path"));
    if (path.empty() || path.back() == '/') path.append(options_.index);
    if (!detail::is_plain_path(path, options_.hidden)) throw HttpError(404);
    path = weft::detail::concat({root_, "/", path});
    Fd file = co_await detail::open_to_send(path);
    if (!options_.links && !is_inside(file.get())) throw HttpError(404);
    struct stat status {};
    if (::fstat(file.get(), &status) == 0 && S_ISDIR(status.st_mode)) {
        // (Relative: a path like //host would lead elsewhere.)
        std::string name(request.path().substr(request.path().rfind('/') + 1));
        co_return Response::redirect(weft::detail::concat({"./", name, "/"}), 301);
    }
    co_return detail::file_response(request, std::move(file), path, options_);
}
#endif

}  // namespace weft::http
