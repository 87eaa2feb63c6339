// SPDX-License-Identifier: MIT
// Children of this process: started without copying it, talked to, waited for, and ended with their
// scope.
#pragma once

#include "process/command.hpp"
#include "process/completed_process.hpp"
#include "process/environment.hpp"
#include "process/exit_status.hpp"
#include "process/process.hpp"
#include "process/process_options.hpp"
#include "process/run_process.hpp"
#include "process/stdio.hpp"
