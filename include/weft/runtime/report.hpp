// SPDX-License-Identifier: MIT
// Where failures go that nobody awaits: the context a handler gets, and the default text on stderr.
#pragma once

#include <cstdio>
#include <exception>
#include <string>
#include <string_view>

#include "../base/config.hpp"
#include "../base/error.hpp"

namespace weft {

/// What an exception handler is told.
struct ExceptionContext {
    std::string_view message;      ///< what happened, in words
    std::exception_ptr exception;  ///< may be null
    std::string task_name;         ///< empty when no task was involved
    std::string created_at{};      ///< "file:line" of the task, in debug mode; else empty
};

namespace detail {

[[gnu::cold]] std::string text_of(const std::exception_ptr& exception);
[[gnu::cold]] void print_report(const ExceptionContext& context) noexcept;

#if WEFT_BODIES
[[gnu::cold]] WEFT_INLINE std::string text_of(const std::exception_ptr& exception) {
    if (!exception) return {};
    try {
        std::rethrow_exception(exception);
    } catch (const std::exception& error) {
        return error.what();
    } catch (const CancelledError& error) {
        return error.what();
    } catch (...) {
        return "an exception that is not a std::exception";
    }
}

// stdio, not streams: <iostream> would cost every user's compile more than this whole file.
[[gnu::cold]] WEFT_INLINE void print_report(const ExceptionContext& context) noexcept {
    try {
        const bool named = !context.task_name.empty();
        const std::string line =
            concat({"weft: ", context.message, named ? " [" : "", context.task_name,
                    context.created_at.empty() ? "" : ", created at ", context.created_at,
                    named ? "]" : "", context.exception ? ": " : "", text_of(context.exception)});
        std::fprintf(stderr, "%s\n", line.c_str());
    } catch (...) {
        std::fputs("weft: out of memory while reporting an error\n", stderr);
    }
}
#endif

}  // namespace detail
}  // namespace weft
