// SPDX-License-Identifier: MIT
// How a program is tried out: virtual time, an end at every step, a count of descriptors.
#pragma once

#include "testing/census.hpp"
#include "testing/check_stream.hpp"
#include "testing/run.hpp"
#include "testing/step_kill.hpp"

// Where there is no Catch2, the rest is of use with another framework.
#if __has_include(<catch2/catch_all.hpp>) || __has_include(<catch2/catch.hpp>)
#include "testing/catch.hpp"
#endif
