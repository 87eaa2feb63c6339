// SPDX-License-Identifier: MIT
// Everything a program normally uses. Include the single headers where compile time matters.
#pragma once

#include "coro.hpp"
#include "error.hpp"
#include "future.hpp"
#include "io.hpp"
#include "loop.hpp"
#include "run.hpp"
#include "sleep.hpp"
#include "task.hpp"
