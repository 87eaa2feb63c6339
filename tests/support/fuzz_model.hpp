// SPDX-License-Identifier: MIT
// What the fuzz of the low-level operations knows without the library: dice, the bytes of one
// direction, and memory that was given back.
#pragma once

#include <pthread.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
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
/// order in which they must be served; one that ended without a result moved nothing, except one of
/// a task that was left when its loop began to end: it is not told what its operation moved.
class Direction {
public:
    std::size_t write_starts() {
        sent_.emplace_back();
        return sent_.size() - 1;
    }
    void wrote(std::size_t index, std::string_view bytes) { sent_[index] = {std::string(bytes)}; }
    /// These, or only the first of them, or none.
    void may_have_written(std::size_t index, std::string_view bytes) {
        sent_[index] = {std::string(bytes), true};
    }
    std::size_t read_starts() {
        got_.emplace_back();
        return got_.size() - 1;
    }
    void read(std::size_t index, std::string_view bytes) { got_[index].bytes = bytes; }
    void may_have_read(std::size_t index, std::size_t most) { got_[index].untold = most; }
    /// The reads that start from here on are not checked.
    void lose_count() { checked_ = std::min(checked_, got_.size()); }
    /// Bytes that a read left where they were.
    void peeked(std::size_t index, std::string_view bytes) {
        peeks_.emplace_back(index, std::string(bytes));
    }

    void check(const char* name, Problems& problems) const {
        Places places(sent_);
        std::size_t untold = 0;
        for (std::size_t index = 0; index < std::min(checked_, got_.size()); ++index) {
            for (const auto& [before, text] : peeks_) {
                if (before != index) continue;
                Places seen = places;
                seen.skip(untold);
                if (!seen.pass(text))
                    problems.add(std::string(name) + ": a peek saw other bytes than came");
            }
            const Got& got = got_[index];
            if (!got.bytes.empty()) places.skip(std::exchange(untold, 0));
            if (!places.pass(got.bytes)) return problems.add(describe(name, places) + ", wrong");
            untold += got.untold;
        }
        if (checked_ != std::string::npos) return;
        places.skip(untold);
        if (complete && !broken && !places.at_end()) problems.add(describe(name, places));
    }

    bool ended = false;     // the writing end was shut or closed: an end is no surprise
    bool broken = false;    // the tail may be lost: a reset, a reading end that is closed
    bool complete = false;  // read through its end

private:
    struct Sent {
        std::string bytes{};
        bool in_doubt = false;
    };
    struct Got {
        std::string bytes{};
        std::size_t untold = 0;  // how many more it may have taken
    };

    /// Where in all that was sent the reader may be: one place, unless a part is in doubt.
    class Places {
    public:
        explicit Places(const std::vector<Sent>& sent) {
            for (const Sent& part : sent) {
                const std::size_t begin = text_.size();
                text_ += part.bytes;
                if (part.in_doubt && !part.bytes.empty()) doubts_.push_back({begin, text_.size()});
            }
            places_ = {0};
            jump();
        }
        /// False: these bytes come from none of the places, which stay as they were.
        bool pass(std::string_view bytes) {
            std::vector<std::size_t> before = places_;
            while (!bytes.empty()) {
                std::vector<std::size_t> next;
                std::size_t step = 1;
                if (places_.size() == 1) {
                    step = std::min(bytes.size(), certain_after(places_[0]));
                    if (text_.compare(places_[0], step, bytes, 0, step) == 0)
                        next.push_back(places_[0] + step);
                } else {
                    for (const std::size_t place : places_) {
                        if (place < text_.size() && text_[place] == bytes[0])
                            next.push_back(place + 1);
                    }
                }
                if (next.empty()) {
                    places_ = std::move(before);
                    return false;
                }
                places_ = std::move(next);
                jump();
                bytes.remove_prefix(step);
            }
            return true;
        }
        /// Over at most so many bytes.
        void skip(std::size_t most) {
            if (most == 0) return;
            // How few bytes lead to each place.
            std::vector<std::size_t> steps(text_.size() + 1, most + 1);
            for (const std::size_t place : places_) steps[place] = 0;
            std::vector<std::size_t> reached;
            std::size_t doubt = 0;
            for (std::size_t place = 0; place <= text_.size(); ++place) {
                if (place > 0) steps[place] = std::min(steps[place], steps[place - 1] + 1);
                while (doubt < doubts_.size() && doubts_[doubt].end <= place) ++doubt;
                if (doubt < doubts_.size() && doubts_[doubt].begin <= place) {
                    std::size_t& after = steps[doubts_[doubt].end];
                    after = std::min(after, steps[place]);
                }
                if (steps[place] <= most) reached.push_back(place);
            }
            places_ = std::move(reached);
        }
        bool at_end() const { return places_.back() == text_.size(); }
        std::size_t last() const { return places_.back(); }
        std::size_t end() const { return text_.size(); }

    private:
        struct Doubt {
            std::size_t begin;
            std::size_t end;
        };

        /// How many bytes after a place are in no doubt (at least one, which is looked at alone).
        std::size_t certain_after(std::size_t place) const {
            for (const Doubt& doubt : doubts_) {
                if (place < doubt.end) return doubt.begin > place ? doubt.begin - place : 1;
            }
            return std::string::npos;
        }
        /// From inside a part in doubt, which may have ended there, to its end as well.
        void jump() {
            for (const Doubt& doubt : doubts_) {
                const auto inside = std::lower_bound(places_.begin(), places_.end(), doubt.begin);
                if (inside == places_.end() || *inside >= doubt.end) continue;
                const auto end = std::lower_bound(inside, places_.end(), doubt.end);
                if (end == places_.end() || *end != doubt.end) places_.insert(end, doubt.end);
            }
        }

        std::string text_;
        std::vector<Doubt> doubts_;        // in order
        std::vector<std::size_t> places_;  // in order, at least one
    };

    std::string describe(const char* name, const Places& places) const {
        std::size_t count = 0;
        for (const Got& got : got_) count += got.bytes.size();
        return std::string(name) + ": " + std::to_string(count) + " bytes came of " +
               std::to_string(places.end()) + ", the first " + std::to_string(places.last()) +
               " in order";
    }

    std::vector<Sent> sent_;
    std::vector<Got> got_;
    std::size_t checked_ = std::string::npos;  // how many of them can be told
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
