// SPDX-License-Identifier: MIT
// Streams over other things than sockets, and what works with any stream.
#pragma once

#include "streams/copy.hpp"
#include "streams/join_streams.hpp"
#include "streams/memory_stream.hpp"
#include "streams/pipe.hpp"
#include "streams/protocol.hpp"
#include "streams/pty.hpp"
#include "streams/send_file.hpp"
#include "streams/standard_streams.hpp"
#include "streams/stream_pair.hpp"
