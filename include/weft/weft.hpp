// SPDX-License-Identifier: MIT
// What most programs use. Files (<weft/fs.hpp>) and processes (<weft/process.hpp>) are apart: those
// who need neither would wait for them a fifth longer in each file. Include the single headers
// where compile time matters.
#pragma once

#include "base.hpp"
#include "deadline.hpp"
#include "kernel.hpp"
#include "net.hpp"
#include "patterns.hpp"
#include "queue.hpp"
#include "runtime.hpp"
#include "signal.hpp"
#include "streams.hpp"
#include "sync.hpp"
#include "task.hpp"
#include "thread.hpp"
#include "together.hpp"
