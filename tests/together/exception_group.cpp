// SPDX-License-Identifier: MIT
// ExceptionGroup: what it says, and how it is taken apart.
// labels: smoke
#include <weft/testing/catch.hpp>
#include <weft/together/exception_group.hpp>

#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "probe.hpp"

namespace exception_group_test {

using weft::ExceptionGroup;

namespace {

template <class E>
std::exception_ptr error(E value) {
    return std::make_exception_ptr(std::move(value));
}
std::exception_ptr runtime(const char* what) { return error(std::runtime_error(what)); }
std::exception_ptr logic(const char* what) { return error(std::logic_error(what)); }

/// runtime a, [logic b, [runtime c, 7]], cancelled
ExceptionGroup nested() {
    const ExceptionGroup inmost("inmost", {runtime("c"), error(7)});
    const ExceptionGroup inner("inner", {logic("b"), error(inmost)});
    return ExceptionGroup("outer", {runtime("a"), error(inner), error(weft::CancelledError())});
}

/// The texts of its exceptions, in brackets for each group.
std::string shape(const ExceptionGroup& group) {
    std::string text = "[";
    for (const std::exception_ptr& each : group.exceptions()) {
        try {
            std::rethrow_exception(each);
        } catch (const ExceptionGroup& nested) {
            text += shape(nested);
        } catch (const std::exception& plain) {
            text += plain.what();
        } catch (const weft::CancelledError&) {
            text += '-';
        } catch (int) {
            text += '#';
        }
    }
    return text + "]";
}

/// The shape of what `fn` throws; empty when it throws nothing.
template <class Fn>
std::string thrown(Fn fn) {
    try {
        fn();
    } catch (const ExceptionGroup& group) {
        return shape(group);
    }
    return {};
}

}  // namespace

TEST_CASE("what() lists every nested error, indented by depth", "[exception_group]") {
    const ExceptionGroup group = nested();
    REQUIRE(std::string(group.what()) ==
            "outer (3 errors)\n"
            "  1. a\n"
            "  2. inner (2 errors)\n"
            "    1. b\n"
            "    2. inmost (2 errors)\n"
            "      1. c\n"
            "      2. an exception of type int\n"
            "  3. cancelled");
    REQUIRE(group.message() == "outer");
}

TEST_CASE("what() of thousands of errors stays readable", "[exception_group]") {
    const ExceptionGroup group("many", std::vector<std::exception_ptr>(5000, runtime("x")));
    const std::string text = group.what();
    REQUIRE(text.find("many (5000 errors)") == 0);
    REQUIRE(text.find("and 4980 more") != std::string::npos);
    REQUIRE(text.size() < 1000);
}

TEST_CASE("copying an exception group never throws and shares what it holds", "[exception_group]") {
    static_assert(std::is_nothrow_copy_constructible_v<ExceptionGroup>);
    const ExceptionGroup group = nested();
    const ExceptionGroup copy(group);
    REQUIRE(copy.what() == group.what());
}

TEST_CASE("a group without exceptions, or with a null one, is refused", "[exception_group]") {
    REQUIRE_THROWS_AS(ExceptionGroup("none", {}), std::invalid_argument);
    REQUIRE_THROWS_AS(ExceptionGroup("null", {nullptr}), std::invalid_argument);
}

TEST_CASE("subgroup keeps the matching exceptions and the nesting", "[exception_group]") {
    const auto runtimes = nested().subgroup<std::runtime_error>();
    REQUIRE(runtimes);
    REQUIRE(shape(*runtimes) == "[a[[c]]]");
    REQUIRE(runtimes->message() == "outer");
    REQUIRE_FALSE(nested().subgroup<std::bad_alloc>());
}

TEST_CASE("subgroup takes derived types, several types, and what is no std::exception",
          "[exception_group]") {
    REQUIRE(shape(*nested().subgroup<std::exception>()) == "[a[b[c]]]");
    REQUIRE(shape(*nested().subgroup<std::logic_error, int>()) == "[[b[#]]]");
    REQUIRE(shape(*nested().subgroup<weft::CancelledError>()) == "[-]");
}

TEST_CASE("split parts a group without losing or doubling an exception", "[exception_group]") {
    const auto [matched, rest] = nested().split<std::runtime_error>();
    REQUIRE(shape(*matched) == "[a[[c]]]");
    REQUIRE(shape(*rest) == "[[b[#]]-]");
    const auto [nothing, everything] = nested().split<std::bad_alloc>();
    REQUIRE_FALSE(nothing);
    REQUIRE(shape(*everything) == "[a[b[c#]]-]");
    const auto [all, none] =
        ExceptionGroup("two", {runtime("a"), runtime("b")}).split<std::runtime_error>();
    REQUIRE(shape(*all) == "[ab]");
    REQUIRE_FALSE(none);
}

TEST_CASE("parts that match as a whole are the same exception objects", "[exception_group]") {
    const std::exception_ptr inner = error(ExceptionGroup("inner", {runtime("a")}));
    const ExceptionGroup outer("outer", {inner, logic("b")});
    const auto part = outer.subgroup<std::runtime_error>();
    REQUIRE(part->exceptions().front() == inner);
}

TEST_CASE("handle gives each exception to the first handler of its type and throws the rest",
          "[exception_group]") {
    std::string log;
    const std::string rest = thrown([&] {
        nested().handle([&](const std::runtime_error& each) { log += each.what(); },
                        [&](const std::exception& each) { log += std::string("/") + each.what(); });
    });
    REQUIRE(log == "a/bc");
    REQUIRE(rest == "[[[#]]-]");
}

TEST_CASE("handle throws nothing when every exception was handled", "[exception_group]") {
    int handled = 0;
    const std::string rest = thrown([&] {
        ExceptionGroup("two", {runtime("a"), runtime("b")}).handle([&](const std::runtime_error&) {
            ++handled;
        });
    });
    REQUIRE(handled == 2);
    REQUIRE(rest.empty());
}

TEST_CASE("what a handler throws goes on together with what nobody handled", "[exception_group]") {
    const std::string rest = thrown([&] {
        nested().handle([](const std::runtime_error& each) {
            if (each.what() == std::string("a")) throw std::logic_error("handler");
        });
    });
    REQUIRE(rest == "[handler[[b[#]]-]]");
}

TEST_CASE("handle works in a catch block and takes functions", "[exception_group]") {
    static int seen = 0;
    struct Count {
        static void one(const std::system_error&) { ++seen; }
    };
    try {
        throw ExceptionGroup("io", {error(std::system_error(2, std::generic_category()))});
    } catch (const ExceptionGroup& errors) {
        errors.handle(&Count::one);
    }
    REQUIRE(seen == 1);
}

TEST_CASE("an exception of any kind can be looked at as a group", "[exception_group]") {
    REQUIRE(shape(ExceptionGroup::of(runtime("a"))) == "[a]");
    REQUIRE(shape(ExceptionGroup::of(error(nested()))) == "[a[b[c#]]-]");
}

TEST_CASE("for_each visits every single exception, depth first", "[exception_group]") {
    int count = 0;
    nested().for_each([&](const std::exception_ptr&) { ++count; });
    REQUIRE(count == 5);
}

}  // namespace exception_group_test
