// SPDX-License-Identifier: MIT
// Children for groups, gathers and races: they sleep, return, fail, or refuse to be cancelled.
#pragma once

#include <weft/base/error.hpp>
#include <weft/runtime/loop.hpp>
#include <weft/task/coro.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/together/exception_group.hpp>

#include <chrono>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

namespace children {

using namespace std::chrono_literals;
using weft::Coro;

inline Coro<int> gives(int value, weft::Duration after = 0s) {
    if (after > 0s) co_await weft::sleep(after);
    co_return value;
}
inline Coro<int> fails(std::string what, weft::Duration after = 0s) {
    if (after > 0s) co_await weft::sleep(after);
    throw std::runtime_error(what);
    co_return 0;
}
inline Coro<void> sleeps(weft::Duration time = 24h) { co_await weft::sleep(time); }

/// Sleeps; when it is cancelled it cleans up for `clean_up` and then is done with `log += mark`.
inline Coro<int> cleans_up(std::string& log, char mark, weft::Duration clean_up = 1s) {
    bool cancelled = false;
    try {
        co_await weft::sleep(24h);
    } catch (const weft::CancelledError&) {
        cancelled = true;
    }
    if (cancelled) {
        co_await weft::sleep(clean_up);
        log += mark;
        throw weft::CancelledError();
    }
    co_return 0;
}
/// Answers a cancel with a value.
inline Coro<int> swallows(int value) {
    try {
        co_await weft::sleep(24h);
    } catch (const weft::CancelledError&) {
    }
    co_return value;
}
/// Answers a cancel with an error.
inline Coro<int> fails_at_cancel(std::string what) {
    try {
        co_await weft::sleep(24h);
    } catch (const weft::CancelledError&) {
        throw std::runtime_error(what);
    }
    co_return 0;
}

/// Lets everything that is ready run `count` times.
inline Coro<void> turns(int count) {
    for (int i = 0; i < count; ++i) co_await weft::yield();
}

/// "v" for a value, "c" for cancelled, the message of an error, "{a,b}" for a group.
inline std::string text_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const weft::ExceptionGroup& group) {
        std::string text;
        for (const auto& each : group.exceptions())
            text += (text.empty() ? "" : ",") + text_of(each);
        return "{" + text + "}";
    } catch (const std::exception& plain) {
        return plain.what();
    } catch (const weft::CancelledError&) {
        return "c";
    }
}
template <class T>
Coro<std::string> end_of(Coro<T> coro) {
    std::exception_ptr error;
    try {
        co_await std::move(coro);
    } catch (...) {
        error = std::current_exception();
    }
    co_return error ? text_of(error) : "v";
}
template <class T>
Coro<std::string> end_of(weft::Task<T> task) {
    co_await task.wait();
    if (task.cancelled()) co_return "c";
    const std::exception_ptr error = task.exception();
    co_return error ? text_of(error) : "v";
}

/// Does the running task's next suspension throw CancelledError?
inline Coro<bool> struck() {
    bool thrown = false;
    try {
        co_await weft::yield();
    } catch (const weft::CancelledError&) {
        thrown = true;
    }
    co_return thrown;
}

}  // namespace children
