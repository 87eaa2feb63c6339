// SPDX-License-Identifier: MIT
// Redis, with hiredis' reader of its protocol: commands, transactions, subscriptions, a pool.
#pragma once

#include "redis/batch.hpp"
#include "redis/client.hpp"
#include "redis/error.hpp"
#include "redis/options.hpp"
#include "redis/pool.hpp"
#include "redis/reply.hpp"
#include "redis/subscription.hpp"
