// SPDX-License-Identifier: MIT
// Everything a program normally uses. Include the single headers where compile time matters.
#pragma once

#include "chunk.hpp"
#include "connect.hpp"
#include "coro.hpp"
#include "error.hpp"
#include "future.hpp"
#include "io.hpp"
#include "loop.hpp"
#include "run.hpp"
#include "server.hpp"
#include "sleep.hpp"
#include "stream.hpp"
#include "task.hpp"
