// SPDX-License-Identifier: MIT
// What the tests of deadlines share: something that takes its time, and how an await ended.
#pragma once

#include <exception>
#include <string>

#include <weft/base/clock.hpp>
#include <weft/base/error.hpp>
#include <weft/task/coro.hpp>
#include <weft/task/sleep.hpp>

namespace support {

inline weft::Coro<int> takes(weft::Duration time, int value) {
    co_await weft::sleep(time);
    co_return value;
}

/// How an await of `start()` ended: "value", "timeout", "cancelled", or an exception's text.
template <class Start>
weft::Coro<std::string> ending(Start start) {
    try {
        (void)co_await start();
    } catch (const weft::TimeoutError&) {
        co_return "timeout";
    } catch (const weft::CancelledError&) {
        co_return "cancelled";
    } catch (const std::exception& error) {
        co_return error.what();
    }
    co_return "value";
}

}  // namespace support
