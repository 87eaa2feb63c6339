// SPDX-License-Identifier: MIT
// ExceptionGroup: several failures in one exception, which can be taken apart by type.
#pragma once

#include <cstddef>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/ref.hpp"
#include "../base/std_parts.hpp"
#include "../runtime/report.hpp"

namespace weft {

class ExceptionGroup;

namespace detail {

/// Is it an E (or derived from one)? C++ tells only whoever catches it.
template <class E>
bool is_a(const std::exception_ptr& exception) {
    try {
        std::rethrow_exception(exception);
    } catch (const E&) {
        return true;
    } catch (...) {
        return false;
    }
}

/// The parameter of a handler: `const E&` of a lambda, a function or a function object.
template <class Fn>
struct HandlerOf {};
template <class Fn>
    requires requires { &Fn::operator(); }
struct HandlerOf<Fn> : HandlerOf<decltype(&Fn::operator())> {};
template <class R, class Parameter, bool Quiet>
struct HandlerOf<R (*)(Parameter) noexcept(Quiet)> {
    using Error = std::remove_cvref_t<Parameter>;
};
template <class R, class Parameter, bool Quiet>
struct HandlerOf<R(Parameter) noexcept(Quiet)> : HandlerOf<R (*)(Parameter)> {};
template <class R, class Fn, class Parameter, bool Quiet>
struct HandlerOf<R (Fn::*)(Parameter) noexcept(Quiet)> : HandlerOf<R (*)(Parameter)> {};
template <class R, class Fn, class Parameter, bool Quiet>
struct HandlerOf<R (Fn::*)(Parameter) const noexcept(Quiet)> : HandlerOf<R (*)(Parameter)> {};

template <class Fn>
concept NamesError = requires {
    typename HandlerOf<std::remove_cvref_t<Fn>>::Error;
};

}  // namespace detail

/// What several children that ran together failed with. Groups nest: a child that itself is a
/// group of children fails with an ExceptionGroup, which then is one of the exceptions here.
///
/// Copies share what they hold: copying never throws, as an exception's copy must not.
class ExceptionGroup : public std::exception {
public:
    /// Throws:   std::invalid_argument when there are no exceptions, or one of them is null.
    ExceptionGroup(std::string message, std::vector<std::exception_ptr> exceptions)
        : held_(new Held(std::move(message), std::move(exceptions))) {}

    /// `exception` as a group: itself when it is one, else a group of one.
    static ExceptionGroup of(std::exception_ptr exception) {
        try {
            if (exception) std::rethrow_exception(exception);
        } catch (const ExceptionGroup& group) {
            return group;
        } catch (...) {
        }
        std::vector<std::exception_ptr> one;
        one.push_back(std::move(exception));
        return ExceptionGroup("one error", std::move(one));
    }

    const std::string& message() const noexcept { return held_->message; }
    /// In the order in which they came; some may be groups themselves.
    const std::vector<std::exception_ptr>& exceptions() const noexcept { return held_->exceptions; }
    /// The message, and a line for each exception, those of nested groups indented:
    ///
    ///     two of three mirrors failed (2 errors)
    ///       1. connect: Connection refused
    ///       2. timed out
    const char* what() const noexcept override { return held_->text.c_str(); }

    /// The exceptions of one of the types `E`, with the nesting they have here; empty when there
    /// are none. What matters is each single exception, not the groups that they are in.
    template <class... E>
    std::optional<ExceptionGroup> subgroup() const {
        return filter([](const std::exception_ptr& error) { return is_any<E...>(error); });
    }

    struct Split;
    /// The exceptions of one of the types `E` apart from all others: `auto [matched, rest] = ...`,
    /// each of which may be empty.
    template <class... E>
    Split split() const;

    /// Calls `visit(exception_ptr)` for each exception that is not a group, at any depth.
    template <class Visit>
    void for_each(Visit&& visit) const {
        for (const std::exception_ptr& error : exceptions()) {
            if (const std::optional<ExceptionGroup> nested = as_group(error)) {
                nested->for_each(visit);
            } else {
                visit(error);
            }
        }
    }

