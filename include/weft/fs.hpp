// SPDX-License-Identifier: MIT
// Files and folders: opened, read, written, replaced and watched, without ever blocking the loop.
#pragma once

#include "fs/aligned_buffer.hpp"
#include "fs/atomic_write.hpp"
#include "fs/copy_file.hpp"
#include "fs/directory.hpp"
#include "fs/file.hpp"
#include "fs/file_info.hpp"
#include "fs/file_watch.hpp"
#include "fs/open_mode.hpp"
#include "fs/paths.hpp"
#include "fs/temporary.hpp"
#include "fs/whole_file.hpp"
