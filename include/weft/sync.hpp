// SPDX-License-Identifier: MIT
// How tasks wait for each other: locks, permits, flags and meeting points, served in the order of
// arrival.
#pragma once

#include "sync/barrier.hpp"
#include "sync/capacity_limiter.hpp"
#include "sync/condition.hpp"
#include "sync/event.hpp"
#include "sync/gate.hpp"
#include "sync/latch.hpp"
#include "sync/lock.hpp"
#include "sync/notify.hpp"
#include "sync/once_cell.hpp"
#include "sync/reserving_queue.hpp"
#include "sync/rw_lock.hpp"
#include "sync/semaphore.hpp"
#include "sync/wait_queue.hpp"
