// SPDX-License-Identifier: MIT
// DirectoryReader: the entries of an open directory, some at a time.
#pragma once

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../../base/config.hpp"
#include "../../base/fd.hpp"
#include "../../task/coro.hpp"
#include "blocking_wait.hpp"

namespace weft::detail {

class DirectoryReader {
public:
    DirectoryReader(Fd directory, std::string path) noexcept
        : fd_(std::move(directory)), path_(std::move(path)) {}

    int fd() const noexcept { return fd_.get(); }
    const std::string& path() const noexcept { return path_; }

    /// Asks the kernel for more. False: there are no more.
    Coro<bool> fill();
    /// The next of those that were asked for, without "." and ".."; null: none, `fill` again.
    const dirent64* take() noexcept;

private:
    static constexpr std::size_t size = 32 * 1024;

    Fd fd_;
    std::string path_;
    std::vector<char> buffer_;
    std::size_t at_ = 0;
    std::size_t end_ = 0;
};

#if WEFT_BODIES
WEFT_INLINE Coro<bool> DirectoryReader::fill() {
    if (buffer_.empty()) buffer_.resize(size);
    const int number = fd_.get();
    char* const into = buffer_.data();
    const int got = co_await blocking("getdents", number, path_, [number, into]() -> int {
        const ssize_t count = ::getdents64(number, into, size);
        if (count < 0 && errno == ENOENT) return 0;  // it was removed, and so is all in it
        return count < 0 ? -errno : static_cast<int>(count);
    });
    at_ = 0;
    end_ = static_cast<std::size_t>(got);
    co_return got > 0;
}

WEFT_INLINE const dirent64* DirectoryReader::take() noexcept {
    while (at_ < end_) {
        const auto* const entry = reinterpret_cast<const dirent64*>(buffer_.data() + at_);
        at_ += entry->d_reclen;
        const std::string_view name = entry->d_name;
        if (name != "." && name != "..") return entry;
    }
    return nullptr;
}
#endif

}  // namespace weft::detail
