// SPDX-License-Identifier: MIT
// What the cases of check_stream have in common: pairs, ways of reading, answers.
#pragma once

#include <chrono>
#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "../../base/error.hpp"
#include "../../base/options.hpp"
#include "../../base/std_parts.hpp"
#include "../../net/io.hpp"
#include "../../streams/stream_pair.hpp"
#include "../../task/coro.hpp"
#include "../../task/sleep.hpp"
#include "../../task/task.hpp"

namespace weft::testing {

/// What the transport can do; the defaults are a TCP connection's.
struct StreamCheckOptions {
    StreamCheckOptions() noexcept {}

    /// False: `near` writes and `far` reads, and that is all.
    bool both_ways = true;
    /// `write_eof` tells the peer, and reading goes on. False: it is refused with EOPNOTSUPP.
    bool half_close = true;
    /// What was written before a close arrives. False: perhaps not (a terminal that hangs up).
    bool close_keeps_data = true;
    /// Writing to a peer that has closed is an error before long. False: it is not noticed.
    bool end_is_noticed = true;
    /// After an `abort` the peer's read throws. False: it may be at the end as well.
    bool abort_is_error = false;
    /// `try_read` finds what has arrived.
    bool try_read = true;
    /// A write of so many bytes waits for a reader.
    std::size_t more_than_fits = std::size_t{8} << 20;
    /// The one case to be run; empty: all.
    std::string only;
    RunOptions run;
};

namespace detail {

struct StreamBench {
    StreamBench(const StreamCheckOptions& what, void* with,
                Coro<StreamPair> (*make)(void*)) noexcept
        : options(what), maker(with), call(make) {}

    /// `near` writes and `far` reads.
    Coro<StreamPair> pair() const {
        StreamPair made = co_await call(maker);
        if (is_flipped) std::swap(made.near, made.far);
        co_return made;
    }

    const StreamCheckOptions& options;
    void* maker;
    Coro<StreamPair> (*call)(void*);
    bool is_flipped = false;
};

struct StreamCase {
    const char* name;
    Coro<void> (*run)(const StreamBench& bench);
    bool takes_both_ways = false;
    void (*run_alone)(const StreamBench& bench) = nullptr;  // on loops of its own
};
using StreamCases = std::span<const StreamCase>;

// --- texts ---

inline void expect(bool holds, std::initializer_list<std::string_view> otherwise) {
    if (!holds) throw std::runtime_error(weft::detail::concat(otherwise));
}

/// What each way of reading reads.
inline constexpr std::string_view greeting = "hello\n";

/// Bytes that tell where they stand.
inline std::string pattern(std::size_t size) {
    constexpr std::size_t period = 65'521;
    std::string text(std::min(size, period), '\0');
    std::size_t state = 12345;
    for (char& each : text) {
        state = state * 6364136223846793005U + 1442695040888963407U;
        each = static_cast<char>(state >> 56);
    }
    text.reserve(size);
    while (text.size() < size) text.append(text, 0, std::min(period, size - text.size()));
    return text;
}
inline void expect_prefix(std::string_view got, std::string_view whole, std::size_t size,
                          const char* what) {
    expect(got.size() == size,
           {what, ": ", weft::detail::decimal(static_cast<long long>(got.size())), " bytes of ",
            weft::detail::decimal(static_cast<long long>(size)), " have arrived"});
    expect(got == whole.substr(0, size), {what, ": other bytes than those that were written"});
}

/// Until everything that can happen has.
inline auto settle() { return sleep(std::chrono::milliseconds(1)); }
/// Until what was written has arrived. (A terminal has a thread of the kernel's hand it over, which
/// virtual time does not wait for.)
inline Coro<void> arrival(const Stream& at) {
    if (at.fd() >= 0) co_await wait_readable(at.fd());
    co_await settle();
}

// --- ways of reading ---

enum class Reading { some, chunk, exactly, line, until, all };
inline constexpr Reading every_reading[] = {Reading::some, Reading::chunk, Reading::exactly,
                                            Reading::line, Reading::until, Reading::all};
inline constexpr const char* name_of(Reading how) noexcept {
    constexpr const char* names[] = {"read",      "read_chunk", "read_exactly",
                                     "read_line", "read_until", "read_all"};
    return names[static_cast<int>(how)];
}
/// Reads a greeting. (`all`: wants the end.)
inline Coro<std::string> read_by(Reading how, Stream& from) {
    char buffer[64];
    switch (how) {
        case Reading::some: {
            const std::size_t count = co_await from.read(buffer);
            co_return std::string(buffer, count);
        }
        case Reading::chunk: {
            const Chunk chunk = co_await from.read_chunk();
            co_return std::string(chunk.view());
        }
        case Reading::exactly:
            co_return co_await from.read_exactly(greeting.size());
        case Reading::line:
            co_return co_await from.read_line();
        case Reading::until:
            co_return co_await from.read_until("\r\n", "\n");
        case Reading::all:
            break;
    }
    co_return co_await from.read_all(1000);
}
/// Does it go on where less than it wants has arrived?
inline constexpr bool gathers(Reading how) noexcept {
    return how != Reading::some && how != Reading::chunk;
}

inline Coro<void> write_text(Stream& to, std::string_view text) { co_await to.write(text); }
inline Coro<void> write_and_close(Stream& to, std::string_view text) {
    co_await to.write(text);
    co_await to.close();
}

// --- answers ---

/// How an await ended.
struct Answer {
    enum class Kind { value, error, cancelled, refused, timed_out, incomplete, overrun };

