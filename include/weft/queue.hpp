// SPDX-License-Identifier: MIT
// How tasks pass values to each other: queues, channels, and a value that is watched.
#pragma once

#include "queue/broadcast.hpp"
#include "queue/channel.hpp"
#include "queue/channel_closed.hpp"
#include "queue/lifo_queue.hpp"
#include "queue/oneshot.hpp"
#include "queue/priority_queue.hpp"
#include "queue/queue.hpp"
#include "queue/watch.hpp"
