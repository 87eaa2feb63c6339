// SPDX-License-Identifier: MIT
// The loop: who runs next, for how long, and what happens when nobody can.
#pragma once

#include "runtime/context.hpp"
#include "runtime/go_on.hpp"
#include "runtime/graceful_stop.hpp"
#include "runtime/handle.hpp"
#include "runtime/loop.hpp"
#include "runtime/ready_await.hpp"
#include "runtime/remote.hpp"
#include "runtime/report.hpp"
#include "runtime/signal_hub.hpp"
#include "runtime/task_core.hpp"
#include "runtime/timer_heap.hpp"
