// SPDX-License-Identifier: MIT
// How a coroutine runs, and how it waits for one thing: coroutines, tasks, futures, sleeps.
#pragma once

#include "task/async_generator.hpp"
#include "task/awaitable.hpp"
#include "task/context_var.hpp"
#include "task/coro.hpp"
#include "task/future.hpp"
#include "task/future_state.hpp"
#include "task/interval.hpp"
#include "task/run.hpp"
#include "task/sleep.hpp"
#include "task/task.hpp"
#include "task/task_options.hpp"
