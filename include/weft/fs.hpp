// SPDX-License-Identifier: MIT
// Files and folders: opened, read, written, replaced and watched, without ever blocking the loop.
#pragma once

#include "fs/file.hpp"
#include "fs/file_info.hpp"
#include "fs/open_mode.hpp"
