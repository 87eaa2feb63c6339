// SPDX-License-Identifier: MIT
// What tests look through: objects that count themselves, and a collector of reported failures.
#pragma once

#include <weft/runtime/loop.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace probe {

/// Counts how many of its kind live. A double destruction shows as a count below zero.
class Alive {
public:
    explicit Alive(int& count) noexcept : count_(&count) { ++*count_; }
    Alive(const Alive& other) noexcept : count_(other.count_) { ++*count_; }
    Alive(Alive&& other) noexcept : count_(other.count_) { ++*count_; }
    Alive& operator=(const Alive&) = delete;
    ~Alive() { --*count_; }

private:
    int* count_;
};

/// Runs `fn` when it goes.
template <class Fn>
class AtExit {
public:
    explicit AtExit(Fn fn) : fn_(std::move(fn)) {}
    AtExit(const AtExit&) = delete;
    AtExit& operator=(const AtExit&) = delete;
    ~AtExit() { fn_(); }

private:
    Fn fn_;
};

/// What reached a loop's exception handler, one "message|task|exception" each.
using Reports = std::shared_ptr<std::vector<std::string>>;

inline Reports collect_reports(weft::EventLoop& loop) {
    // (Where the machine stands still for a moment, debug mode finds a step slow. Nobody looks for
    // that here.)
    loop.slow_callback_duration = std::chrono::hours(1);
    auto reports = std::make_shared<std::vector<std::string>>();
    loop.set_exception_handler([reports](const weft::ExceptionContext& context) {
        std::string line(context.message);
        line += '|' + context.task_name + '|' + weft::detail::text_of(context.exception);
        reports->push_back(line);
    });
    return reports;
}

/// How many of the lines contain `text`.
inline std::size_t count_with(const Reports& reports, const std::string& text) {
    std::size_t count = 0;
    for (const std::string& line : *reports)
        count += line.find(text) != std::string::npos ? 1u : 0u;
    return count;
}

/// The message of what `fn()` throws as an `Error`; empty when it throws nothing.
template <class Error, class Fn>
std::string message_of(Fn&& fn) {
    try {
        std::forward<Fn>(fn)();
    } catch (const Error& error) {
        return error.what();
    }
    return {};
}

}  // namespace probe
