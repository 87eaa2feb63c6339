// SPDX-License-Identifier: MIT
// What a C library with descriptors and timers of its own needs to live on the loop.
#pragma once

#include "adapters/alarm.hpp"
#include "adapters/fd_watch.hpp"
#include "adapters/heartbeat.hpp"
