// SPDX-License-Identifier: MIT
// Everything a program normally uses. Include the single headers where compile time matters.
#pragma once

#include "async_generator.hpp"
#include "clean_up.hpp"
#include "connect.hpp"
#include "context_var.hpp"
#include "coro.hpp"
#include "error.hpp"
#include "future.hpp"
#include "io.hpp"
#include "loop.hpp"
#include "move_on_after.hpp"
#include "run.hpp"
#include "scope.hpp"
#include "server.hpp"
#include "sleep.hpp"
#include "stream.hpp"
#include "task.hpp"
#include "timeout.hpp"
#include "wait_for.hpp"
