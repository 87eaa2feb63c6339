// SPDX-License-Identifier: MIT
// WEFT_TEST_CASE: a Catch2 (v2 or v3) test whose body is a coroutine on a loop with virtual time.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include "../task/coro.hpp"
#include "census.hpp"
#include "run.hpp"

namespace weft::testing {

/// Runs the body on a loop of its own; fails when it throws, hangs, or leaves descriptors open.
inline void run_test(Coro<void> (*body)()) {
    const DescriptorCensus before;
    testing::run(body);
    const std::string leaked = before.leaked();
    CHECK(leaked == "");
    const std::string vanished = before.vanished();
    CHECK(vanished == "");
}

}  // namespace weft::testing

#define WEFT_TEST_JOIN_(a, b) a##b
#define WEFT_TEST_JOIN(a, b) WEFT_TEST_JOIN_(a, b)
#define WEFT_TEST_BODY_(body, ...)                               \
    static ::weft::Coro<void> body();                            \
    TEST_CASE(__VA_ARGS__) { ::weft::testing::run_test(&body); } \
    static ::weft::Coro<void> body()

/// `WEFT_TEST_CASE("a cancelled read loses no bytes", "[io]") { ...; co_return; }`
///
/// The backend is the one that WEFT_BACKEND names. In the body write `auto r = co_await x;` and
/// then `REQUIRE(r)`: g++ 12 evaluates a co_await inside the macro three times.
#define WEFT_TEST_CASE(...) WEFT_TEST_BODY_(WEFT_TEST_JOIN(weft_test_body_, __LINE__), __VA_ARGS__)
