// SPDX-License-Identifier: MIT
// Signals of the process as awaits, and a graceful stop for whoever wants to come to an end in
// order.
#pragma once

#include "signal/signal.hpp"
#include "signal/stop.hpp"
