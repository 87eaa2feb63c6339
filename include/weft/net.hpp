// SPDX-License-Identifier: MIT
// Descriptors and what is at their other end: the system calls as awaits, streams, servers, names.
#pragma once

#include "net/address.hpp"
#include "net/chunk.hpp"
#include "net/connect.hpp"
#include "net/datagram.hpp"
#include "net/io.hpp"
#include "net/listen_fds.hpp"
#include "net/open_datagram.hpp"
#include "net/operation_wait.hpp"
#include "net/pass_descriptors.hpp"
#include "net/resolve.hpp"
#include "net/serve.hpp"
#include "net/server.hpp"
#include "net/socket.hpp"
#include "net/stream.hpp"
#include "net/stream_halves.hpp"
#include "net/transport.hpp"
