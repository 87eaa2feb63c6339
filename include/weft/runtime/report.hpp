// SPDX-License-Identifier: MIT
// Where failures go that nobody awaits: the context a handler gets, and the default text on stderr.
#pragma once

#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <string_view>

#include "../base/config.hpp"
#include "../base/error.hpp"

#if WEFT_BODIES
#include <cxxabi.h>

#include <cstdlib>
#include <typeinfo>
#endif

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
/// Of the exception that is being handled.
[[gnu::cold, gnu::noinline]] inline std::string caught_type() {
    const std::type_info* const type = abi::__cxa_current_exception_type();
    if (!type) return "unknown";  // of another language
    char* const plain = abi::__cxa_demangle(type->name(), nullptr, nullptr, nullptr);
    const char* const name = plain ? plain : type->name();
    // (Nothing between the two may throw: short of memory, the name goes.)
    std::string text;
    try {
        text = std::string(name);
    } catch (const std::bad_alloc&) {
    }
    std::free(plain);
    return text;
}

[[gnu::cold]] WEFT_INLINE std::string text_of(const std::exception_ptr& exception) {
    if (!exception) return {};
    try {
        std::rethrow_exception(exception);
    } catch (const std::exception& error) {
        return error.what();
    } catch (const CancelledError& error) {
        return error.what();
    } catch (const char* text) {
        return text ? text : "a null pointer";
    } catch (const std::string& text) {
        return text;
    } catch (...) {
        return concat({"an exception of type ", caught_type()});
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
