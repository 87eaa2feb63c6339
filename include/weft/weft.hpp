// SPDX-License-Identifier: MIT
// Everything a program normally uses. Include the single headers where compile time matters.
#pragma once

#include "broadcast.hpp"
#include "channel.hpp"
#include "connect.hpp"
#include "coro.hpp"
#include "error.hpp"
#include "future.hpp"
#include "io.hpp"
#include "lifo_queue.hpp"
#include "loop.hpp"
#include "oneshot.hpp"
#include "priority_queue.hpp"
#include "queue.hpp"
#include "run.hpp"
#include "server.hpp"
#include "sleep.hpp"
#include "stream.hpp"
#include "task.hpp"
#include "watch.hpp"
