// SPDX-License-Identifier: MIT
// Catch2's runner, compiled once for all test programs.
#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

int main(int argc, char** argv) {
    // Catch2 returns the number of failures, and 77 failures must not look like "skipped" to ctest.
    return Catch::Session().run(argc, argv) == 0 ? 0 : 1;
}
