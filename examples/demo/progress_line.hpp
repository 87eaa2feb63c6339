// SPDX-License-Identifier: MIT
// A line that counts along while work goes on.
#pragma once

#include <fmt/format.h>
#include <unistd.h>
#include <weft/task/coro.hpp>
#include <weft/task/sleep.hpp>
#include <weft/task/task.hpp>

#include <chrono>
#include <cstdio>
#include <string>
#include <utility>

namespace demo {

/// Drawn by a task of its own, and only on a terminal; gone from the screen when the object goes.
class ProgressLine {
public:
    ProgressLine(std::string what, int total) : what_(std::move(what)), total_(total) {
        if (::isatty(STDOUT_FILENO)) drawing_ = weft::create_task(draw());
    }
    /// The task's `sleep` throws, so it never again looks at this object.
    ~ProgressLine() {
        if (!drawing_) return;
        drawing_.cancel();
        fmt::print("\r\033[K");
        std::fflush(stdout);
    }
    ProgressLine(const ProgressLine&) = delete;
    ProgressLine& operator=(const ProgressLine&) = delete;

    void advance() noexcept { ++done_; }

private:
    weft::Coro<void> draw() {
        for (;;) {
            constexpr int width = 40;
            const int filled = total_ > 0 ? done_ * width / total_ : width;
            fmt::print("\r  {}  [{:#<{}}{:.<{}}] {:>4} of {}", what_, "", filled, "",
                       width - filled, done_, total_);
            std::fflush(stdout);
            co_await weft::sleep(std::chrono::milliseconds(20));
        }
    }

    std::string what_;
    int total_;
    int done_ = 0;
    weft::Task<void> drawing_;
};

}  // namespace demo
