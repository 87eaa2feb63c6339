// SPDX-License-Identifier: MIT
// Runs a scenario cut off after every number of turns, by destroying the loop and by a cancel.
#pragma once

#include <weft/task/task.hpp>
#include <weft/testing/catch.hpp>
#include <weft/testing/census.hpp>
#include <weft/testing/step_kill.hpp>

#include <cstddef>
#include <string>

namespace support {

/// `scenario(alive)` counts what it makes with probe::Alive. Whatever it made must be gone
/// afterwards, descriptors included. Returns how many turns it takes undisturbed.
template <class Scenario>
std::size_t cut_everywhere(Scenario scenario) {
    const weft::testing::DescriptorCensus before;
    int alive = 0;
    int left_behind = 0;
    std::size_t rounds = 0;
    const auto start = [&] {
        left_behind += alive;  // by the round before
        ++rounds;
        return scenario(alive);
    };
    const std::size_t turns = weft::testing::kill_at_every_step(start);
    REQUIRE(rounds == turns + 1);
    REQUIRE(left_behind == 0);
    REQUIRE(alive == 0);

    int cancelled = 0;
    const auto after = [&](const weft::Task<void>& task) { cancelled += task.cancelled() ? 1 : 0; };
    weft::testing::cancel_at_every_step(start, after);
    REQUIRE(left_behind == 0);
    REQUIRE(alive == 0);
    REQUIRE(cancelled >= 1);
    const std::string leaked = before.leaked();
    REQUIRE(leaked == "");
    return turns;
}

}  // namespace support
