// SPDX-License-Identifier: MIT
// What the fuzz of the low-level operations knows without the library: dice, the bytes of one
// direction, and memory that was given back.
#pragma once

#include <pthread.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "descriptors.hpp"

namespace fuzz {

/// The same numbers for the same seed. (splitmix64)
class Dice {
public:
    explicit Dice(std::uint64_t seed) noexcept : state_(seed) {}
    std::uint64_t next() noexcept {
        std::uint64_t mixed = state_ += 0x9e3779b97f4a7c15U;
        mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9U;
        mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebU;
        return mixed ^ (mixed >> 31);
    }
    std::size_t below(std::size_t limit) noexcept { return next() % limit; }
    bool chance(unsigned percent) noexcept { return below(100) < percent; }
    /// One of the given numbers.
    template <class... Numbers>
    auto one_of(Numbers... numbers) noexcept {
        const std::common_type_t<Numbers...> all[] = {numbers...};
        return all[below(sizeof...(numbers))];
    }

private:
    std::uint64_t state_;
};

/// A number from the environment.
inline std::uint64_t setting(const char* name, std::uint64_t otherwise) {
    const char* const text = std::getenv(name);
    return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
}

/// What is wrong, each line once.
class Problems {
public:
    void add(const std::string& line) {
        if (text_.find(line) == std::string::npos && text_.size() < 4'000) text_ += line + "\n";
    }
    const std::string& text() const noexcept { return text_; }

private:
    std::string text_;
};

/// Buffers of operations that have ended: the kernel may neither write to them any more (they stay
/// as they are) nor read them (they hold what nobody has sent).
class Graveyard {
public:
    void bury(std::string buffer) {
        if (buffer.size() > 8192) return;
        buffer.assign(buffer.size(), mark);
        buried_.push_back(std::move(buffer));
    }
    bool is_quiet() const {
        for (const std::string& buffer : buried_) {
            if (buffer.find_first_not_of(mark) != std::string::npos) return false;
        }
        return true;
    }

private:
    static constexpr char mark = '\x5a';
    std::vector<std::string> buried_;
};

/// The bytes that go one way. Operations are booked in the order in which they start, which is the
/// order in which they must be served; one that ended without a result moved nothing.
class Direction {
public:
    std::size_t write_starts() {
        sent_.emplace_back();
        return sent_.size() - 1;
    }
    void wrote(std::size_t index, std::string_view bytes) { sent_[index] = bytes; }
    std::size_t read_starts() {
        got_.emplace_back();
        return got_.size() - 1;
    }
    void read(std::size_t index, std::string_view bytes) { got_[index] = bytes; }
    /// Bytes that a read left where they were.
    void peeked(std::size_t index, std::string_view bytes) {
        peeks_.emplace_back(index, std::string(bytes));
    }

    void check(const char* name, Problems& problems) const {
        const std::string sent = joined(sent_, sent_.size());
        const std::string got = joined(got_, got_.size());
        if (sent.compare(0, got.size(), got) != 0) {
            std::size_t at = 0;
            while (at < sent.size() && at < got.size() && sent[at] == got[at]) ++at;
            problems.add(std::string(name) + ": " + std::to_string(got.size()) + " bytes came of " +
                         std::to_string(sent.size()) + ", wrong from byte " + std::to_string(at));
        } else if (complete && !broken && got.size() != sent.size()) {
            problems.add(std::string(name) + ": " + std::to_string(got.size()) + " bytes came of " +
                         std::to_string(sent.size()));
        }
        for (const auto& [index, text] : peeks_) {
            if (sent.compare(joined(got_, index).size(), text.size(), text) != 0) {
                problems.add(std::string(name) + ": a peek saw other bytes than came");
            }
        }
    }

    bool ended = false;     // the writing end was shut or closed: an end is no surprise
    bool broken = false;    // the tail may be lost: a reset, a reading end that is closed
    bool complete = false;  // read through its end

private:
    static std::string joined(const std::vector<std::string>& parts, std::size_t count) {
        std::string all;
        for (std::size_t index = 0; index < count; ++index) all += parts[index];
        return all;
    }

    std::vector<std::string> sent_;
    std::vector<std::string> got_;
    std::vector<std::pair<std::size_t, std::string>> peeks_;
};

/// Bytes that tell from whom they are and where they belong.
inline std::string numbered_bytes(std::uint64_t number, std::size_t count) {
    std::string text(count, '\0');
    Dice dice(number * 0x10001);
    std::uint64_t word = 0;
    for (std::size_t at = 0; at < count; ++at) {
        if (at % 8 == 0) word = dice.next();
        text[at] = static_cast<char>(word >> (at % 8 * 8));
    }
    return text;
}

/// A signal every now and then, whose handler does nothing: system calls end with EINTR.
class SignalStorm {
public:
    explicit SignalStorm(bool on) : on_(on) {
        if (!on) return;
        struct sigaction action {};
        action.sa_handler = [](int) {};
        ::sigaction(SIGALRM, &action, &before_);
        set_interval(120);
    }
    SignalStorm(const SignalStorm&) = delete;
    SignalStorm& operator=(const SignalStorm&) = delete;
    ~SignalStorm() {
        if (!on_) return;
        set_interval(0);
        ::sigaction(SIGALRM, &before_, nullptr);
    }

private:
    static void set_interval(int microseconds) {
        const itimerval every{{0, microseconds}, {0, microseconds}};
        ::setitimer(ITIMER_REAL, &every, nullptr);
    }
    bool on_;
    struct sigaction before_ {};
};

/// No storm while it lives: for calls that are not the library's.
class NoSignals {
public:
    NoSignals() { set(SIG_BLOCK); }
    NoSignals(const NoSignals&) = delete;
    NoSignals& operator=(const NoSignals&) = delete;
    ~NoSignals() { set(SIG_UNBLOCK); }

private:
    static void set(int how) {
        sigset_t alarm;
        ::sigemptyset(&alarm);
        ::sigaddset(&alarm, SIGALRM);
        ::pthread_sigmask(how, &alarm, nullptr);
    }
};

/// No descriptor can be opened between `begin` and `end`.
class Shortage {
public:
    Shortage() { ::getrlimit(RLIMIT_NOFILE, &before_); }
    Shortage(const Shortage&) = delete;
    Shortage& operator=(const Shortage&) = delete;
    ~Shortage() { end(); }
    void begin() {
        const int lowest = ::dup(0);
        if (lowest < 0) return;
        ::close(lowest);
        rlimit few = before_;
        few.rlim_cur = static_cast<rlim_t>(lowest);
        on_ = ::setrlimit(RLIMIT_NOFILE, &few) == 0;
    }
    void end() {
        if (std::exchange(on_, false)) ::setrlimit(RLIMIT_NOFILE, &before_);
    }
    explicit operator bool() const noexcept { return on_; }

private:
    rlimit before_{};
    bool on_ = false;
};

}  // namespace fuzz
