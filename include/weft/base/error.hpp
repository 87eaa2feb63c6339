// SPDX-License-Identifier: MIT
// The exceptions of the library: one type per meaning, and the kernel's errors as
// std::system_error.
#pragma once

#include <cstddef>
#include <exception>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "config.hpp"

namespace weft {
namespace detail {

/// The texts of errors and reports are put together here: each use of operator+ or of another
/// member of std::string (whose code C++20 compiles anew in every file) weighs more than this.
[[gnu::cold]] std::string concat(std::initializer_list<std::string_view> pieces);

/// A number's digits. (No std::string: whoever puts a text together would have to destroy it on
/// each way out.)
class Decimal {
public:
    // NOLINTNEXTLINE(google-explicit-constructor): it is a text.
    operator std::string_view() const noexcept {
        return {digits_ + begin_, sizeof digits_ - begin_};
    }
    // NOLINTNEXTLINE(google-explicit-constructor)
    operator std::string() const { return std::string(digits_ + begin_, sizeof digits_ - begin_); }

private:
    friend Decimal decimal(long long number) noexcept;
    char digits_[20];  // and a sign are the most of 64 bits
    unsigned begin_;
};
[[gnu::cold]] Decimal decimal(long long number) noexcept;

/// What the errors of a call on a descriptor name: "recv fd 7".
[[gnu::cold]] std::string fd_text(std::string_view call, int fd);

}  // namespace detail

/// Thrown by the innermost await of a task that was cancelled.
///
/// Not a std::exception, so that `catch (const std::exception&)` around ordinary failures cannot
/// swallow it by accident. Clean up and rethrow; catching it and returning means "not cancelled".
class CancelledError final {
public:
    CancelledError() noexcept = default;
    explicit CancelledError(std::string message) noexcept : message_(std::move(message)) {}

    /// The text given to `cancel()`; empty when none was given.
    const std::string& message() const noexcept { return message_; }
    const char* what() const noexcept { return message_.empty() ? "cancelled" : message_.c_str(); }

private:
    std::string message_;
};

/// A deadline passed.
class TimeoutError : public std::runtime_error {
public:
    TimeoutError() : std::runtime_error("timed out") {}
    explicit TimeoutError(const std::string& what) : std::runtime_error(what) {}
};

/// A signal has ended a run: thrown by `weft::run`, after everything was cleaned up. If nobody
/// catches it, the process ends as the signal would have ended it (a shell sees 128 + its number).
class StoppedBySignal : public std::runtime_error {
public:
    int signal() const noexcept { return signal_; }

    explicit StoppedBySignal(int signal, const std::string& what)
        : std::runtime_error(what), signal_(signal) {}

private:
    int signal_;
};

/// The one of SIGINT: Ctrl-C.
class KeyboardInterrupt final : public StoppedBySignal {
public:
    explicit KeyboardInterrupt(int signal) : StoppedBySignal(signal, "interrupted") {}
};

/// A future or task was asked for something that its state does not allow: its result before it
/// is done, a result where one is set already.
class InvalidStateError : public std::logic_error {
public:
    using std::logic_error::logic_error;
};

/// The library was used in a way that cannot work: no running loop, a task that awaits itself, a
/// future of another loop, a loop that is closed. The message says which.
class RuntimeError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// The peer closed before everything asked for had arrived. What did arrive is in `partial()`.
class IncompleteReadError : public std::runtime_error {
public:
    /// `call` is what the message begins with: "recv fd 7".
    [[gnu::cold]] IncompleteReadError(std::string partial, std::size_t expected,
                                      std::string_view call = {})
        : std::runtime_error(detail::concat(
              {call, call.empty() ? "" : ": ", "connection closed after ",
               detail::decimal(static_cast<long long>(partial.size())), expected ? " of " : "",
               expected ? std::string_view(detail::decimal(static_cast<long long>(expected))) : "",
               " bytes"})),
          partial_(std::move(partial)),
          expected_(expected) {}