    Answer() noexcept {}
    Answer(Kind what, std::string words) noexcept : kind(what), text(std::move(words)) {}

    bool is(Kind what) const noexcept { return kind == what; }
    bool is_error(int code) const noexcept { return kind == Kind::error && error == code; }
    std::string to_string() const {
        constexpr const char* names[] = {"value ",
                                         "error ",
                                         "CancelledError",
                                         "RuntimeError ",
                                         "TimeoutError ",
                                         "IncompleteReadError ",
                                         "LimitOverrunError "};
        return weft::detail::concat({names[static_cast<int>(kind)], text});
    }

    Kind kind = Kind::value;
    int error = 0;
    std::string text;  // what was read, or what the error says
};

template <class T>
Coro<Answer> answer_of(T awaited) {
    Answer answer;
    try {
        if constexpr (std::is_same_v<T, Coro<void>> || std::is_same_v<T, Task<void>>) {
            co_await std::move(awaited);
        } else {
            answer.text = co_await std::move(awaited);
        }
    } catch (const CancelledError&) {
        answer.kind = Answer::Kind::cancelled;
    } catch (const TimeoutError& error) {
        answer = Answer(Answer::Kind::timed_out, error.what());
    } catch (const IncompleteReadError& error) {
        answer = Answer(Answer::Kind::incomplete, error.partial());
    } catch (const LimitOverrunError& error) {
        answer = Answer(Answer::Kind::overrun, error.what());
    } catch (const RuntimeError& error) {
        answer = Answer(Answer::Kind::refused, error.what());
    } catch (const std::system_error& error) {
        answer = Answer(Answer::Kind::error, error.what());
        answer.error = error.code().value();
    }
    co_return answer;
}
inline void expect_error(const Answer& answer, int code, std::string_view what) {
    expect(answer.is_error(code), {what, ": ", answer.to_string(), ", where error ",
                                   weft::detail::decimal(code), " is due"});
}
inline void expect_kind(const Answer& answer, Answer::Kind kind, std::string_view what) {
    expect(answer.is(kind), {what, ": ", answer.to_string()});
}
inline void expect_value(const Answer& answer, std::string_view text, std::string_view what) {
    expect(answer.is(Answer::Kind::value) && answer.text == text,
           {what, ": ", answer.to_string(), ", where \"", text, "\" is due"});
}

}  // namespace detail
}  // namespace weft::testing
