// SPDX-License-Identifier: MIT
// What the tests of the synchronisation primitives share: errors of an await as text.
#pragma once

#include <exception>
#include <string>
#include <utility>

#include <weft/base/error.hpp>
#include <weft/task/coro.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>

namespace support {

inline weft::Coro<void> some_turns(int count) {
    for (int turn = 0; turn < count; ++turn) co_await weft::yield();
}

/// How a task ended: "ok", "cancelled", or the message of its error.
inline std::string end_of(const weft::AnyFuture& task) {
    if (!task.done()) return "not done";
    if (task.cancelled()) return "cancelled";
    const std::exception_ptr error = task.exception();
    return error ? weft::detail::text_of(error) : "ok";
}

inline bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

}  // namespace support
