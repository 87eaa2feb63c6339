// SPDX-License-Identifier: MIT
// A deadline's request among those of others: what is left of each when the scope is left.
#include <weft/deadline/clean_up.hpp>
#include <weft/deadline/timeout.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>

#include <string>

#include "children.hpp"

namespace timeout_requests_test {

using namespace children;
using weft::CancelledError;
using weft::Timeout;

namespace {

struct Outcome {
    std::string end;  // of the scope: v, c, t
    bool expired = false;
    int cancelling = -1;  // after the scope
    bool struck = false;  // the next suspension after the scope
};

/// Runs `body` under a deadline of one second in a task of its own. `ahead`: cancels that are
/// pending when the scope begins; `older`: cancels that have struck before.
template <class Body>
Coro<Outcome> outcome_of(Body body, int older, int ahead, weft::Duration limit = 1s,
                         int later = 0) {
    Outcome outcome;
    auto inside = [&](Timeout& timeout) -> Coro<void> {
        struct Look {
            explicit Look(Timeout& of, bool& to) : timeout(of), expired(to) {}
            ~Look() { expired = timeout.expired(); }
            Timeout& timeout;
            bool& expired;
        } look(timeout, outcome.expired);
        co_await body();
    };
    auto scope = [&]() -> Coro<void> {
        for (int i = 0; i < older; ++i) {
            weft::current_task().cancel();
            (void)co_await struck();
        }
        for (int i = 0; i < ahead; ++i) weft::current_task().cancel();
        try {
            co_await weft::timeout(limit, inside);
            outcome.end = "v";
        } catch (const weft::TimeoutError&) {
            outcome.end = "t";
        } catch (const CancelledError&) {
            outcome.end = "c";
        }
        outcome.cancelling = weft::current_task().cancelling();
        outcome.struck = co_await struck();
    };
    auto task = weft::create_task(scope);
    if (later > 0) {
        co_await weft::sleep(1500ms);
        for (int i = 0; i < later; ++i) task.cancel();
    }
    co_await task;
    co_return outcome;
}

Coro<void> swallow_one() { (void)co_await struck(); }
Coro<void> sleep_two() { co_await weft::sleep(2s); }

}  // namespace

WEFT_TEST_CASE("an older cancel that the body swallows leaves a held deadline nothing to strike",
               "[timeout]") {
    auto body = []() -> Coro<void> {
        co_await swallow_one();
        co_await weft::clean_up(1h, sleep_two);
    };
    const Outcome outcome = co_await outcome_of(body, 0, 1);
    REQUIRE(outcome.end == "v");
    REQUIRE(outcome.expired);
    REQUIRE(outcome.cancelling == 1);
    REQUIRE_FALSE(outcome.struck);
}

WEFT_TEST_CASE("an older cancel that the body takes back is gone, and so is the deadline's",
               "[timeout]") {
    for (const bool pending : {false, true}) {
        for (const bool before_the_deadline : {false, true}) {
            auto body = [&]() -> Coro<void> {
                if (pending) co_await swallow_one();
                if (before_the_deadline) weft::current_task().uncancel();
                bool hit = false;
                try {
                    co_await weft::sleep(1h);
                } catch (const CancelledError&) {
                    hit = true;
                }
                if (!before_the_deadline) weft::current_task().uncancel();
                if (hit) throw CancelledError();
            };
            const Outcome outcome = co_await outcome_of(body, pending ? 0 : 1, pending ? 1 : 0);
            REQUIRE(outcome.end == "t");
            REQUIRE(outcome.expired);
            REQUIRE(outcome.cancelling == 0);
            REQUIRE_FALSE(outcome.struck);
        }
    }
}

WEFT_TEST_CASE("an older cancel on its way through the body wins over a deadline that passes then",
               "[timeout]") {
    auto body = []() -> Coro<void> {
        std::exception_ptr error;
        try {
            co_await weft::sleep(1h);
        } catch (const CancelledError&) {
            error = std::current_exception();
        }
        co_await weft::clean_up(1h, sleep_two);
        std::rethrow_exception(error);
    };
    const Outcome outcome = co_await outcome_of(body, 0, 1);
    REQUIRE(outcome.end == "c");
    REQUIRE(outcome.expired);
    REQUIRE(outcome.cancelling == 1);
    REQUIRE_FALSE(outcome.struck);
}

WEFT_TEST_CASE("a body that never stops leaves an older cancel pending", "[timeout]") {
    auto body = []() -> Coro<void> { co_return; };
    const Outcome outcome = co_await outcome_of(body, 0, 1, 0s);
    REQUIRE(outcome.end == "v");
    REQUIRE(outcome.cancelling == 1);
    REQUIRE(outcome.struck);
}

WEFT_TEST_CASE("an older cancel and a deadline that strike together are the older one's",
               "[timeout]") {
    const Outcome outcome = co_await outcome_of(sleep_two, 0, 1, 0s);
    REQUIRE(outcome.end == "c");
    REQUIRE(outcome.cancelling == 1);
    REQUIRE_FALSE(outcome.struck);
}

WEFT_TEST_CASE("a cancel that is held together with the deadline's strikes after the scope",
               "[timeout]") {
    for (const int pending : {0, 1}) {
        auto body = [&]() -> Coro<void> {
            if (pending) co_await swallow_one();
            co_await weft::clean_up(1h, sleep_two);
        };
        const Outcome outcome = co_await outcome_of(body, 0, pending, 1s, 1);
        REQUIRE(outcome.end == "v");
        REQUIRE(outcome.expired);
        REQUIRE(outcome.cancelling == 1 + pending);
        REQUIRE(outcome.struck);
    }
}

WEFT_TEST_CASE("cancels that struck before the scope change nothing in it", "[timeout]") {
    for (const int older : {0, 1, 2}) {
        const Outcome outcome = co_await outcome_of(sleep_two, older, 0);
        REQUIRE(outcome.end == "t");
        REQUIRE(outcome.cancelling == older);
        REQUIRE_FALSE(outcome.struck);
    }
}

}  // namespace timeout_requests_test
