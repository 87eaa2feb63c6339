// SPDX-License-Identifier: MIT
// When something has to end: deadlines around an await or a whole coroutine, and what may still run
// after them.
#pragma once

#include "deadline/cancel_scope.hpp"
#include "deadline/cancel_token.hpp"
#include "deadline/clean_up.hpp"
#include "deadline/current_deadline.hpp"
#include "deadline/move_on_after.hpp"
#include "deadline/scope.hpp"
#include "deadline/timeout.hpp"
#include "deadline/wait_for.hpp"
