// SPDX-License-Identifier: MIT
// Several tasks as one: groups, and the ways of waiting for all, some or the first of them.
#pragma once

#include "together/as_completed.hpp"
#include "together/eager.hpp"
#include "together/ensure_future.hpp"
#include "together/exception_group.hpp"
#include "together/gather.hpp"
#include "together/race.hpp"
#include "together/race_all.hpp"
#include "together/select.hpp"
#include "together/settle.hpp"
#include "together/settled.hpp"
#include "together/shield.hpp"
#include "together/staggered_race.hpp"
#include "together/task_group.hpp"
#include "together/wait.hpp"
