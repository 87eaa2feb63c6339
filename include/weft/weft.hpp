// SPDX-License-Identifier: MIT
// Everything a program normally uses. Include the single headers where compile time matters.
#pragma once

#include "base.hpp"
#include "deadline.hpp"
#include "fs.hpp"
#include "kernel.hpp"
#include "net.hpp"
#include "patterns.hpp"
#include "process.hpp"
#include "queue.hpp"
#include "runtime.hpp"
#include "signal.hpp"
#include "streams.hpp"
#include "sync.hpp"
#include "task.hpp"
#include "thread.hpp"
#include "together.hpp"
