// SPDX-License-Identifier: MIT
// Drivers that end a scenario after k turns of the loop, for every k.
#pragma once

#include <cstddef>
#include <exception>
#include <functional>
#include <stdexcept>
#include <utility>

#include "../runtime/loop.hpp"
#include "../task/task.hpp"
#include "run.hpp"

namespace weft::testing {

/// Runs `scenario()` (a function that returns a Coro<void>) from the start again and again, each
/// time one turn further, and then does `end(loop, task)` to it. Stops once the scenario ends by
/// itself. Returns the number of turns that took.
/// Throws:   what the undisturbed scenario throws; std::runtime_error after `most` turns.
template <class Scenario, class End>
std::size_t at_every_step(Scenario&& scenario, End&& end, std::size_t most = 10'000,
                          RunOptions base = {}) {
    for (std::size_t steps = 0; steps <= most; ++steps) {
        EventLoop loop(options(base));
        Task<void> task = loop.create_task(std::invoke(scenario));
        for (std::size_t step = 0; step < steps && !task.done(); ++step)
            loop.run_once(*task.core());
        if (task.done()) {
            std::move(task).result();
            return steps;
        }
        end(loop, task);
    }
    throw std::runtime_error("the scenario did not end within the turns allowed");
}

/// Destroys the loop after k turns, for every k: nothing may leak, hang or be written to later.
template <class Scenario>
std::size_t kill_at_every_step(Scenario&& scenario, std::size_t most = 10'000,
                               RunOptions base = {}) {
    return at_every_step(
        std::forward<Scenario>(scenario), [](EventLoop&, Task<void>&) {}, most, std::move(base));
}

/// Cancels the task after k turns, for every k, and runs it to its end. `after(task)` looks at it.
template <class Scenario, class After>
std::size_t cancel_at_every_step(Scenario&& scenario, After&& after, std::size_t most = 10'000,
                                 RunOptions base = {}) {
    return at_every_step(
        std::forward<Scenario>(scenario),
        [&after](EventLoop& loop, Task<void>& task) {
            task.cancel();
            while (!task.done()) loop.run_once(*task.core());
            after(task);
        },
        most, std::move(base));
}

}  // namespace weft::testing
