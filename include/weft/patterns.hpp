// SPDX-License-Identifier: MIT
// What services are made of: pools, retries, limits, and calls that are shared.
#pragma once

#include "patterns/map_limit.hpp"
#include "patterns/parallel_map.hpp"
#include "patterns/pool.hpp"
#include "patterns/rate_limiter.hpp"
#include "patterns/retry.hpp"
#include "patterns/singleflight.hpp"
#include "patterns/worker_pool.hpp"
