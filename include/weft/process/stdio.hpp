// SPDX-License-Identifier: MIT
// Stdio: what a child has as its standard input, output or error.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace weft {

/// One end of a child's standard descriptors. (They are called `in`, `out` and `err` here: stdin,
/// stdout and stderr are macros in C.)
class Stdio {
public:
    enum class Kind : std::uint8_t {
        usual,  ///< what suits the call: ours, or a pipe
        inherited,
        null,
        pipe,
        file,
        append,
        descriptor,
        same_as_out,
    };

    Stdio() noexcept {}
    /// Ours. One that is closed here, or marked close-on-exec (then it is some other file that got
    /// the number), is /dev/null there.
    static Stdio inherited() noexcept { return Stdio(Kind::inherited); }
    /// /dev/null.
    static Stdio null() noexcept { return Stdio(Kind::null); }
    /// A pipe, whose other end is a Stream of the Process.
    static Stdio pipe() noexcept { return Stdio(Kind::pipe); }
    /// A file: read from its beginning; or created, and emptied, to be written.
    static Stdio file(std::string path) noexcept { return Stdio(Kind::file, std::move(path)); }
    /// A file that is created where there is none, and written at its end.
    static Stdio append(std::string path) noexcept { return Stdio(Kind::append, std::move(path)); }
    /// An open descriptor, which stays open here, and may be closed when the child was started.
    static Stdio descriptor(int fd) noexcept { return Stdio(Kind::descriptor, {}, fd); }
    /// For `err`: where `out` goes, in the order in which it is written.
    static Stdio same_as_out() noexcept { return Stdio(Kind::same_as_out); }

    Kind kind() const noexcept { return kind_; }
    const std::string& path() const noexcept { return path_; }
    int fd() const noexcept { return fd_; }

private:
    explicit Stdio(Kind kind, std::string path = {}, int fd = -1) noexcept
        : path_(std::move(path)), fd_(fd), kind_(kind) {}

    std::string path_;
    int fd_ = -1;
    Kind kind_ = Kind::usual;
};

}  // namespace weft
