// SPDX-License-Identifier: MIT
// Refusals: what the members of an object say that is empty, or closed.
#pragma once

#include <exception>
#include <string>
#include <utility>

#include <weft/task/coro.hpp>
#include <weft/testing/catch.hpp>

namespace support {

/// What each of these calls says that are not to succeed. A new member joins by a row.
class Refusals {
public:
    explicit Refusals(std::string expected) : expected_(std::move(expected)) {}
    /// `call` is a coroutine's function, kept until it has ended.
    template <class Call>
    weft::Coro<void> add(const char* name, Call call) {
        std::string said = "nothing";
        try {
            co_await call();
        } catch (const std::exception& error) {
            said = error.what();
        }
        INFO(name << " says: " << said);
        CHECK(said.find(expected_) != std::string::npos);
    }

private:
    std::string expected_;
};

}  // namespace support
