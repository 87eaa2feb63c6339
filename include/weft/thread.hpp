// SPDX-License-Identifier: MIT
// Threads beside the loop: blocking calls and computations that tasks await, and ways into a loop.
#pragma once

#include "thread/run_threadsafe.hpp"
#include "thread/run_workers.hpp"
#include "thread/thread_channel.hpp"
#include "thread/thread_pool.hpp"
