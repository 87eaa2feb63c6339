// SPDX-License-Identifier: MIT
// A file as a whole: read, written, read line by line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/buffer.hpp"
#include "../base/c_text.hpp"
#include "../base/config.hpp"
#include "../base/error.hpp"
#include "../base/std_parts.hpp"
#include "../task/async_generator.hpp"
#include "../task/coro.hpp"
#include "file.hpp"

namespace weft {
namespace detail {

inline constexpr std::size_t no_limit = ~std::size_t{0};

Coro<std::vector<std::byte>> bytes_of_file(Coro<weft::File> opening, std::size_t limit);
Coro<std::string> text_of_file(Coro<weft::File> opening, std::size_t limit);
Coro<void> put_into_file(Coro<weft::File> opening, ConstBuffer data);
AsyncGenerator<std::string> lines_of_file(Coro<weft::File> opening, std::size_t limit);

}  // namespace detail

/// All bytes of a file.
/// Throws:   std::system_error (open, read) naming the path; LimitOverrunError for more than
///           `limit` bytes; CancelledError.
/// Lifetime: `path` is copied.
inline Coro<std::vector<std::byte>> read_file(CText path, std::size_t limit = detail::no_limit) {
    return detail::bytes_of_file(open_file(path), limit);
}
/// The same as a text, as it stands there: whatever bytes these are.
inline Coro<std::string> read_text(CText path, std::size_t limit = detail::no_limit) {
    return detail::text_of_file(open_file(path), limit);
}

/// The lines of a file without their "\n", one after the other; the last may lack it. 64 KiB are
/// read at a time.
/// Throws:   from `next`, as `read_file`; LimitOverrunError for a line of more than `limit` bytes.
inline AsyncGenerator<std::string> read_lines(CText path, std::size_t limit = 1 << 20) {
    return detail::lines_of_file(open_file(path), limit);
}

/// Makes the file if there is none, and `data` what is in it. When it fails or is cancelled the old
/// content is gone and a part of the new one may be there: see `atomic_write`.
/// Throws:   std::system_error (open, write) naming the path; CancelledError.
/// Lifetime: `data` outlives the await; `path` is copied.
inline Coro<void> write_file(CText path, ConstBuffer data, unsigned permissions = 0666) {
    constexpr OpenMode mode = OpenMode::write | OpenMode::create | OpenMode::truncate;
    return detail::put_into_file(open_file(path, mode, permissions), data);
}
/// Writes behind what is in the file, and makes it if there is none.
inline Coro<void> append_file(CText path, ConstBuffer data, unsigned permissions = 0666) {
    return detail::put_into_file(open_file(path, OpenMode::append | OpenMode::create, permissions),
                                 data);
}

#if WEFT_BODIES
namespace detail {

[[noreturn, gnu::cold, gnu::noinline]] inline void throw_too_long(const std::string& path,
                                                                  std::size_t limit,
                                                                  const char* missing) {
    throw LimitOverrunError(limit, concat({"read ", in_quotes(path)}), missing);
}

/// Into `all`, which has room for what the file was said to have and one byte more, so that its end
/// is seen without another read.
template <class Bytes>
Coro<void> read_all(weft::File& file, std::size_t hint, std::size_t limit, Bytes& all) {
    const std::size_t most = limit == no_limit ? limit : limit + 1;
    all.resize(std::min(std::max<std::size_t>(hint + 1, 512), most));
    std::size_t done = 0;
    for (;;) {
        const MutableBuffer rest(all.data() + done, all.size() - done);
        const std::size_t got = co_await file.read(rest);
        done += got;
        if (done > limit) throw_too_long(file.path(), limit, "no end");
        if (got == 0) break;
        // (A regular file fills the buffer but at its end; a pipe gives what it has.)
        if (done == all.size()) all.resize(std::min(2 * all.size(), most));
    }
    all.resize(done);
}

WEFT_INLINE Coro<std::vector<std::byte>> bytes_of_file(Coro<weft::File> opening,
                                                       std::size_t limit) {
    weft::File file = co_await std::move(opening);
    std::vector<std::byte> all;
    co_await read_all(file, file.size_hint(), limit, all);
    co_await file.close();
    co_return all;
}

WEFT_INLINE Coro<std::string> text_of_file(Coro<weft::File> opening, std::size_t limit) {
    weft::File file = co_await std::move(opening);
    std::string all;
    co_await read_all(file, file.size_hint(), limit, all);
    co_await file.close();
    co_return all;
}

WEFT_INLINE Coro<void> put_into_file(Coro<weft::File> opening, ConstBuffer data) {
    weft::File file = co_await std::move(opening);
    co_await file.write(data);
    co_await file.close();
}

WEFT_INLINE AsyncGenerator<std::string> lines_of_file(Coro<weft::File> opening, std::size_t limit) {
    weft::File file = co_await std::move(opening);
    constexpr std::size_t piece = 64 * 1024;
    std::string buffer(std::min(piece, file.size_hint() + 1), '\0');
    std::string begun;  // of a line that goes on
    for (;;) {
        const std::size_t got = co_await file.read(buffer);
        if (got == 0) break;
        std::string_view rest = std::string_view(buffer).substr(0, got);
        for (;;) {
            const std::size_t end = rest.find('\n');
            const std::string_view part = rest.substr(0, end);
            if (begun.size() + part.size() > limit)
                throw_too_long(file.path(), limit, "no end of a line");
            begun.append(part.data(), part.size());
            if (end == std::string_view::npos) break;
            rest.remove_prefix(end + 1);
            co_yield std::exchange(begun, std::string());
        }
    }
    if (!begun.empty()) co_yield std::move(begun);
}

}  // namespace detail
#endif

}  // namespace weft