    /// Python's `except*`: gives each exception to the first handler that takes its type, and
    /// throws what no handler took, or what handlers threw, on as a group.
    ///
    ///     catch (const weft::ExceptionGroup& errors) {
    ///         errors.handle([](const std::system_error& error) { log(error.what()); });
    ///     }
    ///
    /// A handler is a callable with one parameter that is not `auto`. It must not suspend: C++
    /// allows no `co_await` in a catch block.
    template <class... Handlers>
        requires(detail::NamesError<Handlers>&&...)
    void handle(Handlers&&... handlers) const {
        std::vector<std::exception_ptr> thrown;
        std::optional<ExceptionGroup> rest = filter([&](const std::exception_ptr& error) {
            try {
                return !(offer(error, handlers) || ...);
            } catch (...) {
                thrown.push_back(std::current_exception());
                return false;
            }
        });
        if (thrown.empty()) {
            if (rest) throw ExceptionGroup(*rest);
            return;
        }
        if (rest) thrown.push_back(std::make_exception_ptr(*rest));
        throw ExceptionGroup("errors while errors were handled", std::move(thrown));
    }
    /// Refuses every other handler.
    template <class... Handlers>
    void handle(Handlers&&...) const {
        static_assert(sizeof...(Handlers) == 0,
                      "weft: a handler has one parameter, which names the type that it takes: "
                      "[](const std::system_error& error) { ... }, not auto");
    }

private:
    struct Held : detail::CountedByThreads<Held> {
        Held(std::string about, std::vector<std::exception_ptr> errors)
            : message(std::move(about)), exceptions(std::move(errors)) {
            if (exceptions.empty()) {
                throw std::invalid_argument("weft: an ExceptionGroup needs an exception");
            }
            for (const std::exception_ptr& error : exceptions) {
                if (!error) throw std::invalid_argument("weft: an ExceptionGroup with a null");
            }
            text = message + " (" + std::to_string(exceptions.size()) +
                   (exceptions.size() == 1 ? " error)" : " errors)");
            // A text that fills screens helps nobody, and every line costs a rethrow.
            constexpr std::size_t most_lines = 20;
            std::size_t number = 0;
            for (const std::exception_ptr& error : exceptions) {
                if (number == most_lines) {
                    text += "\n  and " + std::to_string(exceptions.size() - number) + " more";
                    break;
                }
                text += "\n  " + std::to_string(++number) + ". ";
                append_indented(detail::text_of(error));
            }
        }
        void append_indented(std::string_view lines) {
            for (const char character : lines) {
                text += character;
                if (character == '\n') text += "  ";
            }
        }
        std::string message;
        std::vector<std::exception_ptr> exceptions;
        std::string text;
    };

    template <class... E>
    static bool is_any(const std::exception_ptr& error) {
        static_assert(sizeof...(E) > 0, "name the types to look for");
        static_assert(!(std::is_same_v<E, ExceptionGroup> || ...),
                      "single exceptions are looked for, and they are not groups");
        return (detail::is_a<E>(error) || ...);
    }

    static std::optional<ExceptionGroup> as_group(const std::exception_ptr& error) {
        try {
            std::rethrow_exception(error);
        } catch (const ExceptionGroup& group) {
            return group;
        } catch (...) {
            return std::nullopt;
        }
    }

    template <class Wanted>
    std::optional<ExceptionGroup> filter(const Wanted& wanted) const {
        std::vector<std::exception_ptr> kept;
        for (const std::exception_ptr& error : exceptions()) {
            if (const std::optional<ExceptionGroup> nested = as_group(error)) {
                const std::optional<ExceptionGroup> part = nested->filter(wanted);
                if (!part) continue;
                const bool whole = part->held_ == nested->held_;
                kept.push_back(whole ? error : std::make_exception_ptr(*part));
            } else if (wanted(error)) {
                kept.push_back(error);
            }
        }
        if (kept.empty()) return std::nullopt;
        if (kept == exceptions()) return *this;  // also keeps what() as it is
        return ExceptionGroup(message(), std::move(kept));
    }

    template <class Handler>
    static bool offer(const std::exception_ptr& error, Handler& handler) {
        using Error = typename detail::HandlerOf<std::remove_cvref_t<Handler>>::Error;
        try {
            std::rethrow_exception(error);
        } catch (const Error& matching) {
            handler(matching);
            return true;
        } catch (...) {
            return false;
        }
    }

    detail::Ref<const Held> held_;
};

/// What `ExceptionGroup::split` returns.
struct ExceptionGroup::Split {
    Split() noexcept {}
    std::optional<ExceptionGroup> matched;
    std::optional<ExceptionGroup> rest;
};

template <class... E>
ExceptionGroup::Split ExceptionGroup::split() const {
    Split parts;
    parts.matched = subgroup<E...>();
    parts.rest = filter([](const std::exception_ptr& error) { return !is_any<E...>(error); });
    return parts;
}

}  // namespace weft