    const std::string& partial() const noexcept { return partial_; }
    /// Bytes asked for; 0 when the read waited for a separator.
    std::size_t expected() const noexcept { return expected_; }

private:
    std::string partial_;
    std::size_t expected_;
};

/// No separator, or no end, within a limit. Nothing was consumed: the data is still readable.
class LimitOverrunError : public std::runtime_error {
public:
    /// `call` is what the message begins with ("recv fd 7"), `missing` what was not found.
    [[gnu::cold]] explicit LimitOverrunError(std::size_t limit, std::string_view call = {},
                                             std::string_view missing = "no separator")
        : std::runtime_error(
              detail::concat({call, call.empty() ? "" : ": ", missing, " within the limit of ",
                              detail::decimal(static_cast<long long>(limit)), " bytes"})) {}
};

namespace detail {

/// What a filter, an old kernel or a kind of file without that call answers: where there is another
/// way it is taken.
inline bool is_refusal(int error) noexcept {
    return error == EPERM || error == EACCES || error == ENOSYS || error == EINVAL ||
           error == EOPNOTSUPP || error == ENOMEM;
}

// Out of line and cold: the throwing path of an inlined await must not weigh on the path that
// does not throw.
/// `of` null: the kernel's.
[[noreturn, gnu::cold]] void throw_system_error(int error, const std::string& what,
                                                const std::error_category* of = nullptr);
[[noreturn, gnu::cold]] void throw_system_error(int error, const char* call);

[[noreturn, gnu::cold]] void throw_runtime_error(const char* what);
[[noreturn, gnu::cold]] void throw_runtime_error(std::initializer_list<std::string_view> pieces);

[[noreturn, gnu::cold]] void throw_empty_handle();
[[noreturn, gnu::cold]] void throw_no_loop();
[[noreturn, gnu::cold]] void throw_loop_runs();
[[noreturn, gnu::cold]] void throw_used_coro();
[[noreturn, gnu::cold]] void throw_invalid_state(const char* what);

/// What `fail()` throws: for reports from where nothing may be thrown. To make an error takes
/// memory; where there is none, the lack of it is told in its place.
template <class Fail>
[[gnu::cold]] std::exception_ptr thrown_by(Fail&& fail) noexcept {
    try {
        fail();
    } catch (...) {
        return std::current_exception();
    }
    return nullptr;
}

}  // namespace detail
}  // namespace weft

#if WEFT_BODIES
namespace weft::detail {

[[gnu::noinline]] WEFT_INLINE std::string concat(std::initializer_list<std::string_view> pieces) {
    std::string text;
    for (const std::string_view piece : pieces) text.append(piece.data(), piece.size());
    return text;
}

[[gnu::noinline]] WEFT_INLINE Decimal decimal(long long number) noexcept {
    Decimal text;
    unsigned at = sizeof text.digits_;
    auto rest = number < 0 ? 0 - static_cast<unsigned long long>(number)
                           : static_cast<unsigned long long>(number);
    do {
        text.digits_[--at] = static_cast<char>('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (number < 0) text.digits_[--at] = '-';
    text.begin_ = at;
    return text;
}

[[gnu::noinline]] WEFT_INLINE std::string fd_text(std::string_view call, int fd) {
    return concat({call, " fd ", decimal(fd), fd < 0 ? " (closed)" : ""});
}

/// (Flat: what std::system_error and std::string do with texts would be compiled for speed. And not
/// a part of the throw: a long function takes longer to unwind.)
[[gnu::cold, gnu::noinline, gnu::flatten]] inline std::system_error system_error_of(
    int error, const std::string& what, const std::error_category& of) {
    // The reason stands behind `what`, and whoever prints a C string would not see it behind a zero
    // byte: an abstract name of a Unix socket may have some.
    std::string shown = what;
    for (char& each : shown) {
        if (each == '\0') each = '@';
    }
    return std::system_error(error, of, shown);
}

[[gnu::noinline]] WEFT_INLINE void throw_system_error(int error, const std::string& what,
                                                      const std::error_category* of) {
    throw system_error_of(error, what, of ? *of : std::system_category());
}

[[gnu::noinline]] WEFT_INLINE void throw_system_error(int error, const char* call) {
    throw_system_error(error, std::string(call));
}

[[gnu::noinline]] WEFT_INLINE void throw_runtime_error(const char* what) {
    throw RuntimeError(what);
}

[[gnu::noinline]] WEFT_INLINE void throw_runtime_error(
    std::initializer_list<std::string_view> pieces) {
    throw RuntimeError(concat(pieces));
}

[[gnu::noinline]] WEFT_INLINE void throw_empty_handle() {
    throw_runtime_error("weft: an empty handle: it refers to no task or future");
}

[[gnu::noinline]] WEFT_INLINE void throw_no_loop() {
    throw_runtime_error("weft: no running event loop on this thread; weft::run(main()) runs one");
}

[[gnu::noinline]] WEFT_INLINE void throw_loop_runs() {
    throw_runtime_error(
        "run: an event loop is already running on this thread; in a coroutine, co_await in its "
        "place");
}

[[gnu::noinline]] WEFT_INLINE void throw_used_coro() {
    throw_runtime_error(
        "weft: a coroutine was awaited twice, or after it was moved from (a task can be awaited "
        "again: create_task)");
}

[[gnu::noinline]] WEFT_INLINE void throw_invalid_state(const char* what) {
    throw InvalidStateError(what);
}

}  // namespace weft::detail
#endif
