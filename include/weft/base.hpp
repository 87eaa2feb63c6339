// SPDX-License-Identifier: MIT
// The words that all rooms speak: errors, time, buffers, descriptors, options, and the lists and
// memory behind them.
#pragma once

#include "base/broken_pipe.hpp"
#include "base/buffer.hpp"
#include "base/c_text.hpp"
#include "base/callback.hpp"
#include "base/clock.hpp"
#include "base/config.hpp"
#include "base/cores.hpp"
#include "base/element.hpp"
#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/file_identity.hpp"
#include "base/frame_allocator.hpp"
#include "base/intrusive_list.hpp"
#include "base/options.hpp"
#include "base/outcome.hpp"
#include "base/owned.hpp"
#include "base/pointer_set.hpp"
#include "base/ref.hpp"
#include "base/ring_buffer.hpp"
#include "base/std_parts.hpp"
#include "base/table.hpp"
#include "base/thread.hpp"
